//! The body of an answer, and how much memory unread bodies hold.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::limits::CHUNK;
use super::timeouts::Answering;

/// A body given out in chunks, so that what is behind it is released only when it was taken.
#[derive(Debug)]
pub(super) struct Body {
    rest: Bytes,
    /// The page's share in the memory of unread pages.
    _held: Option<Held>,
    /// Dropped with the body: the answer is then on its way.
    _answering: Option<Answering>,
}

impl Body {
    pub(super) fn of(bytes: impl Into<Bytes>) -> Self {
        Self { rest: bytes.into(), _held: None, _answering: None }
    }

    /// A page that counts as unread until the body is gone.
    pub(super) fn held(held: Held) -> Self {
        Self { rest: held.page.clone(), _held: Some(held), _answering: None }
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn timed(self, answering: Answering) -> Self {
        Self { _answering: Some(answering), ..self }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(CHUNK);
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

/// The memory of the pages that clients have not read yet; a page sent to many counts once.
#[derive(Debug)]
pub(super) struct Unsent {
    limit: usize,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    bytes: usize,
    /// How many bodies read the page that begins at an address.
    readers: HashMap<usize, usize>,
}

/// One body's part in a page.
#[derive(Debug)]
pub(super) struct Held {
    page: Bytes,
    unsent: Arc<Unsent>,
}

impl Unsent {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, pages: Mutex::default() })
    }

    /// Takes the page into account, or gives it up when memory would grow beyond the limit. One
    /// page is always admitted, whatever its size.
    pub(super) fn hold(self: &Arc<Self>, page: Bytes) -> Option<Held> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let address = page.as_ptr().addr();
        let known = pages.readers.contains_key(&address);
        if !known && pages.bytes > 0 && pages.bytes + page.len() > self.limit {
            return None;
        }
        if !known {
            pages.bytes += page.len();
        }
        *pages.readers.entry(address).or_default() += 1;
        Some(Held { page, unsent: self.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pages = self.unsent.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let address = self.page.as_ptr().addr();
        match pages.readers.get_mut(&address) {
            Some(readers) if *readers > 1 => *readers -= 1,
            _ => {
                pages.readers.remove(&address);
                pages.bytes -= self.page.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn chunks_add_up_to_the_page() {
        let page: Bytes = (0..CHUNK * 2 + 1).map(|n| n.to_le_bytes()[0]).collect();
        let body = Body::of(page.clone());
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(page.len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), page);
    }

    #[test]
    fn a_shared_page_counts_once_and_is_forgotten_with_its_last_reader() {
        let unsent = Unsent::new(10);
        let page = Bytes::from(vec![0; 6]);
        let first = unsent.hold(page.clone()).unwrap();
        let second = unsent.hold(page).unwrap();
        assert!(unsent.hold(Bytes::from(vec![0; 6])).is_none());
        drop(first);
        assert!(unsent.hold(Bytes::from(vec![0; 6])).is_none());
        drop(second);
        assert!(unsent.hold(Bytes::from(vec![0; 60])).is_some(), "one page is always admitted");
    }
}
