//! Counters and events of units, derived from consecutive states: exits, failures by cause,
//! restarts, starts, job results.
//!
//! A counter never falls before the next boot: not when the exporter is restarted, not when systemd's own counter is reset, not at a
//! reload, and for a while not when the unit is unloaded.

mod commands;
mod counted;
mod downtime;
mod event;
mod exit_code;
mod gap;
mod hidden_failures;
mod host_counters;
mod journal_reconciliation;
mod observed;
mod oom_kills;
pub(in crate::systemd) mod run_end;
mod runs;
mod saved;
#[cfg(test)]
mod tests;
mod transitions;
mod unit_counters;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use commands::failed_command;
pub use counted::Counted;
pub use event::{Event, EventKind};
pub use exit_code::ExitCode;
pub use gap::Gap;
pub use host_counters::{HostCounters, SERVICE_RESULTS};
pub use run_end::RunEnd;
pub use saved::SavedLedger;
pub use unit_counters::UnitCounters;

use super::mirror::{Change, Mirror};
use super::unit::Unit;
use super::unit::value::{InternedStr, Timestamp, intern};
use crate::clock;
use crate::source::journal::exits::JournalExits;
use event::event;
use journal_reconciliation::{
    Attribution, JOURNAL_EXIT, JournalReconciliation, MAIN_EXIT, MissedExits, last_known_at,
    run_key,
};
use observed::{MissedSignals, Observed};
use oom_kills::OomKills;
use tracing::debug;
use transitions::{is_running, last_run, was_refused, was_reset};
use unit_counters::{UNKNOWN, counter_of};

/// The counters of units and of the host as a whole, and the latest events.
#[derive(Debug)]
pub struct Ledger {
    counters: BTreeMap<Arc<str>, Arc<UnitCounters>>,
    /// Sums of the counters of unloaded units with short-lived names.
    groups: BTreeMap<Arc<str>, Arc<UnitCounters>>,
    unloaded: VecDeque<(Instant, Arc<str>)>,
    retention: Retention,
    events: VecDeque<Arc<Event>>,
    host: HostCounters,
    reconciliation: JournalReconciliation,
    oom_kills: OomKills,
    /// The time of the boot, while the exporter counts what happened since then.
    boot: Option<SystemTime>,
    /// When the exporter was started.
    started: SystemTime,
    /// Whether the time before the start has been accounted for.
    is_start_counted: bool,
    /// Increases with each change that a saved state must have.
    generation: u64,
}

