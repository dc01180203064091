//! Processes of each unit, from /proc and the unit's control group.
//!
//! Kernel reference: proc_pid_stat(5), proc_pid_limits(5), proc_pid_fd(5).

mod clock;
mod descriptors;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod listing;
pub(super) mod parse;
pub mod usage;
mod values;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use values::{MainProcess, States, UnitProcesses};

use super::Error;
use super::cgroup::UnitGroup;
use super::fd_cache::{Held, Look, Pair, Place};
use super::kernel_file::{Buffer, open_root};
use crate::source::process::clock::Clock;
use crate::source::process::descriptors::{Counting, entries, size};
use crate::source::process::listing::{Lister, Listing};
use crate::source::process::parse::{Limits, Stat};

/// The processes of this host, kept between scrapes.
#[derive(Debug)]
pub struct Processes {
    path: PathBuf,
    proc: OwnedFd,
    lister: Lister,
    clock: Clock,
    counting: Counting,
    /// Limits by PID: they change so rarely that reading them each time would be most of the cost.
    limits: HashMap<u32, KnownLimits>,
    /// Each process's stat, and its directory of descriptors where that has a size, by PID.
    stats: Held<u32, Pair>,
    buffer: Buffer,
    name: String,
    directory: String,
}

/// What one pass over the units found.
#[derive(Debug, Default)]
pub struct Readings {
    /// Each unit that has processes now, in the order asked.
    pub units: Vec<(Arc<str>, UnitProcesses)>,
    /// Units of which nothing was read because the deadline struck.
    pub truncated: u64,
    /// Processes and control groups that could not be read or understood.
    pub failed: u64,
    /// The first of those failures.
    pub failure: Option<Error>,
}

