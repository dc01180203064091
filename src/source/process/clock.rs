//! Kernel ticks since boot, as points in time.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::parse;
use crate::source::kernel_file::Buffer;

/// Converts ticks since boot to points in time.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) page_size: u64,
    ticks_per_second: u64,
    /// Boot time, since the epoch.
    boot: Option<Duration>,
    /// Difference of CLOCK_REALTIME and CLOCK_BOOTTIME when the boot time was read.
    ahead: Option<Duration>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            page_size: rustix::param::page_size() as u64,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            boot: None,
            ahead: None,
        }
    }

    /// Reads the boot time again if the clock was set. The difference of the two clocks jitters, so
    /// it only decides when to read `btime`, which changes only when the clock is set. A sandbox may
    /// lack the file (ProcSubset=pid).
    pub(super) fn refresh(&mut self, proc: &OwnedFd, buffer: &mut Buffer) {
        let Some(ahead) = now(ClockId::Realtime).checked_sub(now(ClockId::Boottime)) else {
            return;
        };
        if self.ahead.is_some_and(|before| before.abs_diff(ahead) < CLOCK_SET_THRESHOLD) {
            return;
        }
        let content = buffer.read(proc, c"stat").ok().flatten();
        let seconds = content.and_then(parse::boot_time).unwrap_or(ahead.as_secs());
        (self.boot, self.ahead) = (Some(Duration::from_secs(seconds)), Some(ahead));
    }

    /// The current tick.
    pub(super) fn ticks(&self) -> u64 {
        let now = now(ClockId::Boottime);
        let part = u64::from(now.subsec_nanos()) * self.ticks_per_second / NANOS_PER_SECOND;
        now.as_secs() * self.ticks_per_second + part
    }

    /// The time since a tick.
    pub(super) fn age(&self, ticks: u64) -> Duration {
        self.duration(self.ticks().saturating_sub(ticks))
    }

    /// The point in time of a tick, since the epoch.
    pub(super) fn since_epoch(&self, ticks: u64) -> Option<Duration> {
        self.boot?.checked_add(self.duration(ticks))
    }

    /// The duration of `ticks` ticks.
    pub(super) fn duration(&self, ticks: u64) -> Duration {
        let rest = ticks % self.ticks_per_second * NANOS_PER_SECOND / self.ticks_per_second;
        Duration::from_secs(ticks / self.ticks_per_second) + Duration::from_nanos(rest)
    }
}

fn now(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A clock that jumps by this much was set, not slewed.
const CLOCK_SET_THRESHOLD: Duration = Duration::from_millis(500);
