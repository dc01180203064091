//! Finds the units that should be active and are not, without a list of them: an active target or
//! service wants them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::ledger::RunEnd;
use super::ledger::run_end::required;
use super::state::State;
use super::unit::Unit;
use super::unit::name::UnitKind;
use super::unmet_dependencies::is_treated_as_started;

/// A unit that should be active and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedInactive {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: UnitKind,
    /// Why it is inactive.
    pub because: InactiveCause,
}

/// Why a wanted unit is inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InactiveCause {
    /// The unit has not been started since the boot.
    NotStarted,
    /// The unit ended without a systemd job, and was not started again.
    Exited,
    /// The unit was stopped together with a unit that it requires, of which only the latter was
    /// started again.
    Dependency,
}

impl InactiveCause {
    /// The label `because`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not-started",
            Self::Exited => "exited",
            Self::Dependency => "dependency",
        }
    }
}

/// The exported units that an active target or service wants and that are inactive. Not those that
/// systemd treats as started, that somebody stopped, that are about to start, or that an active
/// timer, socket or path unit starts.
pub(super) fn wanted_inactive(state: &State) -> Vec<WantedInactive> {
    let units = || state.mirror.units();
    let candidates = units().filter(|unit| is_candidate(unit) && !state.mirror.has_job(&unit.name));
    let mut inactive: BTreeMap<&str, _> =
        candidates.filter_map(|unit| Some((&*unit.name, (unit, because(state, unit)?)))).collect();
    if inactive.is_empty() {
        return Vec::new();
    }
    let active: Vec<_> = units().filter(|unit| unit.is("active")).collect();
    for name in active.iter().flat_map(|unit| unit.triggers()) {
        inactive.remove(&**name);
    }
    let all = active.iter().filter_map(|unit| unit.dependencies()).flat_map(|all| all.iter());
    let wanted: HashSet<_> =
        all.map(|(_, name)| &**name).filter(|name| inactive.contains_key(name)).collect();
    inactive.retain(|name, _| wanted.contains(name));
    let found = inactive.into_values();
    found
        .map(|(unit, because)| WantedInactive { name: unit.name.clone(), kind: unit.kind, because })
        .collect()
}

/// Whether the unit is inactive without a reason that its properties show.
fn is_candidate(unit: &Unit) -> bool {
    let is_started_by_systemd = !matches!(unit.kind, UnitKind::Device | UnitKind::Scope);
    // unknown until it has been read
    let are_conditions_read = match unit.conditions_met {
        Some(true) => true,
        Some(false) => unit.conditions_checked.is_some(),
        None => false,
    };
    unit.selected
        && unit.group.is_none()
        && unit.is("inactive")
        && unit.load_state.as_deref() == Some("loaded")
        && is_started_by_systemd
        && are_conditions_read
        && !is_treated_as_started(unit)
}

/// Why the unit is inactive; `None` if somebody stopped it, or if that is unknown.
fn because(state: &State, unit: &Unit) -> Option<InactiveCause> {
    if !unit.invocation_id?.is_set() {
        return Some(InactiveCause::NotStarted);
    }
    let is_active = |name: &str| state.mirror.unit(name).is_some_and(|unit| unit.is("active"));
    match state.ledger.run_end(&unit.name) {
        RunEnd::Own => Some(InactiveCause::Exited),
        RunEnd::JobOfDependency => {
            required(unit).all(is_active).then_some(InactiveCause::Dependency)
        }
        RunEnd::Job | RunEnd::Unknown => None,
    }
}
