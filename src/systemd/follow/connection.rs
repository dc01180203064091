//! One connection to the bus, from subscribing to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tracing::{info, warn};
use zbus::MessageStream;
use zbus::message::{Message, Type};

use super::boot_blame::BootBlame;
use super::call_queue::CallQueue;
use super::pending_fetches::Fetches;
use super::refetch::Refetch;
use super::resync::Resync;
use super::signal_check::SignalCheck;
use crate::bus::wakeup_coalescing::Hold;
use crate::clock;
use crate::systemd::dbus::{Call, FollowError};
use crate::systemd::ledger::{Gap, failed_command};
use crate::systemd::manager;
use crate::systemd::mirror::Change;
use crate::systemd::state::{Shared, State};
use crate::systemd::unit::Unit;
use crate::systemd::unit::properties::{Extras, Interface};
use crate::systemd::unit::value::Timestamp;

/// Follows PID 1 over one connection.
pub(super) struct Follower<'s> {
    pub(super) shared: &'s Shared,
    pub(super) calls: CallQueue,
    pub(super) fetches: Fetches,
    pub(super) refetch: Refetch,
    pub(super) resync: Resync,
    pub(super) boot_blame: BootBlame,
    pub(super) signal_check: SignalCheck,
    /// Whether all units have been listed and fetched.
    is_synced: bool,
    /// Whether a call was denied.
    pub(super) was_denied: bool,
    /// The unit before a change that arrives as two signals, of which only the first has been
    /// received.
    pub(super) pending_change: Option<Arc<Unit>>,
    pub(super) extras: Extras,
    /// While replies are expected, or calls are planned, or the units have not been read yet.
    hold: Option<Hold>,
}

impl<'s> Follower<'s> {
    pub(super) fn new(
        shared: &'s Shared,
        calls: CallQueue,
        resync: Duration,
        extras: Extras,
    ) -> Self {
        let now = clock::instant();
        let status = &mut shared.lock().status;
        status.reloading = false;
        let missed_signals = match status.reload_pending_resync {
            _ if !status.filled && !status.counts_downtime => None,
            true => Some(Gap::Reload),
            false if !status.filled => Some(Gap::Downtime),
            false => Some(Gap::Reconnect),
        };
        Self {
            shared,
            calls,
            fetches: Fetches::default(),
            refetch: Refetch::new(now),
            resync: Resync::new(missed_signals, resync, now),
            boot_blame: BootBlame::default(),
            signal_check: SignalCheck::Due,
            is_synced: false,
            was_denied: false,
            pending_change: None,
            extras,
            hold: Some(shared.coalescing.hold()),
        }
    }

    /// Follows until the connection or PID 1 is gone; returns the reason.
    pub(super) async fn run(mut self, mut messages: MessageStream) -> FollowError {
        let coalescing = self.shared.coalescing.clone();
        self.begin();
        let error = loop {
            if let Err(error) = self.run_due(clock::instant()) {
                break error;
            }
            let wake = tokio::time::Instant::from_std(self.next_due());
            tokio::select! {
                // a scrape waits until all messages have been handled
                biased;
                message = messages.next() => match message {
                    None => break FollowError::Closed("end of stream".to_owned()),
                    Some(Err(error)) => break FollowError::Closed(error.to_string()),
                    Some(Ok(message)) => if let Err(error) = self.handle(&message) {
                        break error;
                    },
                },
                () = coalescing.read() => coalescing.consumed(),
                () = self.refetch.files.changed() => self.refetch.has_changed_files = true,
                () = tokio::time::sleep_until(wake) => {}
            }
        };
        self.discard_pending_change(&mut self.shared.lock());
        error
    }

    /// Makes the first calls.
    pub(super) fn begin(&mut self) {
        self.calls.add(Call::Subscribe);
        self.calls.add(Call::ListJobs);
        self.shared.lock().mirror.forget_jobs();
        self.request_manager_properties();
    }

    pub(super) fn handle(&mut self, message: &Message) -> Result<(), FollowError> {
        match message.message_type() {
            Type::Signal => return self.handle_signal(message),
            Type::MethodReturn | Type::Error => self.handle_reply(message),
            Type::MethodCall => {}
        }
        Ok(())
    }

