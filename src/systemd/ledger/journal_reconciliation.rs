//! What the journal tells of failures that no signal told: while the bus is away, and while systemd
//! reloads its configuration.
//!
//! A restart that was counted tells that a run ended, not why, nor whether that was a failure, and
//! after a reload it may tell of one too many. systemd puts every end into the journal too, with
//! its result and its run. That comes a little later: what was not seen waits for it, and is unknown only if the
//! journal does not have it but might have lost it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use crate::source::journal::exits::{JournalExit, JournalExits};
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::value::{InvocationId, Timestamp};

/// Ends of a unit's runs that only its restarts tell of.
#[derive(Clone, Debug)]
pub(super) struct MissedExits {
    pub(super) unit: Arc<str>,
    /// From when on they may have happened, on `CLOCK_MONOTONIC`.
    pub(super) since: Timestamp,
    /// When that was found, on the same.
    pub(super) found: Timestamp,
    /// How many there were at least.
    pub(super) exits: u64,
    /// How many more there may have been.
    pub(super) more: u64,
    /// Why they were not seen.
    pub(super) reason: &'static str,
}

/// What the journal tells of ends that were not seen.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    pub(super) ends: Vec<JournalExit>,
    /// Whether there were no others.
    pub(super) is_all: bool,
}

/// The ends that wait for the journal, and what it has told.
#[derive(Debug, Default)]
pub(super) struct JournalReconciliation {
    /// Whether there is a journal to wait for.
    pub(super) is_heard: bool,
    unseen: Vec<MissedExits>,
    told: VecDeque<JournalExit>,
    hole: Option<Timestamp>,
    /// Units of which it has told an end that was seen, too: it has those that they have.
    known: HashSet<Arc<str>>,
    /// The runs whose ends are counted, the latest last.
    counted: VecDeque<InvocationId>,
    is_counted: HashSet<InvocationId>,
}

impl JournalReconciliation {
    /// Notes that the end of this run is counted.
    pub(super) fn counted(&mut self, run: InvocationId) {
        if self.is_heard && self.is_counted.insert(run) {
            self.counted.push_back(run);
            if self.counted.len() > MOST
                && let Some(oldest) = self.counted.pop_front()
            {
                self.is_counted.remove(&oldest);
            }
        }
    }

    pub(super) fn wait(&mut self, unseen: MissedExits) {
        self.unseen.push(unseen);
    }

    /// Hears what the journal has told.
    pub(super) fn add(&mut self, exits: JournalExits) {
        self.hole = self.hole.max(exits.last_gap);
        let is_service = |told: &JournalExit| Kind::of(&told.unit) == Some(Kind::Service);
        self.told.extend(exits.exits.into_iter().filter(is_service));
        let over = self.told.len().saturating_sub(MOST);
        self.told.drain(..over);
    }

    /// What was not seen and has waited long enough, given that the journal has been read until
    /// then, each with what it tells of that.
    pub(super) fn explain(&mut self, read: Timestamp) -> Vec<(MissedExits, Attribution)> {
        let Self { unseen, told, hole, known, is_counted, .. } = self;
        for seen in told.iter().filter(|told| is_counted.contains(&told.run)) {
            if known.len() < MOST {
                known.insert(seen.unit.clone());
            }
        }
        told.retain(|told| !is_counted.contains(&told.run));
        let due = unseen.extract_if(.., |unseen| unseen.found.0.saturating_add(SETTLE) <= read.0);
        due.map(|unseen| {
            let most = unseen.exits.saturating_add(unseen.more);
            let mut left = usize::try_from(most).unwrap_or(usize::MAX);
            let mut ends = Vec::new();
            // a clean end may be one by hand, which no restart follows; a failure counts in any case
            for is_clean in [false, true] {
                let (taken, others): (VecDeque<_>, _) = told.drain(..).partition(|told| {
                    let takes = left > 0
                        && told.is_clean() == is_clean
                        && told.unit == unseen.unit
                        && told.at <= unseen.found;
                    left -= usize::from(takes);
                    takes
                });
                *told = others;
                ends.extend(taken);
            }
            let is_all = known.contains(&unseen.unit) && hole.is_none_or(|at| at < unseen.since);
            (unseen, Attribution { ends, is_all })
        })
        .collect()
    }

    /// Forgets what the journal told long before then: nothing waits for it any more.
    pub(super) fn forget(&mut self, read: Timestamp) {
        if self.unseen.is_empty() {
            self.told.retain(|told| told.at.0.saturating_add(LONG) > read.0);
        }
    }
}

/// When a unit was last known to be as it was, on `CLOCK_MONOTONIC`: at the latest time that it
/// tells of.
pub(super) fn known_at(unit: &Unit) -> Timestamp {
    let Unit { active_enter, active_exit, inactive_enter, inactive_exit, .. } = unit;
    let service = unit.service();
    let process = service.map(|service| [service.main_start, service.main_exit]);
    let times = [*active_enter, *active_exit, *inactive_enter, *inactive_exit];
    let times = times.into_iter().chain(process.into_iter().flatten()).flatten();
    let latest = times.filter_map(Timestamp::set).max();
    let age = latest.and_then(|at| SystemTime::now().duration_since(at.system_time()).ok());
    let age = age.and_then(|age| u64::try_from(age.as_micros()).ok());
    // what lies in the future, as a clock that was set back makes it, tells nothing
    age.map_or(Timestamp(0), |age| Timestamp(Timestamp::monotonic().0.saturating_sub(age)))
}

/// How long the journal may need to have it, in microseconds.
const SETTLE: u64 = 1_000_000;

/// Signals are not later than the journal by so much, in microseconds.
const LONG: u64 = 60_000_000;

/// Ends and runs that are remembered at most.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_a_bound_and_the_oldest_goes() {
        let run = |number: usize| InvocationId((number as u128).to_be_bytes());
        let mut reconciliation =
            JournalReconciliation { is_heard: true, ..JournalReconciliation::default() };
        (0..MOST + 10).for_each(|number| reconciliation.counted(run(number)));
        assert_eq!((reconciliation.counted.len(), reconciliation.is_counted.len()), (MOST, MOST));
        assert!(
            !reconciliation.is_counted.contains(&run(9))
                && reconciliation.is_counted.contains(&run(10))
        );
        let told = |number| JournalExit {
            unit: "x.service".into(),
            run: run(number),
            result: "signal".into(),
            at: Timestamp::default(),
        };
        reconciliation
            .add(JournalExits { exits: (0..MOST + 10).map(told).collect(), last_gap: None });
        assert_eq!((reconciliation.told.len(), reconciliation.told[0].run), (MOST, run(10)));
        assert_eq!(reconciliation.told.back().map(|told| told.run), Some(run(MOST + 9)));
    }
}
