//! Attributes exits whose signals were missed to those in the journal: signals are missing while
//! the bus is away, and while systemd reloads its configuration.
//!
//! A counted restart reveals that a run ended, but neither why nor whether that was a failure, and
//! after a reload systemd may count one restart too many. systemd logs every exit in the journal
//! too, with its result and run, a little later: missed exits wait for the journal, and their cause
//! is unknown only if the journal does not have them but may have lost them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::runs::Runs;
use crate::clock;
use crate::source::journal::exits::{JournalExit, JournalExits};
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp};

/// Exits of a unit that only its restarts reveal.
#[derive(Clone, Debug)]
pub(super) struct MissedExits {
    pub(super) unit: Arc<str>,
    /// From when on they may have happened, on `CLOCK_MONOTONIC`.
    pub(super) since: Timestamp,
    /// When they were found, on the same clock.
    pub(super) found: Timestamp,
    /// The run at that time, whose exit is not among them; all zeros if unknown.
    pub(super) run: InvocationId,
    /// The least number of exits.
    pub(super) exits: u64,
    /// How many more are possible, where systemd may have counted a restart twice.
    pub(super) possible_double_count: u64,
    /// Why their signals were missed.
    pub(super) reason: &'static str,
}

/// The time in which signals are not received, or may be missing: before the start of the exporter,
/// since it was stopped or, at its first start, since boot; while the bus is away; during a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Downtime {
    /// None, or it has been accounted for.
    #[default]
    None,
    /// The states of units have not been read since.
    Current,
    /// The states were read at that time.
    Until(Timestamp),
}

/// The events of the downtime that are in the journal.
#[derive(Debug)]
pub(super) struct DowntimeEvents {
    /// Failures that are not counted yet.
    pub(super) failures: Vec<JournalExit>,
    /// All restarts by unit, of a downtime that began at boot.
    pub(super) restarts: BTreeMap<Arc<str>, u64>,
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
    pub(super) downtime: Downtime,
    /// Whether the downtime began at boot: the journal then has no earlier exit to confirm.
    pub(super) from_boot: bool,
    /// When the states of units were first read since boot; later restarts were seen.
    pub(super) boot_end: Option<Timestamp>,
    /// Restarts in the journal, kept while the downtime began at boot.
    pub(super) journal_restarts: Vec<(Arc<str>, Timestamp)>,
    /// Whether the journal is read.
    pub(super) is_enabled: bool,
    pub(super) missed: Vec<MissedExits>,
    pub(super) journal_exits: VecDeque<JournalExit>,
    pub(super) last_gap: Option<Timestamp>,
    /// Units for which the journal has confirmed an exit that was also seen by signal; for these
    /// the journal is considered complete.
    pub(super) units_with_reliable_journal: HashSet<Arc<str>>,
    /// The runs whose exits are counted, as [`run_key`]s.
    pub(super) counted_runs: Runs,
    /// Failures that were counted as unknown: of a unit, found at a time, and their number.
    pub(super) unknown_failures: Vec<(Arc<str>, Timestamp, u64)>,
    /// Failures of units that were counted from the journal although no restart revealed them, and when.
    pub(super) unrevealed: HashMap<Arc<str>, (u64, Timestamp)>,
}

impl JournalReconciliation {
    /// Notes that the exit of this run is counted; it is named by its [`run_key`].
    pub(super) fn add_counted_run(&mut self, run: InvocationId) {
        if self.is_enabled {
            self.counted_runs.add(run);
        }
    }

    /// Whether anything waits for entries of the journal.
    pub(super) fn is_waiting(&self) -> bool {
        let waits = match self.downtime {
            Downtime::Until(_) => true,
            Downtime::Current => false,
            // for their signals
            Downtime::None => self.journal_exits.iter().any(|exit| !exit.is_clean()),
        };
        self.is_enabled && (waits || !self.missed.is_empty())
    }

