//! The clocks of the host; in a simulation, those of its world: nothing that counts events reads
//! another clock.

use std::time::{Instant, SystemTime};

/// Now, for durations.
#[must_use]
pub fn instant() -> Instant {
    #[cfg(test)]
    if let Some(now) = simulated::instant() {
        return now;
    }
    Instant::now()
}

/// Now, on the wall clock.
#[must_use]
pub fn wall() -> SystemTime {
    #[cfg(test)]
    if let Some(now) = simulated::wall() {
        return now;
    }
    SystemTime::now()
}

/// Microseconds of `CLOCK_MONOTONIC`, the clock of PID 1 and of the journal.
#[must_use]
pub fn monotonic() -> u64 {
    #[cfg(test)]
    if let Some(now) = simulated::monotonic() {
        return now;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1000
}

/// The clocks of a simulation, each thread with its own.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::{Duration, Instant, SystemTime};

    /// The clocks of one thread.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Clocks {
        /// Microseconds since boot.
        pub(crate) monotonic: u64,
        /// Microseconds since the epoch at boot, which change when the wall clock is set.
        pub(crate) boot: u64,
    }

    thread_local! {
        static CLOCKS: Cell<Option<Clocks>> = const { Cell::new(None) };
    }

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

    /// Sets the clocks of this thread; `None` for those of the host.
    pub(crate) fn set(clocks: Option<Clocks>) {
        CLOCKS.set(clocks);
    }

    /// The time of a simulation at an instant of [`super::instant`], in microseconds since boot.
    pub(crate) fn micros(at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(*ORIGIN).as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn monotonic() -> Option<u64> {
        CLOCKS.get().map(|clocks| clocks.monotonic)
    }

    pub(super) fn instant() -> Option<Instant> {
        monotonic().map(|now| *ORIGIN + Duration::from_micros(now))
    }

    pub(super) fn wall() -> Option<SystemTime> {
        let Clocks { monotonic, boot } = CLOCKS.get()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_micros(boot + monotonic))
    }
}
