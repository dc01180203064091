//! The thread that follows, and when it rests: one event of a unit is many signals over some time,
//! and waking up for one costs more than what it says.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{future, io, thread};

use tokio::runtime::{self, Handle};
use tokio::task::yield_now;
use tokio::time::timeout;

/// A thread for following alone: what comes from a bus wakes it and no other, and nothing that a
/// scrape or a page does keeps it from listening. It ends with the program.
#[derive(Clone, Debug)]
pub struct Thread {
    pub(in crate::systemd) rest: Rest,
    handle: Handle,
}

/// When a thread rests. The default belongs to no thread, and never does.
#[derive(Clone, Debug, Default)]
pub struct Rest(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How many await an answer, and want it at once.
    busy: AtomicUsize,
    is_resting: AtomicBool,
    thread: OnceLock<(thread::Thread, Handle)>,
}

/// Keeps the thread from resting.
#[derive(Debug)]
pub(super) struct Busy(Rest);

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The kernel gives no thread, or no descriptors to wait on.
    pub fn start() -> io::Result<Self> {
        let rest = Rest::default();
        let woken = rest.clone();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(|| PARKED.set(Some(Instant::now())))
            .on_thread_unpark(move || woken.rest())
            .build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new()
            .name("follow".to_owned())
            .spawn(move || runtime.block_on(future::pending::<()>()))?;
        let _ = rest.0.thread.set((thread.thread().clone(), handle.clone()));
        Ok(Self { rest, handle })
    }

    /// Runs a task on it until that ends, and begins at once.
    pub fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        let busy = self.rest.busy();
        self.handle.spawn(async move {
            drop(busy);
            task.await;
        });
    }
}

impl Rest {
    pub(super) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Has what the bus has sent until now taken first, if that is still waiting.
    pub async fn catch_up(&self) {
        let Some((thread, handle)) = self.0.thread.get() else { return };
        if self.0.is_resting.load(Ordering::Acquire) {
            thread.unpark();
            let taken = handle.spawn(async {
                // between two turns of this, whatever has come gets its own
                for _ in 0..TURNS {
                    yield_now().await;
                }
            });
            // a page comes in time in any case
            let _ = timeout(REST, taken).await;
        }
    }

    /// Rests, right after the thread was woken.
    fn rest(&self) {
        // what came while it was at work, or resting, has waited enough
        let waited = PARKED.take().is_some_and(|at| at.elapsed() > AT_ONCE);
        if waited && self.0.busy.load(Ordering::Relaxed) == 0 {
            self.0.is_resting.store(true, Ordering::Release);
            thread::park_timeout(REST);
            self.0.is_resting.store(false, Ordering::Release);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// When the thread began to wait for anything to happen.
    static PARKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long signals gather: those of a crash and of its restart, 0.1 s later by default, come within
/// this.
const REST: Duration = Duration::from_millis(200);

/// Where there is something to be done already, waiting takes no longer than this.
const AT_ONCE: Duration = Duration::from_micros(20);

/// One takes what the kernel has from the bus, one takes that from the connection; one to spare.
const TURNS: usize = 3;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    /// A thread that reads what it is sent, with what it has read in all and how often.
    struct Reading {
        thread: Thread,
        sender: UnixStream,
        last: Arc<AtomicU8>,
        times: Arc<AtomicUsize>,
    }

    fn reading() -> Reading {
        let thread = Thread::start().unwrap();
        let (sender, receiver) = std::os::unix::net::UnixStream::pair().unwrap();
        for socket in [&sender, &receiver] {
            socket.set_nonblocking(true).unwrap();
        }
        let (last, times) = <(Arc<AtomicU8>, Arc<AtomicUsize>)>::default();
        let (byte, reads) = (last.clone(), times.clone());
        thread.spawn(async move {
            let mut receiver = UnixStream::from_std(receiver).unwrap();
            let mut bytes = [0; 256];
            while let Ok(length @ 1..) = receiver.read(&mut bytes).await {
                byte.store(bytes[length - 1], Ordering::Relaxed);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let sender = UnixStream::from_std(sender).unwrap();
        Reading { thread, sender, last, times }
    }

    #[tokio::test]
    async fn what_has_come_is_taken_before_a_scrape() {
        let Reading { thread, mut sender, last, .. } = reading();
        for byte in 1..=20 {
            sender.write_u8(byte).await.unwrap();
            tokio::time::sleep(REST / 20).await;
            thread.rest.catch_up().await;
            assert_eq!(last.load(Ordering::Relaxed), byte);
        }
    }

    #[tokio::test]
    async fn what_comes_gathers_unless_an_answer_is_awaited() {
        let Reading { thread, mut sender, last, times } = reading();
        let mut reads = [0; 2];
        let mut byte = 0;
        for (awaits, read) in [false, true].into_iter().zip(&mut reads) {
            let _busy = awaits.then(|| thread.rest.busy());
            let before = times.load(Ordering::Relaxed);
            for _ in 0..40 {
                byte += 1;
                sender.write_u8(byte).await.unwrap();
                tokio::time::sleep(REST / 10).await;
            }
            tokio::time::sleep(REST * 2).await;
            assert_eq!(last.load(Ordering::Relaxed), byte);
            *read = times.load(Ordering::Relaxed) - before;
        }
        let [resting, busy] = reads;
        assert!(2 * resting < busy, "read {resting} times when resting, {busy} when not");
    }
}
