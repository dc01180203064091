//! Follows PID 1: fills the mirror, keeps it true by signals, and starts anew when the bus or
//! PID 1 went away.
//!
//! Answers and signals are taken from one stream, in the order in which PID 1 sent them, so an
//! answer is never older than the state that it is applied to. Nothing here awaits an answer:
//! zbus would deadlock once its queue is full of signals.

mod boot_blame;
mod call_queue;
mod connection;
mod non_utf8_mounts;
mod pending_fetches;
mod refetch;
mod replies;
mod resync;
mod round_robin;
mod signals;
#[cfg(test)]
mod tests;
mod thread;

use std::convert::Infallible;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{Instrument, debug, error, info, warn};
use zbus::MessageStream;

use super::dbus::Bus;
pub use super::manager_address::Place;
use super::state::Shared;
use super::unit::properties::Extras;
use call_queue::Window;
use connection::Session;
pub use thread::Thread;

/// Which manager is followed, and how often the mirror is compared with it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the manager is.
    pub place: Place,
    /// How often the mirror is compared with PID 1's list of units.
    pub resync: Duration,
    /// What is asked of units beyond what always is, as far as PID 1 has it.
    pub extras: Extras,
}

/// Follows PID 1 until the task is dropped. A panic, which would be a fault of the exporter, costs
/// what was heard since the last signal, and following begins anew.
pub async fn follow(shared: Shared, options: Options) {
    loop {
        // a task that ends with this future, when that is dropped
        let mut task = JoinSet::new();
        task.spawn(connect(shared.clone(), options.clone()).in_current_span());
        let Some(Err(error)) = task.join_next().await else { continue };
        error!(%error, "following systemd failed in a way that it must not; beginning anew");
        {
            let status = &mut shared.lock().status;
            status.following = false;
            status.trouble = Some(format!("following systemd failed: {error}"));
            *status.errors.entry("panic").or_default() += 1;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Connects, and follows for as long as that goes well, again and again.
async fn connect(shared: Shared, options: Options) -> Infallible {
    let mut backoff = Backoff::default();
    let mut last_trouble = String::new();
    loop {
        let error = match Bus::connect(&options.place, &shared.coalescing).await {
            Ok(Bus { connection, owner }) => {
                let messages = MessageStream::from(&connection);
                let window = Window::open(connection, owner.clone());
                let Options { resync, extras, .. } = options;
                let session = Session::new(&shared, owner, window, resync, extras);
                let error = session.run(messages).await;
                shared.lock().status.reconnects += 1;
                error
            }
            Err(error) => error,
        };
        let trouble = error.to_string();
        let was_following;
        {
            let status = &mut shared.lock().status;
            was_following = std::mem::take(&mut status.following);
            status.trouble = Some(trouble.clone());
        }
        if was_following {
            backoff = Backoff::default();
        }
        let pause = backoff.next();
        if trouble == last_trouble {
            debug!(%trouble, ?pause, "still not following systemd");
        } else if shared.lock().status.filled {
            info!(%trouble, ?pause, "lost systemd; the units on the page are as last seen");
        } else {
            warn!(%trouble, ?pause, "cannot follow systemd yet; everything else is served");
        }
        last_trouble = trouble;
        tokio::time::sleep(pause).await;
    }
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
