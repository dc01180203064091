//! A source that is opened once and kept between scrapes.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};

use crate::source::Error;

/// A source of which one reading at a time makes use; others wait for it, and hold no thread while
/// they do. It is opened at its first reading, and anew after one that panicked.
#[derive(Debug)]
pub struct Kept<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Kept<T> {
    /// Another handle on the same source.
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Send + 'static> Kept<T> {
    /// Makes use of the source, on a thread that may block. A reading given up on goes on to its
    /// end and keeps the source until then.
    ///
    /// # Errors
    /// Those of opening and of reading; a panic of either as a join error.
    pub async fn read<R: Send + 'static>(
        &self,
        open: impl FnOnce() -> Result<T, Error> + Send + 'static,
        read: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
    ) -> Result<Result<R, Error>, JoinError> {
        let mut kept = self.0.clone().lock_owned().await;
        spawn_blocking(move || {
            // out of its place while it is read: a panic leaves nothing behind that is half read
            let mut source = match kept.take() {
                Some(source) => source,
                None => open()?,
            };
            let outcome = read(&mut source);
            *kept = Some(source);
            outcome
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_source_is_opened_until_that_works_and_then_kept() {
        let kept = Kept::default();
        assert!(kept.read(|| Err::<u32, _>(Error::Late), |_| Ok(())).await.unwrap().is_err());
        let add = |source: &mut u32| {
            *source += 1;
            Ok(*source)
        };
        assert_eq!(kept.read(|| Ok(7), add).await.unwrap().unwrap(), 8);
        assert_eq!(kept.read(|| Ok(7), add).await.unwrap().unwrap(), 9);
    }

    #[tokio::test]
    async fn after_a_panic_it_is_opened_anew() {
        let kept = Kept::default();
        let panics = |_: &mut u32| -> Result<u32, Error> { panic!("on purpose") };
        assert!(kept.read(|| Ok(1), panics).await.is_err());
        assert_eq!(kept.read(|| Ok(2), |source| Ok(*source)).await.unwrap().unwrap(), 2);
    }

    #[tokio::test]
    async fn readings_wait_for_each_other() {
        let kept = Kept::default();
        let slow = |source: &mut u32| {
            std::thread::sleep(Duration::from_millis(50));
            *source += 1;
            Ok(*source)
        };
        let (first, second) = tokio::join!(kept.read(|| Ok(0), slow), kept.read(|| Ok(0), slow));
        let mut both = [first.unwrap().unwrap(), second.unwrap().unwrap()];
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
    }
}
