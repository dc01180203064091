//! Parsers of /proc/PID files; `None` is content that the kernel does not document.

use crate::source::kernel_file::{Limit, integer};

/// The needed fields of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// The letter of the state.
    pub(super) state: u8,
    /// `utime`.
    pub(super) user_ticks: u64,
    /// `stime`.
    pub(super) system_ticks: u64,
    /// `num_threads`.
    pub(super) threads: u64,
    /// `starttime`, since boot.
    pub(super) start_ticks: u64,
    /// `vsize`.
    pub(super) virtual_bytes: u64,
    /// `rss`.
    pub(super) resident_pages: u64,
}

impl Stat {
    /// Whether the first thread has ended, but not the process.
    pub(super) fn has_only_later_threads(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads > 1
    }
}

/// The needed soft limits of /proc/PID/limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SoftLimits {
    /// `Max open files`.
    pub(super) open_files: Option<Limit>,
    /// `Max address space`.
    pub(super) address_space: Option<Limit>,
}

/// /proc/PID/stat. A process can set its name to any bytes but NUL; the fields after the last `)` are
/// numbers, so the name cannot imitate them.
pub(super) fn stat(content: &[u8]) -> Option<Stat> {
    let name_end = content.iter().rposition(|&byte| byte == b')')?;
    let mut fields = content[name_end + 1..].split(u8::is_ascii_whitespace).skip(1);
    let [state] = fields.next()? else { return None };
    // The manual numbers fields from 1; the state is the third.
    let mut at = 3;
    let mut field = |number: usize| {
        let value = fields.nth(number - at - 1).and_then(integer);
        at = number;
        value
    };
    Some(Stat {
        state: *state,
        user_ticks: field(14)?,
        system_ticks: field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// /proc/PID/limits: a name with spaces, the soft limit, the hard limit, the unit.
pub(super) fn limits(content: &[u8]) -> Option<SoftLimits> {
    let mut limits = SoftLimits::default();
    for line in content.split(|&byte| byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"Max open files") {
            limits.open_files = Some(soft(rest)?);
        } else if let Some(rest) = line.strip_prefix(b"Max address space") {
            limits.address_space = Some(soft(rest)?);
        }
    }
    Some(limits)
}

/// `btime` of /proc/stat: when the host booted, in seconds since the epoch.
pub(super) fn boot_time(content: &[u8]) -> Option<u64> {
    content
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"btime "))
        .and_then(integer)
}

/// The lines of `cgroup.procs`; PID 0 is a process outside the PID namespace of the exporter.
pub(super) fn pids(content: &[u8]) -> impl Iterator<Item = Option<u32>> {
    content
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| integer(line).and_then(|pid| u32::try_from(pid).ok()))
}

fn soft(rest: &[u8]) -> Option<Limit> {
    let word = rest.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    match word {
        b"unlimited" => Some(Limit::Unlimited),
        number => integer(number).map(Limit::At),
    }
}
