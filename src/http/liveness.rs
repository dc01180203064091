//! Liveness check of the accept loops, for the watchdog.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

/// Checks whether all listeners of a server accept connections.
///
/// The check does not connect: the address filters that a unit may have (`IPAddressDeny=`,
/// `RestrictAddressFamilies=`) can block connections to the server's own port.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<Mutex<Vec<mpsc::Sender<Probe>>>>);

/// Receives from an accept loop whether its listener accepts connections.
pub(super) type Probe = oneshot::Sender<bool>;

impl Liveness {
    /// Whether there are listeners and all of them accept connections. Waits as long as an accept
    /// loop does not reply.
    pub async fn check(&self) -> bool {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in &listeners {
            let (probe, reply) = oneshot::channel();
            if listener.send(probe).await.is_err() || !reply.await.unwrap_or(false) {
                return false;
            }
        }
        !listeners.is_empty()
    }

    /// Adds a listener; returns the probes that its accept loop has to answer.
    pub(super) fn register(&self) -> mpsc::Receiver<Probe> {
        let (sender, probes) = mpsc::channel(1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        probes
    }
}
