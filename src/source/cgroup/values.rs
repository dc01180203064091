//! The values of one cgroup.
//!
//! A field has the name of the kernel's key, and is `None` if the controller is off for the cgroup, or
//! if the kernel predates the key.

use std::time::Duration;

use crate::source::Limit;

/// The values of one cgroup, including the cgroups below.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cgroup {
    /// CPU time and its limit.
    pub cpu: Cpu,
    /// Memory usage, limits, and events at the limits.
    pub memory: Memory,
    /// Block device traffic, summed over devices; v2 `io.stat`, v1
    /// `blkio.throttle.io_service*_recursive`. Absent also when the kernel truncated the file, and on
    /// v1 until the unit uses a device that the kernel counts.
    pub io: Option<Io>,
    /// Tasks (processes and threads) and their limit.
    pub pids: Pids,
    /// Time that tasks waited for resources (PSI). v2 only.
    pub pressure: Pressures,
}

/// CPU time, from `cpu.stat` and `cpu.max`; v1 `cpuacct.stat`, `cpu.stat` and `cpu.cfs_*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// All of it: `usage_usec`. v2 only.
    pub usage: Option<Duration>,
    /// Time in user mode: `user_usec`; v1 `user`.
    pub user: Option<Duration>,
    /// Time in the kernel: `system_usec`; v1 `system`.
    pub system: Option<Duration>,
    /// Elapsed enforcement periods. Needs the cpu controller.
    pub nr_periods: Option<u64>,
    /// Periods in which the limit was reached. Needs the cpu controller.
    pub nr_throttled: Option<u64>,
    /// Time that tasks were throttled: `throttled_usec`; v1 `throttled_time`.
    pub throttled: Option<Duration>,
    /// The limit: `cpu.max`; v1 `cpu.cfs_quota_us` and `cpu.cfs_period_us`.
    pub max: Option<CpuMax>,
}

/// A limit on CPU time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CpuMax {
    /// `max`; v1: a quota of -1.
    Unlimited,
    /// A quota of time per period.
    Quota {
        /// Time allowed per period, summed over all CPUs.
        quota: Duration,
        /// The length of the period.
        period: Duration,
    },
}

/// Memory, from `memory.*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Bytes charged now, including page cache: `memory.current`; v1 `memory.usage_in_bytes`.
    pub current: Option<u64>,
    /// Maximum of bytes ever charged: `memory.peak` (Linux 5.19); v1 `memory.max_usage_in_bytes`.
    pub peak: Option<u64>,
    /// The hard limit in bytes: `memory.max`; v1 `memory.limit_in_bytes`.
    pub max: Option<Limit>,
    /// The throttling limit in bytes: `memory.high`. v2 only.
    pub high: Option<Limit>,
    /// Bytes swapped out: `memory.swap.current`; v1 `total_swap` of `memory.stat`.
    pub swap_current: Option<u64>,
    /// The limit on swap in bytes: `memory.swap.max`. v2 only: v1 limits the sum of memory and
    /// swap.
    pub swap_max: Option<Limit>,
    /// Bytes of anonymous memory: `anon` of `memory.stat`; v1 `total_rss`.
    pub stat_anon: Option<u64>,
    /// Bytes of page cache, tmpfs and shared memory: `file` of `memory.stat`; v1 `total_cache`.
    pub stat_file: Option<u64>,
    /// Bytes of kernel memory: `kernel` of `memory.stat` (Linux 5.18). v2 only.
    pub stat_kernel: Option<u64>,
    /// How often usage exceeded `memory.high`. v2 only, `memory.events`.
    pub events_high: Option<u64>,
    /// How often usage was about to exceed `memory.max`. v2 only, `memory.events`.
    pub events_max: Option<u64>,
    /// How often memory ran out at the limit. v2 only, `memory.events`.
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

/// Tasks, from `pids.*`; v1 has the same files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pids {
    /// Tasks now.
    pub current: Option<u64>,
    /// The limit on tasks.
    pub max: Option<Limit>,
    /// How often the limit prevented a new task: `max` of `pids.events`.
    pub events_max: Option<u64>,
}

/// Time that tasks waited for each resource, from `cpu.pressure`, `memory.pressure` and `io.pressure`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pressures {
    /// CPU.
    pub cpu: Option<Pressure>,
    /// Memory.
    pub memory: Option<Pressure>,
    /// Block devices.
    pub io: Option<Pressure>,
}

/// Time that tasks waited for one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Time in which at least one task waited: `total` of `some`.
    pub some: Duration,
    /// Time in which all tasks waited at once: `total` of `full`; absent for cpu before Linux 5.13.
    pub full: Option<Duration>,
}
