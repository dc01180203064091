//! Processes that are stopped for a while.

use rustix::process::{Pid, Signal, kill_process};

use super::Machine;

/// A process that does nothing until this is dropped.
#[derive(Debug)]
pub struct Frozen(Pid);

impl Frozen {
    /// Stops a process, by its pid as seen from outside.
    #[track_caller]
    pub fn process(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::STOP).expect("a process to stop");
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // it may be gone
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Machine {
    /// Stops PID 1, as a deadlock or a hanging disk would.
    #[track_caller]
    pub fn freeze(&self) -> Frozen {
        Frozen::process(self.pid1())
    }
}
