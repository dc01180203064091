//! Compares the exporter with the model.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::history::Op;
use super::pid1::Pid1;
use super::service::{Service, Sub, Truth};
use crate::systemd::ledger::{ExitCode, RunEnd, UnitCounters};
use crate::systemd::state::State;

/// The faults since boot, which allow some events to be unknown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Signals may have been lost: the bus or the exporter was away.
    pub(super) lost_signals: bool,
    /// PID 1 reloaded its configuration.
    pub(super) reloads: bool,
    /// Changes may have merged.
    pub(super) merged: bool,
    /// The journal could not be read for some time.
    pub(super) unreadable: bool,
    /// The exporter was killed.
    pub(super) killed: bool,
}

impl Facts {
    /// Whether signals may be missing, or show several changes as one.
    fn has_gaps(&self) -> bool {
        self.lost_signals || self.reloads || self.merged
    }
}

/// The values that the exporter has exported so far.
pub(super) struct Check {
    /// The counters of each unit.
    last: Vec<[u64; 5]>,
}

impl Check {
    pub(super) fn new(units: usize) -> Self {
        Self { last: vec![[0; 5]; units] }
    }

    /// The exporter is killed: counts since the last save come back only once the journal is read.
    pub(super) fn killed(&mut self) {
        self.last.iter_mut().for_each(|last| *last = [0; 5]);
    }

    /// No counter is lower than before.
    pub(super) fn no_counter_fell(&mut self, state: &State, op: Op) -> Result<(), String> {
        for (name, counters) in state.ledger.counters() {
            let unit = usize::from(name.as_bytes()[0] - b'a');
            let exits = counters.main_exits.values().map(|count| count.total).sum();
            let is = [
                counters.failures.total,
                counters.restarts,
                counters.starts,
                counters.state_changes,
                exits,
            ];
            let was = std::mem::replace(&mut self.last[unit], is);
            if was.iter().zip(is).any(|(was, is)| *was > is) {
                return Err(format!("{name}: counters fell at {op:?}: {was:?} to {is:?}"));
            }
        }
        Ok(())
    }

    /// Compares everything once nothing is under way.
    pub(super) fn compare(&self, pid1: &Pid1, facts: &Facts, state: &State) -> Result<(), String> {
        let mut differences = Vec::new();
        if std::env::var("MODEL").is_ok() {
            eprintln!("{:#?}\n{:#?}", pid1.units, pid1.truth);
        }
        for (unit, file) in pid1.files.iter().enumerate() {
            let counters = state.ledger.counters().find(|(name, _)| &***name == file.name);
            let blank = UnitCounters::default();
            let counters = counters.map_or(&blank, |(_, counters)| counters);
            let mut case = Case { name: file.name, facts, differences: &mut differences };
            case.counters(&pid1.truth[unit], pid1.journal.lost, file.commands(), counters);
            case.state(pid1.units[unit].as_ref(), &pid1.truth[unit], state, counters);
        }
        if state.status.drift > 0 {
            differences.push(format!("drift: {}", state.status.drift));
        }
        if state.ledger.awaits_journal() {
            differences.push("something still waits for the journal".to_owned());
        }
        if !state.status.following {
            differences.push(format!("not following: {:?}", state.status.trouble));
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(differences.join("\n")),
        }
    }
}

/// One unit.
struct Case<'a> {
    name: &'static str,
    facts: &'a Facts,
    differences: &'a mut Vec<String>,
}

