//! The counters of one unit, and the rules that derive events from two consecutive states.
//!
//! Conditions of systemd that the rules depend on:
//! - after the main process has exited, `ExecMainExitTimestampMonotonic` is new and not 0; a start
//!   resets it to 0 and `Result` to success;
//! - `Result` is set once per run, by the first failure: at the exit itself, before it (watchdog,
//!   timeouts: the exit follows), or without one (protocol, resources). If PID 1 itself fails the
//!   start, no signal shows the success that the start sets: only `InvocationID` is new;
//! - `NRestarts` rises by one for each restart by `Restart=`, after the exit that caused it, and is
//!   reset to 0 by a manual start and by reset-failed;
//! - the start limit is hit when a service that was to be started becomes failed, again or for the
//!   first time, without a new `InvocationID`. `Result` shows this only if the last run was a success
//!   or systemd is new: 262 resets `Result` before it refuses the start, which then counts as a
//!   failure by itself.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::counted::Counted;
use super::event::{EventKind, event};
use super::exit_code::ExitCode;
use super::journal_reconciliation::MAIN_EXIT;
use super::observed::{MissedSignals, Observed};
use super::oom_kills::{Kill, is_kill};
use super::run_end::RunEnd;
use super::transitions::{
    LastExit, awaits_restart, began, has_failed_for_good, is_restart_planned, last_exit, last_run,
    may_be_refused, new_exit, new_failure, was_refused, was_refused_later,
};
use crate::clock;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp, intern};
use crate::systemd::unit::{Service, Unit, serial};

/// The counters of one unit since [`Self::since`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitCounters {
    /// The unit's kind.
    #[serde(skip)]
    pub kind: UnitKind,
    /// When the counters of failures, exits, restarts and starts began: at boot, or when the unit
    /// was first seen.
    #[serde(with = "serial::wall_clock")]
    pub since: SystemTime,
    /// When the other counters began: when the unit was first seen in this boot.
    #[serde(with = "serial::wall_clock")]
    pub seen_since: SystemTime,
    /// Changes of ActiveState.
    pub state_changes: u64,
    /// Starts, manual or by systemd.
    pub starts: u64,
    /// Restarts of a service by `Restart=`.
    pub restarts: u64,
    /// Failures of a service.
    pub failures: Counted,
    /// Failures by result.
    pub failures_by_result: BTreeMap<InternedStr, Counted>,
    /// Exits of a service's main process, by code and by status or signal name.
    #[serde(with = "serial::pairs")]
    pub main_exits: BTreeMap<(ExitCode, InternedStr), Counted>,
    /// Jobs that failed, by result.
    pub job_failures: BTreeMap<InternedStr, Counted>,
    /// Times a timer elapsed.
    pub triggers: u64,
    /// Whether the start limit was hit and the service has not been started since.
    pub start_limit_hit: bool,
    /// How its last run ended, while it is inactive.
    pub run_end: RunEnd,
    /// When the unit was unloaded; `None` while it is loaded.
    #[serde(with = "serial::monotonic_option")]
    pub unloaded_at: Option<Instant>,
    /// Whether an exit was seen that no restart has followed yet.
    exit_awaits_restart: bool,
    /// Whether an exit was taken for the one before a restart, though it may be the one after it.
    exit_attribution_pending: bool,
    /// Whether a restart was counted whose run has not begun.
    restart_planned: bool,
    /// Whether the run is new, and no signal has shown it in any state: PID 1 may fail it next.
    run_begins: bool,
    /// Restarts that the first state of the unit showed.
    pub(super) restarts_since_boot: u64,
}

impl UnitCounters {
    pub(in crate::systemd) fn new(kind: UnitKind) -> Self {
        let now = clock::wall();
        Self {
            kind,
            since: now,
            seen_since: now,
            state_changes: 0,
            starts: 0,
            restarts: 0,
            failures: Counted::default(),
            failures_by_result: BTreeMap::new(),
            main_exits: BTreeMap::new(),
            job_failures: BTreeMap::new(),
            triggers: 0,
            start_limit_hit: false,
            run_end: RunEnd::Unknown,
            unloaded_at: None,
            exit_awaits_restart: false,
            exit_attribution_pending: false,
            restart_planned: false,
            run_begins: false,
            restarts_since_boot: 0,
        }
    }

    /// Adds the counters of another unit.
    pub fn add(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        self.seen_since = self.seen_since.min(other.seen_since);
        self.state_changes += other.state_changes;
        self.starts += other.starts;
        self.restarts += other.restarts;
        self.triggers += other.triggers;
        self.failures.add(&other.failures);
        for (result, count) in &other.failures_by_result {
            counter_of(&mut self.failures_by_result, result).add(count);
        }
        for (result, count) in &other.job_failures {
            counter_of(&mut self.job_failures, result).add(count);
        }
        for (exit, count) in &other.main_exits {
            limited_entry(&mut self.main_exits, exit.clone(), (exit.0, OTHER), MAX_EXITS)
                .add(count);
        }
    }

