//! Response bodies, and the limit on memory held by bodies that clients have not read yet.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::limits::CHUNK_BYTES;
use super::timeouts::ResponseTimer;

/// A body that is handed to hyper in chunks, so that its memory is released only when hyper has
/// taken the whole body.
#[derive(Debug)]
pub(super) struct ResponseBody {
    rest: Bytes,
    /// Counts the body as pending until it is dropped.
    _pending: Option<PendingBody>,
    /// Dropped with the body, when hyper has taken its last byte.
    _timer: Option<ResponseTimer>,
}

impl ResponseBody {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self { rest: bytes.into(), _pending: None, _timer: None }
    }

    pub(super) fn pending(body: PendingBody) -> Self {
        Self { rest: body.bytes.clone(), _pending: Some(body), _timer: None }
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn timed(self, timer: ResponseTimer) -> Self {
        Self { _timer: Some(timer), ..self }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(CHUNK_BYTES);
        let frame = (length > 0).then(|| Ok(Frame::data(self.rest.split_to(length))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// The memory of bodies that clients have not read yet; a body sent to many clients counts once.
#[derive(Debug)]
pub(super) struct PendingBodies {
    max_bytes: usize,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: usize,
    /// The number of responses that share a body, by the address of the body.
    readers: HashMap<usize, usize>,
}

/// A body that one client reads; no longer counted on drop.
#[derive(Debug)]
pub(super) struct PendingBody {
    bytes: Bytes,
    bodies: Arc<PendingBodies>,
}

impl PendingBodies {
    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { max_bytes, pending: Mutex::default() })
    }

    /// Counts a body; `None` if memory would exceed the limit. A body is always admitted if there
    /// is no other, whatever its size.
    pub(super) fn add(self: &Arc<Self>, bytes: Bytes) -> Option<PendingBody> {
        let mut pending = self.lock();
        let address = bytes.as_ptr().addr();
        let shared = pending.readers.contains_key(&address);
        if !shared && pending.bytes > 0 && pending.bytes + bytes.len() > self.max_bytes {
            return None;
        }
        if !shared {
            pending.bytes += bytes.len();
        }
        *pending.readers.entry(address).or_default() += 1;
        Some(PendingBody { bytes, bodies: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingBody {
    fn drop(&mut self) {
        let mut pending = self.bodies.lock();
        let address = self.bytes.as_ptr().addr();
        match pending.readers.get_mut(&address) {
            Some(readers) if *readers > 1 => *readers -= 1,
            _ => {
                pending.readers.remove(&address);
                pending.bytes -= self.bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn chunks_add_up_to_the_body() {
        let bytes: Bytes = (0..CHUNK_BYTES * 2 + 1).map(|n| n.to_le_bytes()[0]).collect();
        let body = ResponseBody::new(bytes.clone());
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
    }

    #[test]
    fn counts_a_shared_body_once_until_its_last_reader_is_done() {
        let bodies = PendingBodies::new(10);
        let bytes = Bytes::from(vec![0; 6]);
        let first = bodies.add(bytes.clone()).unwrap();
        let second = bodies.add(bytes).unwrap();
        assert!(bodies.add(Bytes::from(vec![0; 6])).is_none());
        drop(first);
        assert!(bodies.add(Bytes::from(vec![0; 6])).is_none());
        drop(second);
        assert!(bodies.add(Bytes::from(vec![0; 60])).is_some(), "a single body is admitted");
    }
}
