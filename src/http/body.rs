//! Response bodies, which hold their memory and their timer until the client has them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::budget::Share;
use super::limits::CHUNK_BYTES;
use super::timeouts::ResponseTimer;

/// A body that is handed to hyper in chunks.
#[derive(Debug)]
pub(super) struct ResponseBody {
    share: Option<Share>,
    rest: Bytes,
}

/// The owner of the memory of a body: dropped with its last chunk, when the kernel has taken it or
/// the connection ends.
struct UnreadBody {
    /// Dropped before the memory, whose address is the key of the share.
    _share: Option<Share>,
    bytes: Bytes,
    _timer: ResponseTimer,
}

impl AsRef<[u8]> for UnreadBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ResponseBody {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self { rest: bytes.into(), share: None }
    }

    /// A body that counts in the budget of unread bytes.
    pub(super) fn counted(bytes: Bytes, share: Share) -> Self {
        Self { rest: bytes, share: Some(share) }
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn timed(self, timer: ResponseTimer) -> Self {
        let owner = UnreadBody { bytes: self.rest, _share: self.share, _timer: timer };
        Self::new(Bytes::from_owner(owner))
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::budget::Budget;
    use super::super::limits::Limits;
    use super::super::listen_address::Peer;
    use super::super::timeouts::ConnectionTimer;
    use super::*;
    use crate::http_counts::SharedLimit;

    #[tokio::test]
    async fn chunks_add_up_to_the_body() {
        let bytes: Bytes = (0..CHUNK_BYTES * 2 + 1).map(|n| n.to_le_bytes()[0]).collect();
        let body = ResponseBody::new(bytes.clone());
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
    }

    #[tokio::test]
    async fn body_is_counted_until_its_last_chunk_is_dropped() {
        let budget = Budget::new(SharedLimit::UnreadBytes, 100_000, Default::default());
        let client = ConnectionTimer::new(Peer::User(0), &Limits::default());
        let bytes = Bytes::from(vec![0; CHUNK_BYTES + 1]);
        let share = budget.try_take(None, bytes.len(), &client).unwrap();
        let mut body = ResponseBody::counted(bytes, share).timed(client.start_response());
        let first = body.frame().await.unwrap().unwrap();
        let last = body.frame().await.unwrap().unwrap();
        assert!(body.frame().await.is_none());
        drop((body, first));
        assert_eq!(budget.used(), CHUNK_BYTES + 1, "the last chunk keeps the whole body in memory");
        drop(last);
        assert_eq!(budget.used(), 0);
    }
}
