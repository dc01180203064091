//! Handles D-Bus signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;
use zbus::ObjectPath;
use zbus::message::{Body, Message};

use super::connection::Follower;
use super::pending_fetches::NewUnit;
use super::resync::RECENTLY_UNLOADED;
use crate::clock;
use crate::systemd::dbus::{Changed, DRIVER, FollowError, UNIT_INTERFACE, new_owner};
use crate::systemd::state::State;
use crate::systemd::unit::name::{UnitKind, from_object_path, is_valid};
use crate::systemd::unit::properties::{
    CONDITION_TIME, CONTROL_GROUP, EXEC_START, Interface, NEXT_DELAY,
};
use crate::systemd::unit::value::Timestamp;
use crate::systemd::unit::{Service, Unit};

impl Follower<'_> {
    /// Handles one signal. An error ends the connection.
    pub(super) fn handle_signal(&mut self, message: &Message) -> Result<(), FollowError> {
        let header = message.header();
        let Some(member) = header.member().map(|member| member.as_str()) else { return Ok(()) };
        let sender = header.sender().map(|sender| sender.as_str()).unwrap_or_default();
        let shared = self.shared;
        let state = &mut *shared.lock();
        let owner = self.calls.destination();
        if sender == DRIVER {
            // only the bus itself can send under this name
            let changed = new_owner(message).is_some_and(|new_owner| new_owner != owner);
            return if changed { Err(FollowError::OwnerChanged) } else { Ok(()) };
        }
        if sender != owner {
            // any client of the bus can send signals that look like systemd's
            state.status.untrusted_messages += 1;
            return Ok(());
        }
        let now = clock::instant();
        state.status.last_message = Some(now);
        self.signal_check.signal_arrived();
        self.mark_following(state);
        let path = header.path().map(|path| path.as_str()).unwrap_or_default();
        let counted = MEMBERS.into_iter().find(|known| *known == member).unwrap_or("other");
        *state.status.signals.entry(counted).or_default() += 1;
        if let Err(error) = self.decode_signal(state, member, path, &message.body(), now) {
            debug!(%error, member, path, "failed to decode D-Bus signal");
            *state.status.errors.entry("decode").or_default() += 1;
        }
        Ok(())
    }

    fn decode_signal(
        &mut self,
        state: &mut State,
        member: &str,
        path: &str,
        body: &Body,
        now: Instant,
    ) -> zbus::Result<()> {
        if member != "PropertiesChanged" {
            self.count_pending_change(state);
        }
        match member {
            "PropertiesChanged" => {
                self.properties_changed(state, path, &body.deserialize()?, now);
            }
            "UnitNew" => {
                let (name, _): (&str, ObjectPath<'_>) = body.deserialize()?;
                self.unit_new(state, name, now);
            }
            "UnitRemoved" => {
                let (name, _): (&str, ObjectPath<'_>) = body.deserialize()?;
                if !self.resync.is_reloading() && self.resync.has_listed(name) {
                    self.unload(state, &Arc::from(name));
                }
            }
            "JobNew" => {
                let (id, _, unit): (u32, ObjectPath<'_>, &str) = body.deserialize()?;
                // loaded by a reload, whose list of units has not arrived
                if state.status.filled && state.mirror.unit(unit).is_none() {
                    self.unit_new(state, unit, now);
                }
                state.mirror.job_new(id, unit, clock::wall());
            }
            "JobRemoved" => {
                let (id, _, unit, result): (u32, ObjectPath<'_>, &str, &str) =
                    body.deserialize()?;
                state.mirror.job_removed(id);
                let mirrored = state.mirror.unit(unit).cloned();
                state.ledger.job_removed(unit, mirrored.as_deref(), result);
                self.refetch.plan_system_state(now);
            }
            "Reloading" => match body.deserialize()? {
                true => self.begin_reload(state),
                false => {
                    state.ledger.reloaded();
                    self.finish_reload(state);
                }
            },
            "StartupFinished" => self.request_manager_properties(),
            _ => {}
        }
        Ok(())
    }

    fn properties_changed(
        &mut self,
        state: &mut State,
        path: &str,
        (interface, values, _): &Changed<'_>,
        now: Instant,
    ) {
        let Some(name) = from_object_path(path) else { return };
        let Some(kind) = UnitKind::of(&name) else { return };
        let interface = match *interface {
            UNIT_INTERFACE => Interface::Unit,
            own if own == kind.interface() => Interface::Kind,
            // some versions have separate interfaces for cgroup, exec and kill settings
            _ => return,
        };
        // systemd signals the properties of a unit's kind and then those of every unit, one right
        // after the other: one change in two signals
        let is_second = |before: &Arc<Unit>| *before.name == *name && interface == Interface::Unit;
        if self.pending_change.as_ref().is_some_and(|before| !is_second(before)) {
            self.count_pending_change(state);
        }
        let change = state.mirror.change(&name, |unit| {
            for (property, value) in values.iter() {
                unit.set(interface, property, value);
            }
        });
        let Some(change) = change else { return };
        if tracing::enabled!(tracing::Level::DEBUG) {
            trace(&change.after);
        }
        let before = self.pending_change.get_or_insert_with(|| change.before.clone());
        state.pending_change = Some(before.clone());
        if interface == Interface::Unit {
            self.count_pending_change(state);
        }
        self.fetches.pending.signalled(&name, interface);
        let soon = now + BURST_DELAY;
        let unit = &change.after;
        let state_changed = change.before.active_state != unit.active_state;
        if interface == Interface::Unit {
            self.resync.possible_drift.remove(&unit.name);
            if change.before.is("failed") != unit.is("failed") {
                self.refetch.plan_system_state(now);
            }
            let begins = state_changed && !unit.is("inactive");
            if unit.selected && kind.has_cgroup() && unit.control_group.is_none() && begins {
                self.refetch.plan(&unit.name, Interface::Kind, CONTROL_GROUP, soon);
            }
        }
        let restarts = |unit: &Unit| unit.service().and_then(|service| service.restarts);
        if unit.selected
            && unit.service().is_some_and(Service::has_restart_steps)
            && restarts(&change.before) != restarts(unit)
        {
            self.refetch.plan(&unit.name, Interface::Kind, NEXT_DELAY, soon);
        }
        let is_unmet = unit.conditions_met == Some(false)
            && unit.conditions_checked.and_then(Timestamp::set).is_none();
        // also of units that are not exported: others may depend on them
        let is_skipped = unit.is("inactive") && kind != UnitKind::Device;
        if is_unmet && (is_skipped || (unit.selected && self.extras.conditions)) {
            self.refetch.plan(&unit.name, Interface::Unit, CONDITION_TIME, soon);
        }
        // systemd starts the next command of a oneshot in the turn in which it notices an exit, so
        // signals show the last exit only
        if let (Some(was), Some(is)) = (change.before.service(), unit.service())
            && was.main_exit_monotonic != is.main_exit_monotonic
            && is.main_exit_monotonic.and_then(Timestamp::set).is_some()
            && is.commands.as_ref().is_some_and(|commands| !commands.is_empty())
        {
            self.refetch.plan(&unit.name, Interface::Kind, EXEC_START, now);
        }
        // a socket unit signals when connections begin and end, but not their numbers
        let may_change_polled = match interface {
            Interface::Kind => kind == UnitKind::Socket,
            Interface::Unit => state_changed,
        };
        if unit.selected && may_change_polled {
            self.refetch.plan_polled(unit, self.extras, true, soon);
        }
    }

    fn unit_new(&mut self, state: &mut State, name: &str, now: Instant) {
        if self.resync.is_reloading() || !is_valid(name) {
            return;
        }
        self.resync.unit_loaded(name);
        let Some(unit) = state.mirror.load(name) else {
            // the first change of a unit since a reload, or since it was loaded, if that was when it
            // was listed: this signal reports it without a value
            if let Some(unit) = state.mirror.unit(name) {
                let new = self.fetches.new_units.entry(unit.name.clone());
                new.or_insert(NewUnit::new(now + BURST_DELAY)).has_values = false;
            }
            return;
        };
        state.ledger.open(&unit);
        // a unit that was unloaded a moment ago may be back only because of a call of ours: wait
        // longer, and request it only if it is still loaded then
        let unloaded = self.resync.recently_unloaded.get(&unit.name);
        let wait = match unloaded.is_some_and(|at| now < *at + RECENTLY_UNLOADED) {
            true => RECENTLY_UNLOADED,
            false => BURST_DELAY,
        };
        self.fetches.new_units.insert(unit.name.clone(), NewUnit::new(now + wait));
    }
}

/// Lets a burst of signals pass before the calls that they cause.
const BURST_DELAY: Duration = Duration::from_millis(100);

/// The signals that are handled; all others are counted as `other`.
const MEMBERS: [&str; 7] = [
    "JobNew",
    "JobRemoved",
    "PropertiesChanged",
    "Reloading",
    "StartupFinished",
    "UnitNew",
    "UnitRemoved",
];

/// Logs a unit after a signal, for finding out afterwards why something was counted.
fn trace(unit: &Unit) {
    let active = unit.active_state.as_deref().unwrap_or_default();
    let sub = unit.sub_state.as_deref().unwrap_or_default();
    match unit.service() {
        Some(service) => {
            let Service { result, restarts, exit_code, exit_status, .. } = service;
            let exit = service.main_exit_monotonic;
            debug!(name = %unit.name, active, sub, ?result, ?restarts, ?exit_code, ?exit_status, ?exit, "signal");
        }
        None => debug!(name = %unit.name, active, sub, "signal"),
    }
}
