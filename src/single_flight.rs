//! Work that many wait for and that is done once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Pieces of work under way, by what they make.
#[derive(Debug)]
pub struct Flights<K, V>(Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the work of this key that is under way, or begins it. It runs to its end, whoever
    /// stops waiting. `None` if it panicked.
    pub async fn share<F>(&self, key: K, work: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut receiver = self.join(key, work);
        receiver.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }

    fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> watch::Receiver<Option<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.clone(), receiver.clone());
        let landing = Landing { flights: self.0.clone(), key };
        let work = work();
        tokio::spawn(async move {
            let value = work.await;
            // first off the list: who comes now must not be given what is from before
            drop(landing);
            sender.send_replace(Some(value));
        });
        receiver
    }
}

/// Takes a flight off the list, also when it panics.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn waiters_share_one_flight_and_the_next_one_is_new() {
        let flights = Flights::default();
        let runs = Arc::new(AtomicU32::new(0));
        let work = || {
            let runs = runs.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let both = tokio::join!(flights.share("a", work), flights.share("a", work));
        assert_eq!(both, (Some(1), Some(1)));
        assert_eq!(flights.share("a", work).await, Some(2));
    }

    #[tokio::test]
    async fn a_panic_reaches_no_waiter_and_blocks_no_key() {
        let flights: Flights<u8, u8> = Flights::default();
        assert_eq!(flights.share(0, || async { panic!("on purpose") }).await, None);
        assert_eq!(flights.share(0, || async { 7 }).await, Some(7));
    }
}
