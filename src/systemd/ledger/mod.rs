//! What happened to units, counted from consecutive changes: exits, failures by cause, restarts,
//! starts, job results.
//!
//! A count never falls while the exporter lives: not when systemd's own counter is reset, not on
//! a reload, and for a while not when the unit is unloaded.

mod event;
mod journal_reconciliation;
#[cfg(test)]
mod tests;
mod unit_counters;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use event::{Event, What};
pub use unit_counters::{Account, Counted, ExitCode};

use super::mirror::Change;
use super::unit::Unit;
use super::unit::value::{Timestamp, Word, word};
use crate::source::journal::exits::JournalExits;
use journal_reconciliation::{Attribution, JournalReconciliation, MissedExits, known_at};
use tracing::debug;
use unit_counters::{Missed, Outcome, UNKNOWN, by_word, event};

/// The accounts of units, and what is counted for the host as a whole.
#[derive(Debug)]
pub struct Ledger {
    accounts: BTreeMap<Arc<str>, Arc<Account>>,
    retired: VecDeque<(Instant, Arc<str>)>,
    keep: Keep,
    events: VecDeque<Arc<Event>>,
    host: Host,
    reconciliation: JournalReconciliation,
}

/// What is counted for the host as a whole.
#[derive(Clone, Debug)]
pub struct Host {
    /// Failures of services by result.
    pub failures: BTreeMap<Word, u64>,
    /// Ended jobs by result.
    pub job_results: BTreeMap<Word, u64>,
    /// Reloads of PID 1's configuration.
    pub reloads: u64,
    /// Deaths that only a gap in NRestarts told of, by the reason why they were not seen.
    pub lost: BTreeMap<&'static str, u64>,
}

/// Why signals may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The bus, or PID 1's connection to it, was away.
    Reconnect,
    /// PID 1 reloaded its configuration, or executed itself anew.
    Reload,
    /// The comparison on schedule found a difference.
    Drift,
}

impl Gap {
    fn as_str(self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::Reload => "reload",
            Self::Drift => "drift",
        }
    }
}

/// How long and how many accounts of unloaded units are kept, and how many events.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// An account stays this long after its unit was unloaded.
    pub retired_for: Duration,
    /// At most this many accounts of unloaded units, the latest ones.
    pub retired: usize,
    /// At most this many events, the latest ones.
    pub events: usize,
}

impl Default for Keep {
    fn default() -> Self {
        Self { retired_for: Duration::from_secs(3600), retired: 1000, events: 256 }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new(Keep::default())
    }
}

impl Default for Host {
    fn default() -> Self {
        let zeros = |words: &[&str]| words.iter().map(|name| (word(name), 0)).collect();
        Self {
            failures: zeros(SERVICE_RESULTS),
            job_results: zeros(JOB_RESULTS),
            reloads: 0,
            lost: LOST.into_iter().map(|reason| (reason, 0)).collect(),
        }
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self {
            accounts: BTreeMap::new(),
            retired: VecDeque::new(),
            keep,
            events: VecDeque::new(),
            host: Host::default(),
            reconciliation: JournalReconciliation::default(),
        }
    }

