//! What is done with each signal.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::debug;
use zbus::ObjectPath;
use zbus::message::{Body, Message};

use super::connection::{DEPARTED, Session};
use super::resync::Reason;
use crate::systemd::dbus::{Call, Changed, DRIVER, Error, UNIT_INTERFACE, new_owner};
use crate::systemd::ledger::Gap;
use crate::systemd::manager::UNITS_LOADED;
use crate::systemd::mirror::Change;
use crate::systemd::state::State;
use crate::systemd::unit::name::{Kind, from_object_path, is_valid};
use crate::systemd::unit::properties::{CONDITION_TIME, CONTROL_GROUP, Interface};
use crate::systemd::unit::value::Timestamp;
use crate::systemd::unit::{Service, Unit};

impl Session<'_> {
    /// Takes one signal. An error ends the session.
    pub(super) fn signal(&mut self, message: &Message) -> Result<(), Error> {
        let header = message.header();
        let Some(member) = header.member().map(|member| member.as_str()) else { return Ok(()) };
        let sender = header.sender().map(|sender| sender.as_str()).unwrap_or_default();
        let shared = self.shared;
        let state = &mut *shared.lock();
        if sender == DRIVER {
            // only the bus itself can send in this name
            let changed = new_owner(message).is_some_and(|owner| owner != self.owner.as_str());
            return if changed { Err(Error::OwnerChanged) } else { Ok(()) };
        }
        if sender != self.owner.as_str() {
            // anybody on the bus may send what looks like systemd's signals
            state.status.foreign += 1;
            return Ok(());
        }
        let now = Instant::now();
        state.status.heard = Some(now);
        let path = header.path().map(|path| path.as_str()).unwrap_or_default();
        let body = message.body();
        let known = MEMBERS.into_iter().find(|known| *known == member).unwrap_or("other");
        *state.status.signals.entry(known).or_default() += 1;
        if let Err(error) = self.by_member(state, member, path, &body, now) {
            debug!(%error, member, path, "a signal of systemd made no sense");
            *state.status.errors.entry("decode").or_default() += 1;
        }
        Ok(())
    }

    fn by_member(
        &mut self,
        state: &mut State,
        member: &str,
        path: &str,
        body: &Body,
        now: Instant,
    ) -> zbus::Result<()> {
        if member != "PropertiesChanged" {
            self.observe_half(state);
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
                if !self.reloading && self.has_listed(name) {
                    self.unload(state, &Arc::from(name));
                }
            }
            "JobNew" => {
                let (id, _, unit): (u32, ObjectPath<'_>, &str) = body.deserialize()?;
                state.mirror.job_new(id, unit, SystemTime::now());
            }
            "JobRemoved" => {
                let (id, _, unit, result): (u32, ObjectPath<'_>, &str, &str) =
                    body.deserialize()?;
                state.mirror.job_removed(id);
                let mirrored = state.mirror.unit(unit).cloned();
                state.ledger.job_removed(unit, mirrored.as_deref(), result);
                self.system_state_may_have_changed(now);
            }
            "Reloading" => self.reloading(state, body.deserialize()?),
            "StartupFinished" => self.ask_manager(),
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
        let Some(kind) = Kind::of(&name) else { return };
        let interface = match *interface {
            UNIT_INTERFACE => Interface::Unit,
            own if own == kind.interface() => Interface::Kind,
            // cgroup, exec and kill settings have interfaces of their own in some versions
            _ => return,
        };
        if self
            .half
            .as_ref()
            .is_some_and(|half| *half.name != *name || interface == Interface::Kind)
        {
            self.observe_half(state);
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
        let _ = self.half.get_or_insert_with(|| change.before.clone());
        if interface == Interface::Unit {
            self.observe_half(state);
        }
        self.drafts.signalled(&name, interface);
        let unit = &change.after;
        if interface == Interface::Unit {
            self.suspects.remove(&unit.name);
            if change.before.is("failed") != unit.is("failed") {
                self.system_state_may_have_changed(now);
            }
            let begins = change.before.active_state != unit.active_state && !unit.is("inactive");
            if unit.selected && kind.has_cgroup() && unit.control_group.is_none() && begins {
                self.hint(&unit.name, Interface::Kind, CONTROL_GROUP, now + SOON);
            }
        }
        let is_unmet = unit.conditions_met == Some(false)
            && unit.conditions_checked.and_then(Timestamp::set).is_none();
        if unit.selected && self.extras.conditions && is_unmet {
            self.hint(&unit.name, Interface::Unit, CONDITION_TIME, now + SOON);
        }
        // a socket unit signals around connections, of which its properties do not tell
        let asks = match interface {
            Interface::Kind => kind == Kind::Socket,
            Interface::Unit => change.before.active_state != unit.active_state,
        };
        if unit.selected && asks {
            self.hint_polled(unit, true, now + SOON);
        }
    }

    /// Counts what happened since the first half of a change was told. systemd tells what is of a
    /// unit's kind and then what is of every unit, one right after the other: one state in two
    /// signals.
    pub(super) fn observe_half(&mut self, state: &mut State) {
        let Some(before) = self.half.take() else { return };
        let Some(after) = state.mirror.unit(&before.name).cloned() else { return };
        let gap = self.drafts.gap(&before.name).or(self.gap);
        state.observe(&Change { before, after }, gap);
    }

    fn unit_new(&mut self, state: &mut State, name: &str, now: Instant) {
        if self.reloading || !is_valid(name) {
            return;
        }
        if let Some(listing) = &mut self.listing {
            listing.loaded(name);
        }
        let Some(unit) = state.mirror.load(name) else {
            // after a reload, the first change of a unit is told by this signal, without a value
            let recently = self.reloaded.is_some_and(|at| now.duration_since(at) < AFTERMATH);
            if let Some(unit) = state.mirror.unit(name).filter(|_| recently) {
                self.fetch(&unit.clone(), Some(Gap::Reload));
            }
            return;
        };
        state.ledger.open(&unit);
        // a name that went a moment ago may be back only because we asked for it: wait longer,
        // and ask only if it is still there then
        let departed = self.departed.get(&unit.name).is_some_and(|at| now < *at + DEPARTED);
        let wait = if departed { DEPARTED } else { SOON };
        self.arrivals.insert(unit.name.clone(), now + wait);
    }

    fn reloading(&mut self, state: &mut State, active: bool) {
        if active {
            debug!("systemd reloads its configuration");
            self.reloading = true;
            self.reload_began = Instant::now();
            state.status.reloading = true;
            self.gap_is_reload(state);
        } else {
            state.ledger.reloaded();
            self.reload_done(state);
        }
    }

    /// Whatever was missed: a reload was part of it.
    pub(super) fn gap_is_reload(&mut self, state: &mut State) {
        state.status.reloaded = true;
        self.gap = self.gap.and(Some(Gap::Reload));
        self.drafts.gap_is_reload();
    }

    /// Lists the units anew: a listing under way may be from before.
    pub(super) fn reload_done(&mut self, state: &mut State) {
        self.reloading = false;
        state.status.reloading = false;
        self.reloaded = Some(Instant::now());
        self.relist = Some(Reason::Reload);
        state.manager.units_loaded = None;
        self.window.call(Call::Manager(UNITS_LOADED.to_owned()));
        let changed = state.mirror.units().filter(|unit| unit.needs_reload == Some(true));
        self.files_changed.hurry(changed.map(|unit| unit.name.clone()));
    }

    fn system_state_may_have_changed(&mut self, now: Instant) {
        self.next_heartbeat = self.next_heartbeat.min(now + SYSTEM_STATE);
    }
}

/// Lets a burst of signals pass before the questions that they raise.
const SOON: Duration = Duration::from_millis(100);

/// For so long after a reload, units are announced anew that are known.
const AFTERMATH: Duration = Duration::from_secs(60);

/// SystemState is asked at most this often, however many jobs end.
const SYSTEM_STATE: Duration = Duration::from_secs(1);

/// The signals that are taken; any other is counted as such.
const MEMBERS: [&str; 7] = [
    "JobNew",
    "JobRemoved",
    "PropertiesChanged",
    "Reloading",
    "StartupFinished",
    "UnitNew",
    "UnitRemoved",
];

/// What a signal made of a unit, for finding out afterwards why something was counted.
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
