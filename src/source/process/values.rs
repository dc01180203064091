//! What is known of a unit's processes, in plain data.

use std::time::Duration;

use crate::source::cgroup::Limit;

/// The processes of one unit, those in the control groups below it included. Values are absent when
/// none of the processes could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitProcesses {
    /// Processes by state: the third field of /proc/PID/stat.
    pub states: States,
    /// Threads of all processes: `num_threads` of /proc/PID/stat.
    pub threads: Option<u64>,
    /// Resident memory of all processes, in bytes: `rss` of /proc/PID/stat. What they share is
    /// counted for each.
    pub resident_bytes: Option<u64>,
    /// Open descriptors of all processes: entries of /proc/PID/fd. Absent when one of them could
    /// not be counted.
    pub open_fds: Option<u64>,
    /// Open descriptors by soft limit, 0 to 1, of the process where that is highest. Absent when
    /// none has a limit.
    pub max_fds_ratio: Option<f64>,
    /// When the oldest process started, since the epoch.
    pub oldest_start_time: Option<Duration>,
    /// The main process; absent when the unit has none, or it has just gone.
    pub main: Option<MainProcess>,
    /// Processes and control groups left out: past a bound, past the deadline, or in a PID
    /// namespace that is not ours.
    pub truncated: u64,
}

/// How many processes are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// `R`: on a processor or ready for one.
    pub running: u64,
    /// `S` and `I`: waiting, and may be woken by a signal.
    pub sleeping: u64,
    /// `D`: waiting, mostly for a disk, and not to be woken.
    pub disk_sleep: u64,
    /// `T` and `t`: stopped by a signal or a debugger.
    pub stopped: u64,
    /// `Z` and `X`: ended, and not yet waited for.
    pub zombie: u64,
    /// Any letter that a later kernel may show.
    pub other: u64,
}

impl States {
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
    /// Processor time, user and system, of its threads: `utime` and `stime` of /proc/PID/stat.
    pub cpu: Duration,
    /// Resident memory in bytes: `rss` of /proc/PID/stat.
    pub resident_bytes: u64,
    /// Address space in use, in bytes: `vsize` of /proc/PID/stat.
    pub virtual_bytes: u64,
    /// The soft limit on that: `Max address space` of /proc/PID/limits.
    pub virtual_max_bytes: Option<Limit>,
    /// Open descriptors: entries of /proc/PID/fd.
    pub open_fds: Option<u64>,
    /// The soft limit on them: `Max open files` of /proc/PID/limits.
    pub max_fds: Option<Limit>,
    /// Threads: `num_threads` of /proc/PID/stat.
    pub threads: u64,
    /// When it started, since the epoch: `btime` of /proc/stat and `starttime` of /proc/PID/stat.
    pub start_time: Option<Duration>,
}
