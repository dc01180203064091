//! Properties asked again: on the hint of a signal, and now and then.

use std::sync::Arc;
use std::time::Instant;

use super::session::{ALONE, Session};
use crate::systemd::bus::{Call, Get};
use crate::systemd::properties::{self, Interface};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;

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
            if let Some(unit) = state.mirror.unit(&name) {
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
