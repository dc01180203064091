//! Changes of unit files and of settings, as the kernel reports them: PID 1 sends no signal, and
//! reads the file system for each reply about them.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep_until;
use tracing::debug;

use super::control_drop_ins::ControlDropIns;
use super::reload_changes::ReloadChanges;
use crate::directory_watcher::{DirectoryChange, DirectoryWatcher};
use crate::systemd::mirror::Mirror;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::template::template_of;

/// The directories of unit files of the system's manager, but for those of generators, whose files
/// change only while it reloads its configuration, and those of [`CONTROL_DIRECTORIES`].
///
/// [`CONTROL_DIRECTORIES`]: super::CONTROL_DIRECTORIES
pub const UNIT_DIRECTORIES: [&str; 7] = [
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The directories of unit files, and the units whose files are there.
#[derive(Debug, Default)]
pub(super) struct UnitFiles {
    directories: Vec<PathBuf>,
    control: ControlDropIns,
    watcher: Option<DirectoryWatcher>,
    /// Whether every directory is watched that exists.
    is_watched: bool,
    /// The files in the directories; what is elsewhere is not watched.
    files: HashSet<OsString>,
    pub(super) reloads: ReloadChanges,
    /// Names in the directories of generators, which write them at each reload.
    generated: BTreeSet<String>,
    /// Whether the files have been compared with the time when PID 1 loaded them.
    is_compared: bool,
    /// When the changes are read next: with the next one, but not before this time.
    next_read: Option<Instant>,
}

/// Possible changes since the last call of [`UnitFiles::take_changes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitFileChanges {
    /// Names of files and drop-in directories of units.
    pub(super) files: BTreeSet<String>,
    /// Whether the files of any other unit may have changed, too.
    pub(super) is_incomplete: bool,
    /// Units whose settings have changed.
    pub(super) settings: Vec<Arc<str>>,
}

impl UnitFiles {
    /// Watches directories of unit files and of settings, none for a manager whose directories
    /// cannot be read.
    pub(super) fn new(directories: &[PathBuf], control: &[PathBuf]) -> Self {
        let watcher = match directories.is_empty() {
            true => None,
            false => DirectoryWatcher::new()
                .inspect_err(|error| debug!(%error, "failed to watch unit files"))
                .ok(),
        };
        let control = ControlDropIns::new(control);
        let directories = directories.to_vec();
        let mut files = Self { directories, control, watcher, ..Self::default() };
        files.list();
        files
    }

    /// The files of a simulated host, none of which changes.
    #[cfg(test)]
    pub(super) fn simulated(files: &[&str]) -> Self {
        let mut reloads = ReloadChanges::default();
        reloads.begin_with(UnitFileChanges::default());
        let files = files.iter().map(OsString::from).collect();
        Self { is_watched: true, files, reloads, is_compared: true, ..Self::default() }
    }

    /// Whether changes of settings would be seen.
    pub(super) fn sees_settings(&self) -> bool {
        self.control.are_visible()
    }

    /// Whether changes are reported.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Whether changes of the unit's files are reported. Units without a file, and links to files
    /// elsewhere, are not.
    pub(super) fn watches(&self, unit: &Unit) -> bool {
        let template = template(&unit.name);
        let name = template.as_deref().unwrap_or(&*unit.name);
        self.is_watched
            && (self.files.contains(Path::new(name).as_os_str())
                || self.files.contains(Path::new(&*unit.name).as_os_str()))
    }

    /// Waits for a change; [`Self::take_changes`] is to be called then.
    pub(super) async fn changed(&self) {
        let Some(watcher) = &self.watcher else { return std::future::pending().await };
        if let Some(at) = self.next_read {
            sleep_until(at.into()).await;
        }
        watcher.changed().await;
    }

    /// Lists the directories again: some may be new.
    pub(super) fn list(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        self.files.clear();
        let generators = GENERATOR_DIRECTORIES.iter().map(Path::new);
        let generated = generators.flat_map(entries).map(|entry| entry.file_name());
        self.generated = generated.map(|name| name.to_string_lossy().into_owned()).collect();
        self.is_watched = true;
        let mut watch = |directory: &Path| {
            let is_missing = |error: &io::Error| {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            };
            match watcher.watch(directory) {
                Err(error) if !is_missing(&error) => {
                    debug!(%error, directory = %directory.display(), "failed to watch unit files");
                    self.is_watched = false;
                    false
                }
                watched => watched.is_ok(),
            }
        };
        for directory in &self.directories {
            if !watch(directory) {
                continue;
            }
            for entry in entries(directory) {
                let name = entry.file_name();
                if is_drop_in_directory(&name) {
                    watch(&entry.path());
                } else if is_file_of(&entry, &self.directories) {
                    self.files.insert(name);
                }
            }
        }
        let roots = self.control.roots().iter().chain(&self.directories);
        let parents: BTreeSet<&Path> = roots.filter_map(|directory| directory.parent()).collect();
        for directory in parents {
            watch(directory);
            watch(&directory.join(MANAGER_DROP_INS));
        }
        for directory in self.control.directories() {
            watch(&directory);
        }
    }

