//! The kernel's ticks, and when they started.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::parse;
use crate::source::kernel_file::Buffer;

/// Turns ticks since boot into points in time.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) page_size: u64,
    ticks_per_second: u64,
    /// When the host booted, since the epoch.
    boot: Option<Duration>,
    /// How far the epoch's clock was ahead of the one since boot when that was read.
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

    /// Reads the time of boot again if the clock has been set since. The difference of the two
    /// clocks jitters from reading to reading, so that it only tells when to read the file, whose
    /// number moves with the clock alone. A sandbox may lack the file (ProcSubset=pid).
    pub(super) fn refresh(&mut self, proc: &OwnedFd, buffer: &mut Buffer) {
        let Some(ahead) = now(ClockId::Realtime).checked_sub(now(ClockId::Boottime)) else {
            return;
        };
        if self.ahead.is_some_and(|before| before.abs_diff(ahead) < SET) {
            return;
        }
        let content = buffer.read(proc, c"stat").ok().flatten();
        let seconds = content.and_then(parse::boot_time).unwrap_or(ahead.as_secs());
        (self.boot, self.ahead) = (Some(Duration::from_secs(seconds)), Some(ahead));
    }

    /// The tick that is running now.
    pub(super) fn ticks(&self) -> u64 {
        let now = now(ClockId::Boottime);
        let part = u64::from(now.subsec_nanos()) * self.ticks_per_second / NANOS_PER_SECOND;
        now.as_secs() * self.ticks_per_second + part
    }

    /// How long ago a tick was.
    pub(super) fn age(&self, ticks: u64) -> Duration {
        self.duration(self.ticks().saturating_sub(ticks))
    }

    /// The point in time of a tick, since the epoch.
    pub(super) fn since_epoch(&self, ticks: u64) -> Option<Duration> {
        self.boot?.checked_add(self.duration(ticks))
    }

    /// The time that so many ticks take.
    pub(super) fn duration(&self, ticks: u64) -> Duration {
        let rest = ticks % self.ticks_per_second * NANOS_PER_SECOND / self.ticks_per_second;
        Duration::from_secs(ticks / self.ticks_per_second) + Duration::from_nanos(rest)
    }
}

fn now(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A clock that moves by so much at once was set, not slewed.
const SET: Duration = Duration::from_millis(500);
