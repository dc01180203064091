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
use super::listen_address::Peer;

/// The peer, the activity and the deadline of one connection.
#[derive(Debug)]
pub(super) struct ConnectionTimer {
    peer: Peer,
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

/// The timer of one response; dropped when the last byte has been written.
#[derive(Debug)]
pub(super) struct ResponseTimer {
    timer: Arc<ConnectionTimer>,
    until: Instant,
    building: bool,
}

#[derive(Debug)]
struct State {
    version: HttpVersion,
    phase: Phase,
    /// The deadline of `phase`.
    until: Instant,
    /// The deadlines of the responses in flight; while there are any, the earliest one applies.
    responses: Vec<Instant>,
    /// The number of responses that the server is still building.
    building: usize,
    /// When the last byte was received or written.
    active: Instant,
    /// The connection is idle, and another client needs its place.
    closed_for_newcomer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the end of the TLS handshake.
    Handshake,
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
    /// Starts with the handshake; without TLS, `begin` follows at once.
    pub(super) fn new(peer: Peer, limits: &Limits) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            peer,
            head: limits.head,
            idle: limits.idle,
            response: limits.response,
            state: Mutex::new(State {
                version: HttpVersion::Http1,
                phase: Phase::Handshake,
                until: now + limits.handshake,
                responses: Vec::new(),
                building: 0,
                active: now,
                closed_for_newcomer: false,
            }),
            changed: Notify::new(),
        })
    }

    /// Waits for the first request from now on.
    pub(super) fn begin(&self, version: HttpVersion) {
        let mut state = self.state();
        state.version = version;
        state.enter(Phase::Head, Instant::now() + self.head);
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// For how long no byte has been received or written; `None` while the server is building a
    /// response.
    pub(super) fn idle(&self) -> Option<Duration> {
        let state = self.state();
        (state.building == 0).then(|| state.active.elapsed())
    }

    /// Ends the connection at once.
    pub(super) fn close_for_newcomer(&self) {
        self.state().closed_for_newcomer = true;
        self.changed.notify_one();
    }

    /// Starts the timer of a response; to be called when the request head is complete.
    pub(super) fn start_response(self: &Arc<Self>) -> ResponseTimer {
        let until = Instant::now() + self.response;
        let mut state = self.state();
        state.responses.push(until);
        state.building += 1;
        self.changed.notify_one();
        ResponseTimer { timer: self.clone(), until, building: true }
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
        state.active = Instant::now();
        if state.version == HttpVersion::Http1 && state.phase == Phase::Idle {
            state.enter(Phase::Head, Instant::now() + self.head);
            self.changed.notify_one();
        }
    }

    fn written(&self) {
        self.state().active = Instant::now();
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
        if self.closed_for_newcomer {
            return self.active;
        }
        self.responses.iter().min().copied().unwrap_or(self.until)
    }
}

impl ResponseTimer {
    pub(super) fn connection(&self) -> &Arc<ConnectionTimer> {
        &self.timer
    }

    /// The server has built the response.
    pub(super) fn built(&mut self) {
        if std::mem::take(&mut self.building) {
            self.timer.state().building -= 1;
        }
    }
}

impl Drop for ResponseTimer {
    fn drop(&mut self) {
        self.built();
        let mut state = self.timer.state();
        if let Some(at) = state.responses.iter().position(|until| *until == self.until) {
            state.responses.swap_remove(at);
        }
        match state.version {
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
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.timer.written();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.timer.written();
        Poll::Ready(written)
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
        let timer = ConnectionTimer::new(Peer::User(0), &limits);
        timer.begin(version);
        timer
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
    async fn connection_is_idle_unless_a_response_is_being_built() {
        let timer = timer(HttpVersion::Http1);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(timer.idle().unwrap().as_secs(), 3);
        let mut response = timer.start_response();
        assert_eq!(timer.idle(), None);
        response.built();
        assert_eq!(timer.idle().unwrap().as_secs(), 3, "the client does not read");
        timer.written();
        assert_eq!(timer.idle().unwrap().as_secs(), 0);
        drop(response);
        drop(timer.start_response());
        assert!(timer.idle().is_some());
        timer.close_for_newcomer();
        timer.expired().await;
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
