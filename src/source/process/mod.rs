//! Processes of each unit, from /proc and the cgroup of the unit.
//!
//! Kernel reference: proc_pid_stat(5), proc_pid_limits(5), proc_pid_fd(5).

mod clock;
mod descriptors;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod listing;
mod parse;
mod sums;
pub mod usage;
mod values;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use values::{MainProcess, ProcessStates, UnitProcesses};

use super::cgroup_tree::UnitGroup;
use super::fd_cache::{FdCache, FilePair, OpenFilePair, PairContent};
use super::idle_units::IdleUnits;
use super::kernel_file::{Buffer, open_root};
use super::{Error, Failures, UnitReadings};
use crate::source::process::clock::Clock;
use crate::source::process::descriptors::{Counting, entries, size};
use crate::source::process::listing::{PidLister, PidListing};
use crate::source::process::parse::SoftLimits;
use crate::source::process::sums::{Process, ProcessSums, main_process};

/// The processes of this host, kept between scrapes.
#[derive(Debug)]
pub struct Processes {
    path: PathBuf,
    proc: OwnedFd,
    lister: PidLister,
    clock: Clock,
    counting: Counting,
    /// Limits by PID: reading them in each scrape would take most of its time, and they rarely change.
    limits: HashMap<u32, KnownLimits>,
    /// `stat` and `fd/` of each process, by PID.
    stats: FdCache<u32, OpenFilePair>,
    idle: IdleUnits<KnownProcesses>,
    buffer: Buffer,
    name: String,
    directory: String,
}

impl Processes {
    /// Opens `proc`, usually `/proc`, and the cgroups at `sys_fs_cgroup`.
    ///
    /// Up to `descriptors` of their files stay open between scrapes, as far as the limit of this
    /// process leaves enough for everything else.
    ///
    /// # Errors
    /// One of the two cannot be opened, or no hierarchy there has the processes of units.
    pub fn open(proc: &Path, sys_fs_cgroup: &Path, descriptors: usize) -> Result<Self, Error> {
        let fd = open_root(proc)?;
        Ok(Self {
            lister: PidLister::open(sys_fs_cgroup, descriptors / 2)?,
            stats: FdCache::new(descriptors / 2),
            idle: IdleUnits::default(),
            clock: Clock::new(),
            counting: Counting::detect(&fd),
            limits: HashMap::new(),
            buffer: Buffer::new(),
            name: String::new(),
            directory: String::new(),
            path: proc.to_owned(),
            proc: fd,
        })
    }

    /// Reads the processes of every unit, units with the fewest first, so that a unit with very many
    /// does not use up the time of the others. Exclude slices: their processes are those of their
    /// units. A unit of which no process has run since the previous pass keeps its values.
    ///
    /// # Errors
    /// The processes of other users are hidden: sums over the rest would be wrong.
    pub fn read<K: Clone>(
        &mut self,
        units: &[UnitGroup<K>],
        deadline: Instant,
    ) -> Result<UnitReadings<UnitProcesses, K>, Error> {
        self.clock.refresh(&self.proc, &mut self.buffer);
        let mut readings = UnitReadings::default();
        let failures = &mut readings.failures;
        let mut listings = Vec::with_capacity(units.len());
        let mut found: Vec<Option<UnitProcesses>> = vec![None; units.len()];
        let known = std::mem::take(&mut self.limits);
        self.lister.start_pass();
        self.stats.start_pass();
        self.idle.start_pass();
        for (index, unit) in units.iter().enumerate() {
            if Instant::now() >= deadline {
                readings.truncated = (units.len() - index) as u64;
                break;
            }
            found[index] = self.known(unit, &known);
            if found[index].is_none() {
                let listing = self.lister.list(unit, deadline, &mut self.buffer, failures);
                listings.push((index, listing));
            }
        }
        listings.sort_by_key(|(_, listing)| listing.len());

        for (done, (index, listing)) in listings.iter().enumerate() {
            if Instant::now() >= deadline {
                readings.truncated += (listings.len() - done) as u64;
                break;
            }
            let unit = &units[*index];
            let failed = failures.count;
            let processes = self.unit(unit, listing, &known, deadline, failures)?;
            if let Some(processes) = processes.as_ref().filter(|_| failures.count == failed) {
                self.remember(unit, listing, processes);
            }
            found[*index] = processes;
        }
        self.lister.finish_pass(readings.truncated > 0);
        self.stats.finish_pass(readings.truncated > 0);
        self.idle.finish_pass();
        readings.units = units
            .iter()
            .zip(found)
            .filter_map(|(unit, found)| Some((unit.unit.clone(), found?)))
            .collect();
        Ok(readings)
    }

