//! Properties that PID 1 changes without a signal: read again after related signals, and at
//! intervals.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call_queue::CallQueue;
use super::control_drop_ins::ControlDropIns;
use crate::systemd::dbus::{Call, Get};
use crate::systemd::manager;
use crate::systemd::mirror::Mirror;
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::properties::{
    CONDITION_TIME, CONTROL_GROUP, Extras, Interface, polled, settings,
};

/// Properties to read again, and when.
pub(super) struct Refetch {
    planned: BTreeMap<(Arc<str>, Interface, &'static str), Instant>,
    /// Whether units' files have changed.
    pub(super) files_changed: RoundRobin,
    /// Whether units' files are enabled.
    files_enabled: RoundRobin,
    pub(super) control: ControlDropIns,
    next_poll: Instant,
    polls: u32,
    next_heartbeat: Instant,
}

impl Refetch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            planned: BTreeMap::new(),
            files_changed: RoundRobin::new(FILES_CHANGED_BATCH, now),
            files_enabled: RoundRobin::new(FILES_ENABLED_BATCH, now),
            control: ControlDropIns::default(),
            next_poll: now + POLL_INTERVAL,
            polls: 0,
            next_heartbeat: now + HEARTBEAT_INTERVAL,
        }
    }

    /// Plans to read a property again, unless that is planned already.
    pub(super) fn plan(
        &mut self,
        name: &Arc<str>,
        interface: Interface,
        property: &'static str,
        at: Instant,
    ) {
        self.planned.entry((name.clone(), interface, property)).or_insert(at);
    }

    /// Plans to read the properties of this unit that PID 1 changes without a signal.
    pub(super) fn plan_polled(&mut self, unit: &Unit, extras: Extras, all: bool, at: Instant) {
        for property in polled(unit, extras, all) {
            self.plan(&unit.name, Interface::Kind, property, at);
        }
    }

    /// Plans to read whether systemd treats the inactive units that this service depends on as
    /// started. Signals carry all of that but a service's type and the time of the conditions.
    pub(super) fn plan_dependencies(&mut self, mirror: &Mirror, unit: &Unit, has_gap: bool) {
        let now = Instant::now();
        for (_, name) in unit.service().iter().flat_map(|service| service.dependencies.iter()) {
            let Some(unit) = mirror.unit(name).filter(|unit| !unit.is_absent()) else { continue };
            // nothing but the state is read of units that are not exported
            let service = unit.service().filter(|_| !unit.selected);
            if service.is_some_and(|service| service.service_type.is_none()) {
                self.plan(name, Interface::Kind, "Type", now);
            }
            if !unit.is("inactive") || (unit.conditions_checked.is_some() && !has_gap) {
                continue;
            }
            for property in ["ConditionResult", CONDITION_TIME] {
                self.plan(name, Interface::Unit, property, now);
            }
            if service.is_some() {
                self.plan(name, Interface::Kind, "Result", now);
                self.plan(name, Interface::Unit, "InactiveEnterTimestamp", now);
            }
        }
    }

    /// Plans to read the settings of this unit that set-property changes.
    pub(super) fn plan_settings(&mut self, unit: &Unit, at: Instant) {
        for property in settings(unit) {
            self.plan(&unit.name, Interface::Kind, property, at);
        }
    }

    /// Plans the reads that are due at intervals; requests properties of the manager at once.
    pub(super) fn poll(
        &mut self,
        state: &State,
        extras: Extras,
        calls: &mut CallQueue,
        now: Instant,
    ) {
        if now >= self.next_heartbeat {
            // the reply is the sign of life; SystemState itself has no signal
            self.next_heartbeat = now + HEARTBEAT_INTERVAL;
            calls.add(Call::Manager("SystemState".to_owned()));
        }
        if now >= self.next_poll {
            self.next_poll = now + POLL_INTERVAL;
            self.polls += 1;
            let all = self.polls.is_multiple_of(POLLS_PER_FULL_POLL);
            for property in manager::polled().filter(|_| all) {
                calls.add(Call::Manager(property.to_owned()));
            }
            let is_running = |unit: &&Arc<Unit>| !unit.is("inactive") && !unit.is("failed");
            for unit in state.mirror.units().filter(|unit| unit.selected).filter(is_running) {
                self.plan_polled(unit, extras, all, now);
            }
        }
        if now >= self.files_changed.next {
            for name in self.control.changed() {
                let unit = state.mirror.find(&name).filter(|unit| unit.selected);
                unit.into_iter().for_each(|unit| self.plan_settings(unit, now));
            }
            for name in self.files_changed.next_batch(&state.mirror, now) {
                self.plan(&name, Interface::Unit, "NeedDaemonReload", now);
            }
        }
        if extras.files && now >= self.files_enabled.next {
            for name in self.files_enabled.next_batch(&state.mirror, now) {
                self.plan(&name, Interface::Unit, "UnitFileState", now);
                self.plan(&name, Interface::Unit, "UnitFilePreset", now);
            }
        }
    }

    /// Requests what is due, the longest due first, as far as there is room: a queue would hold
    /// calls for units that are unloaded before the calls are made.
    pub(super) fn request_due(&mut self, state: &State, calls: &mut CallQueue, now: Instant) {
        let room = calls.room();
        if room == 0 {
            return;
        }
        let mut due: Vec<_> = self.planned.iter().filter(|(_, at)| **at <= now).collect();
        if due.len() > room {
            due.select_nth_unstable_by_key(room, |(_, at)| **at);
            due.truncate(room);
        }
        let due: Vec<_> = due.into_iter().map(|(key, _)| key.clone()).collect();
        for key in due {
            self.planned.remove(&key);
            let (name, interface, property) = key;
            // never of a unit that is not loaded: the call would load it
            let Some(unit) = state.mirror.unit(&name) else { continue };
            // a unit in a crash loop has no cgroup most of the time; its next start plans this
            // again
            if property != CONTROL_GROUP || has_processes(unit) {
                calls.add(Call::Unit(Get::single(unit, interface, property)));
            }
        }
    }

    /// Reads SystemState soon, but at most once in [`MIN_SYSTEM_STATE_INTERVAL`].
    pub(super) fn plan_system_state(&mut self, now: Instant) {
        self.next_heartbeat = self.next_heartbeat.min(now + MIN_SYSTEM_STATE_INTERVAL);
    }

    /// When something is due next. Without room for calls, planned reads wait for the next reply.
    pub(super) fn next_due(&self, has_room: bool) -> impl Iterator<Item = Instant> {
        let planned = self.planned.values().copied().filter(move |_| has_room);
        [self.next_heartbeat, self.next_poll, self.files_changed.next].into_iter().chain(planned)
    }

    /// Whether nothing is planned.
    pub(super) fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.planned.len()
    }
}

