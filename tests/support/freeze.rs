//! Stopping and continuing processes.

use rustix::process::{Pid, Signal, kill_process};

use super::Machine;

/// A process stopped by SIGSTOP; continued when dropped.
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
        // the process may have exited
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Machine {
    /// Stops PID 1, like a deadlock or a hanging disk.
    #[track_caller]
    pub fn freeze(&self) -> Frozen {
        Frozen::process(self.pid1())
    }
}
