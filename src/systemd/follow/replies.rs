//! Handles replies to the calls of [`CallQueue`](super::call_queue::CallQueue).

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use zbus::OwnedVariant;
use zbus::message::{Message, Type};

use super::connection::Follower;
use super::pending_fetches::PendingFetch;
use super::resync::count_decode_error;
use crate::clock;
use crate::systemd::dbus::{
    ACCESS_DENIED, Call, DRIVER, Get, Purpose, listed_jobs, listed_units, remedy,
};
use crate::systemd::ledger::Gap;
use crate::systemd::manager::{NAMES, UNITS_LOADED};
use crate::systemd::mirror::ListedUnit;
use crate::systemd::state::State;
use crate::systemd::unit::properties::{EXEC_START, STATE_CHANGE_TIME, Values, afterwards};

impl Follower<'_> {
    pub(super) fn handle_reply(&mut self, reply: &Message) {
        let header = reply.header();
        // the bus drops replies of other clients, unless its configuration allows them
        let trusted = [self.calls.destination(), DRIVER];
        let sender = header.sender().map(|sender| sender.as_str()).unwrap_or_default();
        if !trusted.contains(&sender) {
            self.shared.lock().status.untrusted_messages += 1;
            return;
        }
        let Some(call) = header.reply_serial().and_then(|serial| self.calls.remove(serial)) else {
            return;
        };
        let shared = self.shared;
        let state = &mut *shared.lock();
        self.count_pending_change(state);
        // an error of the bus is no sign of life of PID 1
        if sender != DRIVER {
            state.status.last_message = Some(clock::instant());
        }
        let error = (reply.message_type() == Type::Error).then(|| describe(reply));
        let is_denied = error.as_ref().is_some_and(|error| error.starts_with(ACCESS_DENIED));
        if is_denied {
            self.log_denied(&call, error.as_deref().unwrap_or_default());
        }
        // an older systemd does not have each property
        let may_fail = matches!(call, Call::Unit(..) | Call::Manager(_) | Call::SignalCheck);
        if error.is_some() && (is_denied || !may_fail) {
            *state.status.errors.entry("answer").or_default() += 1;
        }
        match call {
            Call::Subscribe => {
                if let Some(error) = error {
                    warn!(%error, "failed to subscribe to systemd's signals");
                }
            }
            Call::List | Call::ListKind(_) | Call::ListPart(..) => match error {
                None => self.units_listed(state, &call, listed_units(reply)),
                Some(error) => self.listing_failed(state, &call, error),
            },
            Call::Names => {
                let body = reply.body();
                let names = match error {
                    None => body.deserialize().map_err(|error| error.to_string()),
                    Some(error) => Err(error),
                };
                self.list_parts(names);
            }
            Call::ListNames(_) => {
                if error.is_none() {
                    self.new_units_listed(state, listed_units(reply));
                }
            }
            Call::ListJobs => match listed_jobs(reply) {
                Ok(jobs) => state.mirror.jobs_listed(&jobs, clock::wall()),
                Err(error) => debug!(%error, "failed to decode ListJobs reply"),
            },
            Call::Unit(get) => {
                // an error: the unit is gone, or this systemd does not have the property
                let values = if error.is_none() { values(&get, reply, state) } else { Vec::new() };
                self.properties_read(state, &get, values);
            }
            Call::Manager(property) => {
                let value = if error.is_none() { value(reply, state) } else { None };
                self.manager_property_read(state, &property, value);
            }
            Call::SignalCheck => {
                self.signal_check.replied(error.is_some(), clock::instant());
                self.mark_following(state);
            }
        }
    }

    /// Logs the first denied call of the connection.
    fn log_denied(&mut self, call: &Call, error: &str) {
        if !std::mem::replace(&mut self.was_denied, true) {
            let call = call.kind();
            warn!(call, "access to systemd is denied: {error}{}", remedy(error));
        }
    }

    /// Fetches the new units that are still loaded.
    fn new_units_listed(&mut self, state: &mut State, rows: zbus::Result<Vec<ListedUnit>>) {
        let reloaded = self.resync.reloaded_at.map(|at| clock::instant().duration_since(at));
        let gap = reloaded.is_some_and(|age| age < RECENTLY_RELOADED).then_some(Gap::Reload);
        for row in count_decode_error(state, rows).unwrap_or_default() {
            if let Some(change) = state.mirror.list(&row) {
                state.observe(&change, gap);
            }
            if let Some(unit) = state.mirror.unit(&row.name) {
                state.ledger.open(unit);
                self.fetches.plan(unit, gap);
            }
        }
    }

    fn properties_read(
        &mut self,
        state: &mut State,
        get: &Get,
        values: Vec<(&'static str, OwnedVariant)>,
    ) {
        let Get { name, interface, purpose, .. } = get;
        let Purpose::Fetch(number) = *purpose else {
            for (property, value) in values {
                state.ledger.failed_command_read(name, property, &value);
                let change =
                    state.mirror.change(name, |unit| unit.set(*interface, property, &value));
                match change {
                    Some(change) if property == STATE_CHANGE_TIME => {
                        state.ledger.state_change_read(&change.after);
                    }
                    Some(change) if property == EXEC_START => state.ledger.commands_read(&change),
                    _ => {}
                }
            }
            if *purpose == Purpose::BootTimes {
                self.boot_blame.add_reply(state);
            }
            return;
        };
        if let Some(fetch) = self.fetches.pending.add_reply(name, number, *interface, values) {
            if fetch.is_check {
                self.unit_checked(state, name, &fetch);
                return self.mark_synced(state);
            }
            if let Some(change) = state.mirror.change(name, |unit| fetch.apply(unit)) {
                state.observe(&change, fetch.gap);
                match (change.before.selected, change.after.selected) {
                    // one of its other names is among those to export
                    (false, true) => {
                        state.ledger.open(&change.after);
                        self.fetches.plan(&change.after, fetch.gap);
                    }
                    // one of its other names is among those to exclude
                    (true, false) => state.ledger.close(name),
                    _ => {}
                }
                // part of the fetch, so before the next one
                for (interface, property) in afterwards(&change.after, self.extras) {
                    let get = Get::single(&change.after, interface, property);
                    self.calls.add(Call::Unit(get));
                }
                self.refetch.plan_dependencies(&state.mirror, &change.after, fetch.gap.is_some());
            }
            self.mark_synced(state);
        }
    }

    /// Fetches a unit that ran unnoticed; otherwise, sets the properties that were read.
    fn unit_checked(&mut self, state: &mut State, name: &Arc<str>, fetch: &PendingFetch) {
        let Some(unit) = state.mirror.unit(name) else { return };
        if fetch.reveals_run(unit) {
            self.fetches.plan(unit, fetch.gap);
        } else {
            state.mirror.change(name, |unit| fetch.apply(unit));
        }
    }

    fn manager_property_read(
        &mut self,
        state: &mut State,
        property: &str,
        value: Option<OwnedVariant>,
    ) {
        if let Some(value) = value {
            let before = state.manager.units_loaded;
            state.manager.set(property, &value);
            let is_other = before.is_some() && before != state.manager.units_loaded;
            if is_other && self.resync.missed_signals.is_some() {
                debug!("systemd reloaded its configuration while the bus was away");
                state.ledger.reloaded();
                self.mark_missed_reload(state);
            }
        }
        if let Some(loaded) = state.manager.units_loaded.filter(|_| property == UNITS_LOADED) {
            self.refetch.compare_files(loaded.system_time());
        }
        if property == NAMES {
            self.resync.is_count_read = true;
            return;
        }
        // the next property to be requested is the version
        self.resync.is_version_read = true;
        let version = state.manager.version_number();
        self.extras.freezer = version.is_some_and(|version| version < 256);
        self.extras.oom_kills = version.is_some_and(|version| version >= 259);
    }
}

/// The properties of a reply to Get or GetAll.
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

/// The name and text of an error, cut to a length that fits one line of the log.
fn describe(reply: &Message) -> String {
    let name = reply.header().error_name().map(ToString::to_string).unwrap_or_default();
    let body = reply.body();
    let text: &str = body.deserialize().unwrap_or_default();
    format!("{name}: {}", &text[..text.floor_char_boundary(MAX_ERROR_LENGTH)])
}

/// In bytes; systemd's own texts have about a hundred.
const MAX_ERROR_LENGTH: usize = 500;

/// For this time after a reload, UnitNew is sent for units that were loaded before.
const RECENTLY_RELOADED: Duration = Duration::from_secs(60);
