//! Follows PID 1: fills the mirror, updates it by signals, and reconnects after the bus or PID 1
//! was away.
//!
//! Replies and signals are read from one stream, in the order in which PID 1 sent them, so a reply
//! is never older than the state that it is applied to. Nothing here awaits a reply: zbus would
//! deadlock once its queue is full of signals.

mod boot_blame;
mod call_queue;
mod connection;
mod control_drop_ins;
mod list_size;
mod non_utf8_mounts;
mod pending_fetches;
mod recheck;
mod refetch;
mod reload;
mod reload_changes;
mod replies;
mod resync;
mod signal_check;
mod signals;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;
mod thread;
mod unit_files;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{Instrument, debug, error, warn};
use zbus::MessageStream;

use super::dbus::{FollowError, ManagerConnection};
use super::state::{Shared, State};
use super::unit::properties::Extras;
use crate::bus::BusAddress;
use call_queue::CallQueue;
use connection::Follower;
pub use control_drop_ins::CONTROL_DIRECTORIES;
pub use thread::Thread;
pub use unit_files::UNIT_DIRECTORIES;
use unit_files::UnitFiles;

/// Which manager is followed, and how often the mirror is compared with its list of units.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// The address of the manager.
    pub manager: BusAddress,
    /// The interval at which the mirror is compared with the list.
    pub resync: Duration,
    /// The directories of [`CONTROL_DIRECTORIES`], if the manager is the system's.
    pub control_directories: Vec<PathBuf>,
    /// Those of [`UNIT_DIRECTORIES`], if the manager is the system's.
    pub unit_directories: Vec<PathBuf>,
    /// Optional properties of units to read.
    pub extras: Extras,
}

/// Follows PID 1 until the task is dropped. After a panic, which is a bug of the exporter,
/// following starts again; a change of which only the first signal was received is then not
/// counted.
pub async fn follow(shared: Shared, options: FollowOptions) {
    loop {
        // the task ends when this future is dropped
        let mut task = JoinSet::new();
        task.spawn(connect(shared.clone(), options.clone()).in_current_span());
        let Some(Err(error)) = task.join_next().await else { continue };
        error!(%error, "internal error in the systemd subscription (bug); resubscribing");
        {
            let status = &mut shared.lock().status;
            status.following = false;
            status.trouble = Some(format!("internal error in the systemd subscription: {error}"));
            *status.errors.entry("panic").or_default() += 1;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Connects and follows, again after each lost connection.
async fn connect(shared: Shared, options: FollowOptions) -> Infallible {
    let mut backoff = Backoff::default();
    let mut last_trouble = String::new();
    loop {
        let error = match ManagerConnection::open(&options.manager, &shared.coalescing).await {
            Ok(ManagerConnection { connection, owner }) => {
                let messages = MessageStream::from(&connection);
                let calls = CallQueue::open(connection, owner);
                let mut follower = Follower::new(&shared, calls, options.resync, options.extras);
                follower.refetch.files =
                    UnitFiles::new(&options.unit_directories, &options.control_directories);
                let error = follower.run(messages).await;
                let is_lost =
                    !matches!(error, FollowError::NotListed { .. } | FollowError::NoSignals);
                shared.lock().status.disconnects += u64::from(is_lost);
                error
            }
            Err(error) => error,
        };
        let trouble = error.to_string();
        let (was_following, is_filled) = connection_lost(&mut shared.lock(), &trouble);
        if was_following {
            backoff = Backoff::default();
        }
        let pause = backoff.next();
        if trouble == last_trouble {
            debug!(%trouble, ?pause, "still not connected to systemd, retrying");
        } else if is_filled {
            warn!(%trouble, ?pause, "lost connection to systemd; serving last known unit states, retrying");
        } else {
            warn!(%trouble, ?pause, "cannot subscribe to systemd; unit metrics unavailable, retrying");
        }
        last_trouble = trouble;
        tokio::time::sleep(pause).await;
    }
}

/// Notes that PID 1 is not followed any more. Returns whether it was followed, and whether the mirror
/// was ever filled.
fn connection_lost(state: &mut State, trouble: &str) -> (bool, bool) {
    state.ledger.begin_outage();
    let status = &mut state.status;
    status.trouble = Some(trouble.to_owned());
    (std::mem::take(&mut status.following), status.filled)
}

/// Pauses that double from 0.1 s to 30 s.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(100) * 2_u32.pow(self.0.min(9));
        self.0 += 1;
        pause.min(Duration::from_secs(30))
    }
}
