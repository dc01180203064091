//! A source that is opened once and kept between scrapes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};

use crate::source::Error;

/// A source that one reader uses at a time, on a blocking thread; other readers wait without a thread.
/// The source is opened at the first read, and again after a read that panicked.
#[derive(Debug)]
pub struct BlockingSource<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for BlockingSource<T> {
    /// Another handle on the same source.
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for BlockingSource<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Send + 'static> BlockingSource<T> {
    /// Reads the source on a blocking thread. A read whose future is dropped runs to its end and holds
    /// the source until then.
    ///
    /// # Errors
    /// Those of opening and of reading; a panic of either as a join error.
    pub async fn read<R: Send + 'static>(
        &self,
        open: impl FnOnce() -> Result<T, Error> + Send + 'static,
        read: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
    ) -> Result<Result<R, Error>, JoinError> {
        let mut kept = self.0.clone().lock_owned().await;
        spawn_blocking(move || open_and_read(&mut kept, open, read)).await
    }

    /// Reads the source on the thread of the caller, which must have nothing else to run.
    ///
    /// # Errors
    /// Those of opening and of reading, and a panic of either.
    pub async fn read_here<R>(
        &self,
        open: impl FnOnce() -> Result<T, Error>,
        read: impl FnOnce(&mut T) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut kept = self.0.clone().lock_owned().await;
        let read = AssertUnwindSafe(|| open_and_read(&mut kept, open, read));
        catch_unwind(read).unwrap_or(Err(Error::Panicked))
    }
}

fn open_and_read<T, R>(
    kept: &mut Option<T>,
    open: impl FnOnce() -> Result<T, Error>,
    read: impl FnOnce(&mut T) -> Result<R, Error>,
) -> Result<R, Error> {
    // taken out during the read: a panic leaves no half-read source behind
    let mut source = match kept.take() {
        Some(source) => source,
        None => open()?,
    };
    let outcome = read(&mut source);
    *kept = Some(source);
    outcome
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn source_is_opened_until_that_succeeds_then_kept() {
        let kept = BlockingSource::default();
        assert!(kept.read(|| Err::<u32, _>(Error::Late), |_| Ok(())).await.unwrap().is_err());
        let add = |source: &mut u32| {
            *source += 1;
            Ok(*source)
        };
        assert_eq!(kept.read(|| Ok(7), add).await.unwrap().unwrap(), 8);
        assert_eq!(kept.read(|| Ok(7), add).await.unwrap().unwrap(), 9);
    }

    #[tokio::test]
    async fn source_is_opened_again_after_a_panic() {
        let kept = BlockingSource::default();
        let panics = |_: &mut u32| -> Result<u32, Error> { panic!("on purpose") };
        assert!(kept.read(|| Ok(1), panics).await.is_err());
        assert_eq!(kept.read(|| Ok(2), |source| Ok(*source)).await.unwrap().unwrap(), 2);
        assert!(kept.read_here(|| Ok(3), panics).await.is_err());
        assert_eq!(kept.read_here(|| Ok(4), |source| Ok(*source)).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn reads_wait_for_each_other() {
        let kept = BlockingSource::default();
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
