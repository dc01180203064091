//! Compares the start of services with the files that they run from: a service whose program, unit
//! file or directory changed since then runs an old version.
//!
//! Times are those of the last change of an inode (ctime): packages keep the modification times of
//! their build.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::systemd::unit::files::ServiceFiles;

/// A running service and its files.
#[derive(Clone, Debug)]
pub struct RunningService {
    /// The name.
    pub name: Arc<str>,
    /// The start of the main process, wall clock.
    pub started: SystemTime,
    /// The main process.
    pub pid: u32,
    /// The files.
    pub files: ServiceFiles,
    /// Whether systemd has read the unit files since they changed.
    pub is_loaded: bool,
}

/// The part of a service that is newer than its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartCause {
    /// The program, its interpreter or its script.
    Program,
    /// The unit file or a drop-in, which systemd has read.
    UnitFile,
    /// A symbolic link in the path of the directory or of the script.
    Directory,
    /// A mapped file, such as a library, was deleted or replaced.
    Library,
}

impl RestartCause {
    /// The label `because`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::UnitFile => "unit-file",
            Self::Directory => "directory",
            Self::Library => "library",
        }
    }
}

/// Looks up files of many services; each path is looked up once.
#[derive(Debug)]
pub struct FileLookups {
    found: HashMap<PathBuf, Option<Entry>>,
    interpreters: HashMap<PathBuf, Option<PathBuf>>,
    proc: PathBuf,
    /// Calls of the kernel so far.
    pub count: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    changed: SystemTime,
    kind: EntryKind,
}

#[derive(Clone, Debug, PartialEq)]
enum EntryKind {
    Link(PathBuf),
    File,
    Other,
}

/// A path followed to its end.
#[derive(Debug, Default)]
struct Followed {
    /// The latest change of a link on the way.
    links: Option<SystemTime>,
    /// The change of the file, if the path leads to one.
    file: Option<SystemTime>,
    path: PathBuf,
}

impl FileLookups {
    /// Reads processes below `proc`.
    #[must_use]
    pub fn new(proc: PathBuf) -> Self {
        Self { found: HashMap::new(), interpreters: HashMap::new(), proc, count: 0 }
    }

    /// Why the service should be restarted; empty if it runs the current files, as far as they can be
    /// read, or after too many lookups.
    pub fn check(&mut self, service: &RunningService) -> Vec<RestartCause> {
        let RunningService { files, started, .. } = service;
        if self.count > MAX_LOOKUPS || !files.are_of_this_root() {
            return Vec::new();
        }
        let is_newer = |at: Option<SystemTime>| at.is_some_and(|at| at > *started);
        let mut due = Vec::new();
        let program = files.program.as_deref().map(Path::new).and_then(|path| self.follow(path));
        let interpreter = program.as_ref().and_then(|program| self.interpreter(&program.path));
        let interpreter = interpreter.and_then(|path| self.follow(&path));
        let script = self.script(files);
        let script_file = script.as_ref().and_then(|script| script.file);
        let programs = [&program, &interpreter].into_iter().flatten();
        let programs = programs.flat_map(|program| [program.links, program.file]);
        if programs.chain([script_file]).any(is_newer) {
            due.push(RestartCause::Program);
        }
        let mut unit_files = files.unit_files().filter_map(|path| self.follow(Path::new(&**path)));
        if service.is_loaded && unit_files.any(|file| is_newer(file.file)) {
            due.push(RestartCause::UnitFile);
        }
        let directory = files.directory.as_deref().and_then(|path| self.follow(Path::new(path)));
        if [directory, script].into_iter().flatten().any(|followed| is_newer(followed.links)) {
            due.push(RestartCause::Directory);
        }
        if self.maps_deleted_file(service.pid) {
            due.push(RestartCause::Library);
        }
        due
    }

    /// The script that an interpreter runs: the first argument that is no option.
    fn script(&mut self, files: &ServiceFiles) -> Option<Followed> {
        let name = Path::new(files.program.as_deref()?).file_name()?.to_str()?;
        let is_version = |c: char| c.is_ascii_digit() || c == '.';
        let is_interpreter = INTERPRETERS.contains(&name.trim_end_matches(is_version));
        let mut arguments = files.arguments.iter().filter(|_| is_interpreter);
        let script = loop {
            let argument = arguments.next()?;
            match &**argument {
                // code, or the name of a module
                "-c" | "-e" | "-m" | "-r" => return None,
                "-d" | "-W" | "-X" => drop(arguments.next()),
                option if option.starts_with('-') => {}
                script => break script,
            }
        };
        let directory = files.directory.as_deref().unwrap_or("/");
        self.follow(&Path::new(directory).join(script)).filter(|script| script.file.is_some())
    }

