//! The thread that follows systemd: only bus messages wake it up, and no scrape delays it.

use std::{future, io, thread};

use tokio::runtime::{self, Handle};

/// A thread with a runtime, which ends with the process.
#[derive(Clone, Debug)]
pub struct Thread(Handle);

impl Thread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The kernel provides no thread, or no file descriptors to wait on.
    pub fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name("follow".to_owned());
        thread.spawn(move || runtime.block_on(future::pending::<()>()))?;
        Ok(Self(handle))
    }

    /// Runs a task on the thread.
    pub fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        self.0.spawn(task);
    }
}