    pub(super) fn add_missed_exits(&mut self, missed: MissedExits) {
        self.missed.push(missed);
    }

    pub(super) fn add_journal_exits(&mut self, exits: JournalExits) {
        self.last_gap = self.last_gap.max(exits.last_gap);
        if self.from_boot {
            self.journal_restarts.extend(exits.restarts);
            self.journal_restarts.truncate(MAX_JOURNAL_EXITS);
        }
        let is_service = |exit: &JournalExit| UnitKind::of(&exit.unit) == Some(UnitKind::Service);
        self.journal_exits.extend(exits.exits.into_iter().filter(is_service));
        let excess = self.journal_exits.len().saturating_sub(MAX_JOURNAL_EXITS);
        if excess > 0 {
            self.last_gap = Some(Timestamp::monotonic());
            self.journal_exits.drain(..excess);
        }
    }

    /// Removes the missed exits that have waited long enough, given that the journal has been read
    /// up to `read`; returns them with the journal's entries for them.
    pub(super) fn attribute(&mut self, read: Timestamp) -> Vec<(MissedExits, Attribution)> {
        let Self { journal_exits, counted_runs, .. } = self;
        let reliable = &mut self.units_with_reliable_journal;
        let key = |exit: &JournalExit| run_key(&exit.unit, exit.run, &exit.result);
        for seen in journal_exits.iter().filter(|exit| counted_runs.contains(&key(exit))) {
            if reliable.len() < MAX_REMEMBERED {
                reliable.insert(seen.unit.clone());
            }
        }
        let mut pending = HashSet::new();
        journal_exits
            .retain(|exit| !counted_runs.contains(&key(exit)) && pending.insert(key(exit)));
        self.remove_unknown_failures();
        let Self { missed, journal_exits, last_gap, downtime, from_boot, unrevealed, .. } = self;
        let reliable = &self.units_with_reliable_journal;
        let is_due =
            |missed: &mut MissedExits| missed.found.0.saturating_add(JOURNAL_DELAY) <= read.0;
        let due: Vec<_> = missed.extract_if(.., is_due).collect();
        let attributed = due.into_iter().map(|mut missed| {
            let limit = missed.exits.saturating_add(missed.possible_double_count);
            let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
            let mut exits = Vec::new();
            // a clean exit may be a manual stop, which no restart follows; a failure always counts
            for is_clean in [false, true] {
                let is_unlimited = *downtime != Downtime::None && !is_clean;
                let is_of_missed = |exit: &JournalExit| {
                    let is_match = (left > 0 || is_unlimited)
                        && exit.is_clean() == is_clean
                        && exit.unit == missed.unit
                        && exit.run != missed.run
                        && exit.at.0 <= missed.found.0.saturating_add(JOURNAL_DELAY);
                    left = left.saturating_sub(usize::from(is_match));
                    is_match
                };
                let (matching, others): (VecDeque<_>, _) =
                    journal_exits.drain(..).partition(is_of_missed);
                *journal_exits = others;
                exits.extend(matching);
            }
            let found = exits.len() as u64;
            // those that were not revealed there may be revealed elsewhere, or later
            let (counted, at) = unrevealed.entry(missed.unit.clone()).or_default();
            let revealed = missed.exits.saturating_sub(found).min(*counted);
            missed.exits -= revealed;
            *counted = *counted + found.saturating_sub(limit) - revealed;
            *at = read;
            let is_reliable = reliable.contains(&missed.unit) || (*from_boot && !exits.is_empty());
            let is_complete = is_reliable && last_gap.is_none_or(|at| at < missed.since);
            (missed, Attribution { exits, is_complete })
        });
        attributed.collect()
    }

