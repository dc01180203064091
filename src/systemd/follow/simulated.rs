//! A connection of the follower without a bus: the caller delivers its messages and takes its calls.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use zbus::message::{Message, Type};

use super::call_queue::CallQueue;
use super::connection::Follower;
use super::list_size::LargeFiles;
use super::unit_files::UnitFiles;
use crate::clock;
use crate::systemd::state::Shared;
use crate::systemd::unit::properties::Extras;

/// One connection, from its beginning to its end.
pub(crate) struct SimulatedConnection<'s> {
    follower: Follower<'s>,
    calls: mpsc::Receiver<Message>,
}

impl<'s> SimulatedConnection<'s> {
    /// Connects to PID 1, which has this unique name. `watched` are the unit files whose changes are
    /// reported; `None` if none are.
    pub(crate) fn open(shared: &'s Shared, pid1: &str, watched: Option<&[&str]>) -> Self {
        let owner = pid1.try_into().expect("a unique name");
        let (queue, calls) = CallQueue::new(owner);
        let extras = Extras { conditions: true, ..Extras::default() };
        let mut follower = Follower::new(shared, queue, RESYNC, extras);
        // those of the host that runs the simulation are no part of it
        follower.resync.find_large_files = LargeFiles::default;
        if let Some(files) = watched {
            follower.refetch.files = UnitFiles::simulated(files);
        }
        follower.begin();
        Self { follower, calls }
    }

    /// Does what is due, and makes calls; false if the connection ends.
    pub(crate) fn run_due(&mut self) -> bool {
        self.follower.run_due(clock::instant()).is_ok()
    }

    /// When [`Self::run_due`] is due without a message.
    pub(crate) fn next_due(&self) -> Instant {
        self.follower.next_due()
    }

    /// The calls made since the last time.
    pub(crate) fn calls(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.calls.try_recv().ok()).collect()
    }

    /// Handles a message; false if it ends the connection.
    pub(crate) fn handle(&mut self, message: &Message) -> bool {
        assert_ne!(message.message_type(), Type::MethodCall);
        self.follower.handle(message).is_ok()
    }

    /// The connection is lost.
    pub(crate) fn close(mut self) {
        let shared = self.follower.shared;
        let mut state = shared.lock();
        self.follower.discard_pending_change(&mut state);
        super::connection_lost(&mut state, "the connection is lost");
    }

    /// The entries of every collection that grows with events: all are bounded.
    pub(crate) fn is_idle(&self) -> bool {
        self.follower.calls.is_idle() && self.follower.fetches.pending.is_empty()
    }
}

/// The default of `--systemd.resync-interval`.
const RESYNC: Duration = Duration::from_secs(300);
