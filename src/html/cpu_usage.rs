//! The CPU usage of each unit: the difference of two readings of its CPU time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::snapshot::Snapshot;

/// The last two readings of CPU time, of scrape responses and status pages alike.
#[derive(Debug, Default)]
pub struct CpuUsageTracker(Mutex<Readings>);

#[derive(Debug, Default)]
struct Readings {
    /// At least [`MIN_INTERVAL`] before `latest`.
    previous: Option<CpuReading>,
    latest: Option<CpuReading>,
}

#[derive(Debug)]
struct CpuReading {
    at: Instant,
    cpu: Vec<(Arc<str>, Duration)>,
}

/// The CPU usage of each unit between two readings.
#[derive(Debug)]
pub struct CpuUsage {
    /// The time between the readings.
    pub interval: Duration,
    cores: HashMap<Arc<str>, f64>,
}

impl CpuUsage {
    /// CPU cores that the unit used: 0.5 is half a core. `None` if the unit is not in both readings.
    #[must_use]
    pub fn cores(&self, unit: &str) -> Option<f64> {
        self.cores.get(unit).copied()
    }
}

impl CpuUsageTracker {
    /// Records a reading, unless the last one is less than two seconds old.
    pub fn record(&self, snapshot: &Snapshot, at: Instant) {
        let Some(cgroups) = &snapshot.cgroups else { return };
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = readings.latest.as_ref();
        if latest.is_some_and(|latest| at.duration_since(latest.at) < MIN_INTERVAL) {
            return;
        }
        let cpu = cgroups.units.iter().filter_map(|(name, cgroup)| {
            Some((name.clone(), cgroup.cpu.user? + cgroup.cpu.system?))
        });
        readings.previous = readings.latest.replace(CpuReading { at, cpu: cpu.collect() });
    }

    /// The usage between the last two readings; `None` before there are two.
    #[must_use]
    pub fn usage(&self) -> Option<CpuUsage> {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (previous, latest) = (readings.previous.as_ref()?, readings.latest.as_ref()?);
        let interval = latest.at.duration_since(previous.at);
        let before: HashMap<&str, Duration> =
            previous.cpu.iter().map(|(name, cpu)| (&**name, *cpu)).collect();
        let cores = latest.cpu.iter().filter_map(|(name, cpu)| {
            // less than before: the cgroup was recreated in between
            let used = cpu.checked_sub(*before.get(&**name)?)?;
            Some((name.clone(), used.as_secs_f64() / interval.as_secs_f64()))
        });
        Some(CpuUsage { interval, cores: cores.collect() })
    }
}

/// The kernel updates a cgroup's CPU time at its ticks, which distort the usage over a shorter time.
const MIN_INTERVAL: Duration = Duration::from_secs(2);

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
    fn usage_is_the_difference_of_two_readings() {
        let tracker = CpuUsageTracker::default();
        let start = Instant::now();
        let later = |millis| start + Duration::from_millis(millis);
        tracker.record(&snapshot(&[("a", 1000), ("b", 5000), ("gone", 1)]), start);
        assert!(tracker.usage().is_none());
        // too soon after the first
        tracker.record(&snapshot(&[("a", 1001)]), later(100));
        assert!(tracker.usage().is_none());
        tracker.record(&snapshot(&[("a", 3000), ("b", 10), ("new", 1)]), later(4000));
        let usage = tracker.usage().unwrap();
        assert_eq!(usage.interval, Duration::from_secs(4));
        assert_eq!(usage.cores("a"), Some(0.5));
        for unknown in ["b", "gone", "new"] {
            assert_eq!(usage.cores(unknown), None, "{unknown}");
        }
    }
}
