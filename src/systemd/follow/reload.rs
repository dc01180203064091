//! A reload of PID 1's configuration: what it makes due, and which signals it may have hidden.

use tracing::debug;

use super::connection::Follower;
use super::resync::Reason;
use crate::clock;
use crate::systemd::dbus::Call;
use crate::systemd::ledger::Gap;
use crate::systemd::manager::{NAMES, UNITS_LOADED};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;

impl Follower<'_> {
    pub(super) fn begin_reload(&mut self, state: &mut State) {
        debug!("systemd reloads its configuration");
        self.resync.reloading_since = Some(clock::instant());
        state.status.reloading = true;
        self.refetch.read_file_changes(state, clock::instant());
        self.refetch.files.begin_reload(!state.status.reload_pending_resync);
        self.mark_missed_reload(state);
    }

    /// Whether the reload left the unit as it was, given that its listed states are those of the
    /// mirror: its configuration has not changed, and no event of it was under way.
    pub(super) fn is_left_alone(&self, unit: &Unit) -> bool {
        let is_settled = ["active", "inactive", "failed"].into_iter().any(|state| unit.is(state))
            && unit.sub_state.as_deref().is_none_or(|sub| !sub.starts_with("auto-restart"));
        let has_no_files = matches!(unit.kind, UnitKind::Device | UnitKind::Scope);
        let files = &self.refetch.files;
        is_settled && (has_no_files || files.watches(unit)) && files.reloads.is_unchanged(unit)
    }

    /// Notes that a reload is among the signals that may be missing.
    pub(super) fn mark_missed_reload(&mut self, state: &mut State) {
        state.status.reload_pending_resync = true;
        state.ledger.begin_outage();
        self.resync.missed_signals = self.resync.missed_signals.and(Some(Gap::Reload));
        self.fetches.pending.mark_missed_reload();
    }

    /// Requests a new listing: one under way may be from before the reload.
    pub(super) fn finish_reload(&mut self, state: &mut State) {
        self.resync.reloading_since = None;
        state.status.reloading = false;
        self.resync.reloaded_at = Some(clock::instant());
        self.resync.requested = Some(Reason::Reload);
        state.manager.units_loaded = None;
        self.calls.add(Call::Manager(UNITS_LOADED.to_owned()));
        self.resync.is_count_read = false;
        self.calls.add(Call::Manager(NAMES.to_owned()));
        self.refetch.read_file_changes(state, clock::instant());
        self.refetch.files.end_reload(&state.mirror);
        for unit in state.mirror.units().filter(|unit| unit.needs_reload == Some(true)) {
            self.refetch.plan_files(&unit.name, clock::instant());
        }
    }
}