/// Whether the unit may have processes; between two runs it has none.
fn has_processes(unit: &Unit) -> bool {
    let waits = unit.sub_state.as_deref().is_some_and(|sub| sub.starts_with("auto-restart"));
    !(waits || unit.is("inactive") || unit.is("failed"))
}

/// A round robin over all units that are read from files: PID 1 reads the file system for the
/// properties concerned, so they are requested for a few units at a time.
pub(super) struct RoundRobin {
    /// Units at each step.
    batch: usize,
    /// The last unit of the step before.
    last: Option<Arc<str>>,
    /// Units that are due before all others.
    prioritized: VecDeque<Arc<str>>,
    next: Instant,
}

impl RoundRobin {
    fn new(batch: usize, now: Instant) -> Self {
        Self { batch, last: None, prioritized: VecDeque::new(), next: now + STEP_INTERVAL }
    }

    /// The units that are due.
    fn next_batch(&mut self, mirror: &Mirror, now: Instant) -> Vec<Arc<str>> {
        self.next = now + STEP_INTERVAL;
        let mut names = Vec::with_capacity(self.batch);
        while names.len() < self.batch
            && let Some(name) = self.prioritized.pop_front()
        {
            names.extend(mirror.unit(&name).filter(|unit| has_files(unit)).map(|_| name));
        }
        let from = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let room = self.batch - names.len();
        let others = mirror.units_from(from).filter(|unit| has_files(unit)).take(room);
        let before = names.len();
        names.extend(others.map(|unit| unit.name.clone()));
        if names.len() < self.batch {
            self.last = None;
        } else if names.len() > before {
            self.last = names.last().cloned();
        }
        names
    }

