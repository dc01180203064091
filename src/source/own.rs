//! The exporter as a process, from /proc/self: the standard `process_*` values.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::cgroup::Limit;
use super::process::parse;
use super::{Error, pid1};

/// What the exporter itself uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// CPU seconds, user and kernel mode.
    pub cpu: f64,
    /// Bytes of resident memory.
    pub resident: u64,
    /// Bytes of virtual memory.
    pub virtual_memory: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors; `None` on kernels before 6.2.
    pub open_fds: Option<u64>,
    /// The soft limit of open descriptors; `None` without one.
    pub max_fds: Option<u64>,
    /// When it was started.
    pub started: SystemTime,
}

/// Reads the exporter's own process.
pub fn read(started: SystemTime) -> Result<Own, Error> {
    let dir = Path::new("/proc/self");
    let stat = pid1::stat(dir)?;
    let used = pid1::used(&stat, dir);
    let limits = fs::read(dir.join("limits")).ok().and_then(|content| parse::limits(&content));
    let max_fds = limits.and_then(|limits| limits.open_files).and_then(Limit::number);
    Ok(Own {
        cpu: used.cpu_user + used.cpu_system,
        resident: used.resident,
        virtual_memory: stat.virtual_bytes,
        threads: used.threads,
        open_fds: used.open_fds,
        max_fds,
        started,
    })
}
