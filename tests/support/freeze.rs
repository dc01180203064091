//! Stopping and continuing processes and threads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

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

/// One thread of a process, stopped by ptrace; continued when dropped.
#[derive(Debug)]
pub struct FrozenThread(Child);

impl FrozenThread {
    /// Stops the thread of this name, by the pid as seen from outside.
    #[track_caller]
    pub fn of(pid: u32, name: &str) -> Self {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
        let is_it = |path: &fs::DirEntry| {
            fs::read_to_string(path.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let thread = threads.flatten().find(is_it).expect("a thread of this name").file_name();
        let mut tracer = Command::new("python3")
            .args(["-c", TRACER])
            .arg(thread)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let output = tracer.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("output");
        assert_eq!(line, "stopped\n");
        Self(tracer)
    }
}

impl Drop for FrozenThread {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Stops the thread until the end of the standard input.
const TRACER: &str = r#"
import ctypes, os, sys
thread, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
for request in SEIZE, INTERRUPT:
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, WALL)
print("stopped", flush=True)
sys.stdin.read()
"#;

impl Machine {
    /// Stops PID 1, like a deadlock or a hanging disk.
    #[track_caller]
    pub fn freeze(&self) -> Frozen {
        Frozen::process(self.pid1())
    }
}
