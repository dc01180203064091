//! Parsers of cgroup files; `None` is content that the kernel does not document.

use std::time::Duration;

use super::values::{Cpu, CpuMax, Io, Memory, Pressure};
use crate::source::kernel_file::{Limit, integer};

/// A number, or `max`.
pub(super) fn limit(content: &[u8]) -> Option<Limit> {
    match content.trim_ascii() {
        b"max" => Some(Limit::Unlimited),
        number => integer(number).map(Limit::At),
    }
}

/// A single number of microseconds.
pub(super) fn microseconds(content: &[u8]) -> Option<Duration> {
    integer(content).map(Duration::from_micros)
}

/// `cpu.stat` of v2, and of v1, which has only throttling and counts it in nanoseconds.
pub(super) fn cpu_stat(content: &[u8]) -> Option<Cpu> {
    let mut cpu = Cpu::default();
    for line in lines(content) {
        let (key, value) = pair(line)?;
        match key {
            b"usage_usec" => cpu.usage = Some(microseconds(value)?),
            b"user_usec" => cpu.user = Some(microseconds(value)?),
            b"system_usec" => cpu.system = Some(microseconds(value)?),
            b"nr_periods" => cpu.nr_periods = Some(integer(value)?),
            b"nr_throttled" => cpu.nr_throttled = Some(integer(value)?),
            b"throttled_usec" => cpu.throttled = Some(microseconds(value)?),
            b"throttled_time" => cpu.throttled = Some(Duration::from_nanos(integer(value)?)),
            _ => {}
        }
    }
    Some(cpu)
}

/// `cpu.max`: the quota or `max`, and the period.
pub(super) fn cpu_max(content: &[u8]) -> Option<CpuMax> {
    let (quota, period) = pair(content.trim_ascii())?;
    let period = microseconds(period)?;
    match limit(quota)? {
        Limit::Unlimited => Some(CpuMax::Unlimited),
        Limit::At(quota) => Some(CpuMax::Quota { quota: Duration::from_micros(quota), period }),
    }
}

/// `cpu.cfs_quota_us` of v1; `Some(None)` is no quota.
pub(super) fn cfs_quota(content: &[u8]) -> Option<Option<Duration>> {
    match content.trim_ascii() {
        b"-1" => Some(None),
        quota => microseconds(quota).map(Some),
    }
}

/// `cpuacct.stat` of v1: user and system time in 100ths of a second, the unit (USER_HZ) of every
/// architecture that Rust's standard library supports.
pub(super) fn cpuacct_stat(content: &[u8]) -> Option<(Duration, Duration)> {
    let (mut user, mut system) = (None, None);
    for line in lines(content) {
        match pair(line)? {
            (b"user", ticks) => user = Some(user_hz(ticks)?),
            (b"system", ticks) => system = Some(user_hz(ticks)?),
            _ => {}
        }
    }
    Some((user?, system?))
}

/// `memory.stat` of v2. The needed keys are the first lines; the rest is not parsed.
pub(super) fn memory_stat(content: &[u8], memory: &mut Memory) -> Option<()> {
    for line in lines(content).take(MAX_MEMORY_STAT_LINES) {
        match pair(line)? {
            (b"anon", bytes) => memory.stat_anon = Some(integer(bytes)?),
            (b"file", bytes) => memory.stat_file = Some(integer(bytes)?),
            (b"kernel", bytes) => memory.stat_kernel = Some(integer(bytes)?),
            _ => {}
        }
    }
    Some(())
}

/// `memory.stat` of v1: the sums that include the cgroups below.
pub(super) fn memory_stat_v1(content: &[u8], memory: &mut Memory) -> Option<()> {
    for line in lines(content) {
        match pair(line)? {
            (b"total_rss", bytes) => memory.stat_anon = Some(integer(bytes)?),
            (b"total_cache", bytes) => memory.stat_file = Some(integer(bytes)?),
            (b"total_swap", bytes) => memory.swap_current = Some(integer(bytes)?),
            _ => {}
        }
    }
    Some(())
}

/// `memory.events`.
pub(super) fn memory_events(content: &[u8], memory: &mut Memory) -> Option<()> {
    for line in lines(content) {
        match pair(line)? {
            (b"high", count) => memory.events_high = Some(integer(count)?),
            (b"max", count) => memory.events_max = Some(integer(count)?),
            (b"oom", count) => memory.events_oom = Some(integer(count)?),
            (b"oom_kill", count) => memory.events_oom_kill = Some(integer(count)?),
            _ => {}
        }
    }
    Some(())
}

/// `oom_kill` of v1's `memory.oom_control`; `Some(None)` before Linux 4.13.
pub(super) fn oom_control(content: &[u8]) -> Option<Option<u64>> {
    for line in lines(content) {
        if let (b"oom_kill", count) = pair(line)? {
            return integer(count).map(Some);
        }
    }
    Some(None)
}

/// `max` of `pids.events`.
pub(super) fn pids_events(content: &[u8]) -> Option<u64> {
    lines(content).find_map(|line| match pair(line)? {
        (b"max", count) => integer(count),
        _ => None,
    })
}

/// `io.stat`, summed over devices; `Some(None)` if the kernel truncated it, as some do at 4 KiB.
pub(super) fn io_stat(content: &[u8]) -> Option<Option<Io>> {
    if content.last().is_some_and(|&last| last != b'\n') {
        return Some(None);
    }
    let mut io = Io::default();
    for line in lines(content) {
        // The device number comes first; a device without traffic may have nothing after it.
        for word in line.split(|&byte| byte == b' ').skip(1).filter(|word| !word.is_empty()) {
            let at = word.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (&word[..at], &word[at + 1..]);
            let sum = match key {
                b"rbytes" => &mut io.rbytes,
                b"wbytes" => &mut io.wbytes,
                b"rios" => &mut io.rios,
                b"wios" => &mut io.wios,
                _ => continue,
            };
            *sum = sum.saturating_add(integer(value)?);
        }
    }
    Some(Some(io))
}

/// A `blkio.throttle` file of v1: reads and writes, summed over devices. `Some(None)` if it lists no
/// device: recent kernels count a device only after a throttling limit was set for it.
pub(super) fn blkio(content: &[u8]) -> Option<Option<(u64, u64)>> {
    let mut sums = None;
    for line in lines(content) {
        let (_device, rest) = pair(line)?;
        let Some((operation, count)) = pair(rest) else { continue };
        let (read, written) = sums.get_or_insert((0_u64, 0_u64));
        match operation {
            b"Read" => *read = read.saturating_add(integer(count)?),
            b"Write" => *written = written.saturating_add(integer(count)?),
            _ => {}
        }
    }
    Some(sums)
}

/// `cpu.pressure`, `memory.pressure` or `io.pressure`: the totals.
pub(super) fn pressure(content: &[u8]) -> Option<Pressure> {
    let (mut some, mut full) = (None, None);
    for line in lines(content) {
        let (kind, rest) = pair(line)?;
        let total = rest.split(|&byte| byte == b' ').find_map(|word| word.strip_prefix(b"total="));
        let total = microseconds(total?)?;
        match kind {
            b"some" => some = Some(total),
            b"full" => full = Some(total),
            _ => {}
        }
    }
    Some(Pressure { some: some?, full })
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

fn pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|&byte| byte == b' ')?;
    Some((&line[..at], &line[at + 1..]))
}

fn user_hz(ticks: &[u8]) -> Option<Duration> {
    integer(ticks)?.checked_mul(10).map(Duration::from_millis)
}

/// anon, file and kernel are the first three lines; a few more are a reserve.
const MAX_MEMORY_STAT_LINES: usize = 8;