/// How long and for how many unloaded units counters are kept, and how many events.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How long counters are kept after the unit was unloaded.
    pub unloaded_for: Duration,
    /// The counters of at most this many unloaded units are kept, the latest ones.
    pub max_unloaded: usize,
    /// At most this many events are kept, the latest ones.
    pub max_events: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { unloaded_for: Duration::from_secs(3600), max_unloaded: 1000, max_events: 256 }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new(Retention::default())
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self {
            counters: BTreeMap::new(),
            groups: BTreeMap::new(),
            unloaded: VecDeque::new(),
            retention,
            events: VecDeque::new(),
            host: HostCounters::default(),
            reconciliation: JournalReconciliation::default(),
            oom_kills: OomKills::default(),
            boot: None,
            started: clock::wall(),
            is_start_counted: false,
            generation: 0,
        }
    }

    /// The counters of loaded units and of those unloaded lately, by name.
    pub fn counters(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<UnitCounters>)> {
        self.counters.iter()
    }

    /// The sums of the counters of unloaded units with short-lived names, by group.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<UnitCounters>)> {
        self.groups.iter()
    }

    /// Adds the counters of a unit that PID 1 has unloaded to those of its group.
    pub fn unload_into(&mut self, group: &Arc<str>, name: &str) {
        let Some(counters) = self.counters.remove(name) else { return };
        if self.groups.len() < MAX_GROUPS || self.groups.contains_key(group) {
            let new = || Arc::new(UnitCounters::new(counters.kind));
            Arc::make_mut(self.groups.entry(group.clone()).or_insert_with(new)).add(&counters);
        }
    }

    /// The counters of the host as a whole.
    #[must_use]
    pub fn host(&self) -> &HostCounters {
        &self.host
    }

    /// The latest events, the newest first.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().rev()
    }

    /// Adds counters at 0 for a unit that is exported, or continues those that it had.
    pub fn open(&mut self, unit: &Unit) {
        if unit.selected && !unit.is_absent() {
            let counters = self.counters_of(unit);
            if let Some(since) = Arc::make_mut(counters).unloaded_at.take() {
                // a unit that is loaded and unloaded again and again must not displace others
                self.unloaded.retain(|(at, name)| *at != since || *name != unit.name);
            }
        }
    }

    /// Removes the counters of a unit that turns out to be excluded.
    pub fn close(&mut self, name: &str) {
        self.counters.remove(name);
    }

    /// Counts one change of a unit. `gap` is why signals before it may be missing; `reloaded_at` is
    /// when PID 1 last reloaded its configuration, if known.
    pub fn observe(&mut self, change: &Change, gap: Option<Gap>, reloaded_at: Option<Timestamp>) {
        let Change { before, after } = change;
        if !after.selected || (after.is_absent() && !self.counters.contains_key(&after.name)) {
            return;
        }
        self.generation += u64::from(saved::differ(before, after));
        let missed = gap.map(|gap| MissedSignals { reload: gap == Gap::Reload, reloaded_at });
        let is_since_boot = self.boot.is_some();
        let run = last_run(before, after).unwrap_or_default();
        let is_counted = |what: &str| {
            let counted = &self.reconciliation.counted_runs;
            counted.contains(&run_key(&after.name, run, what))
        };
        let result = after.service().and_then(|service| service.result.as_deref());
        let mut observed = Observed {
            may_be_oom_killed: self.oom_kills.is_enabled,
            is_failure_counted: result.is_some_and(is_counted),
            is_exit_counted: is_counted(JOURNAL_EXIT),
            ..Observed::default()
        };
        let counters = Arc::make_mut(self.counters_of(after));
        let restarts = counters.restarts;
        counters.observe(before, after, missed, &mut observed);
        if is_since_boot {
            counters.restarts_since_boot += counters.restarts - restarts;
        }
        let Observed { failure, counted, killed, possible_double_count, events, .. } = observed;
        let exits = observed.missed_exits;
        if let Some(result) = failure {
            *counter_of(&mut self.host.failures, &result) += 1;
        }
        for what in counted {
            self.reconciliation.add_counted_run(run_key(&after.name, run, &what));
        }
        if exits > 0 || (possible_double_count > 0 && self.reconciliation.is_enabled) {
            let (unit, reason) = (after.name.clone(), gap.map_or("coalesced", Gap::as_str));
            let (since, found) = (last_known_at(before), Timestamp::monotonic());
            // a run that has ended is one of those that may be missed
            let run = after.run().filter(|_| is_running(after)).unwrap_or_default();
            let missed =
                MissedExits { unit, since, found, run, exits, possible_double_count, reason };
            match self.reconciliation.is_enabled {
                true => self.reconciliation.add_missed_exits(missed),
                false => self.count_missed_exits(&missed, Attribution::default()),
            }
        }
        for event in events {
            self.record(event);
        }
        if let Some(kill) = killed.and_then(|kill| self.oom_kills.add(kill)) {
            self.count_kill(&kill, InternedStr::Borrowed("signal"));
        }
    }

    /// Detects a start limit that was hit, and `systemctl reset-failed`, before the unit was followed.
    pub fn state_change_read(&mut self, unit: &Unit) {
        let Some(counters) = self.counters.get_mut(&unit.name) else { return };
        if was_refused(unit) {
            Arc::make_mut(counters).start_limit_hit = true;
        }
        if counters.run_end == RunEnd::Own && was_reset(unit) {
            Arc::make_mut(counters).run_end = RunEnd::Job;
        }
    }

    /// From now on, missed exits are counted only once the journal has been read.
    pub fn enable_reconciliation(&mut self) {
        self.reconciliation.is_enabled = true;
    }

    /// Keeps exits read from the journal until the states of units are known.
    pub fn add_journal_exits(&mut self, mut exits: JournalExits) {
        self.oom_kills.add_logged(std::mem::take(&mut exits.oom_kills));
        self.failed_commands_logged(&exits.exits);
        self.reconciliation.add_journal_exits(exits);
    }

    /// Attributes missed exits of exported units to those in the journal, which has been read up to
    /// `read`. `following` is whether signals are received, too.
    pub fn reconcile(
        &mut self,
        mirror: &Mirror,
        exits: JournalExits,
        read: Timestamp,
        following: bool,
    ) {
        self.add_journal_exits(exits);
        self.reconciliation.journal_exits.retain(|exit| mirror.exports(&exit.unit));
        self.count_kills(read);
        for (missed, attribution) in self.reconciliation.attribute(read) {
            self.count_missed_exits(&missed, attribution);
        }
        self.count_downtime(mirror, read);
        if following {
            self.count_hidden_failures(mirror, read);
            self.reconciliation.expire(read);
        }
    }

    /// Counts missed exits, with the results that the journal has of them.
    fn count_missed_exits(&mut self, missed: &MissedExits, attribution: Attribution) {
        self.generation += 1;
        let MissedExits { unit, exits, reason, .. } = missed;
        let Attribution { exits: attributed, is_complete } = attribution;
        let unknown = if is_complete { 0 } else { exits.saturating_sub(attributed.len() as u64) };
        debug!(%unit, exits, attributed = attributed.len(), is_complete, reason, "missed exits");
        let mut counters = self.counters.get_mut(unit).map(Arc::make_mut);
        let mut events = Vec::new();
        for exit in attributed {
            let at = clock::wall() - exit.at.age();
            let key = |what: &str| run_key(unit, exit.run, what);
            self.reconciliation.add_counted_run(key(&exit.result));
            let is_exit_counted = self.reconciliation.counted_runs.contains(&key(&MAIN_EXIT));
            if exit.main_exit.is_some() {
                self.reconciliation.add_counted_run(key(JOURNAL_EXIT));
            }
            let status =
                counters.as_mut().and_then(|it| it.count_journal_exit(&exit, is_exit_counted, at));
            let (kind, cause) = match exit.is_clean() {
                true => (EventKind::Exited, None),
                false => (EventKind::Failed, Some(exit.result)),
            };
            if let Some(result) = &cause {
                *counter_of(&mut self.host.failures, result) += 1;
            }
            let event = event(unit, at, kind, cause, status, Some(exit.run));
            events.push(event.of_command(exit.command));
        }
        if unknown > 0 {
            if let Some(counters) = counters {
                let since = clock::wall() - missed.since.age();
                counters.count_unknown_failures(unknown, since);
            }
            *counter_of(&mut self.host.failures, &UNKNOWN) += unknown;
            *self.host.lost.entry(reason).or_default() += unknown;
            self.reconciliation.add_unknown_failures(missed, unknown);
        }
        events.into_iter().for_each(|event| self.record(event));
    }

    /// Counts a completed job. `unit` is its unit, if the mirror has it.
    pub fn job_removed(&mut self, name: &str, unit: Option<&Unit>, result: &str) {
        self.generation += 1;
        let result = intern(result);
        *counter_of(&mut self.host.job_results, &result) += 1;
        if HARMLESS_JOB_RESULTS.contains(&&*result) {
            return;
        }
        let Some(unit) = unit.filter(|unit| unit.selected) else { return };
        let (counters, now) = (Arc::make_mut(self.counters_of(unit)), clock::wall());
        counter_of(&mut counters.job_failures, &result).add_events(1, now);
        self.record(event(&name.into(), now, EventKind::JobFailed, Some(result), None, None));
    }

    /// Counts a reload of PID 1's configuration.
    pub fn reloaded(&mut self) {
        self.generation += 1;
        self.host.reloads += 1;
    }

    /// Marks the counters of a unit that PID 1 has unloaded: they are kept for a while.
    pub fn unload(&mut self, name: &Arc<str>, now: Instant) {
        self.generation += 1;
        match self.counters.get_mut(name) {
            // any user can load a unit of any name for a moment; then there is nothing to keep
            Some(counters) if counters.is_blank() => {
                self.counters.remove(name);
            }
            Some(counters) => {
                Arc::make_mut(counters).unloaded_at = Some(now);
                self.unloaded.push_back((now, name.clone()));
            }
            None => {}
        }
        self.expire(now);
    }

    /// Removes the counters of units unloaded too long ago, or of too many unloaded units.
    pub fn expire(&mut self, now: Instant) {
        while let Some((since, name)) = self.unloaded.front() {
            let is_old = now.duration_since(*since) > self.retention.unloaded_for;
            if !is_old && self.unloaded.len() <= self.retention.max_unloaded {
                break;
            }
            self.counters.remove(name);
            self.unloaded.pop_front();
        }
    }

    fn counters_of(&mut self, unit: &Unit) -> &mut Arc<UnitCounters> {
        let since = self.boot;
        let new = || {
            let mut new = UnitCounters::new(unit.kind);
            new.since = since.unwrap_or(new.since);
            self.generation += 1;
            Arc::new(new)
        };
        self.counters.entry(unit.name.clone()).or_insert_with(new)
    }

    fn record(&mut self, mut event: Event) {
        event.before_start = event.at < self.started;
        let event = self.with_logged_command(event);
        let Event { unit, kind, cause, status, .. } = &event;
        debug!(%unit, ?kind, ?cause, ?status, "event");
        self.events.push_back(Arc::new(event));
        self.limit_events();
    }

    fn limit_events(&mut self) {
        let excess = self.events.len().saturating_sub(self.retention.max_events);
        self.events.drain(..excess);
    }
}

/// Groups of units with short-lived names: as many as templates with connections, and few others.
const MAX_GROUPS: usize = 1000;

/// Results of jobs that are no failures.
const HARMLESS_JOB_RESULTS: &[&str] = &["canceled", "collected", "done", "once", "skipped"];
