//! The values of the processes of a unit.

use std::time::Duration;

use crate::source::Limit;

/// The processes of one unit, including those in the cgroups below. Values are absent when none of the
/// processes could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitProcesses {
    /// Processes by state: the third field of /proc/PID/stat.
    pub states: ProcessStates,
    /// Threads of all processes: `num_threads` of /proc/PID/stat.
    pub threads: Option<u64>,
    /// Resident memory of all processes, in bytes: `rss` of /proc/PID/stat. Shared
    /// memory is counted for each process.
    pub resident_bytes: Option<u64>,
    /// Open descriptors of all processes: entries of /proc/PID/fd. Absent when one of them could
    /// not be counted.
    pub open_fds: Option<u64>,
    /// Maximum over the processes of open descriptors divided by the soft limit, 0 to 1. Absent when
    /// none has a limit.
    pub max_fds_ratio: Option<f64>,
    /// Start of the oldest process, since the epoch.
    pub oldest_start_time: Option<Duration>,
    /// The main process; absent when the unit has none, or it just exited.
    pub main: Option<MainProcess>,
    /// Processes and cgroups that were skipped: past a limit, past the deadline, or in a PID
    /// namespace that the exporter cannot see.
    pub truncated: u64,
}

/// Number of processes by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStates {
    /// `R`: running or runnable.
    pub running: u64,
    /// `S` and `I`: interruptible sleep, and idle kernel threads.
    pub sleeping: u64,
    /// `D`: uninterruptible sleep, mostly on a disk.
    pub disk_sleep: u64,
    /// `T` and `t`: stopped by a signal or a debugger.
    pub stopped: u64,
    /// `Z` and `X`: exited, and not yet reaped.
    pub zombie: u64,
    /// Letters of later kernels.
    pub other: u64,
}

impl ProcessStates {
    pub(super) fn count(&mut self, letter: u8) {
        let state = match letter {
            b'R' => &mut self.running,
            b'S' | b'I' => &mut self.sleeping,
            b'D' => &mut self.disk_sleep,
            b'T' | b't' => &mut self.stopped,
            b'Z' | b'X' => &mut self.zombie,
            _ => &mut self.other,
        };
        *state += 1;
    }
}

/// The main process of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct MainProcess {
    /// CPU time, user and system, of its threads: `utime` and `stime` of /proc/PID/stat.
    pub cpu: Duration,
    /// Resident memory in bytes: `rss` of /proc/PID/stat.
    pub resident_bytes: u64,
    /// Address space in use, in bytes: `vsize` of /proc/PID/stat.
    pub virtual_bytes: u64,
    /// The soft limit of the address space: `Max address space` of /proc/PID/limits.
    pub virtual_max_bytes: Option<Limit>,
    /// Open descriptors: entries of /proc/PID/fd.
    pub open_fds: Option<u64>,
    /// The soft limit of open descriptors: `Max open files` of /proc/PID/limits.
    pub max_fds: Option<Limit>,
    /// Threads: `num_threads` of /proc/PID/stat.
    pub threads: u64,
    /// Start time, since the epoch: `btime` of /proc/stat and `starttime` of /proc/PID/stat.
    pub start_time: Option<Duration>,
}