    /// Puts these units before all others.
    pub(super) fn prioritize(&mut self, names: impl Iterator<Item = Arc<str>>) {
        self.prioritized.extend(names);
    }
}

/// Whether the unit may have been read from files.
fn has_files(unit: &Unit) -> bool {
    unit.selected
        && unit.load_state.as_deref() == Some("loaded")
        && !matches!(unit.kind, UnitKind::Device | UnitKind::Scope)
}

/// The interval of a call that detects whether PID 1 still responds.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// SystemState is read at most this often, however many jobs end.
const MIN_SYSTEM_STATE_INTERVAL: Duration = Duration::from_secs(1);

/// The interval of properties that change without a signal and are of use only while they are new.
const POLL_INTERVAL: Duration = Duration::from_secs(15);

/// All other properties that change without a signal are read at every fourth poll: once a minute.
const POLLS_PER_FULL_POLL: u32 = 4;

/// Units at each step of a round robin: two a second in all.
const FILES_CHANGED_BATCH: usize = 4;

/// The same, where PID 1 looks for links in many directories: 3 to 6 ms a unit after each reload.
const FILES_ENABLED_BATCH: usize = 2;

/// The interval between two steps of a round robin.
const STEP_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::mirror::ListedUnit;
    use crate::unit_filter::Selection;

    fn mirror() -> Mirror {
        let mut mirror = Mirror::new(Selection::default());
        for name in ["a.service", "b.scope", "c.timer", "d.service", "e.service"] {
            mirror.list(&ListedUnit {
                name: name.to_owned(),
                load_state: "loaded".into(),
                active_state: "active".into(),
                sub_state: "running".into(),
            });
        }
        mirror
    }

    fn next_batch(round_robin: &mut RoundRobin, mirror: &Mirror) -> String {
        let names = round_robin.next_batch(mirror, Instant::now());
        names.iter().map(|name| &name[..1]).collect()
    }

    #[test]
    fn round_robin_covers_every_unit_and_prioritized_ones_first() {
        let mirror = mirror();
        let mut round_robin = RoundRobin::new(2, Instant::now());
        let batches: [_; 4] = std::array::from_fn(|_| next_batch(&mut round_robin, &mirror));
        assert_eq!(batches, ["ac", "de", "", "ac"]);
        round_robin.prioritize(["e.service", "gone.service"].map(Arc::from).into_iter());
        assert_eq!(next_batch(&mut round_robin, &mirror), "ed");
    }

    #[test]
    fn round_robin_resumes_after_a_batch_of_prioritized_units() {
        let mirror = mirror();
        let mut round_robin = RoundRobin::new(2, Instant::now());
        assert_eq!(next_batch(&mut round_robin, &mirror), "ac");
        round_robin.prioritize(["e.service", "a.service", "c.timer"].map(Arc::from).into_iter());
        assert_eq!(next_batch(&mut round_robin, &mirror), "ea");
        assert_eq!(next_batch(&mut round_robin, &mirror), "cd");
    }

    #[test]
    fn round_robin_waits_between_batches() {
        let now = Instant::now();
        let mut round_robin = RoundRobin::new(2, now);
        assert_eq!(round_robin.next, now + STEP_INTERVAL);
        round_robin.next_batch(&mirror(), now + STEP_INTERVAL);
        assert_eq!(round_robin.next, now + STEP_INTERVAL * 2);
    }
}
