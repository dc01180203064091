//! A reload of PID 1's configuration: what it makes due, and which signals it may have hidden.

use std::time::Instant;

use tracing::debug;

use super::connection::Follower;
use super::resync::Reason;
use crate::systemd::dbus::Call;
use crate::systemd::ledger::Gap;
use crate::systemd::manager::{NAMES, UNITS_LOADED};
use crate::systemd::state::State;

impl Follower<'_> {
    pub(super) fn begin_reload(&mut self, state: &mut State) {
        debug!("systemd reloads its configuration");
        self.resync.reloading_since = Some(Instant::now());
        state.status.reloading = true;
        self.mark_missed_reload(state);
    }

    /// Notes that a reload is among the signals that may be missing.
    pub(super) fn mark_missed_reload(&mut self, state: &mut State) {
        state.status.reload_pending_resync = true;
        self.resync.missed_signals = self.resync.missed_signals.and(Some(Gap::Reload));
        self.fetches.pending.mark_missed_reload();
    }

    /// Requests a new listing: one under way may be from before the reload.
    pub(super) fn finish_reload(&mut self, state: &mut State) {
        self.resync.reloading_since = None;
        state.status.reloading = false;
        self.resync.reloaded_at = Some(Instant::now());
        self.resync.requested = Some(Reason::Reload);
        state.manager.units_loaded = None;
        self.calls.add(Call::Manager(UNITS_LOADED.to_owned()));
        self.resync.is_count_read = false;
        self.calls.add(Call::Manager(NAMES.to_owned()));
        self.refetch.files.list();
        for unit in state.mirror.units().filter(|unit| unit.needs_reload == Some(true)) {
            self.refetch.plan_files(&unit.name, Instant::now());
        }
    }
}
