//! Memory of responses that is used again: new memory costs a page fault for each 4 KiB.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

/// One buffer, kept after a response for the next one, and given back to the system once no response
/// was made for a minute.
#[derive(Clone, Debug, Default)]
pub struct ResponseBuffers(Arc<Mutex<KeptBuffer>>);

#[derive(Debug, Default)]
struct KeptBuffer {
    body: Option<Vec<u8>>,
    used: Option<Instant>,
    is_watched: bool,
}

/// A response that returns its buffer once its last copy is dropped.
struct SharedBody {
    body: Vec<u8>,
    buffers: ResponseBuffers,
}

impl ResponseBuffers {
    /// An empty body, with the memory of the response before if that has been sent.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        let mut body = self.lock().body.take().unwrap_or_default();
        body.clear();
        body
    }

    /// The bytes of a body; its memory is kept when the last of their copies is dropped.
    #[must_use]
    pub fn share(&self, body: Vec<u8>) -> Bytes {
        self.lock().used = Some(Instant::now());
        Bytes::from_owner(SharedBody { body, buffers: self.clone() })
    }

    /// Watches the buffer, on the runtime of the caller, until it is given back.
    pub fn give_back_when_idle(&self) {
        if std::mem::replace(&mut self.lock().is_watched, true) {
            return;
        }
        let buffers = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(MAX_IDLE).await;
                let kept = &mut *buffers.lock();
                if kept.used.is_none_or(|at| at.elapsed() >= MAX_IDLE) {
                    *kept = KeptBuffer::default();
                    return;
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, KeptBuffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for SharedBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for SharedBody {
    fn drop(&mut self) {
        let body = std::mem::take(&mut self.body);
        let mut kept = self.buffers.lock();
        if kept.is_watched && body.capacity() <= MAX_KEPT {
            kept.body = Some(body);
        }
    }
}

/// After this time without a response, the buffer is given back.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// In bytes; a response of 10,000 units.
const MAX_KEPT: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn buffer_is_used_again_and_given_back_when_idle() {
        let buffers = ResponseBuffers::default();
        let respond = || {
            buffers.give_back_when_idle();
            let mut body = buffers.take();
            assert!(body.is_empty());
            body.extend_from_slice(b"a response");
            buffers.share(body)
        };
        let (first, second) = (respond(), respond());
        assert_eq!((&*first, &*second), (&b"a response"[..], &b"a response"[..]));
        let at = first.as_ptr();
        assert_ne!(at, second.as_ptr(), "the first is still in use");
        let copy = first.clone();
        drop((first, second));
        drop(copy);
        assert_eq!(respond().as_ptr(), at, "the last one returned is kept");
        assert!(buffers.lock().body.is_some());
        // the clock of the buffers is that of the system
        buffers.lock().used = Instant::now().checked_sub(MAX_IDLE);
        sleep(MAX_IDLE + Duration::from_secs(1)).await;
        assert!(buffers.lock().body.is_none() && !buffers.lock().is_watched);
    }

    #[tokio::test]
    async fn very_large_buffer_is_not_kept() {
        let buffers = ResponseBuffers::default();
        buffers.give_back_when_idle();
        drop(buffers.share(Vec::with_capacity(MAX_KEPT + 1)));
        assert!(buffers.lock().body.is_none());
    }
}
