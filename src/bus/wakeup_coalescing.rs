//! Reads a bus socket with few wake-ups: one event of a unit is many signals over some time, and a
//! wake-up for each costs more than the decoding of all.
//!
//! Once the socket is readable, the reader waits on a plain timer for [`COALESCE_INTERVAL`],
//! without the socket registered for events, and then reads all that has arrived. A scrape ends the
//! wait ([`Coalescing::catch_up`]). The reader does not wait while a reply is expected
//! ([`Coalescing::hold`]).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use zbus::connection::socket::{BoxedSplit, ReadHalf, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use super::framing::Framing;

/// Coordinates the reader of a socket, the consumer of its messages, and scrapes.
#[derive(Clone, Debug, Default)]
pub struct Coalescing(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The number of [`Hold`]s.
    holds: AtomicUsize,
    is_waiting: AtomicBool,
    /// Ends the reader's wait.
    wake: Notify,
    /// Scrapes that want the socket to be read.
    unread: Mutex<Vec<oneshot::Sender<()>>>,
    /// Scrapes for which the socket has been read: they want its messages to be consumed.
    read: Mutex<Vec<oneshot::Sender<()>>>,
    was_read: Notify,
}

/// While one exists, messages are read at once.
#[derive(Debug)]
pub(crate) struct Hold(Coalescing);

impl Coalescing {
    /// Reads all messages at once.
    pub(crate) fn disabled() -> Self {
        let coalescing = Self::default();
        coalescing.0.holds.store(1, Ordering::Relaxed);
        coalescing
    }

    /// Reads messages at once until the hold is dropped.
    pub(crate) fn hold(&self) -> Hold {
        self.0.holds.fetch_add(1, Ordering::Relaxed);
        self.0.wake.notify_one();
        Hold(self.clone())
    }

    /// Waits until all messages that had arrived at the socket have been consumed.
    pub async fn catch_up(&self) {
        if !self.0.is_waiting.load(Ordering::Acquire) {
            return;
        }
        let (done, consumed) = oneshot::channel();
        lock(&self.0.unread).push(done);
        self.0.wake.notify_one();
        // a scrape is never delayed longer than the reader would have waited
        let _ = timeout(COALESCE_INTERVAL, consumed).await;
    }

    /// Resolves once the socket has been read for a scrape; the consumer calls [`Self::consumed`]
    /// after the messages.
    pub(crate) async fn read(&self) {
        self.0.was_read.notified().await;
    }

    /// The messages have been consumed.
    pub(crate) fn consumed(&self) {
        for scrape in lock(&self.0.read).drain(..) {
            // the scrape may have timed out
            let _ = scrape.send(());
        }
    }

    /// The socket has no more data.
    fn drained(&self) {
        let mut unread = lock(&self.0.unread);
        if !unread.is_empty() {
            lock(&self.0.read).append(&mut unread);
            self.0.was_read.notify_one();
        }
    }

    /// Waits for the next messages to gather.
    async fn gather(&self) {
        if self.0.holds.load(Ordering::Relaxed) > 0 {
            return;
        }
        self.0.is_waiting.store(true, Ordering::Release);
        let _ = timeout(COALESCE_INTERVAL, self.0.wake.notified()).await;
        self.0.is_waiting.store(false, Ordering::Release);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.holds.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A bus socket that is read with few wake-ups. File descriptors are not negotiated: a bus then
/// delivers no message that carries one. The last close of a descriptor may take hours.
#[derive(Debug)]
pub(super) struct CoalescingSocket {
    stream: UnixStream,
    coalescing: Coalescing,
    max_message: u64,
}

#[derive(Debug)]
pub(super) struct CoalescingReader {
    stream: UnixStream,
    coalescing: Coalescing,
    framing: Framing,
    buffer: Box<[u8]>,
    /// The bytes to hand over, from `start` on.
    ready: Vec<u8>,
    start: usize,
    /// Bytes read since the last wait.
    burst: usize,
}

#[derive(Debug)]
pub(super) struct CoalescingWriter(UnixStream);

impl CoalescingSocket {
    pub(super) fn new(
        stream: UnixStream,
        coalescing: Coalescing,
        max_message: u64,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, coalescing, max_message })
    }

    /// Separate descriptors for both directions, as each is registered for its own events.
    pub(super) fn halves(self) -> io::Result<BoxedSplit> {
        let writer = CoalescingWriter(self.stream.try_clone()?);
        let Self { stream, coalescing, max_message } = self;
        let (framing, buffer) = (Framing::new(max_message), vec![0; BUFFER].into_boxed_slice());
        let (ready, start, burst) = (Vec::new(), 0, 0);
        let reader = CoalescingReader { stream, coalescing, framing, buffer, ready, start, burst };
        Ok(Split::new(Box::new(reader), Box::new(writer)))
    }
}

#[async_trait]
impl ReadHalf for CoalescingReader {
    async fn recvmsg(&mut self, out: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        while self.start == self.ready.len() {
            self.ready.clear();
            self.start = 0;
            let length = self.fill().await?;
            if length == 0 {
                return Ok((0, Vec::new()));
            }
            self.framing.filter(&self.buffer[..length], &mut self.ready)?;
        }
        let length = out.len().min(self.ready.len() - self.start);
        out[..length].copy_from_slice(&self.ready[self.start..self.start + length]);
        self.start += length;
        Ok((length, Vec::new()))
    }
}