impl Case<'_> {
    fn counters(
        &mut self,
        truth: &Truth,
        is_journal_lossy: bool,
        commands: usize,
        counters: &UnitCounters,
    ) {
        let has_gaps = self.facts.has_gaps();
        let is_complete = !(is_journal_lossy || self.facts.unreadable);
        let mut failures: BTreeMap<&str, u64> = counters
            .failures_by_result
            .iter()
            .map(|(result, count)| (&**result, count.total))
            .collect();
        let unknown = failures.remove("unknown").unwrap_or_default();
        let truth_failures: u64 = truth.failures.values().sum();
        let is_exact = is_complete || !has_gaps;
        if is_exact {
            // those that only a signal showed may be missing
            let mut logged = truth.failures.clone();
            for (result, count) in truth.unlogged.iter().filter(|_| has_gaps) {
                let counted = failures.get(result).copied().unwrap_or_default();
                let all = logged.remove(result).unwrap_or_default();
                let least = all.saturating_sub(*count);
                logged
                    .extend(Some((*result, counted.clamp(least, all))).filter(|(_, all)| *all > 0));
            }
            self.equal("failures", &failures, &logged);
            self.equal("unknown failures", &unknown, &0);
        } else {
            self.at_most("failures", &failures, &truth.failures);
            // a restart without an entry in the journal may have followed a clean exit
            if counters.failures.total > truth_failures + truth.clean_ends {
                self.differ(
                    "failures with unknown ones",
                    &counters.failures.total,
                    &truth_failures,
                );
            }
        }
        // each restart follows an end that is known, except where systemd 252 counts one twice, or
        // entries are lost while journald is down, which is known only later. An exit after missed
        // signals may be the one before the restart or after it until the next change decides.
        let undecided = u64::from(has_gaps);
        let ends = counters.failures.total + truth.clean_ends + truth.reset_failures + undecided;
        if !self.facts.reloads && !is_journal_lossy && ends < counters.restarts {
            self.differ("ends before restarts", &ends, &counters.restarts);
        }
        let code = |code: i32| match code {
            1 => ExitCode::Exited,
            2 => ExitCode::Killed,
            _ => ExitCode::Dumped,
        };
        let exits: BTreeMap<_, _> = counters
            .main_exits
            .iter()
            .map(|((code, status), count)| ((*code, status.to_string()), count.total))
            .collect();
        let truth_exits: BTreeMap<_, _> = truth
            .exits
            .iter()
            .map(|(exit, count)| {
                let of = code(exit.code);
                let status = of.status(u64::try_from(exit.status).unwrap_or_default());
                ((of, status.to_string()), *count)
            })
            .collect();
        if has_gaps || commands > 1 {
            self.at_most("exits", &exits, &truth_exits);
        } else {
            self.equal("exits", &exits, &truth_exits);
        }
        let jobs: BTreeMap<_, _> =
            counters.job_failures.iter().map(|(result, count)| (&**result, count.total)).collect();
        let counts = [
            ("restarts", counters.restarts, truth.restarts, truth.reset_restarts),
            ("starts", counters.starts, truth.starts, 0),
        ];
        for (what, is, truth, may_miss) in counts {
            if is > truth || (is + may_miss < truth && !has_gaps) {
                self.differ(what, &is, &truth);
            }
        }
        if has_gaps {
            self.at_most("failed jobs", &jobs, &truth.job_failures);
        } else {
            self.equal("failed jobs", &jobs, &truth.job_failures);
        }
    }

    fn state(
        &mut self,
        model: Option<&Service>,
        truth: &Truth,
        state: &State,
        counters: &UnitCounters,
    ) {
        let unit = state.mirror.unit(self.name);
        let (Some(model), Some(unit)) = (model, unit) else {
            return self.equal("is loaded", &unit.is_some(), &model.is_some());
        };
        let Some(service) = unit.service() else { return };
        self.equal("ActiveState", &unit.active_state.as_deref(), &Some(model.sub.active()));
        self.equal("SubState", &unit.sub_state.as_deref(), &Some(model.sub.name()));
        if truth.stale_result != service.result.as_deref() {
            self.equal("Result", &service.result.as_deref(), &Some(model.result));
        }
        let run = unit.invocation_id.map(|id| u128::from_be_bytes(id.0));
        self.equal("InvocationID", &run, &Some(model.invocation.into()));
        let exit = service.main_exit_monotonic.map(|at| at.0);
        self.equal("exit", &exit, &Some(model.main.exited.monotonic));
        let has_gaps = self.facts.has_gaps();
        // the states are the same after a refused start and after one that PID 1 failed
        if !(has_gaps && model.result == "resources") {
            self.equal("start limit hit", &counters.start_limit_hit, &truth.start_limit_hit);
        }
        if model.sub == Sub::Dead && !model.condition.0 && model.condition.1.monotonic > 0 {
            self.equal("conditions met", &unit.conditions_met, &Some(false));
            let is_checked = unit.conditions_checked.is_some_and(|at| at.0 > 0);
            self.equal("conditions checked", &is_checked, &true);
        }
        let run_end = counters.run_end;
        let expected = match truth.ended_with_job.filter(|_| model.sub.is_inactive()) {
            Some(true) => RunEnd::Job,
            Some(false) => RunEnd::Own,
            None => RunEnd::Unknown,
        };
        // an end is never one without a job in error, which would be reported as a problem. PID 1 sends
        // changes before new jobs: of a stop that a start replaces while its queue is full, the job may
        // come late. That unit runs again, or is failed or skipped, which is no such problem.
        let is_reported = model.sub == Sub::Dead && model.condition.0;
        let may_be_unknown = has_gaps && [RunEnd::Unknown, RunEnd::Job].contains(&run_end);
        if !may_be_unknown && (is_reported || !self.facts.merged) {
            self.equal("end of the last run", &run_end, &expected);
        }
    }

    fn equal<T: Debug + PartialEq>(&mut self, what: &str, is: &T, truth: &T) {
        if is != truth {
            self.differ(what, is, truth);
        }
    }

    fn at_most<K: Debug + Ord>(
        &mut self,
        what: &str,
        is: &BTreeMap<K, u64>,
        truth: &BTreeMap<K, u64>,
    ) {
        if is.iter().any(|(key, count)| truth.get(key).is_none_or(|truth| count > truth)) {
            self.differ(what, is, truth);
        }
    }

    fn differ(&mut self, what: &str, is: &dyn Debug, truth: &dyn Debug) {
        self.differences.push(format!("{}: {what}: {is:?}, in truth {truth:?}", self.name));
    }
}