    /// Whether all counters are 0.
    pub(super) fn is_blank(&self) -> bool {
        self.state_changes + self.starts + self.restarts + self.failures.total + self.triggers == 0
            && self.main_exits.is_empty()
            && self.job_failures.is_empty()
    }

    /// Counts one change. Where signals were missed, the states in between are unknown.
    pub(super) fn observe(
        &mut self,
        before: &Unit,
        after: &Unit,
        missed: Option<MissedSignals>,
        observed: &mut Observed,
    ) {
        if let (Some(was), Some(is)) = (&before.active_state, &after.active_state) {
            self.state_changes += u64::from(was != is);
        }
        if let (Some(was), Some(is)) = (before.invocation_id, after.invocation_id) {
            self.starts += u64::from(is.is_set() && was != is);
        }
        // not LastTriggerUSec: systemd also reads that from the stamp file of a Persistent= timer
        if let (Some(was), Some(is)) = (before.timer(), after.timer())
            && let (Some(was), Some(is)) = (was.last_trigger_monotonic, is.last_trigger_monotonic)
        {
            self.triggers += u64::from(is.set().is_some() && was != is);
        }
        if let (Some(was), Some(is)) = (before.service(), after.service()) {
            let exited = self.count_exit((before, was), (after, is), observed);
            self.count_restarts(before, after, exited, missed, observed);
            self.detect_start_limit(before, after, missed.is_some(), observed);
        }
    }

    /// Counts an exit of the main process and a failure. Returns whether a run ended, which a
    /// restart may follow.
    fn count_exit(
        &mut self,
        (before, was): (&Unit, &Service),
        (after, is): (&Unit, &Service),
        observed: &mut Observed,
    ) -> bool {
        let exit = new_exit(was, is);
        let failed = new_failure((before, was), (after, is));
        if exit.is_none() && failed.is_none() {
            // a forking service may leave no main process; a listed state comes without the result
            let changes = before.state_change.zip(after.state_change);
            let is_listed = changes.is_none_or(|(before, after)| before == after);
            let has_ended = awaits_restart(after) && !awaits_restart(before) && !is_listed;
            let is_clean = is.result.as_deref() == Some("success");
            return has_ended && is_clean && !self.exit_awaits_restart;
        }
        // not the exit of a run that has failed before, by watchdog or timeout
        let has_ended = failed.is_some() || is.result.as_deref() == Some("success");
        let exit = exit.filter(|_| !observed.is_exit_counted);
        let failed = failed.filter(|_| !observed.is_failure_counted);
        if exit.is_none() && failed.is_none() {
            return has_ended;
        }
        let at = match exit {
            Some(_) => is.main_exit.and_then(Timestamp::set).map(Timestamp::system_time),
            None => None,
        };
        let at = at.unwrap_or_else(clock::wall);
        let run = last_run(before, after);
        observed.counted.push(is.result.clone().unwrap_or_default());
        let mut status = None;
        if let Some((code, name)) = exit {
            observed.counted.push(MAIN_EXIT);
            self.count_main_exit(code, name.clone(), run, at);
            status = Some(name);
        }
        if observed.may_be_oom_killed && status.is_some() && is_kill(is, failed) {
            self.failures.count(run, at);
            observed.killed = Some(Kill::of(before, is, run, at));
            return true;
        }
        if let Some(result) = failed {
            self.count_failure(result, run, at);
            observed.failure = Some(result.clone());
        }
        let kind = if failed.is_some() { EventKind::Failed } else { EventKind::Exited };
        let cause = failed.cloned();
        observed.events.push(event(&before.name, at, kind, cause, status, run));
        has_ended
    }

    /// Counts a failure.
    pub(super) fn count_failure(
        &mut self,
        result: &InternedStr,
        run: Option<InvocationId>,
        at: SystemTime,
    ) {
        self.failures.count(run, at);
        counter_of(&mut self.failures_by_result, result).count(run, at);
    }

    /// Counts an exit of the main process.
    pub(super) fn count_main_exit(
        &mut self,
        code: ExitCode,
        status: InternedStr,
        run: Option<InvocationId>,
        at: SystemTime,
    ) {
        limited_entry(&mut self.main_exits, (code, status), (code, OTHER), MAX_EXITS)
            .count(run, at);
    }

    /// Counts failures whose result is unknown, none of them before `since`.
    pub(super) fn count_unknown_failures(&mut self, count: u64, since: SystemTime) {
        self.failures.add_events(count, since);
        counter_of(&mut self.failures_by_result, &UNKNOWN).add_events(count, since);
    }

