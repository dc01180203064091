//! Properties asked again: on the hint of a signal, and now and then.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{ALONE, Session};
use crate::systemd::dbus::{Call, Get};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::properties;
use crate::systemd::unit::properties::{CONTROL_GROUP, Interface};

impl Session<'_> {
    /// Asks soon what PID 1 changes of this unit without a signal.
    pub(super) fn hint_polled(&mut self, unit: &Unit, all: bool, at: Instant) {
        for property in properties::polled(unit, self.extras, all) {
            self.hint(&unit.name, Interface::Kind, property, at);
        }
    }

    /// Asks a property again soon, unless that is planned already.
    pub(super) fn hint(
        &mut self,
        name: &Arc<str>,
        interface: Interface,
        property: &'static str,
        at: Instant,
    ) {
        self.hints.entry((name.clone(), interface, property)).or_insert(at);
    }

    /// Asks what is due, the longest due first, as far as there is room: a queue would hold
    /// questions about units that are unloaded before their turn comes.
    pub(super) fn ask_hints(&mut self, state: &State, now: Instant) {
        let room = self.window.room();
        if room == 0 {
            return;
        }
        let mut due: Vec<_> = self.hints.iter().filter(|(_, at)| **at <= now).collect();
        if due.len() > room {
            due.select_nth_unstable_by_key(room, |(_, at)| **at);
            due.truncate(room);
        }
        let due: Vec<_> = due.into_iter().map(|(key, _)| key.clone()).collect();
        for key in due {
            self.hints.remove(&key);
            let (name, interface, property) = key;
            // never about a unit that is not loaded: asking would load it
            let Some(unit) = state.mirror.unit(&name) else { continue };
            // one that crashes in a loop has none most of the time; its next start is a hint again
            if property != CONTROL_GROUP || has_processes(unit) {
                self.ask(unit, interface, property);
            }
        }
    }

    /// Asks one property of a unit that is loaded.
    pub(super) fn ask(&mut self, unit: &Unit, interface: Interface, property: &'static str) {
        let (name, kind, property) = (unit.name.clone(), unit.kind, Some(property));
        self.window.call(Call::Unit(Get { name, kind, interface, property, generation: ALONE }));
    }
}

/// Whether the unit may have processes; between two runs it has none.
fn has_processes(unit: &Unit) -> bool {
    let waits = unit.sub_state.as_deref().is_some_and(|sub| sub.starts_with("auto-restart"));
    !(waits || unit.is("inactive") || unit.is("failed"))
}
