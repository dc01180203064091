//! The formats of /proc/PID files, from bytes; `None` is content that the kernel does not document.

use crate::source::cgroup::Limit;
use crate::source::cgroup::parse::integer;

/// What is wanted of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Stat {
    /// The state's letter.
    pub(in crate::source) state: u8,
    /// `utime`.
    pub(in crate::source) user_ticks: u64,
    /// `stime`.
    pub(in crate::source) system_ticks: u64,
    /// `num_threads`.
    pub(in crate::source) threads: u64,
    /// `starttime`, since boot.
    pub(in crate::source) start_ticks: u64,
    /// `vsize`.
    pub(in crate::source) virtual_bytes: u64,
    /// `rss`.
    pub(in crate::source) resident_pages: u64,
}

/// What is wanted of /proc/PID/limits: soft limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Limits {
    /// `Max open files`.
    pub(in crate::source) open_files: Option<Limit>,
    /// `Max address space`.
    pub(in crate::source) address_space: Option<Limit>,
}

/// /proc/PID/stat. The name is the process's own to set, with any byte but NUL: what counts
/// stands after the last `)`, for the fields there are numbers.
pub(in crate::source) fn stat(content: &[u8]) -> Option<Stat> {
    let name_end = content.iter().rposition(|&byte| byte == b')')?;
    let mut fields = content[name_end + 1..].split(u8::is_ascii_whitespace).skip(1);
    let [state] = fields.next()? else { return None };
    // Fields are numbered from 1 in the manual, and the state is the third.
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

/// /proc/PID/limits: a name that holds spaces, the soft limit, the hard one, the unit.
pub(in crate::source) fn limits(content: &[u8]) -> Option<Limits> {
    let mut limits = Limits::default();
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
pub(in crate::source) fn boot_time(content: &[u8]) -> Option<u64> {
    content
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"btime "))
        .and_then(integer)
}

/// Whole lines of a `cgroup.procs`; a PID of 0 is a process outside of our PID namespace.
pub(in crate::source) fn pids(content: &[u8]) -> impl Iterator<Item = Option<u32>> {
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