impl CoalescingReader {
    /// Reads what has arrived, or waits for it; 0 at the end of the stream.
    async fn fill(&mut self) -> io::Result<usize> {
        loop {
            match recv(&self.stream, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    self.burst += length;
                    // lets the consumer handle the messages so far: a sender that is faster than
                    // this reader must not fill memory
                    tokio::task::yield_now().await;
                    return Ok(length);
                }
                Err(rustix::io::Errno::AGAIN) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            self.coalescing.drained();
            // a socket that is not registered wakes no thread while messages gather
            let registered = tokio::net::UnixStream::from_std(self.stream.try_clone()?)?;
            let is_readable = tokio::select! {
                readable = registered.readable() => readable.map(|()| true)?,
                () = self.coalescing.0.wake.notified() => false,
            };
            drop(registered);
            // in a burst the kernel's buffer would be full before the timer ends
            if is_readable && self.burst < BURST {
                self.coalescing.gather().await;
            }
            self.burst = 0;
        }
    }
}

#[async_trait]
impl WriteHalf for CoalescingWriter {
    async fn sendmsg(&mut self, bytes: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        loop {
            match send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => return Ok(length),
                Err(rustix::io::Errno::AGAIN) => {
                    tokio::net::UnixStream::from_std(self.0.try_clone()?)?.writable().await?;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(shutdown(&self.0, Shutdown::Both)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals of a crash and of its restart, by default 0.1 s later, arrive within this time.
const COALESCE_INTERVAL: Duration = Duration::from_millis(200);

/// Bytes read at once: a signal has some hundred.
const BUFFER: usize = 16 * 1024;

/// Bytes in one wake-up from which on the next does not wait: half of a socket's default buffer.
const BURST: usize = 100 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::AtomicU8;

    use tokio::sync::mpsc;

    use super::*;
    use crate::systemd::follow::Thread;

    /// A reader on a thread, and what its consumer has received.
    struct Fixture {
        sender: UnixStream,
        coalescing: Coalescing,
        last: Arc<AtomicU8>,
        reads: Arc<AtomicUsize>,
    }

    fn fixture() -> Fixture {
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        // the end of the handshake, and the start of a message with a body of 512 MiB
        sender.write_all(b"OK 0\r\nl\x04\0\x01\0\0\0\x20\x01\0\0\0\0\0\0\0").unwrap();
        let coalescing = Coalescing::default();
        let (last, reads) = <(Arc<AtomicU8>, Arc<AtomicUsize>)>::default();
        let socket = CoalescingSocket::new(receiver, coalescing.clone(), 1 << 30).unwrap();
        let (mut reader, _) = socket.halves().unwrap().take();
        let thread = Thread::start("test").unwrap();
        let (queue, mut messages) = mpsc::unbounded_channel();
        let count = reads.clone();
        thread.spawn(async move {
            let mut bytes = [0; 256];
            while let Ok((length @ 1.., _)) = reader.recvmsg(&mut bytes).await {
                count.fetch_add(1, Ordering::Relaxed);
                queue.send(bytes[length - 1]).unwrap();
            }
        });
        let (consumer, byte) = (coalescing.clone(), last.clone());
        thread.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    message = messages.recv() => match message {
                        Some(message) => byte.store(message, Ordering::Relaxed),
                        None => break,
                    },
                    () = consumer.read() => consumer.consumed(),
                }
            }
        });
        Fixture { sender, coalescing, last, reads }
    }

    #[tokio::test]
    async fn catch_up_consumes_what_has_arrived() {
        let Fixture { mut sender, coalescing, last, .. } = fixture();
        for byte in 1..=20 {
            sender.write_all(&[byte]).unwrap();
            tokio::time::sleep(COALESCE_INTERVAL / 20).await;
            // on a busy machine, the reader may not have seen the byte yet
            while !coalescing.0.is_waiting.load(Ordering::Acquire)
                && last.load(Ordering::Relaxed) < byte
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let begin = std::time::Instant::now();
            coalescing.catch_up().await;
            assert_eq!(last.load(Ordering::Relaxed), byte);
            assert!(begin.elapsed() < COALESCE_INTERVAL, "the scrape timed out");
        }
    }

    #[tokio::test]
    async fn messages_gather_unless_held() {
        let Fixture { mut sender, coalescing, last, reads } = fixture();
        let mut byte = 0;
        let mut counts = [0; 2];
        for (is_held, count) in [false, true].into_iter().zip(&mut counts) {
            let _hold = is_held.then(|| coalescing.hold());
            let before = reads.load(Ordering::Relaxed);
            for _ in 0..40 {
                byte += 1;
                sender.write_all(&[byte]).unwrap();
                tokio::time::sleep(COALESCE_INTERVAL / 10).await;
            }
            tokio::time::sleep(COALESCE_INTERVAL * 2).await;
            assert_eq!(last.load(Ordering::Relaxed), byte);
            *count = reads.load(Ordering::Relaxed) - before;
        }
        let [gathered, held] = counts;
        assert!(2 * gathered < held, "{gathered} reads while gathering, {held} while held");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn burst_is_read_without_waits() {
        let Fixture { mut sender, last, .. } = fixture();
        let begin = std::time::Instant::now();
        // twenty times what a wait would gather
        for byte in 1..=20 {
            let chunk = vec![byte; BURST];
            tokio::task::block_in_place(|| sender.write_all(&chunk)).unwrap();
        }
        while last.load(Ordering::Relaxed) < 20 {
            tokio::time::sleep(COALESCE_INTERVAL / 20).await;
        }
        assert!(begin.elapsed() < COALESCE_INTERVAL * 10, "{:?}", begin.elapsed());
    }
}
