//! How much of a processor each unit takes: what two readings of its processor time differ by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::snapshot::Snapshot;

/// The last readings of processor time, whoever asked for them.
#[derive(Debug, Default)]
pub struct Shares(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Older than the latest by at least [`SHORTEST`].
    before: Option<Reading>,
    latest: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    cpu: Vec<(Arc<str>, Duration)>,
}

/// Each unit's share between two readings.
#[derive(Debug)]
pub struct Share {
    /// The time between them.
    pub over: Duration,
    shares: HashMap<Arc<str>, f64>,
}

impl Share {
    /// Processors' worth of time: 0.5 is half of one. `None` for a unit that was not there at
    /// both readings.
    #[must_use]
    pub fn of(&self, unit: &str) -> Option<f64> {
        self.shares.get(unit).copied()
    }
}

impl Shares {
    /// Takes a reading; one that follows the last too closely is left out, as it would tell little.
    pub fn take(&self, snapshot: &Snapshot, at: Instant) {
        let Some(cgroups) = &snapshot.cgroups else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.latest.as_ref().is_some_and(|latest| at.duration_since(latest.at) < SHORTEST) {
            return;
        }
        let cpu = cgroups.units.iter().filter_map(|(name, cgroup)| {
            Some((name.clone(), cgroup.cpu.user? + cgroup.cpu.system?))
        });
        kept.before = kept.latest.replace(Reading { at, cpu: cpu.collect() });
    }

    /// The shares between the last two readings; `None` before there are two.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, latest) = (kept.before.as_ref()?, kept.latest.as_ref()?);
        let over = latest.at.duration_since(before.at);
        let was: HashMap<&str, Duration> =
            before.cpu.iter().map(|(name, cpu)| (&**name, *cpu)).collect();
        let shares = latest.cpu.iter().filter_map(|(name, is)| {
            // less than before: the control group was made anew in between
            let spent = is.checked_sub(*was.get(&**name)?)?;
            Some((name.clone(), spent.as_secs_f64() / over.as_secs_f64()))
        });
        Some(Share { over, shares: shares.collect() })
    }
}

/// The kernel brings a control group's time up to date at its ticks: over a shorter time they show.
const SHORTEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::UnitReadings;
    use crate::source::cgroup::{Cgroup, Cpu};

    fn snapshot(units: &[(&str, u64)]) -> Snapshot {
        let unit = |(name, millis): &(&str, u64)| {
            let user = Some(Duration::from_millis(*millis));
            let cpu = Cpu { user, system: Some(Duration::ZERO), ..Cpu::default() };
            (Arc::from(*name), Cgroup { cpu, ..Cgroup::default() })
        };
        let units = units.iter().map(unit).collect();
        let cgroups = Some(UnitReadings { units, ..UnitReadings::default() });
        Snapshot { cgroups, ..Snapshot::default() }
    }

    #[test]
    fn a_share_is_what_two_readings_differ_by() {
        let shares = Shares::default();
        let start = Instant::now();
        let later = |millis| start + Duration::from_millis(millis);
        shares.take(&snapshot(&[("a", 1000), ("b", 5000), ("gone", 1)]), start);
        assert!(shares.share().is_none());
        // too early to tell
        shares.take(&snapshot(&[("a", 1001)]), later(100));
        assert!(shares.share().is_none());
        shares.take(&snapshot(&[("a", 3000), ("b", 10), ("new", 1)]), later(4000));
        let share = shares.share().unwrap();
        assert_eq!(share.over, Duration::from_secs(4));
        assert_eq!(share.of("a"), Some(0.5));
        for unknown in ["b", "gone", "new"] {
            assert_eq!(share.of(unknown), None, "{unknown}");
        }
    }
}
