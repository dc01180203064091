//! PID 1 as a process: what the service manager itself uses, from /proc/1.

use std::fs;
use std::path::Path;

use rustix::param::{clock_ticks_per_second, page_size};

use super::Error;
use super::process::parse::{self, Stat};

/// What PID 1 uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pid1 {
    /// User mode CPU seconds: stat, utime.
    pub cpu_user: f64,
    /// Kernel mode CPU seconds: stat, stime.
    pub cpu_system: f64,
    /// Bytes of resident memory: stat, rss.
    pub resident: u64,
    /// Threads: stat, num_threads.
    pub threads: u64,
    /// Open descriptors: the size of /proc/1/fd; `None` on kernels before 6.2.
    pub open_fds: Option<u64>,
}

/// Reads PID 1 below `proc` (`/proc`).
pub fn read(proc: &Path) -> Result<Pid1, Error> {
    let dir = proc.join("1");
    Ok(used(&stat(&dir)?, &dir))
}

/// The stat of any process, from its directory below /proc.
pub(super) fn stat(dir: &Path) -> Result<Stat, Error> {
    let path = dir.join("stat");
    let content = fs::read(&path).map_err(Error::io(&path))?;
    parse::stat(&content).ok_or_else(|| Error::malformed(&path, &content))
}

/// What any process uses, by its stat and its directory below /proc.
pub(super) fn used(stat: &Stat, dir: &Path) -> Pid1 {
    let tick = clock_ticks_per_second();
    let seconds = |ticks: u64| precise(ticks) / precise(tick);
    let fds = dir.join("fd").metadata().map(|metadata| metadata.len()).unwrap_or(0);
    Pid1 {
        cpu_user: seconds(stat.user_ticks),
        cpu_system: seconds(stat.system_ticks),
        resident: stat.resident_pages.saturating_mul(page_size() as u64),
        threads: stat.threads,
        // kernels before 6.2 say 0 for every process
        open_fds: (fds > 0).then_some(fds),
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a million years are exact")]
fn precise(ticks: u64) -> f64 {
    ticks as f64
}
