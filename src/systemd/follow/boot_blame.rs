//! How long the slowest units took to start at boot, as `systemd-analyze blame` computes it.
//!
//! The times are read on the monotonic clock: the wall clock is set while a host boots. They are
//! requested of the units that seem slow by the wall clock, once, when the boot has finished; a
//! unit that was started again before the exporter could read them is omitted.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::call_queue::CallQueue;
use crate::systemd::dbus::{Call, Get, Purpose};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::properties::Interface;
use crate::systemd::unit::value::Timestamp;

/// The number of replies still to come; `None` before the calls are made.
#[derive(Default)]
pub(super) struct BootBlame(Option<usize>);

impl BootBlame {
    /// Requests the times, once the boot has finished.
    pub(super) fn request(&mut self, state: &State, is_reloading: bool, calls: &mut CallQueue) {
        let is_due = state.boot_blame.is_none() && state.status.following && !is_reloading;
        let Some(finish) = state.manager.finished() else { return };
        if !is_due || self.0.is_some() {
            return;
        }
        let candidates = candidates(state, finish.time.unwrap_or_default());
        self.0 = Some(candidates.len() * PROPERTIES.len());
        for unit in candidates {
            for property in PROPERTIES {
                let get = Get::single(&unit, Interface::Unit, property);
                calls.add(Call::Unit(Get { purpose: Purpose::BootTimes, ..get }));
            }
        }
    }

    /// Counts a reply; after the last one, the slowest units are known.
    pub(super) fn add_reply(&mut self, state: &mut State) {
        let Some(left) = &mut self.0 else { return };
        *left = left.saturating_sub(1);
        let Some(finish) = state.manager.finished().and_then(|stage| stage.monotonic) else {
            return;
        };
        if *left == 0 {
            let times = state
                .mirror
                .units()
                .filter_map(|unit| Some((unit.name.clone(), start_time(unit, finish)?)));
            let mut times: Vec<_> = times.collect();
            times.sort_by_key(|(_, time)| Reverse(*time));
            times.truncate(MAX_SLOWEST);
            state.boot_blame = Some(times);
        }
    }
}

/// The units that may be among the slowest: of those that were last started before the boot had
/// finished the slowest, then of the others.
fn candidates(state: &State, finish: Timestamp) -> Vec<Arc<Unit>> {
    let mut candidates: Vec<_> = state
        .mirror
        .units()
        .filter(|unit| unit.selected)
        .filter_map(|unit| {
            let begun = unit.inactive_exit.and_then(Timestamp::set)?;
            let ends = [unit.active_enter?, unit.inactive_enter?];
            // none of them later: the clock was set back meanwhile
            let time = ends.into_iter().find(|end| *end >= begun).map(|end| end.0 - begun.0);
            Some((begun > finish, Reverse(time.unwrap_or(u64::MAX)), unit.clone()))
        })
        .collect();
    candidates.sort_by_key(|(late, time, _)| (*late, *time));
    candidates.into_iter().take(MAX_CANDIDATES).map(|(_, _, unit)| unit).collect()
}

/// How long a unit took to start, if it was last started before the boot had finished.
fn start_time(unit: &Unit, finish: Timestamp) -> Option<Duration> {
    let begun = unit.since_boot.inactive_exit.and_then(Timestamp::set)?;
    let ends = [unit.since_boot.active_enter?, unit.since_boot.inactive_enter?];
    let end = ends.into_iter().find(|end| *end >= begun)?;
    let time = Duration::from_micros(end.0 - begun.0);
    (unit.selected && begun <= finish && !time.is_zero()).then_some(time)
}

const PROPERTIES: [&str; 3] = [
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
    "InactiveEnterTimestampMonotonic",
];

/// More units than are exported: the order by the wall clock may be wrong.
const MAX_CANDIDATES: usize = 64;

/// Units that are exported.
const MAX_SLOWEST: usize = 20;