    /// The interpreter in the first line of a script.
    fn interpreter(&mut self, program: &Path) -> Option<PathBuf> {
        if let Some(known) = self.interpreters.get(program) {
            return known.clone();
        }
        self.count += 1;
        let interpreter = shebang(program);
        self.interpreters.insert(program.to_owned(), interpreter.clone());
        interpreter
    }

    /// Follows a path, link by link.
    fn follow(&mut self, path: &Path) -> Option<Followed> {
        let mut left: Vec<PathBuf> = components(path);
        let (mut followed, mut links) = (Followed { path: "/".into(), ..Followed::default() }, 0);
        while let Some(component) = left.pop() {
            if component.as_os_str() == ".." {
                followed.path.pop();
                continue;
            }
            let path = followed.path.join(component);
            let entry = self.entry(&path)?;
            followed.file = (entry.kind == EntryKind::File).then_some(entry.changed);
            let EntryKind::Link(target) = entry.kind else {
                followed.path = path;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            followed.links = followed.links.max(Some(entry.changed));
            if target.is_absolute() {
                followed.path = "/".into();
            }
            left.extend(components(&target));
        }
        Some(followed)
    }

    fn entry(&mut self, path: &Path) -> Option<Entry> {
        if let Some(known) = self.found.get(path) {
            return known.clone();
        }
        self.count += 1;
        let entry = fs::symlink_metadata(path).ok().and_then(|metadata| Entry::of(path, &metadata));
        self.count += usize::from(matches!(entry, Some(Entry { kind: EntryKind::Link(_), .. })));
        self.found.insert(path.to_owned(), entry.clone());
        entry
    }

    /// Whether the process has a file mapped as code that was deleted; false if that cannot be read.
    fn maps_deleted_file(&mut self, pid: u32) -> bool {
        self.count += 1;
        let mut maps = Vec::new();
        let file = File::open(self.proc.join(format!("{pid}/maps")));
        let read = file.and_then(|file| file.take(MAX_MAPS).read_to_end(&mut maps));
        read.is_ok() && maps.split(|byte| *byte == b'\n').any(is_deleted_code)
    }
}

impl Entry {
    fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
        let nanos = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).ok()?);
        let changed = SystemTime::UNIX_EPOCH.checked_add(seconds)?.checked_add(nanos)?;
        let kind = match metadata.file_type() {
            kind if kind.is_symlink() => EntryKind::Link(fs::read_link(path).ok()?),
            kind if kind.is_file() => EntryKind::File,
            _ => EntryKind::Other,
        };
        Some(Self { changed, kind })
    }
}

/// The components of a path, the last one first.
fn components(path: &Path) -> Vec<PathBuf> {
    let named = |component: &Component<'_>| {
        matches!(component, Component::Normal(_) | Component::ParentDir)
    };
    let components = path.components().filter(named).map(|component| component.as_os_str().into());
    let mut components: Vec<PathBuf> = components.collect();
    components.reverse();
    components
}

/// The interpreter of a script; with `/usr/bin/env`, the first one in the usual directories.
fn shebang(program: &Path) -> Option<PathBuf> {
    let mut start = [0; 256];
    let length = File::open(program).and_then(|mut file| file.read(&mut start)).ok()?;
    let line = start[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let interpreter = words.next()?;
    if !interpreter.ends_with("/env") {
        return Some(interpreter.into());
    }
    let name = words.find(|word| !word.starts_with('-'))?;
    let paths = ["/usr/local/bin", "/usr/bin", "/bin"].map(|path| Path::new(path).join(name));
    paths.into_iter().find(|path| path.exists())
}

/// Whether a line of `/proc/PID/maps` is of code from a deleted file: a program or library that was
/// replaced, not memory shared by a deleted name.
fn is_deleted_code(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b" (deleted)") else { return false };
    let is_code =
        line.split(|byte| *byte == b' ').nth(1).is_some_and(|it| it.get(2) == Some(&b'x'));
    let path = line.iter().position(|byte| *byte == b'/').map(|at| &line[at..]);
    is_code && path.is_some_and(|path| CODE.iter().any(|start| path.starts_with(start)))
}

/// Directories of programs and libraries.
const CODE: [&[u8]; 6] = [b"/usr/", b"/lib", b"/bin/", b"/sbin/", b"/opt/", b"/srv/"];

/// Programs that run a script.
const INTERPRETERS: [&str; 9] =
    ["bash", "dash", "node", "nodejs", "perl", "php", "python", "ruby", "sh"];

/// As in the kernel.
const MAX_LINKS: u32 = 40;

/// A service has about ten: bounds the time with thousands of services.
const MAX_LOOKUPS: usize = 20_000;

/// In bytes: ten thousand mappings.
const MAX_MAPS: u64 = 1 << 20;