    /// Ends the downtime once the journal has been read up to its end. Returns the failures that no
    /// restart revealed, by unit.
    pub(super) fn end_downtime(&mut self, read: Timestamp) -> Option<DowntimeEvents> {
        let Downtime::Until(end) = self.downtime else { return None };
        if !self.missed.is_empty() || end.0.saturating_add(JOURNAL_DELAY) > read.0 {
            return None;
        }
        (self.downtime, self.from_boot) = (Downtime::None, false);
        let last = end.0.saturating_add(JOURNAL_DELAY);
        let is_missed = |exit: &JournalExit| exit.at.0 <= last && !exit.is_clean();
        let (failures, others): (VecDeque<_>, _) =
            self.journal_exits.drain(..).partition(is_missed);
        self.journal_exits = others;
        let mut restarts: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let boot_end = self.boot_end.take().unwrap_or(end);
        for (unit, at) in std::mem::take(&mut self.journal_restarts) {
            *restarts.entry(unit).or_default() += u64::from(at <= boot_end);
        }
        Some(DowntimeEvents { failures: failures.into(), restarts })
    }

    /// Removes old exits of the journal once no missed exits wait, and the downtime is accounted for.
    pub(super) fn expire(&mut self, read: Timestamp) {
        if self.missed.is_empty() && self.downtime == Downtime::None {
            let is_recent = |at: Timestamp| at.0.saturating_add(MAX_SIGNAL_DELAY) > read.0;
            self.journal_exits.retain(|exit| is_recent(exit.at));
            self.unrevealed.retain(|_, (left, at)| *left > 0 && is_recent(*at));
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
    let age = latest.and_then(|at| clock::wall().duration_since(at.system_time()).ok());
    let age = age.and_then(|age| u64::try_from(age.as_micros()).ok());
    // a time in the future, after the clock was set back, is useless
    age.map_or(Timestamp(0), |age| Timestamp(Timestamp::monotonic().0.saturating_sub(age)))
}

/// The name of a failure or exit that is counted: the unit, its run and the result. A run has several if
/// `systemctl reset-failed` was called between two failures, and a start that the start limit refuses
/// fails in the name of the run before it, if there was one.
pub(super) fn run_key(unit: &str, run: InvocationId, result: &str) -> InvocationId {
    // FNV-1a
    let bytes = unit.bytes().chain([0]).chain(result.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    InvocationId((u128::from_be_bytes(run.0) ^ u128::from(hash)).to_be_bytes())
}

/// In place of a result: the exit of the main process, counted from a signal.
pub(super) const MAIN_EXIT: InternedStr = InternedStr::Borrowed("main exit");

/// The same, counted from the journal. A run of several commands has several exits in signals, and one in
/// the journal.
pub(super) const JOURNAL_EXIT: &str = "journal exit";

/// How long an exit may take to reach the journal, in microseconds.
pub(super) const JOURNAL_DELAY: u64 = 1_000_000;

/// By how much a signal may be later than the journal, in microseconds.
const MAX_SIGNAL_DELAY: u64 = 60_000_000;

/// Units that are remembered.
pub(super) const MAX_REMEMBERED: usize = 4096;

/// Exits in the journal that wait for the states of their units.
const MAX_JOURNAL_EXITS: usize = 131_072;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_exits_are_dropped_at_the_limit() {
        let run = |number: usize| InvocationId((number as u128).to_be_bytes());
        let mut reconciliation =
            JournalReconciliation { is_enabled: true, ..JournalReconciliation::default() };
        let exit = |number| JournalExit {
            unit: "x.service".into(),
            run: run(number),
            result: "signal".into(),
            at: Timestamp::default(),
            main_exit: None,
            command: None,
        };
        reconciliation.add_journal_exits(JournalExits {
            exits: (0..MAX_JOURNAL_EXITS + 10).map(exit).collect(),
            ..JournalExits::default()
        });
        assert_eq!(
            (reconciliation.journal_exits.len(), reconciliation.journal_exits[0].run),
            (MAX_JOURNAL_EXITS, run(10))
        );
        assert_eq!(
            reconciliation.journal_exits.back().map(|exit| exit.run),
            Some(run(MAX_JOURNAL_EXITS + 9))
        );
    }
}