    /// The possible changes since the last call.
    pub(super) fn take_changes(&mut self, now: Instant) -> UnitFileChanges {
        self.next_read = Some(now + MIN_READ_INTERVAL);
        let (mut changes, mut is_listed, mut is_control) =
            (UnitFileChanges::default(), true, false);
        let Some(watcher) = &mut self.watcher else { return changes };
        let control = self.control.roots();
        watcher.take(|change| {
            let DirectoryChange::Entry(directory, name) = change else {
                (changes.is_incomplete, is_listed, is_control) = (true, false, true);
                return;
            };
            if control.iter().any(|root| directory.starts_with(root)) {
                is_control = true;
                return;
            }
            let is_root = self.directories.iter().any(|root| directory == root);
            let mut roots = control.iter().chain(&self.directories);
            if !is_root && roots.any(|root| root.parent() == Some(directory)) {
                // systemd creates these directories when they are needed
                let path = directory.join(name.unwrap_or_default());
                is_control |= control.contains(&path);
                is_listed &= !self.directories.contains(&path);
                changes.is_incomplete |= name.is_some_and(is_of_manager);
                return;
            }
            if directory.file_name().is_some_and(is_of_manager) {
                changes.is_incomplete = true;
                return;
            }
            is_listed &= !is_root;
            // in a drop-in directory, every change is one of its unit
            let name = if is_root { name } else { directory.file_name() };
            match name.map(|name| name.to_string_lossy()) {
                Some(name) if changes.files.len() < MAX_NAMES => {
                    changes.files.insert(name.into_owned());
                }
                _ => changes.is_incomplete = true,
            }
        });
        if is_control {
            changes.settings = self.control.changed();
        }
        if is_control || !is_listed {
            self.list();
        }
        self.reloads.add(&changes);
        changes
    }

    /// Compares the files with the time when PID 1 loaded them, at the first call; `None` later.
    pub(super) fn compare(&mut self, loaded: SystemTime) -> Option<UnitFileChanges> {
        if std::mem::replace(&mut self.is_compared, true) {
            return None;
        }
        let mut changes =
            UnitFileChanges { is_incomplete: !self.is_watched, ..UnitFileChanges::default() };
        let is_newer = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|found| changed_at(&found) >= loaded)
        };
        for directory in &self.directories {
            changes.is_incomplete |= is_newer(directory);
            for entry in entries(directory) {
                let path = entry.path();
                let is_directory = is_drop_in_directory(&entry.file_name());
                if is_newer(&path) || (is_directory && entries(&path).any(|e| is_newer(&e.path())))
                {
                    changes.files.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        self.reloads.begin_with(changes.clone());
        Some(changes)
    }

    /// Notes that PID 1 begins to load all files again.
    pub(super) fn begin_reload(&mut self, is_first: bool) {
        self.is_compared = true;
        self.reloads.begin_reload(is_first);
    }

    /// Notes that PID 1 has loaded all files.
    pub(super) fn end_reload(&mut self, mirror: &Mirror) {
        let mut generated = std::mem::take(&mut self.generated);
        self.list();
        generated.extend(self.generated.iter().cloned());
        let directories = &self.directories;
        self.reloads.end_reload(mirror, generated, |name| {
            let is_file = |directory: &PathBuf| {
                let found = fs::symlink_metadata(directory.join(name));
                found.is_ok_and(|found| found.is_file())
            };
            !directories.iter().any(is_file)
        });
    }

    /// The units whose settings have changed, where the kernel does not report it.
    pub(super) fn changed_settings(&mut self) -> Vec<Arc<str>> {
        self.control.changed()
    }
}

impl UnitFileChanges {
    /// The units whose files have changed.
    pub(super) fn units<'m>(
        &'m self,
        mirror: &'m Mirror,
    ) -> impl Iterator<Item = &'m Arc<Unit>> + use<'m> {
        let names: Vec<&str> = self
            .files
            .iter()
            .map(|name| unit_of(name))
            .filter_map(|name| mirror.find(name).map(|unit| &*unit.name).or(Some(name)))
            .collect();
        mirror
            .units()
            .filter(move |unit| names.iter().any(|name| configures(name, &unit.name, unit.kind)))
    }
}

