//! Values of the previous pass that still hold: those of units of which no process has run since.
//!
//! CPU time shows whether one has: waking up, allocating, forking, exiting and being killed all use
//! some. The kernel adds up `memory.stat` only every two seconds, so values are kept once they have
//! been read a while after the last activity. Other changes need no CPU time: memory is reclaimed
//! from a sleeping process, a process is moved to another cgroup, a limit is written to a file by
//! another program than systemd. Those values are read in each pass, or at the latest after
//! [`MAX_AGE`] passes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cgroup_tree::UnitGroup;
use crate::systemd::unit::Unit;

/// Values that change when a process of a unit runs, or is moved into its cgroup or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// CPU time: `usage_usec` of `cpu.stat`. v2 only.
    pub usage: Duration,
    /// Tasks: `pids.current`; `None` without the pids controller.
    pub tasks: Option<u64>,
}

/// The values of each unit in the previous pass.
#[derive(Debug)]
pub(super) struct IdleUnits<V> {
    pass: u64,
    began: Instant,
    /// By control group.
    last: HashMap<Arc<str>, LastValues<V>>,
}

#[derive(Debug)]
struct LastValues<V> {
    properties: Arc<Unit>,
    activity: Activity,
    /// Whether the values were read [`SETTLE_TIME`] after the activity.
    is_settled: bool,
    /// When this activity was first seen.
    ran_at: Instant,
    values: V,
    pass: u64,
    /// The passes that read all values: those with this remainder by [`MAX_AGE`].
    turn: u64,
}

impl<V> Default for IdleUnits<V> {
    fn default() -> Self {
        Self { pass: 0, began: Instant::now(), last: HashMap::new() }
    }
}

impl<V> IdleUnits<V> {
    pub(super) fn start_pass(&mut self) {
        self.pass += 1;
        self.began = Instant::now();
    }

    /// The values of the previous pass, unless a process of the unit has run since, systemd has
    /// reported other properties of the unit, or it is its turn to be read whole.
    pub(super) fn values<K>(&self, unit: &UnitGroup<K>, activity: Option<Activity>) -> Option<&V> {
        let last = self.last.get(&unit.control_group)?;
        let is_idle = last.is_settled
            && last.pass + 1 == self.pass
            && activity == Some(last.activity)
            && unit.properties.as_ref().is_some_and(|new| Arc::ptr_eq(new, &last.properties))
            && self.pass % MAX_AGE != last.turn;
        is_idle.then_some(&last.values)
    }

    /// Keeps the values that [`values`](Self::values) returned, for another pass.
    pub(super) fn keep<K>(&mut self, unit: &UnitGroup<K>) -> Option<&mut V> {
        let last = self.last.get_mut(&unit.control_group)?;
        last.pass = self.pass;
        Some(&mut last.values)
    }

    /// Keeps values that were read in this pass.
    pub(super) fn add<K>(&mut self, unit: &UnitGroup<K>, activity: Option<Activity>, values: V) {
        let (Some(properties), Some(activity)) = (unit.properties.clone(), activity) else {
            return;
        };
        let pass = self.pass;
        let last = self.last.get(&unit.control_group);
        let turn = last.map_or(self.last.len() as u64 % MAX_AGE, |last| last.turn);
        let same = last.filter(|last| last.activity == activity);
        let ran_at = same.map_or(self.began, |last| last.ran_at);
        let is_settled = self.began.duration_since(ran_at) >= SETTLE_TIME;
        let last = LastValues { properties, activity, is_settled, ran_at, values, pass, turn };
        self.last.insert(unit.control_group.clone(), last);
    }

    /// Ends the pass: drops the values of units that it did not reach.
    pub(super) fn finish_pass(&mut self) {
        let pass = self.pass;
        self.last.retain(|_, last| last.pass == pass);
    }
}

/// Twice the interval in which the kernel adds up the memory of cgroups, and some reserve.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// In each pass, one of so many units is read whole although it is idle.
const MAX_AGE: u64 = 8;
