//! Attributes exits whose signals were missed to those in the journal: signals are missing while
//! the bus is away, and while systemd reloads its configuration.
//!
//! A counted restart reveals that a run ended, but neither why nor whether that was a failure, and
//! after a reload systemd may count one restart too many. systemd logs every exit in the journal
//! too, with its result and run, a little later: missed exits wait for the journal, and their cause
//! is unknown only if the journal does not have them but may have lost them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use crate::source::journal::exits::{JournalExit, JournalExits};
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::value::{InvocationId, Timestamp};

/// Exits of a unit that only its restarts reveal.
#[derive(Clone, Debug)]
pub(super) struct MissedExits {
    pub(super) unit: Arc<str>,
    /// From when on they may have happened, on `CLOCK_MONOTONIC`.
    pub(super) since: Timestamp,
    /// When they were found, on the same clock.
    pub(super) found: Timestamp,
    /// The least number of exits.
    pub(super) exits: u64,
    /// How many more are possible, where systemd may have counted a restart twice.
    pub(super) possible_double_count: u64,
    /// Why their signals were missed.
    pub(super) reason: &'static str,
}

/// The journal's entries for missed exits.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    pub(super) exits: Vec<JournalExit>,
    /// Whether there were no others.
    pub(super) is_complete: bool,
}

/// Missed exits that wait for the journal, and the exits read from it.
#[derive(Debug, Default)]
pub(super) struct JournalReconciliation {
    /// Whether the journal is read.
    pub(super) is_enabled: bool,
    missed: Vec<MissedExits>,
    journal_exits: VecDeque<JournalExit>,
    last_gap: Option<Timestamp>,
    /// Units for which the journal has confirmed an exit that was also seen by signal; for these
    /// the journal is considered complete.
    units_with_reliable_journal: HashSet<Arc<str>>,
    /// The runs whose exits are counted, the latest last.
    counted_runs: VecDeque<InvocationId>,
    is_counted: HashSet<InvocationId>,
}

impl JournalReconciliation {
    /// Notes that the exit of this run is counted.
    pub(super) fn add_counted_run(&mut self, run: InvocationId) {
        if self.is_enabled && self.is_counted.insert(run) {
            self.counted_runs.push_back(run);
            if self.counted_runs.len() > MAX_REMEMBERED
                && let Some(oldest) = self.counted_runs.pop_front()
            {
                self.is_counted.remove(&oldest);
            }
        }
    }

    pub(super) fn add_missed_exits(&mut self, missed: MissedExits) {
        self.missed.push(missed);
    }

    pub(super) fn add_journal_exits(&mut self, exits: JournalExits) {
        self.last_gap = self.last_gap.max(exits.last_gap);
        let is_service = |exit: &JournalExit| UnitKind::of(&exit.unit) == Some(UnitKind::Service);
        self.journal_exits.extend(exits.exits.into_iter().filter(is_service));
        let excess = self.journal_exits.len().saturating_sub(MAX_REMEMBERED);
        self.journal_exits.drain(..excess);
    }

    /// Removes the missed exits that have waited long enough, given that the journal has been read
    /// up to `read`; returns them with the journal's entries for them.
    pub(super) fn attribute(&mut self, read: Timestamp) -> Vec<(MissedExits, Attribution)> {
        let Self { missed, journal_exits, last_gap, is_counted, .. } = self;
        let reliable = &mut self.units_with_reliable_journal;
        for seen in journal_exits.iter().filter(|exit| is_counted.contains(&exit.run)) {
            if reliable.len() < MAX_REMEMBERED {
                reliable.insert(seen.unit.clone());
            }
        }
        journal_exits.retain(|exit| !is_counted.contains(&exit.run));
        let due =
            missed.extract_if(.., |missed| missed.found.0.saturating_add(JOURNAL_DELAY) <= read.0);
        due.map(|missed| {
            let limit = missed.exits.saturating_add(missed.possible_double_count);
            let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
            let mut exits = Vec::new();
            // a clean exit may be a manual stop, which no restart follows; a failure always counts
            for is_clean in [false, true] {
                let is_of_missed = |exit: &JournalExit| {
                    let is_match = left > 0
                        && exit.is_clean() == is_clean
                        && exit.unit == missed.unit
                        && exit.at <= missed.found;
                    left -= usize::from(is_match);
                    is_match
                };
                let (matching, others): (VecDeque<_>, _) =
                    journal_exits.drain(..).partition(is_of_missed);
                *journal_exits = others;
                exits.extend(matching);
            }
            let is_complete =
                reliable.contains(&missed.unit) && last_gap.is_none_or(|at| at < missed.since);
            (missed, Attribution { exits, is_complete })
        })
        .collect()
    }

    /// Removes old exits of the journal once no missed exits wait.
    pub(super) fn expire(&mut self, read: Timestamp) {
        if self.missed.is_empty() {
            self.journal_exits.retain(|exit| exit.at.0.saturating_add(MAX_SIGNAL_DELAY) > read.0);
        }
    }
}

/// When the state of a unit was last known, on `CLOCK_MONOTONIC`: its latest timestamp.
pub(super) fn last_known_at(unit: &Unit) -> Timestamp {
    let Unit { active_enter, active_exit, inactive_enter, inactive_exit, .. } = unit;
    let service = unit.service();
    let process = service.map(|service| [service.main_start, service.main_exit]);
    let times = [*active_enter, *active_exit, *inactive_enter, *inactive_exit];
    let times = times.into_iter().chain(process.into_iter().flatten()).flatten();
    let latest = times.filter_map(Timestamp::set).max();
    let age = latest.and_then(|at| SystemTime::now().duration_since(at.system_time()).ok());
    let age = age.and_then(|age| u64::try_from(age.as_micros()).ok());
    // a time in the future, after the clock was set back, is useless
    age.map_or(Timestamp(0), |age| Timestamp(Timestamp::monotonic().0.saturating_sub(age)))
}

/// How long an exit may take to reach the journal, in microseconds.
const JOURNAL_DELAY: u64 = 1_000_000;

/// By how much a signal may be later than the journal, in microseconds.
const MAX_SIGNAL_DELAY: u64 = 60_000_000;

/// Exits, runs and units that are remembered.
const MAX_REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_exits_and_runs_are_dropped_at_the_limit() {
        let run = |number: usize| InvocationId((number as u128).to_be_bytes());
        let mut reconciliation =
            JournalReconciliation { is_enabled: true, ..JournalReconciliation::default() };
        (0..MAX_REMEMBERED + 10).for_each(|number| reconciliation.add_counted_run(run(number)));
        assert_eq!(
            (reconciliation.counted_runs.len(), reconciliation.is_counted.len()),
            (MAX_REMEMBERED, MAX_REMEMBERED)
        );
        assert!(
            !reconciliation.is_counted.contains(&run(9))
                && reconciliation.is_counted.contains(&run(10))
        );
        let exit = |number| JournalExit {
            unit: "x.service".into(),
            run: run(number),
            result: "signal".into(),
            at: Timestamp::default(),
        };
        reconciliation.add_journal_exits(JournalExits {
            exits: (0..MAX_REMEMBERED + 10).map(exit).collect(),
            last_gap: None,
        });
        assert_eq!(
            (reconciliation.journal_exits.len(), reconciliation.journal_exits[0].run),
            (MAX_REMEMBERED, run(10))
        );
        assert_eq!(
            reconciliation.journal_exits.back().map(|exit| exit.run),
            Some(run(MAX_REMEMBERED + 9))
        );
    }
}