/// Whether the file or drop-in directory of this name, without `.d`, is one of the unit: its own,
/// that of its template, of the prefix of its name (`web-.service`), or of all of its kind
/// (`service`).
fn configures(name: &str, unit: &str, kind: UnitKind) -> bool {
    if name == unit || name == kind.as_str() || template(unit).as_deref() == Some(name) {
        return true;
    }
    let prefix = name.strip_suffix(kind.as_str()).and_then(|stem| stem.strip_suffix('.'));
    prefix.is_some_and(|prefix| prefix.ends_with('-') && unit.starts_with(prefix))
}

/// The template of an instance: `a@.service` of `a@b.service`.
fn template(unit: &str) -> Option<String> {
    template_of(unit).map(|(prefix, suffix)| format!("{prefix}@.{suffix}"))
}

/// When the file has changed, at the latest: its status, as its modification time may be set.
fn changed_at(found: &Metadata) -> SystemTime {
    let since_epoch = |seconds: i64, nanos: i64| {
        Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
    };
    let at = since_epoch(found.ctime(), found.ctime_nsec()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + at + FILE_CLOCK_DELAY
}

/// The name without the suffix of a directory of drop-ins or dependencies.
fn unit_of(name: &str) -> &str {
    let stem = |suffix: &&str| name.strip_suffix(*suffix);
    DIRECTORY_SUFFIXES.iter().find_map(stem).unwrap_or(name)
}

fn is_drop_in_directory(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| unit_of(name) != name)
}

/// Whether a file or directory configures the manager, and so every unit.
fn is_of_manager(name: &OsStr) -> bool {
    name == MANAGER_FILE || name == MANAGER_DROP_INS
}

/// Whether the file itself is in one of these directories.
fn is_file_of(entry: &DirEntry, directories: &[PathBuf]) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_file() => true,
        Ok(kind) if kind.is_symlink() => {
            let target = fs::canonicalize(entry.path()).unwrap_or_default();
            directories.iter().any(|directory| target.parent() == Some(directory))
        }
        _ => false,
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    // a directory that cannot be read has no files that are watched
    fs::read_dir(directory).into_iter().flatten().flatten().take(MAX_NAMES)
}

/// The directories in which generators write unit files, drop-ins and dependencies.
const GENERATOR_DIRECTORIES: [&str; 3] =
    ["/run/systemd/generator", "/run/systemd/generator.early", "/run/systemd/generator.late"];

/// The directories that configure the unit before the suffix.
const DIRECTORY_SUFFIXES: [&str; 4] = [".d", ".wants", ".requires", ".upholds"];

/// The configuration of the manager, which has defaults for units.
const MANAGER_FILE: &str = "system.conf";
const MANAGER_DROP_INS: &str = "system.conf.d";

/// By how much the times of files may be behind the clock: a tick of the kernel.
const FILE_CLOCK_DELAY: Duration = Duration::from_millis(10);

/// Changes are read at most this often: one of an editor or a package manager is several.
const MIN_READ_INTERVAL: Duration = Duration::from_secs(1);

