//! What one control group says, in plain data.
//!
//! A field is named as the kernel's key. It is `None` where the kernel offers none: the controller
//! is off for this control group, or the kernel predates the key.

use std::time::Duration;

/// One control group's values, those of the control groups below it included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cgroup {
    /// Processor time and its limit.
    pub cpu: Cpu,
    /// Memory in use, its limits and what they led to.
    pub memory: Memory,
    /// Block device traffic, summed over devices; v2 `io.stat`, v1
    /// `blkio.throttle.io_service*_recursive`. Absent also when the kernel cut the file off, and on
    /// v1 until the unit uses a device for which the kernel counts.
    pub io: Option<Io>,
    /// Tasks (processes and threads) and their limit.
    pub pids: Pids,
    /// Time that tasks spent waiting for resources. v2 only.
    pub pressure: Pressures,
}

/// Processor time, from `cpu.stat` and `cpu.max`; v1 `cpuacct.stat`, `cpu.stat` and `cpu.cfs_*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// Time in user mode: `user_usec`; v1 `user`.
    pub user: Option<Duration>,
    /// Time in the kernel: `system_usec`; v1 `system`.
    pub system: Option<Duration>,
    /// Enforcement periods that have passed. Needs the cpu controller.
    pub nr_periods: Option<u64>,
    /// Periods in which the limit was reached. Needs the cpu controller.
    pub nr_throttled: Option<u64>,
    /// Time held back by the limit: `throttled_usec`; v1 `throttled_time`.
    pub throttled: Option<Duration>,
    /// The limit.
    pub max: Option<CpuMax>,
}

/// A limit on processor time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CpuMax {
    /// `max`; v1: a quota of -1.
    Unlimited,
    /// So much time in each period.
    Quota {
        /// Time allowed in a period, of all processors together.
        quota: Duration,
        /// The period's length.
        period: Duration,
    },
}

/// Memory, from `memory.*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Bytes charged now, page cache included: `memory.current`; v1 `memory.usage_in_bytes`.
    pub current: Option<u64>,
    /// The most bytes ever charged: `memory.peak` (Linux 5.19); v1 `memory.max_usage_in_bytes`.
    pub peak: Option<u64>,
    /// The hard limit in bytes: `memory.max`; v1 `memory.limit_in_bytes`.
    pub max: Option<Limit>,
    /// The throttling limit in bytes: `memory.high`. v2 only.
    pub high: Option<Limit>,
    /// Bytes swapped out: `memory.swap.current`; v1 `total_swap` of `memory.stat`.
    pub swap_current: Option<u64>,
    /// The limit on swap in bytes: `memory.swap.max`. v2 only: v1 limits the sum of memory and
    /// swap, which is another thing.
    pub swap_max: Option<Limit>,
    /// Bytes of anonymous memory: `anon` of `memory.stat`; v1 `total_rss`.
    pub stat_anon: Option<u64>,
    /// Bytes of page cache, tmpfs and shared memory: `file` of `memory.stat`; v1 `total_cache`.
    pub stat_file: Option<u64>,
    /// Bytes of the kernel's own: `kernel` of `memory.stat` (Linux 5.18). v2 only.
    pub stat_kernel: Option<u64>,
    /// Times that use went past `memory.high`. v2 only, `memory.events`.
    pub events_high: Option<u64>,
    /// Times that use was about to go past `memory.max`. v2 only, `memory.events`.
    pub events_max: Option<u64>,
    /// Times that memory ran out at the limit. v2 only, `memory.events`.
    pub events_oom: Option<u64>,
    /// Processes killed by the OOM killer: `oom_kill` of `memory.events`; v1 of
    /// `memory.oom_control`, where a slice does not count its units' kills.
    pub events_oom_kill: Option<u64>,
}

/// Block device traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Read operations.
    pub rios: u64,
    /// Write operations.
    pub wios: u64,
}

/// Tasks, from `pids.*`; the same files on v1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pids {
    /// Tasks now.
    pub current: Option<u64>,
    /// The limit on tasks.
    pub max: Option<Limit>,
    /// Times that a new task was refused because of the limit: `max` of `pids.events`.
    pub events_max: Option<u64>,
}

/// Waiting for each resource, from `cpu.pressure`, `memory.pressure` and `io.pressure`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pressures {
    /// Waiting for a processor.
    pub cpu: Option<Pressure>,
    /// Waiting for memory.
    pub memory: Option<Pressure>,
    /// Waiting for block devices.
    pub io: Option<Pressure>,
}

/// Waiting for one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Time in which at least one task waited: `total` of `some`.
    pub some: Duration,
    /// Time in which all tasks waited at once: `total` of `full`; absent for cpu before Linux 5.13.
    pub full: Option<Duration>,
}

/// What a limit file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No limit.
    Unlimited,
    /// This many.
    At(u64),
}

impl Limit {
    /// The number, if there is a limit.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::At(number) => Some(number),
        }
    }
}
