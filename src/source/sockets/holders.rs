//! The units whose processes hold a socket: for sockets that outlived the cgroup that they were made
//! in, and for those in a network namespace that several units share.
//!
//! A descriptor of a socket is a link to `socket:[INODE]` in /proc/PID/fd, which the same user may read,
//! and otherwise CAP_SYS_PTRACE. The link is never followed.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Units by the path of their cgroup, without slices: their processes belong to other units.
#[derive(Debug)]
pub(super) struct UnitsByPath<'a>(HashMap<&'a str, &'a Arc<str>>);

impl<'a> UnitsByPath<'a> {
    /// `units` are names and control groups.
    pub(super) fn new(units: &'a [(Arc<str>, Arc<str>)]) -> Self {
        let units = units.iter().filter(|(unit, _)| !unit.ends_with(".slice"));
        Self(units.map(|(unit, path)| (&**path, unit)).collect())
    }

    /// The unit of a process: the nearest at or above its cgroup.
    pub(super) fn of_process(&self, process: &Path) -> Option<&'a Arc<str>> {
        let cgroups = fs::read(process.join("cgroup")).ok()?;
        // v2, or systemd's own hierarchy of v1
        let hierarchies = [&b"0::"[..], b":name=systemd:"];
        hierarchies.into_iter().find_map(|hierarchy| {
            let mut lines = cgroups.split(|byte| *byte == b'\n');
            let line =
                lines.find(|line| line.windows(hierarchy.len()).any(|part| part == hierarchy))?;
            let at = line.windows(2).position(|part| part == b":/")? + 1;
            self.above(std::str::from_utf8(&line[at..]).ok()?)
        })
    }

    fn above(&self, mut path: &str) -> Option<&'a Arc<str>> {
        loop {
            if let Some(unit) = self.0.get(path) {
                return Some(unit);
            }
            path = &path[..path.rfind('/')?];
        }
    }
}

/// The units that hold sockets, by the inode number of the socket; kept while the sockets are
/// looked up.
#[derive(Debug)]
pub(super) struct SocketHolders {
    proc: PathBuf,
    known: HashMap<u64, Held>,
    /// The end and the duration of the last scan.
    scanned: Option<(Instant, Duration)>,
}

/// The result of the last scan for a socket.
#[derive(Debug)]
struct Held {
    /// `None` if no process that may be read holds it, or only PID 1 does.
    unit: Option<Arc<str>>,
    retry: Instant,
    interval: Duration,
}

impl SocketHolders {
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc, known: HashMap::new(), scanned: None }
    }

    /// The unit that holds the socket; `None` if it cannot be determined.
    pub(super) fn of(&self, inode: u64) -> Option<&Arc<str>> {
        self.known.get(&inode)?.unit.as_ref()
    }

    /// Looks up the holders of these sockets. The processes are read only if a socket is new, and
    /// again after 1 s to 60 s, for less than a twentieth of the time.
    pub(super) fn learn(
        &mut self,
        inodes: &BTreeSet<u64>,
        units: &UnitsByPath<'_>,
        deadline: Instant,
    ) {
        self.known.retain(|inode, _| inodes.contains(inode));
        let now = Instant::now();
        let is_due = |inode: &u64| self.known.get(inode).is_none_or(|held| held.retry <= now);
        let is_rested = self.scanned.is_none_or(|(ended, took)| ended.elapsed() >= took * 19);
        if !is_rested || !inodes.iter().any(is_due) {
            return;
        }
        let found = self.scan(inodes, units, deadline.min(now + MAX_SCAN_TIME));
        let ended = Instant::now();
        self.scanned = Some((ended, ended - now));
        for inode in inodes.iter().take(MAX_SOCKETS) {
            let unit = found.get(inode).map(|unit| Arc::clone(unit));
            let before = self.known.get(inode).filter(|held| held.unit == unit);
            let interval = before.map_or(MIN_RETRY, |held| (held.interval * 2).min(MAX_RETRY));
            self.known.insert(*inode, Held { unit, retry: ended + interval, interval });
        }
    }

    fn scan<'a>(
        &self,
        inodes: &BTreeSet<u64>,
        units: &UnitsByPath<'a>,
        deadline: Instant,
    ) -> HashMap<u64, &'a Arc<str>> {
        let mut found = HashMap::new();
        for pid in pids(&self.proc) {
            // PID 1 holds what it stores or listens for: the unit is that of another process
            if pid == 1 {
                continue;
            }
            if found.len() == inodes.len() || Instant::now() >= deadline {
                break;
            }
            let process = self.proc.join(pid.to_string());
            let held: Vec<_> = sockets(&process).filter(|inode| inodes.contains(inode)).collect();
            if !held.is_empty()
                && let Some(unit) = units.of_process(&process)
            {
                held.into_iter().for_each(|inode| {
                    found.entry(inode).or_insert(unit);
                });
            }
        }
        found
    }
}

/// The processes of the host.
pub(super) fn pids(proc: &Path) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The inode numbers of the sockets that a process has open; none if it may not be read.
fn sockets(process: &Path) -> impl Iterator<Item = u64> + use<> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    entries
        .take(MAX_DESCRIPTORS)
        .filter_map(|entry| socket(fs::read_link(entry.path()).ok()?.as_os_str()))
}

/// The inode number in `socket:[NUMBER]`.
fn socket(link: &OsStr) -> Option<u64> {
    let number = link.as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

const MIN_RETRY: Duration = Duration::from_secs(1);

const MAX_RETRY: Duration = Duration::from_secs(60);

/// A scan takes about 0.1 s with 500 processes of 50 descriptors.
const MAX_SCAN_TIME: Duration = Duration::from_secs(1);

/// Sockets whose holders are kept.
const MAX_SOCKETS: usize = 8192;

/// Descriptors of one process.
const MAX_DESCRIPTORS: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn link_of_socket_has_its_inode() {
        assert_eq!(socket(OsStr::new("socket:[4711]")), Some(4711));
        for link in ["pipe:[4711]", "socket:[]", "socket:[-1]", "socket:[1", "/dev/null", ""] {
            assert_eq!(socket(OsStr::new(link)), None, "{link}");
        }
    }

    #[test]
    fn socket_belongs_to_the_unit_of_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let inode = socket(link.as_os_str()).unwrap();
        // the nearest unit above: whatever the cgroup of this test, it is below the root
        let units = [("test.service".into(), "".into()), ("x.slice".into(), "/".into())];
        let mut holders = SocketHolders::new("/proc".into());
        let later = Instant::now() + Duration::from_secs(10);
        holders.learn(&BTreeSet::from([inode, 1]), &UnitsByPath::new(&units), later);
        assert_eq!(holders.of(inode).map(|unit| &**unit), Some("test.service"));
        assert_eq!(holders.of(1), None);
        assert!(holders.known[&1].retry > Instant::now());
        holders.learn(&BTreeSet::new(), &UnitsByPath::new(&units), later);
        assert!(holders.known.is_empty());
    }
}
