//! Single-flight: concurrent callers with the same key share one run of the work.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The work in flight, by key.
#[derive(Debug)]
pub struct SingleFlight<K, V>(Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>);

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Waits for the work in flight with this key, or starts it. The work runs to its end even if
    /// all callers stop waiting. `None` if it panicked.
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
        let mut in_flight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = in_flight.get(&key) {
            return flight.clone();
        }
        let (sender, receiver) = watch::channel(None);
        in_flight.insert(key.clone(), receiver.clone());
        let remove = RemoveOnDrop { in_flight: self.0.clone(), key };
        let work = work();
        tokio::spawn(async move {
            let value = work.await;
            // removed first: a caller that comes from now on must not get this older value
            drop(remove);
            sender.send_replace(Some(value));
        });
        receiver
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Removes the key when the work ends, also by a panic.
struct RemoveOnDrop<K: Eq + Hash, V> {
    in_flight: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for RemoveOnDrop<K, V> {
    fn drop(&mut self) {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn concurrent_callers_share_a_run_and_later_ones_do_not() {
        let in_flight = SingleFlight::default();
        let runs = Arc::new(AtomicU32::new(0));
        let work = || {
            let runs = runs.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let both = tokio::join!(in_flight.share("a", work), in_flight.share("a", work));
        assert_eq!(both, (Some(1), Some(1)));
        assert_eq!(in_flight.share("a", work).await, Some(2));
    }

    #[tokio::test]
    async fn returns_none_after_a_panic_and_runs_again() {
        let in_flight: SingleFlight<u8, u8> = SingleFlight::default();
        assert_eq!(in_flight.share(0, || async { panic!("on purpose") }).await, None);
        assert_eq!(in_flight.share(0, || async { 7 }).await, Some(7));
    }

    #[tokio::test]
    async fn work_runs_to_its_end_when_callers_stop_waiting() {
        let in_flight: SingleFlight<u8, u8> = SingleFlight::default();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let work = || async { receiver.await.unwrap_or(0) };
        let waiting = tokio::time::timeout(Duration::from_millis(1), in_flight.share(0, work));
        assert!(waiting.await.is_err());
        assert!(!in_flight.is_empty());
        let joined = in_flight.share(0, || async { 1 });
        sender.send(7).unwrap();
        assert_eq!(joined.await, Some(7));
        assert!(in_flight.is_empty());
    }
}
