//! Changes of unit files that PID 1 may not report at once: it finds new drop-in directories only
//! when it next looks through the directories of unit files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::unit_files::UnitFileChanges;
use crate::systemd::mirror::Mirror;

/// The latest changes, and when PID 1 is asked about them again.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    changes: UnitFileChanges,
    /// How often PID 1 was asked again.
    count: usize,
    pub(super) next: Option<Instant>,
}

impl Recheck {
    /// Adds changes about which PID 1 is asked now.
    pub(super) fn add(&mut self, changes: &UnitFileChanges, now: Instant) {
        if !changes.files.is_empty() && self.changes.files.len() < MAX_NAMES {
            self.changes.files.extend(changes.files.iter().cloned());
            (self.count, self.next) = (0, Some(now + DELAYS[0]));
        }
    }

    /// The units to ask PID 1 about now, as it does not report a change of theirs yet.
    pub(super) fn due(&mut self, mirror: &Mirror, now: Instant) -> Vec<Arc<str>> {
        if self.next.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let units = self.changes.units(mirror).filter(|unit| unit.needs_reload == Some(false));
        let due = units.map(|unit| unit.name.clone()).collect();
        self.count += 1;
        self.next = DELAYS.get(self.count).map(|delay| now + *delay);
        if self.next.is_none() {
            self.changes = UnitFileChanges::default();
        }
        due
    }
}

/// The times between two questions.
const DELAYS: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(270),
    Duration::from_secs(1500),
];

/// Files and directories that are remembered.
const MAX_NAMES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit_filter::Selection;

    #[test]
    fn asks_again_a_few_times_about_units_without_a_change() {
        let mut mirror = Mirror::new(Selection::default());
        for name in ["a.service", "b.service", "c.timer"] {
            mirror.load(name);
            mirror.change(name, |unit| unit.needs_reload = Some(name.starts_with('b')));
        }
        let (mut recheck, now) = (Recheck::default(), Instant::now());
        assert!(recheck.due(&mirror, now).is_empty() && recheck.next.is_none());
        let files = ["service.d".to_owned()].into();
        recheck.add(&UnitFileChanges { files, ..UnitFileChanges::default() }, now);
        assert!(recheck.due(&mirror, now).is_empty(), "not yet");
        let mut times = 0;
        while let Some(next) = recheck.next {
            assert_eq!(recheck.due(&mirror, next), ["a.service".into()]);
            times += 1;
        }
        assert_eq!(times, DELAYS.len());
    }
}
