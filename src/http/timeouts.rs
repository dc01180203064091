//! The timeouts of a connection: one deadline, which each phase of a request moves.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::limits::{LINGER_TIMEOUT, Limits, MAX_LINGER_BYTES};

/// The deadline of one connection.
#[derive(Debug)]
pub(super) struct ConnectionTimer {
    version: HttpVersion,
    head: Duration,
    idle: Duration,
    response: Duration,
    state: Mutex<State>,
    /// The deadline may have become earlier.
    changed: Notify,
}

/// The HTTP version of a connection. In HTTP/2, frames that begin no request arrive at any time,
/// so that only whole requests move the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpVersion {
    Http1,
    Http2,
}

/// The timer of one response; dropped when hyper has taken its last byte.
#[derive(Debug)]
pub(super) struct ResponseTimer {
    timer: Arc<ConnectionTimer>,
    until: Instant,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// The deadline of `phase`.
    until: Instant,
    /// The deadlines of the responses in flight; while there are any, the earliest one applies.
    responses: Vec<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the rest of a request head, or for the first request of the connection.
    Head,
    /// Waiting for the next request.
    Idle,
    /// Waiting until the peer has read the response.
    Flush,
    /// Waiting for the peer to close the connection.
    Close,
}

impl ConnectionTimer {
    pub(super) fn new(version: HttpVersion, limits: &Limits) -> Arc<Self> {
        let until = Instant::now() + limits.head;
        Arc::new(Self {
            version,
            head: limits.head,
            idle: limits.idle,
            response: limits.response,
            state: Mutex::new(State { phase: Phase::Head, until, responses: Vec::new() }),
            changed: Notify::new(),
        })
    }

    /// Starts the timer of a response; to be called when the request head is complete.
    pub(super) fn start_response(self: &Arc<Self>) -> ResponseTimer {
        let until = Instant::now() + self.response;
        self.state().responses.push(until);
        self.changed.notify_one();
        ResponseTimer { timer: self.clone(), until }
    }

    /// Returns when the deadline has passed.
    pub(super) async fn expired(&self) {
        loop {
            let deadline = self.state().deadline();
            tokio::select! {
                () = sleep_until(deadline) => {
                    if self.state().deadline() <= Instant::now() {
                        return;
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// At shutdown: leaves little time to complete a request head.
    pub(super) fn shorten_deadline(&self) {
        let mut state = self.state();
        if state.phase != Phase::Flush {
            state.until = state.until.min(Instant::now() + LINGER_TIMEOUT);
            self.changed.notify_one();
        }
    }

    fn received(&self) {
        let mut state = self.state();
        if self.version == HttpVersion::Http1 && state.phase == Phase::Idle {
            state.enter(Phase::Head, Instant::now() + self.head);
            self.changed.notify_one();
        }
    }

    fn flushed(&self) {
        let mut state = self.state();
        if state.phase == Phase::Flush {
            state.enter(Phase::Idle, Instant::now() + self.idle);
        }
    }

    fn closing(&self) {
        let mut state = self.state();
        if state.phase != Phase::Close {
            state.enter(Phase::Close, Instant::now() + LINGER_TIMEOUT);
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase, until: Instant) {
        self.phase = phase;
        self.until = until;
    }

    fn deadline(&self) -> Instant {
        self.responses.iter().min().copied().unwrap_or(self.until)
    }
}

impl Drop for ResponseTimer {
    fn drop(&mut self) {
        let mut state = self.timer.state();
        if let Some(at) = state.responses.iter().position(|until| *until == self.until) {
            state.responses.swap_remove(at);
        }
        match self.timer.version {
            HttpVersion::Http1 => state.enter(Phase::Flush, self.until),
            HttpVersion::Http2 => state.enter(Phase::Idle, Instant::now() + self.timer.idle),
        }
        self.timer.changed.notify_one();
    }
}

/// A stream that reports its reads, flushes and shutdown to the timer of its connection.
#[derive(Debug)]
pub(super) struct TimedStream<T> {
    stream: T,
    timer: Arc<ConnectionTimer>,
    drained: usize,
}

impl<T> TimedStream<T> {
    pub(super) fn new(stream: T, timer: Arc<ConnectionTimer>) -> Self {
        Self { stream, timer, drained: 0 }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TimedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.timer.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.timer.flushed();
        Poll::Ready(Ok(()))
    }

    /// Closing a socket with unread bytes resets the connection, and the peer may lose the
    /// response. Therefore incoming bytes are drained for a moment.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.timer.closing();
        let mut bytes = [0; 4096];
        while self.drained < MAX_LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            self.drained += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(timer: &ConnectionTimer) -> Duration {
        timer.state().deadline() - Instant::now()
    }

    fn timer(version: HttpVersion) -> Arc<ConnectionTimer> {
        let second = Duration::from_secs;
        let limits = Limits {
            head: second(10),
            idle: second(180),
            response: second(30),
            ..Limits::default()
        };
        ConnectionTimer::new(version, &limits)
    }

    #[tokio::test(start_paused = true)]
    async fn http1_deadline_follows_head_response_flush_idle() {
        let timer = timer(HttpVersion::Http1);
        assert_eq!(deadline(&timer).as_secs(), 10);
        let response = timer.start_response();
        assert_eq!(deadline(&timer).as_secs(), 30);
        tokio::time::advance(Duration::from_secs(4)).await;
        drop(response);
        assert_eq!(deadline(&timer).as_secs(), 26, "the response is still to be read");
        timer.flushed();
        assert_eq!(deadline(&timer).as_secs(), 180);
        timer.received();
        assert_eq!(deadline(&timer).as_secs(), 10);
        tokio::time::advance(Duration::from_secs(3)).await;
        timer.received();
        assert_eq!(deadline(&timer).as_secs(), 7, "single bytes do not extend the deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn http2_deadline_is_that_of_the_oldest_response() {
        let timer = timer(HttpVersion::Http2);
        let first = timer.start_response();
        tokio::time::advance(Duration::from_secs(5)).await;
        let second = timer.start_response();
        assert_eq!(deadline(&timer).as_secs(), 25);
        drop(first);
        assert_eq!(deadline(&timer).as_secs(), 30);
        drop(second);
        assert_eq!(deadline(&timer).as_secs(), 180);
        timer.received();
        assert_eq!(deadline(&timer).as_secs(), 180);
    }

    #[tokio::test(start_paused = true)]
    async fn waiter_notices_an_earlier_deadline() {
        let timer = timer(HttpVersion::Http1);
        drop(timer.start_response());
        timer.flushed();
        let waiting = tokio::spawn({
            let timer = timer.clone();
            async move { timer.expired().await }
        });
        tokio::time::sleep(Duration::from_secs(100)).await;
        timer.received();
        let start = Instant::now();
        waiting.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
