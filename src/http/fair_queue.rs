//! A queue in which peers take turns, so that the many requests of one delay no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::listen_address::Peer;

/// Lets a few tasks run at a time. Of each peer, one task waits in the queue at a time; the peer's
/// further tasks wait behind that one.
#[derive(Debug)]
pub(super) struct FairQueue {
    running: Arc<Semaphore>,
    peers: Mutex<HashMap<Peer, Weak<Semaphore>>>,
}

/// The right to run; released on drop.
#[derive(Debug)]
pub(super) struct Turn {
    _of_peer: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl FairQueue {
    /// At most `running` tasks run at a time.
    pub(super) fn new(running: usize) -> Self {
        Self { running: Arc::new(Semaphore::new(running)), peers: Mutex::default() }
    }

    /// Waits for a turn; `None` never happens, since the queue is never closed.
    pub(super) async fn turn(&self, peer: Peer) -> Option<Turn> {
        let of_peer = self.of_peer(peer).acquire_owned().await.ok()?;
        let running = self.running.clone().acquire_owned().await.ok()?;
        Some(Turn { _of_peer: of_peer, _running: running })
    }

    fn of_peer(&self, peer: Peer) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = peers.get(&peer).and_then(Weak::upgrade) {
            return semaphore;
        }
        peers.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(1));
        peers.insert(peer, Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn newcomer_waits_for_one_task_of_each_other_peer() {
        let queue = Arc::new(FairQueue::new(1));
        let mut tasks = JoinSet::new();
        let mut order = Vec::new();
        for (task, peer) in [1, 1, 1, 1, 2, 2, 3].into_iter().enumerate() {
            let queue = queue.clone();
            tasks.spawn(async move {
                // in the order of the list
                tokio::time::sleep(Duration::from_millis(task as u64)).await;
                let turn = queue.turn(Peer::User(peer)).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(turn);
                peer
            });
        }
        while let Some(peer) = tasks.join_next().await {
            order.push(peer.unwrap());
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 1, 1]);
        assert_eq!(queue.running.available_permits(), 1);
    }
}