    /// Does what the clock or a free place in the call queue makes due, and makes the calls.
    pub(super) fn run_due(&mut self, now: Instant) -> Result<(), FollowError> {
        let shared = self.shared;
        let state = &mut *shared.lock();
        self.refetch.poll(state, self.extras, &mut self.calls, now);
        self.boot_blame.request(state, self.resync.is_reloading(), &mut self.calls);
        self.resync_due(state, now)?;
        if state.ledger.awaits_journal() {
            shared.journal_wanted.notify_one();
        }
        if self.is_synced {
            self.signal_check.run(&mut self.calls, now)?;
        }
        self.fetches.request_new_units(state, &mut self.calls, now);
        self.fetches.request_planned(state, self.extras, &mut self.calls);
        self.refetch.request_due(state, &mut self.calls, now);
        self.calls.send(|call| *state.status.calls.entry(call.kind()).or_default() += 1);
        if let Some(age) = self.calls.check_timeouts(now)? {
            *state.status.errors.entry("timeout").or_default() += 1;
            let trouble = FollowError::NotResponding(age).to_string();
            warn!(%trouble, "systemd is not responding; serving last known unit states");
            state.status.trouble = Some(trouble);
        } else if !self.calls.is_reply_late() && state.status.following {
            state.status.trouble = None;
        }
        let has_calls =
            !(self.calls.is_idle() && self.fetches.new_units.is_empty() && self.refetch.is_empty());
        let is_busy = has_calls || !state.status.following;
        self.hold = is_busy.then(|| self.hold.take().unwrap_or_else(|| shared.coalescing.hold()));
        Ok(())
    }

    /// When [`Self::run_due`] is to run next, if no message arrives before.
    pub(super) fn next_due(&self) -> Instant {
        let next = self
            .refetch
            .next_due(self.calls.room() > 0, self.extras)
            .chain(self.resync.next_due())
            .chain(self.fetches.new_units.values().map(|unit| unit.reads_at))
            .chain(self.signal_check.deadline())
            .min();
        let timeout_check = clock::instant() + TIMEOUT_CHECK_INTERVAL;
        match next {
            Some(at) if self.calls.is_idle() => at,
            Some(at) => at.min(timeout_check),
            None => timeout_check,
        }
    }

    /// Requests all properties of the manager.
    pub(super) fn request_manager_properties(&mut self) {
        for property in manager::wanted() {
            self.calls.add(Call::Manager(property));
        }
    }

    /// Counts the change that [`Self::pending_change`] began.
    pub(super) fn count_pending_change(&mut self, state: &mut State) {
        let Some(before) = self.pending_change.take() else { return };
        state.pending_change = None;
        let Some(after) = state.mirror.unit(&before.name).cloned() else { return };
        let gap = self.fetches.pending.gap(&before.name).or(self.resync.missed_signals);
        if let Some(property) = failed_command(&before, &after).filter(|_| after.selected) {
            self.refetch.plan(&after.name, Interface::Kind, property, clock::instant());
        }
        // the change that its job caused had no value: the signal is later than the end of the job
        let is_first = self.fetches.has_first_values(&after.name);
        let change = Change { before, after };
        match is_first {
            true => state.observe(&change, gap),
            false => state.observe_signal(&change, gap),
        }
    }

    /// Undoes half of a change, whose second signal is lost: it is read, and counted, as a whole after the
    /// next connection.
    pub(super) fn discard_pending_change(&mut self, state: &mut State) {
        let Some(before) = self.pending_change.take() else { return };
        state.pending_change = None;
        let name = before.name.clone();
        state.mirror.change(&name, |unit| *unit = Arc::unwrap_or_clone(before));
    }

    /// Marks the mirror as filled once no listing and no fetch is under way.
    pub(super) fn mark_synced(&mut self, state: &mut State) {
        if !self.fetches.pending.is_empty() || self.resync.is_listing() {
            return;
        }
        state.status.reload_pending_resync &=
            self.resync.is_reloading() || self.resync.requested.is_some();
        self.is_synced = true;
        if !state.status.reload_pending_resync {
            state.ledger.downtime_ended(Timestamp::monotonic());
        }
        state.status.filled = true;
        self.mark_following(state);
    }

    /// Marks the mirror as current once it is filled, and signals are known to arrive.
    pub(super) fn mark_following(&mut self, state: &mut State) {
        let arrive = matches!(self.signal_check, SignalCheck::Passed { .. });
        if self.is_synced && arrive && !state.status.following {
            let units = state.mirror.units().len();
            info!(units, "following systemd");
            state.status.following = true;
            state.status.trouble = None;
        }
    }
}

/// How often replies that are awaited are checked for being late.
const TIMEOUT_CHECK_INTERVAL: Duration = Duration::from_secs(1);