    /// The accounts of units known now and of those unloaded lately, by name.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<Account>)> {
        self.accounts.iter()
    }

    /// What is counted for the host as a whole.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What happened last, the newest first.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().rev()
    }

    /// Opens an account at zero for a unit that is exported, or takes up the one it had.
    pub fn open(&mut self, unit: &Unit) {
        if unit.selected && !unit.is_absent() {
            let account = self.account(&unit.name, unit);
            if let Some(since) = Arc::make_mut(account).retired.take() {
                // one that comes and goes over and over must not push others out
                self.retired.retain(|(at, name)| *at != since || *name != unit.name);
            }
        }
    }

    /// Counts what one change of a unit tells. `gap` is why signals before it may be missing, if
    /// they may; `reloaded` is when PID 1 last reloaded its configuration, if it has told.
    pub fn observe(&mut self, change: &Change, gap: Option<Gap>, reloaded: Option<Timestamp>) {
        let Change { before, after } = change;
        if !after.selected || (after.is_absent() && !self.accounts.contains_key(&after.name)) {
            return;
        }
        let missed = gap.map(|gap| Missed { reload: gap == Gap::Reload, at: reloaded });
        let account = Arc::make_mut(self.account(&after.name, after));
        let mut outcome = Outcome::default();
        account.observe(before, after, missed, &mut outcome);
        if let Some(result) = outcome.failure {
            *by_word(&mut self.host.failures, &result) += 1;
        }
        if let Some(run) = outcome.ended {
            self.reconciliation.counted(run);
        }
        let Outcome { unseen: deaths, more, .. } = outcome;
        if deaths > 0 || (more > 0 && self.reconciliation.is_heard) {
            let (unit, reason) = (after.name.clone(), gap.map_or("coalesced", Gap::as_str));
            let (since, found) = (known_at(before), Timestamp::monotonic());
            let unseen = MissedExits { unit, since, found, exits: deaths, more, reason };
            match self.reconciliation.is_heard {
                true => self.reconciliation.wait(unseen),
                false => self.explained(&unseen, Attribution::default()),
            }
        }
        for event in outcome.events {
            self.record(event);
        }
    }

    /// From now on, what was not seen waits for what the journal tells of it.
    pub fn hear_journal(&mut self) {
        self.reconciliation.is_heard = true;
    }

    /// Hears what systemd has put into the journal, which has been read as far as it was written
    /// by then. `following` tells that signals come, too.
    pub fn reconcile(&mut self, exits: JournalExits, read: Timestamp, following: bool) {
        self.reconciliation.add(exits);
        for (unseen, explained) in self.reconciliation.explain(read) {
            self.explained(&unseen, explained);
        }
        if following {
            self.reconciliation.forget(read);
        }
    }

    /// Counts ends that were not seen, with what the journal tells of them.
    fn explained(&mut self, unseen: &MissedExits, explained: Attribution) {
        let MissedExits { unit, exits: deaths, reason, .. } = unseen;
        let Attribution { ends: told, is_all } = explained;
        let unknown = if is_all { 0 } else { deaths.saturating_sub(told.len() as u64) };
        debug!(%unit, deaths, told = told.len(), is_all, reason, "deaths not seen");
        let mut account = self.accounts.get_mut(unit).map(Arc::make_mut);
        let mut events = Vec::new();
        for told in told {
            let at = SystemTime::now() - told.at.age();
            self.reconciliation.counted(told.run);
            let (what, cause) = match told.is_clean() {
                true => (What::Exited, None),
                false => (What::Failed, Some(told.result)),
            };
            if let Some(result) = &cause {
                if let Some(account) = &mut account {
                    account.failed(result, Some(told.run), at);
                }
                *by_word(&mut self.host.failures, result) += 1;
            }
            events.push(event(unit, at, what, cause, None, Some(told.run)));
        }
        if unknown > 0 {
            if let Some(account) = account {
                account.failed_unknown(unknown);
            }
            *by_word(&mut self.host.failures, &UNKNOWN) += unknown;
            *self.host.lost.entry(reason).or_default() += unknown;
        }
        events.into_iter().for_each(|event| self.record(event));
    }

    /// Counts a job's end. `unit` is the unit it was for, where the mirror has it.
    pub fn job_removed(&mut self, name: &str, unit: Option<&Unit>, result: &str) {
        let result = word(result);
        *by_word(&mut self.host.job_results, &result) += 1;
        if HARMLESS_JOB_RESULTS.contains(&&*result) {
            return;
        }
        let Some(unit) = unit.filter(|unit| unit.selected) else { return };
        let account = Arc::make_mut(self.account(&unit.name, unit));
        *by_word(&mut account.job_failures, &result) += 1;
        self.record(Event {
            at: SystemTime::now(),
            unit: name.into(),
            what: What::JobFailed,
            cause: Some(result),
            status: None,
            invocation_id: None,
        });
    }

    /// Counts a reload of PID 1's configuration.
    pub fn reloaded(&mut self) {
        self.host.reloads += 1;
    }

    /// Marks the account of a unit that PID 1 has unloaded: it is kept for a while.
    pub fn unload(&mut self, name: &Arc<str>, now: Instant) {
        match self.accounts.get_mut(name) {
            // anybody may have any name loaded for a moment: nothing happened, nothing is kept
            Some(account) if account.is_blank() => {
                self.accounts.remove(name);
            }
            Some(account) => {
                Arc::make_mut(account).retired = Some(now);
                self.retired.push_back((now, name.clone()));
            }
            None => {}
        }
        self.forget(now);
    }

    /// Drops accounts of units unloaded too long ago, or too many of them.
    pub fn forget(&mut self, now: Instant) {
        while let Some((since, name)) = self.retired.front() {
            let old = now.duration_since(*since) > self.keep.retired_for;
            if !old && self.retired.len() <= self.keep.retired {
                break;
            }
            self.accounts.remove(name);
            self.retired.pop_front();
        }
    }

    fn account(&mut self, name: &Arc<str>, unit: &Unit) -> &mut Arc<Account> {
        self.accounts.entry(name.clone()).or_insert_with(|| Arc::new(Account::new(unit.kind)))
    }

    fn record(&mut self, event: Event) {
        let Event { unit, what, cause, status, .. } = &event;
        debug!(%unit, ?what, ?cause, ?status, "event");
        self.events.push_back(Arc::new(event));
        while self.events.len() > self.keep.events {
            self.events.pop_front();
        }
    }
}

/// Every result of a service that systemd 247 to 262 know, but success: systemd.exec(5),
/// `$SERVICE_RESULT`, and what is counted though nobody saw its cause.
pub const SERVICE_RESULTS: &[&str] = &[
    "core-dump",
    "exec-condition",
    "exit-code",
    "oom-kill",
    "protocol",
    "resources",
    "signal",
    "start-limit-hit",
    "timeout",
    "unknown",
    "watchdog",
];

const JOB_RESULTS: &[&str] = &["canceled", "dependency", "done", "failed", "skipped", "timeout"];

/// A job may end so without anything being wrong.
const HARMLESS_JOB_RESULTS: &[&str] = &["canceled", "collected", "done", "once", "skipped"];

/// Why a death may go unseen.
const LOST: [&str; 4] = ["coalesced", "drift", "reconnect", "reload"];