    /// The processes of an idle unit; their open files and limits are kept, too.
    fn known<K>(
        &mut self,
        unit: &UnitGroup<K>,
        limits: &HashMap<u32, KnownLimits>,
    ) -> Option<UnitProcesses> {
        self.idle.values(unit, unit.activity)?;
        let KnownProcesses { processes, pids } = self.idle.keep(unit)?;
        self.lister.keep_open(&unit.control_group);
        for pid in pids.iter() {
            self.stats.keep_open(pid);
            self.limits.extend(limits.get(pid).map(|limits| (*pid, *limits)));
        }
        Some(processes.clone())
    }

    /// Keeps the processes of a unit for the next pass.
    fn remember<K>(
        &mut self,
        unit: &UnitGroup<K>,
        listing: &PidListing,
        processes: &UnitProcesses,
    ) {
        if processes.truncated == 0 {
            let pids = listing.range().map(|index| self.lister.pid(index)).collect();
            let known = KnownProcesses { processes: processes.clone(), pids };
            self.idle.add(unit, unit.activity, known);
        }
    }

    fn unit<K>(
        &mut self,
        unit: &UnitGroup<K>,
        listing: &PidListing,
        known: &HashMap<u32, KnownLimits>,
        deadline: Instant,
        failures: &mut Failures,
    ) -> Result<Option<UnitProcesses>, Error> {
        let mut sum = UnitProcesses { truncated: listing.truncated, ..UnitProcesses::default() };
        let mut sums = ProcessSums::default();
        let mut missing = Vec::new();
        for index in listing.range() {
            if Instant::now() >= deadline {
                sum.truncated += (listing.range().end - index) as u64;
                break;
            }
            let pid = self.lister.pid(index);
            match self.process(pid, listing.at, known, failures) {
                Ok(Some(process)) => {
                    sums.add(&mut sum, &process, &self.clock);
                    if unit.main_pid == Some(pid) {
                        sum.main = Some(main_process(&process, &self.clock));
                    }
                }
                Ok(None) => missing.push(pid),
                Err(error @ Error::Unavailable(_)) => return Err(error),
                Err(error) => failures.add(error),
            }
        }
        if !missing.is_empty() && self.are_hidden(unit, &missing, deadline, failures) {
            return Err(hidden(&self.path));
        }
        Ok(sums.finish(sum))
    }

    /// Reads one process; `None` if it exited after it was listed.
    fn process(
        &mut self,
        pid: u32,
        listed_at: u64,
        known: &HashMap<u32, KnownLimits>,
        failures: &mut Failures,
    ) -> Result<Option<Process>, Error> {
        // Descriptors are counted before `stat` is read: its start time then proves that both are of
        // the listed process, not of a later one with the same PID.
        let directory = pid_file(&mut self.directory, pid, "fd");
        let file = pid_file(&mut self.name, pid, "stat");
        let listed = match self.counting {
            Counting::Entries => entries(&self.proc, directory),
            Counting::Size => None,
        };
        let pair = FilePair { root: &self.proc, directory, file };
        let (stat, open_fds) = match self.stats.read(pid, pair, &mut self.buffer) {
            Ok(None) => return Ok(None),
            Ok(Some(PairContent { directory, length })) => {
                let content = self.buffer.content(length);
                let stat = parse::stat(content)
                    .ok_or_else(|| Error::malformed(&self.path.join(file), content))?;
                let counted = match self.counting {
                    Counting::Entries => listed,
                    Counting::Size => directory.and_then(size),
                };
                (stat, counted)
            }
            // With hidepid=1, processes of other users have a directory, but no file can be opened.
            Err(Errno::PERM) => return Err(hidden(&self.path)),
            Err(error) => return Err(Error::io(&self.path.join(file))(error.into())),
        };
        if stat.start_ticks > listed_at {
            return Ok(None);
        }
        // once the first thread has ended, /proc/PID/fd is empty, but the others use the descriptors
        let open_fds = open_fds.filter(|_| !stat.has_only_later_threads());
        let limits = self.limits_of(pid, stat.start_ticks, known).unwrap_or_else(|error| {
            failures.add(error);
            SoftLimits::default()
        });
        Ok(Some(Process { stat, open_fds, limits }))
    }

