//! The thread that follows systemd: only bus messages wake it up, and no scrape delays it.

use std::{future, io, thread};

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

/// A thread with a runtime, which ends with the process.
#[derive(Clone, Debug)]
pub struct Thread(Handle);

impl Thread {
    /// Starts the thread under a name of at most 15 bytes.
    ///
    /// # Errors
    /// The kernel provides no thread, or no file descriptors to wait on.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || runtime.block_on(future::pending::<()>()))?;
        Ok(Self(handle))
    }

    /// Runs a task on the thread.
    pub fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Waits until the thread has run another task; without end if it hangs.
    pub async fn responds(&self) {
        let (reply, replied) = oneshot::channel();
        self.0.spawn(async move { reply.send(()) });
        // the thread ends with the process
        let _ = replied.await;
    }
}
