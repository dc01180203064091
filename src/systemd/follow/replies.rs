//! What is done with each answer.

use std::time::Instant;

use tracing::{debug, warn};
use zbus::OwnedVariant;
use zbus::message::{Message, Type};

use super::connection::{ALONE, BLAME, Session};
use crate::systemd::dbus;
use crate::systemd::dbus::{Call, DRIVER, Get};
use crate::systemd::state::State;
use crate::systemd::unit::properties;
use crate::systemd::unit::properties::{Interface, Values};

impl Session<'_> {
    /// Takes one answer.
    pub(super) fn answer(&mut self, reply: &Message) {
        let header = reply.header();
        // the bus lets nobody else answer, but that is for the bus's configuration to say
        if header
            .sender()
            .is_some_and(|sender| ![self.owner.as_str(), DRIVER].contains(&sender.as_str()))
        {
            self.shared.lock().status.foreign += 1;
            return;
        }
        let Some(call) = header.reply_serial().and_then(|serial| self.window.answered(serial))
        else {
            return;
        };
        let shared = self.shared;
        let state = &mut *shared.lock();
        self.observe_half(state);
        state.status.heard = Some(Instant::now());
        let error = (reply.message_type() == Type::Error).then(|| describe(reply));
        // an older systemd does not have each property
        if error.is_some() && !matches!(call, Call::Unit(..) | Call::Manager(_)) {
            *state.status.errors.entry("answer").or_default() += 1;
        }
        match call {
            Call::Subscribe => {
                if let Some(error) = error {
                    warn!(%error, "systemd refused to send signals");
                }
            }
            Call::List | Call::ListKind(_) => match error {
                None => self.listed(state, &call, dbus::listed(reply)),
                Some(error) => self.not_listed(state, &call, error),
            },
            Call::ListNames(_) => {
                if error.is_none() {
                    self.arrived(state, dbus::listed(reply));
                }
            }
            Call::ListJobs => match dbus::listed_jobs(reply) {
                Ok(jobs) => state.mirror.jobs_listed(&jobs, std::time::SystemTime::now()),
                Err(error) => debug!(%error, "the list of jobs made no sense"),
            },
            Call::Unit(get) => {
                // an error: the unit is gone, or this systemd does not have the property
                let values = if error.is_none() { values(&get, reply, state) } else { Vec::new() };
                self.properties(state, &get, values);
            }
            Call::Manager(property) => {
                if error.is_none()
                    && let Some(value) = value(reply, state)
                {
                    let loaded = state.manager.units_loaded;
                    state.manager.set(&property, &value);
                    let is_other = loaded != state.manager.units_loaded;
                    if loaded.is_some() && is_other && self.gap.is_some() {
                        debug!("systemd reloaded its configuration while nobody listened");
                        state.ledger.reloaded();
                        self.gap_is_reload(state);
                    }
                }
                // the version is asked first of all
                let version = state.manager.version_number();
                self.is_versioned = true;
                self.extras.oom_kills = version.is_some_and(|version| version >= 259);
            }
        }
    }

    fn properties(
        &mut self,
        state: &mut State,
        get: &Get,
        values: Vec<(&'static str, OwnedVariant)>,
    ) {
        let Get { name, interface, generation, .. } = get;
        if [ALONE, BLAME].contains(generation) {
            for (property, value) in values {
                state.mirror.change(name, |unit| unit.set(*interface, property, &value));
            }
            if *generation == BLAME {
                self.blame.answered(state);
            }
            return;
        }
        if let Some(draft) = self.drafts.answer(name, *generation, *interface, values) {
            if let Some(change) = state.mirror.change(name, |unit| draft.apply(unit)) {
                state.observe(&change, draft.gap);
                // part of the fetch, so before the next one
                for property in properties::afterwards(&change.after, self.extras) {
                    self.ask(&change.after, Interface::Unit, property);
                }
            }
            self.settle(state);
        }
    }
}

/// What an answer tells of a unit, by property.
fn values(get: &Get, reply: &Message, state: &mut State) -> Vec<(&'static str, OwnedVariant)> {
    if let Some(property) = get.property {
        return value(reply, state).into_iter().map(|value| (property, value)).collect();
    }
    let body = reply.body();
    let all: Values<'_> = match body.deserialize() {
        Ok(all) => all,
        Err(_) => {
            *state.status.errors.entry("decode").or_default() += 1;
            return Vec::new();
        }
    };
    all.iter().filter_map(|(name, value)| Some((name, value.try_to_owned().ok()?))).collect()
}

fn value(reply: &Message, state: &mut State) -> Option<OwnedVariant> {
    match reply.body().deserialize() {
        Ok(value) => Some(value),
        Err(_) => {
            *state.status.errors.entry("decode").or_default() += 1;
            None
        }
    }
}

/// What an error says, as much of it as one line of a log should hold.
fn describe(reply: &Message) -> String {
    let name = reply.header().error_name().map(ToString::to_string).unwrap_or_default();
    let body = reply.body();
    let text: &str = body.deserialize().unwrap_or_default();
    format!("{name}: {}", &text[..text.floor_char_boundary(LONGEST_ERROR)])
}

/// Bytes of an error's text; systemd's own have about a hundred.
const LONGEST_ERROR: usize = 500;
