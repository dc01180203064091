//! Properties that PID 1 changes without a signal: read again after related signals, and at
//! intervals.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::call_queue::CallQueue;
use super::recheck::Recheck;
use super::unit_files::{UnitFileChanges, UnitFiles};
use crate::clock;
use crate::systemd::dbus::{Call, Get};
use crate::systemd::manager;
use crate::systemd::mirror::Mirror;
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::properties::{
    CONDITION_TIME, CONTROL_GROUP, Extras, FREEZER_STATE, Interface, polled, settings,
};

/// Properties to read again, and when.
pub(super) struct Refetch {
    planned: BTreeMap<(Arc<str>, Interface, &'static str), Instant>,
    /// Whether units' files have changed, where the kernel does not report it.
    pub(super) files_changed: RoundRobin,
    /// Whether units' files are enabled.
    files_enabled: RoundRobin,
    pub(super) files: UnitFiles,
    recheck: Recheck,
    /// Files that had changed before the start, until the units are known.
    changed_at_start: UnitFileChanges,
    /// Whether a change of files is to be read.
    pub(super) has_changed_files: bool,
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
            files: UnitFiles::default(),
            recheck: Recheck::default(),
            changed_at_start: UnitFileChanges::default(),
            has_changed_files: false,
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

    /// Plans to read whether systemd treats the inactive units that this service or target depends on
    /// as started. Signals carry all of that but a service's type and the time of the conditions.
    pub(super) fn plan_dependencies(&mut self, mirror: &Mirror, unit: &Unit, has_gap: bool) {
        let now = clock::instant();
        let is_target = unit.kind == UnitKind::Target;
        for (_, name) in unit.dependencies().iter().flat_map(|dependencies| dependencies.iter()) {
            let Some(unit) = mirror.unit(name).filter(|unit| !unit.is_absent()) else { continue };
            if is_target && !unit.selected {
                continue;
            }
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

    /// Plans to read whether the unit is frozen.
    pub(super) fn plan_freezer(&mut self, unit: &Unit, at: Instant) {
        self.plan(&unit.name, Interface::Unit, FREEZER_STATE, at);
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
                if extras.freezer && unit.is_frozen().is_some() {
                    self.plan_freezer(unit, now);
                }
            }
        }
        self.poll_files(state, now);
        if extras.files && now >= self.files_enabled.next {
            self.files_enabled.next = now + FILES_ENABLED_INTERVAL;
            for name in self.files_enabled.next_batch(&state.mirror, |_| true) {
                self.plan(&name, Interface::Unit, "UnitFileState", now);
                self.plan(&name, Interface::Unit, "UnitFilePreset", now);
            }
        }
    }

    /// Plans to read whether units' files have changed, and the settings of those that have.
    fn poll_files(&mut self, state: &State, now: Instant) {
        if std::mem::take(&mut self.has_changed_files) {
            self.read_file_changes(state, now);
        }
        for name in self.recheck.due(&state.mirror, now) {
            self.plan_files(&name, now);
        }
        if now >= self.files_changed.next {
            let (mut settings, is_filled) = (Vec::new(), state.status.filled);
            if is_filled {
                let changes = std::mem::take(&mut self.changed_at_start);
                for unit in changes.units(&state.mirror).filter(|unit| has_files(unit)) {
                    self.plan_files(&unit.name, now);
                }
            }
            let files = &mut self.files;
            if !files.is_watched() {
                settings.extend(files.changed_settings());
            }
            let due = is_filled
                .then(|| self.files_changed.next_batch(&state.mirror, |unit| !files.watches(unit)));
            self.files_changed.next = now
                + match (is_filled, files.is_watched() && !self.files_changed.is_full) {
                    (false, _) => FIRST_STEP,
                    (true, false) => FILES_CHANGED_INTERVAL,
                    (true, true) => UNWATCHED_FILES_INTERVAL,
                };
            due.into_iter().flatten().for_each(|name| self.plan_files(&name, now));
            self.plan_settings_of(&settings, state, now);
        }
    }

    /// Begins with the files that have changed since PID 1 loaded them: the first round may omit the
    /// others.
    pub(super) fn compare_files(&mut self, loaded: SystemTime) {
        if let Some(changes) = self.files.compare(loaded) {
            self.files_changed.is_full = changes.is_incomplete;
            self.changed_at_start = changes;
        }
    }

    /// Reads the changes of files that the kernel has reported.
    pub(super) fn read_file_changes(&mut self, state: &State, now: Instant) {
        let changes = self.files.take_changes(now);
        for unit in changes.units(&state.mirror).filter(|unit| has_files(unit)) {
            self.plan_files(&unit.name, now);
        }
        self.recheck.add(&changes, now);
        if changes.is_incomplete {
            self.files_changed.restart();
        }
        self.plan_settings_of(&changes.settings, state, now);
    }

    fn plan_settings_of(&mut self, names: &[Arc<str>], state: &State, now: Instant) {
        for name in names {
            let unit = state.mirror.find(name).filter(|unit| unit.selected);
            unit.into_iter().for_each(|unit| self.plan_settings(unit, now));
        }
    }

    /// Plans to read whether the unit's files have changed.
    pub(super) fn plan_files(&mut self, name: &Arc<str>, at: Instant) {
        self.plan(name, Interface::Unit, "NeedDaemonReload", at);
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
    pub(super) fn next_due(&self, has_room: bool, extras: Extras) -> impl Iterator<Item = Instant> {
        let planned = self.planned.values().copied().filter(move |_| has_room);
        let enabled = extras.files.then_some(self.files_enabled.next);
        let polls = [self.next_heartbeat, self.next_poll, self.files_changed.next];
        polls.into_iter().chain(enabled).chain(self.recheck.next).chain(planned)
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

/// A round robin over units that are read from files: PID 1 reads the file system for the properties
/// concerned, so they are requested for a few units at a time.
pub(super) struct RoundRobin {
    /// Units at each step.
    batch: usize,
    /// The last unit of the step before.
    last: Option<Arc<str>>,
    /// Whether the round covers all units, not only those that need one.
    is_full: bool,
    next: Instant,
}

impl RoundRobin {
    /// The first round is a full one.
    fn new(batch: usize, now: Instant) -> Self {
        Self { batch, last: None, is_full: true, next: now + FIRST_STEP }
    }

    /// Begins a full round.
    fn restart(&mut self) {
        (self.last, self.is_full) = (None, true);
    }

    /// The units that are due, of a round that is not full only those that `needs_round` holds for.
    fn next_batch(
        &mut self,
        mirror: &Mirror,
        needs_round: impl Fn(&Unit) -> bool,
    ) -> Vec<Arc<str>> {
        let from = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let is_due = |unit: &&Arc<Unit>| has_files(unit) && (self.is_full || needs_round(unit));
        let due = mirror.units_from(from).filter(is_due).take(self.batch);
        let names: Vec<_> = due.map(|unit| unit.name.clone()).collect();
        match names.len() < self.batch {
            true => self.is_full = false,
            false => self.last = names.last().cloned(),
        }
        names
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

/// Units at each step, two a second in all.
const FILES_CHANGED_BATCH: usize = 60;
const FILES_CHANGED_INTERVAL: Duration = Duration::from_secs(30);

/// The interval of steps once only units are left whose files cannot be watched.
const UNWATCHED_FILES_INTERVAL: Duration = Duration::from_secs(300);

/// Units at each step, one a second in all: PID 1 looks for links in many directories, for 3 to 6 ms
/// after each reload.
const FILES_ENABLED_BATCH: usize = 2;
const FILES_ENABLED_INTERVAL: Duration = Duration::from_secs(2);

/// When a round begins.
const FIRST_STEP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::tests::mirror_of;
    use super::*;

    fn mirror() -> Mirror {
        mirror_of(&["a.service", "b.scope", "c.timer", "d.service", "e.service"])
    }

    #[test]
    fn first_round_covers_every_unit_and_later_ones_those_that_need_it() {
        let mirror = mirror();
        let mut round_robin = RoundRobin::new(2, Instant::now());
        let next_batch = |round_robin: &mut RoundRobin| -> String {
            let names = round_robin.next_batch(&mirror, |unit| *unit.name > *"c");
            names.iter().map(|name| &name[..1]).collect()
        };
        let batches: [_; 5] = std::array::from_fn(|_| next_batch(&mut round_robin));
        assert_eq!(batches, ["ac", "de", "", "cd", "e"]);
        round_robin.restart();
        let batches: [_; 4] = std::array::from_fn(|_| next_batch(&mut round_robin));
        assert_eq!(batches, ["ac", "de", "", "cd"]);
    }
}
