//! The part of a snapshot that comes from the mirror and the ledger.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::dead_timers::is_dead_timer;
use super::ledger::{HostCounters, UnitCounters};
use super::manager::Manager;
use super::state::State;
use super::unit::Unit;
use super::unit::dependencies::Relation;
use super::unit::name::UnitKind;
use super::unit::value::{InternedStr, Timestamp};
use super::unmet_dependencies::UnmetDependencies;
use super::wanted_inactive::{WantedInactive, wanted_inactive};
use crate::clock;

/// A copy of the exported part of the mirror and the ledger.
#[derive(Debug, Default)]
pub struct SystemdSnapshot {
    /// The selected units that are exported one by one, by priority.
    pub units: Vec<Arc<Unit>>,
    /// The other selected units: those with short-lived names, which are summed.
    pub short_lived: Vec<Arc<Unit>>,
    /// How many units there are, selected or not, by kind and ActiveState.
    pub active_states: BTreeMap<(UnitKind, InternedStr), u64>,
    /// How many units there are, selected or not, by LoadState.
    pub load_states: BTreeMap<InternedStr, u64>,
    /// The counters of the selected units and of those unloaded lately, by name.
    pub counters: Vec<(Arc<str>, Arc<UnitCounters>)>,
    /// The number of unmet dependencies of the selected services.
    pub unmet: Vec<(Arc<str>, Relation, u64)>,
    /// The selected units that should be active and are not.
    pub wanted_inactive: Vec<WantedInactive>,
    /// The selected timers that are active, but will never elapse.
    pub dead_timers: Vec<Arc<str>>,
    /// The counters of the host as a whole.
    pub host: HostCounters,
    /// PID 1 itself.
    pub manager: Manager,
    /// How long the slowest units took to start at boot.
    pub boot_blame: Vec<(Arc<str>, Duration)>,
    /// Jobs that have not started: their units are in the state from before.
    pub waiting_jobs: u64,
    /// Jobs whose units are activating, deactivating or reloading.
    pub running_jobs: u64,
    /// When the oldest job was first seen; `None` without jobs.
    pub oldest_job: Option<SystemTime>,
    /// How far the wall clock is ahead of the monotonic one.
    pub boot_offset: Duration,
}

impl SystemdSnapshot {
    /// Copies the exported part. `not_found` includes units that have no file and are inactive.
    #[must_use]
    pub fn copy(state: &State, not_found: bool) -> Self {
        let mut active_states: BTreeMap<(UnitKind, InternedStr), u64> = BTreeMap::new();
        let mut load_states: BTreeMap<InternedStr, u64> = BTreeMap::new();
        let mut unmet_dependencies = UnmetDependencies::new(&state.mirror);
        let (mut unmet, mut short_lived) = (Vec::new(), Vec::new());
        let mut dead_timers = Vec::new();
        // thousands of units name the same few
        let mut excluded: HashMap<Arc<str>, bool> = HashMap::new();
        let mut is_excluded = |name: &Arc<str>| match excluded.get(name) {
            Some(is_excluded) => *is_excluded,
            None => {
                let is_excluded = state.mirror.selection().excludes(name);
                excluded.insert(name.clone(), is_excluded);
                is_excluded
            }
        };
        let mut units = Vec::with_capacity(state.mirror.units().len());
        for unit in state.mirror.units_by_priority() {
            let Some(active) = &unit.active_state else { continue };
            *active_states.entry((unit.kind, active.clone())).or_default() += 1;
            if let Some(load) = &unit.load_state {
                *load_states.entry(load.clone()).or_default() += 1;
            }
            if unit.selected && (not_found || !unit.is_absent()) {
                if unit.group.is_some() {
                    short_lived.push(unit.clone());
                    continue;
                }
                units.push(Unit::hiding(unit, &mut is_excluded));
                if is_dead_timer(&state.mirror, unit) {
                    dead_timers.push(unit.name.clone());
                }
                if let Some(service) = unit.service() {
                    let counts = unmet_dependencies.of(&service.dependencies);
                    unmet.extend(
                        counts.map(|(relation, count)| (unit.name.clone(), relation, count)),
                    );
                }
            }
        }
        let jobs = state.mirror.jobs().filter_map(|job| state.mirror.unit(&job.unit));
        let is_running = |unit: &&Arc<Unit>| RUNNING.into_iter().any(|state| unit.is(state));
        let running_jobs = jobs.filter(is_running).count() as u64;
        Self {
            units,
            active_states,
            load_states,
            unmet,
            wanted_inactive: wanted_inactive(state),
            dead_timers,
            counters: counters(state, &short_lived),
            short_lived,
            host: state.ledger.host().clone(),
            manager: state.manager.clone(),
            boot_blame: state.boot_blame.clone().unwrap_or_default(),
            waiting_jobs: state.mirror.jobs().len() as u64 - running_jobs,
            running_jobs,
            oldest_job: state.mirror.jobs().map(|job| job.since).min(),
            boot_offset: boot_offset(),
        }
    }
}

/// The counters by exported name: those of units with short-lived names are summed.
fn counters(state: &State, short_lived: &[Arc<Unit>]) -> Vec<(Arc<str>, Arc<UnitCounters>)> {
    let all = state.ledger.counters();
    let all = all.map(|(name, counters)| (name.clone(), counters.clone()));
    let groups: HashMap<_, _> =
        short_lived.iter().map(|unit| (&unit.name, unit.exported_name())).collect();
    let (live, mut others): (Vec<_>, Vec<_>) = all.partition(|(name, _)| groups.contains_key(name));
    let unloaded = state.ledger.groups().map(|(group, counters)| (group.clone(), counters.clone()));
    let mut sums: BTreeMap<_, _> = unloaded.collect();
    for (name, counters) in live {
        let new = || Arc::new(UnitCounters::new(counters.kind));
        let sum = sums.entry(groups[&name].clone()).or_insert_with(new);
        Arc::make_mut(sum).add(&counters);
    }
    others.extend(sums);
    others.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    others
}

/// How far the wall clock is ahead of `CLOCK_MONOTONIC`.
fn boot_offset() -> Duration {
    let now = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Timestamp::monotonic().since_epoch())
}

/// The states of units whose job runs: JobNew does not report a job's own state.
const RUNNING: [&str; 4] = ["activating", "deactivating", "reloading", "refreshing"];