    fn limits_of(
        &mut self,
        pid: u32,
        start_ticks: u64,
        known: &HashMap<u32, KnownLimits>,
    ) -> Result<SoftLimits, Error> {
        if let Some(known) = known.get(&pid)
            && known.start_ticks == start_ticks
            && known.read_at.elapsed() < LIMITS_MAX_AGE
        {
            self.limits.insert(pid, *known);
            return Ok(known.limits);
        }
        let name = pid_file(&mut self.name, pid, "limits");
        let limits = match self.buffer.read(&self.proc, name) {
            Ok(None) => return Ok(SoftLimits::default()),
            Ok(Some(content)) => parse::limits(content)
                .ok_or_else(|| Error::malformed(&self.path.join(name), content))?,
            Err(error) => return Err(Error::io(&self.path.join(name))(error.into())),
        };
        // Programs raise their own limits shortly after the start.
        if self.clock.age(start_ticks) > LIMITS_SETTLE_TIME {
            let read_at = Instant::now();
            self.limits.insert(pid, KnownLimits { start_ticks, limits, read_at });
        }
        Ok(limits)
    }

    /// Whether one of the `missing` processes is still listed in the unit, but not visible in /proc.
    fn are_hidden<K>(
        &mut self,
        unit: &UnitGroup<K>,
        missing: &[u32],
        deadline: Instant,
        failures: &mut Failures,
    ) -> bool {
        // hiding the processes of other users hides PID 1, too; a process can also exit between the
        // two listings, and another take its PID
        if matches!(self.buffer.read(&self.proc, "1/stat"), Ok(Some(_))) {
            return false;
        }
        let listing = self.lister.list(unit, deadline, &mut self.buffer, failures);
        let listed: HashSet<u32> = listing.range().map(|index| self.lister.pid(index)).collect();
        missing.iter().filter(|pid| listed.contains(pid)).any(|&pid| {
            let name = pid_file(&mut self.name, pid, "stat");
            matches!(self.buffer.read(&self.proc, name), Ok(None))
        })
    }
}

/// The processes of a unit in the previous pass.
#[derive(Debug)]
struct KnownProcesses {
    processes: UnitProcesses,
    pids: Box<[u32]>,
}

#[derive(Clone, Copy, Debug)]
struct KnownLimits {
    start_ticks: u64,
    limits: SoftLimits,
    read_at: Instant,
}

fn pid_file<'a>(name: &'a mut String, pid: u32, file: &str) -> &'a str {
    name.clear();
    // Writing to a String cannot fail.
    let _ = write!(name, "{pid}/{file}");
    name
}

fn hidden(proc: &Path) -> Error {
    Error::Unavailable(format!(
        "{} hides other users' processes: allow them with ProtectProc=default (or mount it with \
         hidepid=0), or grant CAP_SYS_PTRACE",
        proc.display()
    ))
}

/// Limits of younger processes are read in every scrape.
const LIMITS_SETTLE_TIME: Duration = Duration::from_secs(60);
/// How long read limits are used.
const LIMITS_MAX_AGE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
