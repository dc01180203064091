//! Until when a connection may do what it does: one deadline, moved by what happens on it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::limits::{LINGER, LINGER_BYTES, Limits};

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    protocol: Protocol,
    head: Duration,
    idle: Duration,
    answer: Duration,
    state: Mutex<State>,
    sooner: Notify,
}

/// What is spoken on a connection. In HTTP/2, frames that begin no request come at any time, so
/// only whole requests move its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// An answer on its way; dropped when hyper has taken its last byte.
#[derive(Debug)]
pub(super) struct Answering {
    pace: Arc<Pace>,
    until: Instant,
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// The deadline of `doing`.
    until: Instant,
    /// The deadlines of the answers being made; while there are any, they are what counts.
    answers: Vec<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Waiting for the rest of a request's head, or for the first request of all.
    Head,
    /// Waiting for the next request.
    Idle,
    /// Waiting until the peer has taken the answer.
    Flush,
    /// Waiting for the peer to close.
    Close,
}

impl Pace {
    pub(super) fn new(protocol: Protocol, limits: &Limits) -> Arc<Self> {
        let until = Instant::now() + limits.head;
        Arc::new(Self {
            protocol,
            head: limits.head,
            idle: limits.idle,
            answer: limits.answer,
            state: Mutex::new(State { doing: Doing::Head, until, answers: Vec::new() }),
            sooner: Notify::new(),
        })
    }

    /// A request's head is complete; its answer's time runs from now.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        let until = Instant::now() + self.answer;
        self.state().answers.push(until);
        self.sooner.notify_one();
        Answering { pace: self.clone(), until }
    }

    /// Returns when the connection has had its time.
    pub(super) async fn expired(&self) {
        loop {
            let deadline = self.state().deadline();
            tokio::select! {
                () = sleep_until(deadline) => {
                    if self.state().deadline() <= Instant::now() {
                        return;
                    }
                }
                () = self.sooner.notified() => {}
            }
        }
    }

    /// The server stops: who has not finished a request's head gets little more time for it.
    pub(super) fn hurry(&self) {
        let mut state = self.state();
        if state.doing != Doing::Flush {
            state.until = state.until.min(Instant::now() + LINGER);
            self.sooner.notify_one();
        }
    }

    fn received(&self) {
        let mut state = self.state();
        if self.protocol == Protocol::Http1 && state.doing == Doing::Idle {
            state.enter(Doing::Head, Instant::now() + self.head);
            self.sooner.notify_one();
        }
    }

    fn flushed(&self) {
        let mut state = self.state();
        if state.doing == Doing::Flush {
            state.enter(Doing::Idle, Instant::now() + self.idle);
        }
    }

    fn closing(&self) {
        let mut state = self.state();
        if state.doing != Doing::Close {
            state.enter(Doing::Close, Instant::now() + LINGER);
            self.sooner.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, doing: Doing, until: Instant) {
        self.doing = doing;
        self.until = until;
    }

    fn deadline(&self) -> Instant {
        self.answers.iter().min().copied().unwrap_or(self.until)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        if let Some(at) = state.answers.iter().position(|until| *until == self.until) {
            state.answers.swap_remove(at);
        }
        match self.pace.protocol {
            Protocol::Http1 => state.enter(Doing::Flush, self.until),
            Protocol::Http2 => state.enter(Doing::Idle, Instant::now() + self.pace.idle),
        }
        self.pace.sooner.notify_one();
    }
}

/// A stream that tells its connection's clock what happens on it.
#[derive(Debug)]
pub(super) struct Paced<T> {
    stream: T,
    pace: Arc<Pace>,
    drained: usize,
}

impl<T> Paced<T> {
    pub(super) fn new(stream: T, pace: Arc<Pace>) -> Self {
        Self { stream, pace, drained: 0 }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.pace.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<T> {
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
        self.pace.flushed();
        Poll::Ready(Ok(()))
    }

    /// Closing a socket with unread bytes in it resets the connection, and the peer may lose the
    /// answer: so what it still sends is drained for a moment.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.pace.closing();
        let mut scratch = [0; 4096];
        while self.drained < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
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

    fn deadline(pace: &Pace) -> Duration {
        pace.state().deadline() - Instant::now()
    }

    fn pace(protocol: Protocol) -> Arc<Pace> {
        let second = Duration::from_secs;
        let limits =
            Limits { head: second(10), idle: second(180), answer: second(30), ..Limits::default() };
        Pace::new(protocol, &limits)
    }

    #[tokio::test(start_paused = true)]
    async fn http1_goes_from_head_to_answer_to_flush_to_idle() {
        let pace = pace(Protocol::Http1);
        assert_eq!(deadline(&pace).as_secs(), 10);
        let answering = pace.answer();
        assert_eq!(deadline(&pace).as_secs(), 30);
        tokio::time::advance(Duration::from_secs(4)).await;
        drop(answering);
        assert_eq!(deadline(&pace).as_secs(), 26, "the answer is still to be taken");
        pace.flushed();
        assert_eq!(deadline(&pace).as_secs(), 180);
        pace.received();
        assert_eq!(deadline(&pace).as_secs(), 10);
        tokio::time::advance(Duration::from_secs(3)).await;
        pace.received();
        assert_eq!(deadline(&pace).as_secs(), 7, "dribbling gains no time");
    }

    #[tokio::test(start_paused = true)]
    async fn http2_counts_from_its_oldest_answer() {
        let pace = pace(Protocol::Http2);
        let first = pace.answer();
        tokio::time::advance(Duration::from_secs(5)).await;
        let second = pace.answer();
        assert_eq!(deadline(&pace).as_secs(), 25);
        drop(first);
        assert_eq!(deadline(&pace).as_secs(), 30);
        drop(second);
        assert_eq!(deadline(&pace).as_secs(), 180);
        pace.received();
        assert_eq!(deadline(&pace).as_secs(), 180);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sooner_deadline_is_noticed() {
        let pace = pace(Protocol::Http1);
        drop(pace.answer());
        pace.flushed();
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { pace.expired().await }
        });
        tokio::time::sleep(Duration::from_secs(100)).await;
        pace.received();
        let start = Instant::now();
        waiting.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