    /// Each restart follows one exit and precedes the run that it begins. Restarts without a seen
    /// exit thus reveal exits that were missed.
    fn count_restarts(
        &mut self,
        before: &Unit,
        after: &Unit,
        exited: bool,
        missed: Option<MissedSignals>,
        observed: &mut Observed,
    ) {
        let (Some(was), Some(is)) = (before.service(), after.service()) else { return };
        let exits = u64::from(self.exit_awaits_restart) + u64::from(exited);
        let restarts = match (was.restarts, is.restarts) {
            (Some(old), Some(new)) if new >= old => new - old,
            (Some(_), Some(new)) => new,
            _ => 0,
        };
        let is_exited = is.main_exit_monotonic.and_then(Timestamp::set).is_some();
        let is_same_exit = is_exited && was.main_exit_monotonic == is.main_exit_monotonic;
        let last_exit = last_exit(before, after);
        // after a reload between planning a restart and making it, systemd plans and counts it again
        let reloaded = missed.filter(|missed| missed.reload);
        let counted_twice = u64::from(reloaded.is_some_and(|missed| {
            let planned = missed.reloaded_at.and_then(|at| is_restart_planned(before, after, at));
            planned.unwrap_or(
                self.restart_planned || (self.exit_awaits_restart && last_exit == LastExit::Same),
            )
        }));
        let missed_exits = match is_same_exit {
            true => u64::from(self.exit_attribution_pending).min(restarts),
            false => {
                let one = u64::from(last_exit == LastExit::Newer && !exited);
                let least = one.min(restarts.saturating_sub(exits));
                restarts.saturating_sub(exits + counted_twice).max(least)
            }
        };
        let running = began((before, was), (after, is));
        // the exit of a run that began in this change is one of that run
        self.exit_awaits_restart = if running { exited } else { exits > restarts };
        // after missed signals, the exit seen may be the one before the restart or the one after
        // it: the next change decides
        self.exit_attribution_pending = match restarts {
            0 => self.exit_attribution_pending && !running && !exited,
            _ => missed.is_some() && exited && exits + counted_twice <= restarts,
        };
        self.restart_planned = match restarts {
            0 => self.restart_planned && !running && !exited,
            _ => is_exited && !self.exit_awaits_restart && awaits_restart(after),
        };
        if restarts == 0 {
            return;
        }
        self.restarts += restarts;
        observed.missed_exits = missed_exits;
        observed.possible_double_count = counted_twice;
        let (run, now) = (before.run(), clock::wall());
        observed.events.push(event(&before.name, now, EventKind::Restarted, None, None, run));
    }

    fn detect_start_limit(
        &mut self,
        before: &Unit,
        after: &Unit,
        has_gap: bool,
        observed: &mut Observed,
    ) {
        let has_begun = before.run() != after.run();
        let changes = before.state_change.zip(after.state_change).filter(|_| !has_gap);
        let has_changed = changes.is_some_and(|(before, after)| before != after);
        let is_refused = has_changed && !has_begun && !self.run_begins && may_be_refused(before);
        let is_idle = after.is("inactive") || (after.is("failed") && !has_changed);
        self.run_begins = (self.run_begins || has_begun) && changes.is_some() && is_idle;
        if !has_failed_for_good(after) {
            self.start_limit_hit = false;
            return;
        }
        // of several changes in one signal, the last one
        let is_refused = is_refused || (has_changed && was_refused_later(after));
        let is_repeated = self.start_limit_hit && before.is("failed") && !has_begun;
        let result = after.service().and_then(|service| service.result.as_deref());
        self.start_limit_hit = is_repeated
            || match changes.is_some() {
                true => is_refused || result == Some("start-limit-hit"),
                // states in between were missed
                false => was_refused(after),
            };
        if is_refused && !is_repeated {
            let (name, now, cause) = (&before.name, clock::wall(), result.map(intern));
            let hit = event(name, now, EventKind::StartLimitHit, cause, None, before.run());
            observed.events.push(hit);
        }
    }
}

impl Default for UnitCounters {
    /// Those of a unit whose kind is not known yet.
    fn default() -> Self {
        Self::new(UnitKind::Service)
    }
}

/// The counter of a result, or of `other` once there are too many results.
pub(super) fn counter_of<'c, C: Default>(
    counters: &'c mut BTreeMap<InternedStr, C>,
    result: &InternedStr,
) -> &'c mut C {
    limited_entry(counters, result.clone(), OTHER, MAX_RESULTS)
}

/// Bounds the number of keys: the manager of a user may send new results forever.
fn limited_entry<K: Ord, V: Default>(
    counters: &mut BTreeMap<K, V>,
    key: K,
    other: K,
    limit: usize,
) -> &mut V {
    let fits = counters.len() < limit || counters.contains_key(&key);
    counters.entry(if fits { key } else { other }).or_default()
}

/// The result of failures whose cause is unknown.
pub(super) const UNKNOWN: InternedStr = InternedStr::Borrowed("unknown");

/// The result that replaces further ones at the limit.
const OTHER: InternedStr = InternedStr::Borrowed("other");

/// Distinct results: systemd has about twelve.
const MAX_RESULTS: usize = 64;

/// Distinct exits of a main process: 256 statuses, and the signals, with and without a core dump.
const MAX_EXITS: usize = 400;
