//! The PIDs of each unit: those in its cgroup, and in the cgroups below it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::clock::Clock;
use super::parse::pids;
use crate::source::cgroup_tree::{Hierarchy, UnitGroup, children, is_leaf, relative};
use crate::source::fd_cache::{FdCache, FilePair, OpenFilePair};
use crate::source::kernel_file::Buffer;
use crate::source::{Error, Failures};

/// Lists the processes of units; kept between scrapes.
#[derive(Debug)]
pub(super) struct PidLister {
    hierarchy: Hierarchy,
    clock: Clock,
    /// All processes listed in this pass, unit by unit.
    pids: Vec<u32>,
    /// `cgroup.procs` of the cgroups of units, by path.
    lists: FdCache<Arc<str>, OpenFilePair>,
}

/// The processes of one unit.
#[derive(Debug)]
pub(super) struct PidListing {
    first: usize,
    past_last: usize,
    /// The tick at the end of the listing: processes that started later are not in it.
    pub(super) at: u64,
    /// Processes and cgroups that were not listed.
    pub(super) truncated: u64,
}

impl PidLister {
    pub(super) fn open(sys_fs_cgroup: &Path, descriptors: usize) -> Result<Self, Error> {
        let hierarchy = Hierarchy::open_with_processes(sys_fs_cgroup)?.ok_or_else(|| {
            Error::Unavailable(format!(
                "{} has neither a v2 hierarchy nor systemd's v1 hierarchy: the processes of units \
                 cannot be determined",
                sys_fs_cgroup.display()
            ))
        })?;
        let lists = FdCache::new(descriptors);
        Ok(Self { hierarchy, clock: Clock::new(), pids: Vec::new(), lists })
    }

    /// Begins a pass and drops the listings of the previous one.
    pub(super) fn start_pass(&mut self) {
        self.pids.clear();
        self.lists.start_pass();
    }

    /// Ends the pass.
    pub(super) fn finish_pass(&mut self, cut_short: bool) {
        self.lists.finish_pass(cut_short);
    }

    /// Keeps the files of a unit open that is not listed in this pass.
    pub(super) fn keep_open(&mut self, control_group: &Arc<str>) {
        self.lists.keep_open(control_group);
    }

    pub(super) fn pid(&self, index: usize) -> u32 {
        self.pids[index]
    }

    /// Lists the processes of the unit, the main process first.
    pub(super) fn list<K>(
        &mut self,
        unit: &UnitGroup<K>,
        deadline: Instant,
        buffer: &mut Buffer,
        failures: &mut Failures,
    ) -> PidListing {
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
            let (skipped, leaf) = self.list_group(first, key, &path, buffer, failures);
            truncated += skipped;
            if leaf {
                continue;
            }
            path.push(b'/');
            for (child, _) in children(&self.hierarchy.fd, &path).take(2 * MAX_GROUPS) {
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
        PidListing { first, past_last: self.pids.len(), at: self.clock.ticks(), truncated }
    }

    /// Lists the processes of one cgroup; returns how many were skipped, and whether the cgroup has none
    /// below. The files of a unit's own cgroup are kept open under `key`.
    fn list_group(
        &mut self,
        first: usize,
        key: Option<Arc<str>>,
        path: &[u8],
        buffer: &mut Buffer,
        failures: &mut Failures,
    ) -> (u64, bool) {
        let hierarchy = &self.hierarchy;
        let file = [path, b"/cgroup.procs"].concat();
        let pair = FilePair { root: &hierarchy.fd, directory: path, file: file.as_slice() };
        let read = match key {
            Some(key) => self.lists.read(key, pair, buffer),
            None => pair.read(buffer),
        };
        let file = || hierarchy.path_of(&file);
        let (content, leaf) = match read {
            Ok(Some(found)) => {
                (buffer.content(found.length), found.directory.as_ref().is_some_and(is_leaf))
            }
            // removed, or a threaded cgroup, which may have cgroups below
            Ok(None) => (&[][..], false),
            Err(error) => {
                failures.add(Error::io(&file())(error.into()));
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
                    failures.add(Error::malformed(&file(), content));
                    break;
                }
            }
        }
        (truncated, leaf)
    }
}

impl PidListing {
    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.past_last
    }

    pub(super) fn len(&self) -> usize {
        self.past_last - self.first
    }
}

/// Levels of cgroups below a unit.
const MAX_DEPTH: usize = 32;
/// Cgroups of one unit.
const MAX_GROUPS: usize = 1000;
/// Processes of one unit.
const MAX_PROCESSES: usize = 20_000;