/// Names of one directory, or of changes.
const MAX_NAMES: usize = 20_000;

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;
    use std::thread::sleep;

    use super::super::tests::mirror_of;
    use super::*;

    const UNITS: [&str; 6] = [
        "web.service",
        "web-a.service",
        "web@1.service",
        "web.socket",
        "home.mount",
        "link.service",
    ];

    fn mirror() -> Mirror {
        mirror_of(&UNITS)
    }

    /// The names of units whose files have changed.
    fn changed(files: &mut UnitFiles, mirror: &Mirror) -> Vec<String> {
        let changes = files.take_changes(Instant::now());
        changes.units(mirror).map(|unit| unit.name.to_string()).collect()
    }

    #[test]
    fn file_configures_units_by_name_template_prefix_and_kind() {
        for (name, expected) in [
            ("web.service", "web.service"),
            ("web@.service", "web@1.service"),
            ("web@1.service", "web@1.service"),
            ("web-.service", "web-a.service"),
            ("service", "link.service web-a.service web.service web@1.service"),
            ("web.socket", "web.socket"),
            (".web.service.swp", ""),
            ("web-.socket", ""),
            ("web", ""),
            ("-.service", ""),
            ("", ""),
        ] {
            let changes =
                UnitFileChanges { files: [name.to_owned()].into(), ..UnitFileChanges::default() };
            let mirror = mirror();
            let found: Vec<_> = changes.units(&mirror).map(|unit| &*unit.name).collect();
            assert_eq!(found.join(" "), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn changed_files_and_drop_ins_name_their_units() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let (etc, run, control) =
            (root.join("etc"), root.join("run"), root.join("systemd/control"));
        create_dir_all(run.join("web-.service.d")).unwrap();
        create_dir_all(&etc).unwrap();
        create_dir_all(root.join("systemd")).unwrap();
        let directories = [etc.clone(), run.clone(), root.join("missing")];
        let mut files = UnitFiles::new(&directories, std::slice::from_ref(&control));
        let mirror = mirror();
        assert!(files.is_watched());
        assert!(changed(&mut files, &mirror).is_empty());
        write(run.join("web.service"), "").unwrap();
        assert_eq!(changed(&mut files, &mirror), ["web.service"]);
        write(run.join("web-.service.d/a.conf"), "").unwrap();
        assert_eq!(changed(&mut files, &mirror), ["web-a.service"]);
        create_dir_all(etc.join("web@.service.d")).unwrap();
        assert_eq!(changed(&mut files, &mirror), ["web@1.service"]);
        write(etc.join("web@.service.d/a.conf"), "").unwrap();
        assert_eq!(changed(&mut files, &mirror), ["web@1.service"], "the new directory is watched");
        create_dir_all(&control).unwrap();
        assert!(changed(&mut files, &mirror).is_empty());
        create_dir_all(control.join("web.socket.d")).unwrap();
        let changes = files.take_changes(Instant::now());
        assert_eq!(changes.settings, ["web.socket".into()]);
        assert_eq!(changes.units(&mirror).count(), 0);
        sleep(Duration::from_millis(20));
        write(control.join("web.socket.d/50-TasksMax.conf"), "").unwrap();
        assert_eq!(files.take_changes(Instant::now()).settings, ["web.socket".into()]);
        assert_eq!(files.take_changes(Instant::now()), UnitFileChanges::default());
    }

    #[tokio::test]
    async fn files_that_changed_after_they_were_loaded_are_found() {
        let root = tempfile::tempdir().unwrap();
        let units = root.path().join("system");
        create_dir_all(units.join("web-.service.d")).unwrap();
        for file in ["web.service", "web.socket", "web-.service.d/a.conf"] {
            write(units.join(file), "").unwrap();
        }
        sleep(2 * FILE_CLOCK_DELAY);
        let loaded = SystemTime::now();
        let compared = || {
            let mut files = UnitFiles::new(std::slice::from_ref(&units), &[]);
            let changes = files.compare(loaded).unwrap();
            assert!(files.compare(SystemTime::UNIX_EPOCH).is_none());
            (changes.files.into_iter().collect::<Vec<_>>().join(" "), changes.is_incomplete)
        };
        assert_eq!(compared(), (String::new(), false));
        write(units.join("web.socket"), "[Socket]\n").unwrap();
        write(units.join("web-.service.d/a.conf"), "[Service]\n").unwrap();
        let file = fs::File::options().write(true).open(units.join("web.socket")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(compared(), ("web-.service.d web.socket".to_owned(), false));
        write(units.join("new.service"), "").unwrap();
        assert!(compared().1, "the directory has changed");
    }

    #[tokio::test]
    async fn units_with_files_elsewhere_are_not_watched() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let units = root.join("system");
        create_dir_all(&units).unwrap();
        for file in ["web.service", "web@.service", "../link.service"] {
            write(units.join(file), "").unwrap();
        }
        symlink("../link.service", units.join("link.service")).unwrap();
        symlink("web.service", units.join("web-a.service")).unwrap();
        let watched = |files: &UnitFiles| {
            let mirror = mirror();
            let units = mirror.units().filter(|unit| files.watches(unit));
            units.map(|unit| unit.name.to_string()).collect::<Vec<_>>()
        };
        let files = UnitFiles::new(std::slice::from_ref(&units), &[]);
        assert_eq!(watched(&files), ["web-a.service", "web.service", "web@1.service"]);
        assert!(watched(&UnitFiles::new(&[], &[])).is_empty());
    }
}
