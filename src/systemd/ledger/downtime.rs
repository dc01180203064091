//! Accounts for the time in which signals are not received, or may be missing: before the start of the
//! exporter, since it was stopped or, at its first start, since boot; while the bus is away; during a
//! reload.
//!
//! The states of units before and after show only the last exit and the number of restarts; the
//! journal has each failure. So while signals are not received, every failure in the journal counts
//! whose run is not counted yet, and the restarts only show whether the journal has them all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::info;

use super::exit_code::ExitCode;
use super::journal_reconciliation::{Downtime, DowntimeEvents};
use super::unit_counters::UnitCounters;
use super::{Gap, Ledger};
use crate::clock;
use crate::source::journal::exits::{JournalExit, JournalProcessExit};
use crate::systemd::mirror::Mirror;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::value::{InternedStr, Timestamp};

impl Ledger {
    /// Counts what happened before the start, too: since `boot` or, without it, since the restored
    /// state was saved.
    pub fn begin_downtime(&mut self, boot: Option<SystemTime>) {
        self.reconciliation.downtime = Downtime::Current;
        self.reconciliation.from_boot |= boot.is_some();
        self.boot = boot;
        if let Some(boot) = boot {
            self.host.since = boot;
        }
    }

    /// Signals may be missing from now on, until [`Self::downtime_ended`].
    pub fn begin_outage(&mut self) {
        if self.reconciliation.is_enabled {
            self.reconciliation.downtime = Downtime::Current;
        }
    }

    /// The downtime is over: the states of all units have been read, and signals are received.
    pub fn downtime_ended(&mut self, now: Timestamp) {
        if self.boot.take().is_some() {
            self.reconciliation.boot_end = Some(now);
        }
        if self.reconciliation.downtime == Downtime::Current {
            self.reconciliation.downtime = match self.reconciliation.is_enabled {
                true => Downtime::Until(now),
                false => Downtime::None,
            };
        }
    }

    /// Whether missed exits, failures or kills wait for the journal to be read.
    #[must_use]
    pub fn awaits_journal(&self) -> bool {
        self.reconciliation.is_waiting() || !self.oom_kills.waiting.is_empty()
    }

    /// Increases with each change that a saved state must have.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Counts the failures of the downtime that no restart revealed, once the journal has been read
    /// up to `read`.
    pub(super) fn count_downtime(&mut self, mirror: &Mirror, read: Timestamp) {
        let Some(events) = self.reconciliation.end_downtime(read) else { return };
        let DowntimeEvents { failures, restarts } = events;
        let is_before_start = !std::mem::replace(&mut self.is_start_counted, true);
        let mut by_unit: BTreeMap<Arc<str>, Vec<JournalExit>> = BTreeMap::new();
        for exit in failures {
            by_unit.entry(exit.unit.clone()).or_default().push(exit);
        }
        for exits in by_unit.into_values() {
            self.count_journal_failures(mirror, exits, read, Gap::Downtime.as_str());
        }
        for (unit, restarts) in restarts {
            if let Some(counters) = self.counters.get_mut(&unit) {
                let counters = Arc::make_mut(counters);
                counters.restarts += restarts.saturating_sub(counters.restarts_since_boot);
            }
        }
        // those of the journal come after those of the states, but happened before
        self.events.make_contiguous().sort_by_key(|event| event.at);
        self.generation += 1;
        if is_before_start {
            let before_start = self.events.iter().filter(|event| event.before_start).count();
            info!(events = before_start, "counted the events before the start");
        }
    }

    /// Adds counters for a unit that ran, failed and was unloaded meanwhile, as long ago as they
    /// would still be kept; those of a group always are.
    pub(super) fn open_unloaded(
        &mut self,
        unit: &Arc<str>,
        exits: &[JournalExit],
        has_group: bool,
    ) {
        let Some(kind) = UnitKind::of(unit) else { return };
        let Some(last) = exits.iter().map(|exit| exit.at.age()).min() else { return };
        if self.counters.contains_key(unit) {
            return;
        }
        let mut new = UnitCounters::new(kind);
        new.since = self.host.since;
        if has_group {
            self.counters.insert(unit.clone(), Arc::new(new));
            return;
        }
        let is_kept = last <= self.retention.unloaded_for;
        let Some(unloaded_at) = clock::instant().checked_sub(last).filter(|_| is_kept) else {
            return;
        };
        new.unloaded_at = Some(unloaded_at);
        self.counters.insert(unit.clone(), Arc::new(new));
        self.unloaded.push_back((unloaded_at, unit.clone()));
        self.unloaded.make_contiguous().sort();
        self.expire(clock::instant());
    }
}

/// How a process exited: the code, and the exit status or the name of the signal.
pub(super) fn code_and_status(exit: &JournalProcessExit) -> Option<(ExitCode, InternedStr)> {
    let code = ExitCode::from_number(exit.code)?;
    Some((code, code.status_of_text(&exit.status)))
}

impl UnitCounters {
    /// Counts an exit that the journal reports; `is_exit_counted` is whether the exit of the main process
    /// is counted already. Returns the exit status, or the name of the signal.
    pub(super) fn count_journal_exit(
        &mut self,
        exit: &JournalExit,
        is_exit_counted: bool,
        at: SystemTime,
    ) -> Option<InternedStr> {
        if !exit.is_clean() {
            self.count_failure(&exit.result, Some(exit.run), at);
        }
        let (code, status) = exit.main_exit.as_ref().and_then(code_and_status)?;
        if !is_exit_counted {
            self.count_main_exit(code, status.clone(), Some(exit.run), at);
        }
        Some(status)
    }
}
