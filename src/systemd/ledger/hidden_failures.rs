//! Failures that no signal shows, although signals are received: while its queue to the bus is full, PID 1
//! merges the changes of a unit, and a failure that is reset or followed by another start is in none.
//! Only the journal has them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Ledger;
use super::journal_reconciliation::{
    Attribution, Downtime, JOURNAL_DELAY, JournalReconciliation, MAX_REMEMBERED, MissedExits,
};
use crate::source::journal::exits::JournalExit;
use crate::systemd::mirror::Mirror;
use crate::systemd::unit::value::{InvocationId, Timestamp};

impl Ledger {
    /// Counts failures that the journal has and no signal showed, once it has been read up to `read`.
    pub(super) fn count_hidden_failures(&mut self, mirror: &Mirror, read: Timestamp) {
        for exit in self.reconciliation.hidden_failures(read) {
            self.count_journal_failures(mirror, vec![exit], read, "coalesced");
        }
    }

    /// Counts failures of one unit that no restart revealed.
    pub(super) fn count_journal_failures(
        &mut self,
        mirror: &Mirror,
        exits: Vec<JournalExit>,
        read: Timestamp,
        reason: &'static str,
    ) {
        let Some(unit) = exits.first().map(|exit| exit.unit.clone()) else { return };
        let is_loaded = mirror.unit(&unit).is_some();
        let group = if is_loaded { None } else { mirror.group(&unit) };
        self.open_unloaded(&unit, &exits, group.is_some());
        self.reconciliation.add_reliable(&unit);
        let (counted, at) = self.reconciliation.unrevealed.entry(unit.clone()).or_default();
        (*counted, *at) = (*counted + exits.len() as u64, read);
        let missed = MissedExits {
            unit: unit.clone(),
            since: Timestamp(0),
            found: read,
            run: InvocationId::default(),
            exits: 0,
            possible_double_count: 0,
            reason,
        };
        self.count_missed_exits(&missed, Attribution { exits, is_complete: true });
        if let Some(group) = group {
            self.unload_into(&group, &unit);
        }
    }
}

impl JournalReconciliation {
    /// Removes and returns the failures whose signals are overdue.
    fn hidden_failures(&mut self, read: Timestamp) -> Vec<JournalExit> {
        if !self.missed.is_empty() || self.downtime != Downtime::None {
            return Vec::new();
        }
        let is_hidden = |exit: &JournalExit| {
            !exit.is_clean() && exit.at.0.saturating_add(MAX_MERGE_DELAY) <= read.0
        };
        let (hidden, others): (VecDeque<_>, _) = self.journal_exits.drain(..).partition(is_hidden);
        self.journal_exits = others;
        hidden.into()
    }

    /// Notes that the journal has the exits of a unit.
    pub(super) fn add_reliable(&mut self, unit: &Arc<str>) {
        if self.units_with_reliable_journal.len() < MAX_REMEMBERED {
            self.units_with_reliable_journal.insert(unit.clone());
        }
    }

    /// Notes failures that were counted without the journal's entries, which may come much later: once
    /// the journal can be read.
    pub(super) fn add_unknown_failures(&mut self, missed: &MissedExits, failures: u64) {
        if !self.is_enabled {
            return;
        }
        self.unknown_failures.retain(|(_, _, left)| *left > 0);
        if self.unknown_failures.len() >= MAX_REMEMBERED {
            self.unknown_failures.remove(0);
        }
        self.unknown_failures.push((missed.unit.clone(), missed.found, failures));
    }

    /// Removes entries that come late, of failures that were counted as unknown.
    pub(super) fn remove_unknown_failures(&mut self) {
        let unknown = &mut self.unknown_failures;
        self.journal_exits.retain(|exit| {
            let counted = unknown.iter_mut().find(|(unit, found, failures)| {
                *unit == exit.unit
                    && *failures > 0
                    && exit.at.0 <= found.0.saturating_add(JOURNAL_DELAY)
            });
            let counted = counted.filter(|_| !exit.is_clean());
            counted.map(|(_, _, failures)| *failures -= 1).is_none()
        });
    }
}

/// By how much the signal of a change may be later than the journal's entry, in microseconds: PID 1 sends
/// signals right after each change unless its queue is full. A later signal of a failure that was counted
/// does not count again.
const MAX_MERGE_DELAY: u64 = 5_000_000;
