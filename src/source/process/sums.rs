//! The values of a unit, summed over its processes.

use super::clock::Clock;
use super::parse::{SoftLimits, Stat};
use super::values::{MainProcess, UnitProcesses};

/// One process, as read.
pub(super) struct Process {
    pub(super) stat: Stat,
    pub(super) open_fds: Option<u64>,
    pub(super) limits: SoftLimits,
}

/// Sums over the processes of one unit, next to those in [`UnitProcesses`].
#[derive(Default)]
pub(super) struct ProcessSums {
    processes: u64,
    /// Whether the descriptors of one process could not be counted.
    uncounted: bool,
    open_fds: u64,
    oldest_ticks: Option<u64>,
}

impl ProcessSums {
    /// Adds one process.
    pub(super) fn add(&mut self, sum: &mut UnitProcesses, process: &Process, clock: &Clock) {
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

    /// Completes the sums; `None` if the unit has no processes.
    pub(super) fn finish(self, mut sum: UnitProcesses) -> Option<UnitProcesses> {
        if self.processes > 0 && !self.uncounted {
            sum.open_fds = Some(self.open_fds);
        }
        (self.processes > 0 || sum.truncated > 0).then_some(sum)
    }
}

/// The values of the main process.
pub(super) fn main_process(process: &Process, clock: &Clock) -> MainProcess {
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

fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^53 descriptors")]
fn ratio(open_fds: u64, limits: &SoftLimits) -> Option<f64> {
    let limit = limits.open_files?.number()?;
    (limit > 0).then(|| open_fds as f64 / limit as f64)
}
