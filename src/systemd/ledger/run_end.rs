//! How the last run of an inactive unit ended: by itself, or because somebody asked for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::transitions::was_reset;
use crate::systemd::mirror::{Change, Mirror};
use crate::systemd::unit::Unit;
use crate::systemd::unit::dependencies::Relation;
use crate::systemd::unit::value::Timestamp;

/// How the last run of a unit ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// The unit runs, never ran, or signals were missed.
    #[default]
    Unknown,
    /// By a systemd job, such as that of `systemctl stop`; or `systemctl reset-failed` was called
    /// after it failed.
    Job,
    /// By a systemd job, together with a unit that it requires.
    JobOfDependency,
    /// Without a systemd job.
    Own,
}

impl RunEnd {
    /// How an inactive unit ended whose change a signal reports: PID 1 sends the signals of a job, of the
    /// unit's change and of the job's removal in this order.
    pub(in crate::systemd) fn at_signal(mirror: &Mirror, unit: &Unit) -> Self {
        match unit.inactive_enter.and_then(Timestamp::set) {
            Some(_) if !mirror.knows_jobs() => Self::Unknown,
            Some(_) if mirror.has_job(&unit.name) => Self::by_job(mirror, unit),
            Some(_) => Self::Own,
            None => Self::Unknown,
        }
    }

    /// How an inactive unit ended that was read later.
    pub(in crate::systemd) fn as_read(mirror: &Mirror, unit: &Unit) -> Self {
        let Some(ended) = unit.inactive_enter.and_then(Timestamp::set) else {
            return Self::Unknown;
        };
        let active = unit.active_enter.unwrap_or_default().system_time();
        match mirror.had_job(&unit.name, ended.system_time(), active) {
            None => Self::Unknown,
            Some(false) => Self::Own,
            Some(true) => Self::by_job(mirror, unit),
        }
    }

    fn by_job(mirror: &Mirror, unit: &Unit) -> Self {
        // the unit is stopped before those that it is ordered after
        let is_stopped = |name: &str| {
            mirror.has_job(name) || mirror.unit(name).is_none_or(|unit| !is_running(unit))
        };
        match required(unit).any(is_stopped) {
            true => Self::JobOfDependency,
            false => Self::Job,
        }
    }

    /// The value after one change of the unit; `new` is how a run ended that the change ends.
    fn after(self, before: &Unit, after: &Unit, new: Self) -> Self {
        if is_running(after) {
            return Self::Unknown;
        }
        // not the state, which a list of units has without the time
        if before.inactive_enter != after.inactive_enter {
            return if was_reset(after) { Self::Job } else { new };
        }
        // PID 1 failed the run in the turn of its start, within the job
        let is_new_run = before.run().zip(after.run()).is_some_and(|(was, is)| was != is);
        match (is_new_run && self != Self::Unknown) || (before.is("failed") && after.is("inactive"))
        {
            true => Self::Job,
            false => self,
        }
    }
}

impl Ledger {
    /// Notes how a run ended, if the change ends one.
    pub(in crate::systemd) fn note_run_end(&mut self, change: &Change, new: RunEnd) {
        let Some(counters) = self.counters.get_mut(&change.after.name) else { return };
        let run_end = counters.run_end.after(&change.before, &change.after, new);
        if run_end != counters.run_end {
            Arc::make_mut(counters).run_end = run_end;
            self.generation += 1;
        }
    }

    /// How the last run of an inactive unit ended.
    #[must_use]
    pub fn run_end(&self, name: &str) -> RunEnd {
        self.counters.get(name).map(|counters| counters.run_end).unwrap_or_default()
    }
}

/// The units without which the unit does not run.
pub(in crate::systemd) fn required(unit: &Unit) -> impl Iterator<Item = &str> {
    let dependencies = unit.dependencies().into_iter().flat_map(|all| all.iter());
    dependencies.filter_map(|(relation, name)| {
        let is_required = [Relation::Requires, Relation::BindsTo, Relation::Requisite];
        is_required.contains(&relation).then_some(&**name)
    })
}

fn is_running(unit: &Unit) -> bool {
    !unit.is("inactive") && !unit.is("failed")
}
