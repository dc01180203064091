//! Which processes each unit has: its control group's, and those of the tree it delegates.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, openat};

use super::Readings;
use super::clock::Clock;
use super::parse::pids;
use crate::source::Error;
use crate::source::cgroup::{Hierarchies, Mount, UnitGroup, relative};
use crate::source::fd_cache::{Held, Pair, Place};
use crate::source::kernel_file::Buffer;

/// Lists processes, kept between scrapes.
#[derive(Debug)]
pub(super) struct Lister {
    hierarchies: Hierarchies,
    clock: Clock,
    /// Every process listed in this pass, one unit's after another's.
    pids: Vec<u32>,
    /// The lists of units' own control groups, by path.
    lists: Held<Arc<str>, Pair>,
}

/// One unit's processes.
#[derive(Debug)]
pub(super) struct Listing {
    first: usize,
    past_last: usize,
    /// The tick in which the listing ended: whoever started later was not listed.
    pub(super) at: u64,
    /// Processes and control groups that were not listed.
    pub(super) truncated: u64,
}

impl Lister {
    pub(super) fn open(sys_fs_cgroup: &Path, descriptors: usize) -> Result<Self, Error> {
        let hierarchies = Hierarchies::open(sys_fs_cgroup)?;
        if hierarchies.processes().is_none() {
            return Err(Error::Unavailable(format!(
                "{} has neither a v2 hierarchy nor systemd's own, so nothing says which process \
                 is whose",
                sys_fs_cgroup.display()
            )));
        }
        let lists = Held::new(descriptors);
        Ok(Self { hierarchies, clock: Clock::new(), pids: Vec::new(), lists })
    }

    /// Forgets the pass before.
    pub(super) fn start(&mut self) {
        self.pids.clear();
        self.lists.start();
    }

    /// Ends the pass.
    pub(super) fn finish(&mut self, cut_short: bool) {
        self.lists.finish(cut_short);
    }

    pub(super) fn pid(&self, index: usize) -> u32 {
        self.pids[index]
    }

    /// Lists the unit's processes, its main one first.
    pub(super) fn list(
        &mut self,
        unit: &UnitGroup,
        deadline: Instant,
        buffer: &mut Buffer,
        readings: &mut Readings,
    ) -> Listing {
        let first = self.pids.len();
        let mut truncated = 0;
        let mut groups: Vec<(Vec<u8>, usize)> = Vec::new();
        groups.extend(relative(&unit.control_group).map(|path| (path.as_bytes().to_vec(), 0)));
        let mut seen = groups.len();
        while let Some((mut path, depth)) = groups.pop() {
            if Instant::now() >= deadline {
                truncated += 1 + groups.len() as u64;
                break;
            }
            let key = (depth == 0).then(|| Arc::clone(&unit.control_group));
            let (left_out, leaf) = self.list_group(first, key, &path, buffer, readings);
            truncated += left_out;
            let Some(mount) = self.hierarchies.processes() else { break };
            if leaf {
                continue;
            }
            path.push(b'/');
            for child in children(mount, &path).take(2 * MAX_GROUPS) {
                if depth < MAX_DEPTH && seen < MAX_GROUPS {
                    seen += 1;
                    groups.push(([path.as_slice(), &child].concat(), depth + 1));
                } else {
                    truncated += 1;
                }
            }
        }
        if let Some(main) = unit.main_pid
            && let Some(at) = self.pids[first..].iter().position(|&pid| pid == main)
        {
            self.pids.swap(first, first + at);
        }
        Listing { first, past_last: self.pids.len(), at: self.clock.ticks(), truncated }
    }

    /// Lists one control group's own processes; says how many were left out, and whether no control
    /// group is below. The list of a unit's own one is kept open under `key`.
    fn list_group(
        &mut self,
        first: usize,
        key: Option<Arc<str>>,
        path: &[u8],
        buffer: &mut Buffer,
        readings: &mut Readings,
    ) -> (u64, bool) {
        let Some(mount) = self.hierarchies.processes() else { return (0, true) };
        let file = [path, b"/cgroup.procs"].concat();
        let place = Place { root: &mount.fd, directory: path, file: &file };
        let look = match key {
            Some(key) => self.lists.look(key, place, buffer),
            None => place.look(buffer),
        };
        let file = || mount.path.join(OsStr::from_bytes(&file));
        let (content, leaf) = match look {
            Ok(Some(look)) => (buffer.content(look.length), look.directory.is_some_and(is_leaf)),
            // gone, or one of threads, which may have others below it
            Ok(None) => (&[][..], false),
            Err(error) => {
                readings.fail(Error::io(&file())(error.into()));
                return (0, false);
            }
        };
        let mut truncated = 0;
        for pid in pids(content) {
            match pid {
                Some(pid) if pid > 0 && self.pids.len() - first < MAX_PROCESSES => {
                    self.pids.push(pid);
                }
                Some(_) => truncated += 1,
                None => {
                    readings.fail(Error::malformed(&file(), content));
                    break;
                }
            }
        }
        (truncated, leaf)
    }
}

impl Listing {
    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.past_last
    }

    pub(super) fn len(&self) -> usize {
        self.past_last - self.first
    }
}

/// Whether a control group has none below it: a directory has one link by its name, one by its
/// own `.`, and one by the `..` of each directory in it. Some file systems do not count (1).
fn is_leaf(directory: Stat) -> bool {
    directory.st_nlink == 2
}

/// The names of the control groups right below `path`, which may be any bytes.
fn children(mount: &Mount, path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(&mount.fd, path, flags, Mode::empty());
    let entries = directory.and_then(Dir::new).into_iter().flatten();
    entries
        .map_while(Result::ok)
        .filter(|entry| entry.file_type() == FileType::Directory)
        .map(|entry| entry.file_name().to_bytes().to_vec())
        .filter(|name| !matches!(name.as_slice(), b"." | b".."))
}

const MAX_DEPTH: usize = 32;
/// Control groups of one unit.
const MAX_GROUPS: usize = 1000;
/// Processes of one unit.
const MAX_PROCESSES: usize = 20_000;
