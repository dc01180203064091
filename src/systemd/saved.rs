//! The form of the units and the ledger in the state file: of units only what decides how their next
//! change counts.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ledger::SavedLedger;
use super::state::State;
use super::unit::name::{UnitKind, is_valid};
use super::unit::value::{InternedStr, InvocationId, Timestamp, intern};
use super::unit::{Detail, Service, Unit};
use crate::clock;

/// A copy of the state, to be saved or restored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedSystemd {
    /// Where PID 1 last began to load its units; reveals a reload.
    units_loaded: Option<Timestamp>,
    reload_pending_resync: bool,
    #[serde(serialize_with = "save_units", deserialize_with = "restore_units")]
    units: Vec<Arc<Unit>>,
    ledger: SavedLedger,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedUnit {
    name: String,
    load_state: Option<InternedStr>,
    active_state: Option<InternedStr>,
    sub_state: Option<InternedStr>,
    active_enter: Option<Timestamp>,
    active_exit: Option<Timestamp>,
    inactive_enter: Option<Timestamp>,
    inactive_exit: Option<Timestamp>,
    state_change: Option<Timestamp>,
    invocation_id: Option<InvocationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_trigger_monotonic: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<SavedService>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedService {
    service_type: Option<InternedStr>,
    restart: Option<InternedStr>,
    restart_delay: Option<u64>,
    result: Option<InternedStr>,
    restarts: Option<u64>,
    exit_code: Option<u64>,
    exit_status: Option<u64>,
    main_start: Option<Timestamp>,
    main_exit: Option<Timestamp>,
    main_exit_monotonic: Option<Timestamp>,
}

impl SavedSystemd {
    /// A copy to be saved. Cheap: units, counters and events are shared.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let changing = state.pending_change.as_ref();
        let uncounted = |unit: &Arc<Unit>| match changing {
            // its change is not counted yet
            Some(before) if before.name == unit.name => before.clone(),
            _ => unit.clone(),
        };
        let units = state.mirror.units().filter(|unit| unit.selected && !unit.is_absent());
        Self {
            units_loaded: state.manager.units_loaded,
            reload_pending_resync: state.status.reload_pending_resync,
            units: units.map(uncounted).collect(),
            ledger: state.ledger.saved(),
        }
    }

    /// Continues from a saved state: the time since then is an outage.
    pub fn restore(self, state: &mut State) {
        let Self { units_loaded, reload_pending_resync, units, ledger } = self;
        let State { mirror, ledger: live, .. } = state;
        live.restore(ledger, |name| mirror.selects(name));
        for unit in units {
            mirror.restore(unit);
        }
        live.unload_others(|name| mirror.unit(name).is_some());
        live.begin_downtime(None);
        state.manager.units_loaded = units_loaded;
        state.status.reload_pending_resync = reload_pending_resync;
        state.status.counts_downtime = true;
    }
}

impl State {
    /// Counts from the boot on: the time since then is an outage.
    pub fn count_from_boot(&mut self) {
        let now = clock::wall();
        let boot = now.checked_sub(Timestamp::monotonic().since_epoch()).unwrap_or(now);
        self.ledger.begin_downtime(Some(boot));
        self.status.counts_downtime = true;
    }
}

fn save_units<S: Serializer>(units: &[Arc<Unit>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(units.iter().map(|unit| SavedUnit::of(unit)))
}

fn restore_units<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<Arc<Unit>>, D::Error> {
    let units = Vec::<SavedUnit>::deserialize(from)?;
    Ok(units.into_iter().filter_map(SavedUnit::restore).map(Arc::new).collect())
}

impl SavedUnit {
    fn of(unit: &Unit) -> Self {
        let time = |at: Option<Timestamp>| at.filter(|at| at.0 != u64::MAX);
        let service = unit.service().map(|service| SavedService {
            service_type: service.service_type.clone(),
            restart: service.restart.clone(),
            restart_delay: service
                .restart_delay
                .and_then(|delay| u64::try_from(delay.as_micros()).ok()),
            result: service.result.clone(),
            restarts: service.restarts,
            exit_code: service.exit_code,
            exit_status: service.exit_status,
            main_start: time(service.main_start),
            main_exit: time(service.main_exit),
            main_exit_monotonic: time(service.main_exit_monotonic),
        });
        Self {
            name: unit.name.to_string(),
            load_state: unit.load_state.clone(),
            active_state: unit.active_state.clone(),
            sub_state: unit.sub_state.clone(),
            active_enter: time(unit.active_enter),
            active_exit: time(unit.active_exit),
            inactive_enter: time(unit.inactive_enter),
            inactive_exit: time(unit.inactive_exit),
            state_change: time(unit.state_change),
            invocation_id: unit.invocation_id,
            last_trigger_monotonic: unit
                .timer()
                .and_then(|timer| time(timer.last_trigger_monotonic)),
            service,
        }
    }

    fn restore(self) -> Option<Unit> {
        let kind = UnitKind::of(&self.name).filter(|_| is_valid(&self.name))?;
        let known = |text: Option<InternedStr>| text.map(|text| intern(&text));
        let mut unit = Unit::new(self.name.into(), kind, false);
        unit.load_state = known(self.load_state);
        unit.active_state = known(self.active_state);
        unit.sub_state = known(self.sub_state);
        unit.active_enter = self.active_enter;
        unit.active_exit = self.active_exit;
        unit.inactive_enter = self.inactive_enter;
        unit.inactive_exit = self.inactive_exit;
        unit.state_change = self.state_change;
        unit.invocation_id = self.invocation_id;
        if let Detail::Timer(timer) = &mut unit.detail {
            timer.last_trigger_monotonic = self.last_trigger_monotonic;
        }
        if let (Detail::Service(service), Some(saved)) = (&mut unit.detail, self.service) {
            **service = Service {
                service_type: known(saved.service_type),
                restart: known(saved.restart),
                restart_delay: saved.restart_delay.map(Duration::from_micros),
                result: known(saved.result),
                restarts: saved.restarts,
                exit_code: saved.exit_code,
                exit_status: saved.exit_status,
                main_start: saved.main_start,
                main_exit: saved.main_exit,
                main_exit_monotonic: saved.main_exit_monotonic,
                ..Service::default()
            };
        }
        Some(unit)
    }
}
