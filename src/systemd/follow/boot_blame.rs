//! How long the slowest units took to start at boot, as `systemd-analyze blame` has it.
//!
//! Only the monotonic clock tells: the wall clock is set while a host boots. It is asked of those
//! units that seem slow by the wall clock, once, when the boot has finished; a unit that was started
//! again before the exporter could ask is not among them.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{BLAME, Session};
use crate::systemd::dbus::{Call, Get};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::properties::Interface;
use crate::systemd::unit::value::Timestamp;

/// Answers still to come.
#[derive(Default)]
pub(super) enum Blame {
    #[default]
    Unasked,
    Left(usize),
}

impl Session<'_> {
    /// Asks, if the boot has finished and it is not known yet.
    pub(super) fn find_blame(&mut self, state: &State) {
        let is_due = state.blame.is_none() && state.status.following && !self.reloading;
        let Some(finish) = state.manager.finished() else { return };
        if !is_due || matches!(self.blame, Blame::Left(_)) {
            return;
        }
        let suspects = suspects(state, finish.time.unwrap_or_default());
        self.blame = Blame::Left(suspects.len() * PROPERTIES.len());
        for unit in suspects {
            for property in PROPERTIES {
                self.window.call(Call::Unit(Get {
                    name: unit.name.clone(),
                    kind: unit.kind,
                    interface: Interface::Unit,
                    property: Some(property),
                    generation: BLAME,
                }));
            }
        }
    }
}

impl Blame {
    /// Takes note of an answer; the last one settles it.
    pub(super) fn answered(&mut self, state: &mut State) {
        let Self::Left(left) = self else { return };
        *left = left.saturating_sub(1);
        let Some(finish) = state.manager.finished().and_then(|stage| stage.monotonic) else {
            return;
        };
        if *left == 0 {
            let took = state
                .mirror
                .units()
                .filter_map(|unit| Some((unit.name.clone(), took(unit, finish)?)));
            let mut took: Vec<_> = took.collect();
            took.sort_by_key(|(_, took)| Reverse(*took));
            took.truncate(SLOWEST);
            state.blame = Some(took);
        }
    }
}

/// The units that may be among the slowest: of those that were last started before the boot had
/// finished the slowest, then of the others.
fn suspects(state: &State, finish: Timestamp) -> Vec<Arc<Unit>> {
    let mut suspects: Vec<_> = state
        .mirror
        .units()
        .filter(|unit| unit.selected)
        .filter_map(|unit| {
            let begun = unit.inactive_exit.and_then(Timestamp::set)?;
            let ends = [unit.active_enter?, unit.inactive_enter?];
            // none of them later: the clock was set back meanwhile
            let took = ends.into_iter().find(|end| *end >= begun).map(|end| end.0 - begun.0);
            Some((begun > finish, Reverse(took.unwrap_or(u64::MAX)), unit.clone()))
        })
        .collect();
    suspects.sort_by_key(|(late, took, _)| (*late, *took));
    suspects.into_iter().take(SUSPECTS).map(|(_, _, unit)| unit).collect()
}

/// How long a unit took, if it was last started before the boot had finished.
fn took(unit: &Unit, finish: Timestamp) -> Option<Duration> {
    let begun = unit.since_boot.inactive_exit.and_then(Timestamp::set)?;
    let ends = [unit.since_boot.active_enter?, unit.since_boot.inactive_enter?];
    let end = ends.into_iter().find(|end| *end >= begun)?;
    let took = Duration::from_micros(end.0 - begun.0);
    (unit.selected && begun <= finish && !took.is_zero()).then_some(took)
}

const PROPERTIES: [&str; 3] = [
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
    "InactiveEnterTimestampMonotonic",
];

/// More than are exported: the wall clock may mislead.
const SUSPECTS: usize = 64;

const SLOWEST: usize = 20;