impl Processes {
    /// Prepares to read `proc`, usually `/proc`, by the control groups at `sys_fs_cgroup`.
    ///
    /// Up to `descriptors` of their files stay open between scrapes, as far as the limit of this process
    /// leaves enough for everything else.
    ///
    /// # Errors
    /// When one of the two cannot be opened, or says nothing of processes.
    pub fn open(proc: &Path, sys_fs_cgroup: &Path, descriptors: usize) -> Result<Self, Error> {
        let fd = open_root(proc)?;
        Ok(Self {
            lister: Lister::open(sys_fs_cgroup, descriptors / 2)?,
            stats: Held::new(descriptors / 2),
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

    /// Reads every unit's processes, the units with the fewest first, so that one with very many
    /// cannot keep the others from being read before the deadline. Slices have their units'
    /// processes, which would only be read again: leave them out.
    ///
    /// # Errors
    /// When other users' processes are hidden: what is left would pass for the whole.
    pub fn read(&mut self, units: &[UnitGroup], deadline: Instant) -> Result<Readings, Error> {
        self.clock.refresh(&self.proc, &mut self.buffer);
        let mut readings = Readings::default();
        let mut listings = Vec::with_capacity(units.len());
        self.lister.start();
        self.stats.start();
        for unit in units {
            if Instant::now() >= deadline {
                break;
            }
            listings.push(self.lister.list(unit, deadline, &mut self.buffer, &mut readings));
        }
        let mut order: Vec<usize> = (0..listings.len()).collect();
        order.sort_by_key(|&index| listings[index].len());

        let known = std::mem::take(&mut self.limits);
        let mut found: Vec<Option<UnitProcesses>> = vec![None; units.len()];
        readings.truncated = (units.len() - listings.len()) as u64;
        for (done, &index) in order.iter().enumerate() {
            if Instant::now() >= deadline {
                readings.truncated += (order.len() - done) as u64;
                break;
            }
            let unit = &units[index];
            found[index] = self.unit(unit, &listings[index], &known, deadline, &mut readings)?;
        }
        self.lister.finish(readings.truncated > 0);
        self.stats.finish(readings.truncated > 0);
        readings.units = units
            .iter()
            .zip(found)
            .filter_map(|(unit, found)| Some((Arc::clone(&unit.unit), found?)))
            .collect();
        Ok(readings)
    }

    fn unit(
        &mut self,
        unit: &UnitGroup,
        listing: &Listing,
        known: &HashMap<u32, KnownLimits>,
        deadline: Instant,
        readings: &mut Readings,
    ) -> Result<Option<UnitProcesses>, Error> {
        let mut sum = UnitProcesses { truncated: listing.truncated, ..UnitProcesses::default() };
        let mut tally = Tally::default();
        let mut missing = Vec::new();
        for index in listing.range() {
            if Instant::now() >= deadline {
                sum.truncated += (listing.range().end - index) as u64;
                break;
            }
            let pid = self.lister.pid(index);
            match self.process(pid, listing.at, known, readings) {
                Ok(Some(process)) => {
                    tally.add(&mut sum, &process, &self.clock);
                    if unit.main_pid == Some(pid) {
                        sum.main = Some(main(&process, &self.clock));
                    }
                }
                Ok(None) => missing.push(pid),
                Err(error @ Error::Unavailable(_)) => return Err(error),
                Err(error) => readings.fail(error),
            }
        }
        if !missing.is_empty() && self.are_hidden(unit, &missing, deadline, readings) {
            return Err(hidden(&self.path));
        }
        Ok(tally.finish(sum))
    }

    /// One process; `None` if it has gone since it was listed.
    fn process(
        &mut self,
        pid: u32,
        listed_at: u64,
        known: &HashMap<u32, KnownLimits>,
        readings: &mut Readings,
    ) -> Result<Option<Process>, Error> {
        // The number of descriptors comes before the stat, whose start time then tells that both
        // are of the process that was listed, not of a later one with its PID.
        let directory = pid_file(&mut self.directory, pid, "fd");
        let file = pid_file(&mut self.name, pid, "stat");
        let listed = match self.counting {
            Counting::Entries => entries(&self.proc, directory),
            Counting::Size => None,
        };
        let place = Place { root: &self.proc, directory, file };
        let (stat, open_fds) = match self.stats.look(pid, place, &mut self.buffer) {
            Ok(None) => return Ok(None),
            Ok(Some(Look { directory, length })) => {
                let content = self.buffer.content(length);
                let stat = parse::stat(content)
                    .ok_or_else(|| Error::malformed(&self.path.join(file), content))?;
                let counted = match self.counting {
                    Counting::Entries => listed,
                    Counting::Size => directory.and_then(size),
                };
                (stat, counted)
            }
            // With hidepid=1 other users' processes have a directory, but no file to open.
            Err(Errno::PERM) => return Err(hidden(&self.path)),
            Err(error) => return Err(Error::io(&self.path.join(file))(error.into())),
        };
        if stat.start_ticks > listed_at {
            return Ok(None);
        }
        let limits = self.limits_of(pid, stat.start_ticks, known).unwrap_or_else(|error| {
            readings.fail(error);
            Limits::default()
        });
        Ok(Some(Process { stat, open_fds, limits }))
    }

    fn limits_of(
        &mut self,
        pid: u32,
        start_ticks: u64,
        known: &HashMap<u32, KnownLimits>,
    ) -> Result<Limits, Error> {
        if let Some(known) = known.get(&pid)
            && known.start_ticks == start_ticks
            && known.read_at.elapsed() < LIMITS_HOLD
        {
            self.limits.insert(pid, *known);
            return Ok(known.limits);
        }
        let name = pid_file(&mut self.name, pid, "limits");
        let limits = match self.buffer.read(&self.proc, name) {
            Ok(None) => return Ok(Limits::default()),
            Ok(Some(content)) => parse::limits(content)
                .ok_or_else(|| Error::malformed(&self.path.join(name), content))?,
            Err(error) => return Err(Error::io(&self.path.join(name))(error.into())),
        };
        // A program that raises its own limits does so at its start.
        if self.clock.age(start_ticks) > SETTLED {
            let read_at = Instant::now();
            self.limits.insert(pid, KnownLimits { start_ticks, limits, read_at });
        }
        Ok(limits)
    }

    /// Whether one of the processes that /proc does not know is in the unit all the same.
    fn are_hidden(
        &mut self,
        unit: &UnitGroup,
        missing: &[u32],
        deadline: Instant,
        readings: &mut Readings,
    ) -> bool {
        let listing = self.lister.list(unit, deadline, &mut self.buffer, readings);
        let listed: HashSet<u32> = listing.range().map(|index| self.lister.pid(index)).collect();
        missing.iter().filter(|pid| listed.contains(pid)).any(|&pid| {
            let name = pid_file(&mut self.name, pid, "stat");
            matches!(self.buffer.read(&self.proc, name), Ok(None))
        })
    }
}

impl Readings {
    fn fail(&mut self, error: Error) {
        self.failed += 1;
        self.failure.get_or_insert(error);
    }
}

fn main(process: &Process, clock: &Clock) -> MainProcess {
    let Process { stat, open_fds, limits } = process;
    MainProcess {
        cpu: clock.duration(stat.user_ticks.saturating_add(stat.system_ticks)),
        resident_bytes: stat.resident_pages.saturating_mul(clock.page_size),
        virtual_bytes: stat.virtual_bytes,
        virtual_max_bytes: limits.address_space,
        open_fds: *open_fds,
        max_fds: limits.open_files,
        threads: stat.threads,
        start_time: clock.since_epoch(stat.start_ticks),
    }
}

struct Process {
    stat: Stat,
    open_fds: Option<u64>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct KnownLimits {
    start_ticks: u64,
    limits: Limits,
    read_at: Instant,
}

/// What is summed up over a unit's processes before it can be said.
#[derive(Default)]
struct Tally {
    processes: u64,
    uncounted: bool,
    open_fds: u64,
    oldest_ticks: Option<u64>,
}

impl Tally {
    fn add(&mut self, sum: &mut UnitProcesses, process: &Process, clock: &Clock) {
        let Process { stat, open_fds, limits } = process;
        self.processes += 1;
        sum.states.count(stat.state);
        let resident_bytes = stat.resident_pages.saturating_mul(clock.page_size);
        sum.threads = Some(sum.threads.unwrap_or(0).saturating_add(stat.threads));
        sum.resident_bytes = Some(sum.resident_bytes.unwrap_or(0).saturating_add(resident_bytes));
        if self.oldest_ticks.is_none_or(|oldest| stat.start_ticks < oldest) {
            self.oldest_ticks = Some(stat.start_ticks);
            sum.oldest_start_time = clock.since_epoch(stat.start_ticks);
        }
        match *open_fds {
            Some(count) => {
                self.open_fds = self.open_fds.saturating_add(count);
                sum.max_fds_ratio = worse(sum.max_fds_ratio, ratio(count, limits));
            }
            None => self.uncounted = true,
        }
    }

    fn finish(self, mut sum: UnitProcesses) -> Option<UnitProcesses> {
        if self.processes > 0 && !self.uncounted {
            sum.open_fds = Some(self.open_fds);
        }
        (self.processes > 0 || sum.truncated > 0).then_some(sum)
    }
}

fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^53 descriptors")]
fn ratio(open_fds: u64, limits: &Limits) -> Option<f64> {
    let limit = limits.open_files?.number()?;
    (limit > 0).then(|| open_fds as f64 / limit as f64)
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

const SETTLED: Duration = Duration::from_secs(60);
const LIMITS_HOLD: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
