//! The resources of single processes, by procfs: PID 1, and the exporter itself.
//!
//! procfs allocates a string and parses all 52 fields of each stat file. For two processes a scrape
//! that is fine; for the thousands of the units, `parse` reads the needed fields without allocations.

use std::path::Path;

use procfs::ProcError;
use procfs::process::{LimitValue, Process};
use rustix::io::Errno;

use crate::source::Error;

/// The resources of one process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// User mode CPU time in seconds: `utime` of /proc/PID/stat.
    pub cpu_user: f64,
    /// Kernel mode CPU time in seconds: `stime` of /proc/PID/stat.
    pub cpu_system: f64,
    /// Resident memory in bytes: `rss` of /proc/PID/stat.
    pub resident_bytes: u64,
    /// Virtual memory in bytes: `vsize` of /proc/PID/stat.
    pub virtual_bytes: u64,
    /// Threads: `num_threads` of /proc/PID/stat.
    pub threads: u64,
    /// Open descriptors: the size of /proc/PID/fd, or its entries before Linux 6.2. `None` where the
    /// exporter may not list them.
    pub open_fds: Option<u64>,
    /// The soft limit of open descriptors: /proc/PID/limits. `None` without a limit, and where the
    /// exporter may not read it.
    pub max_fds: Option<u64>,
}

/// Reads a process by its directory: `/proc/1`, `/proc/self`.
///
/// # Errors
/// The stat file cannot be read, or is malformed.
pub fn read(directory: &Path) -> Result<ProcessUsage, Error> {
    let process = Process::new_with_root(directory.to_owned()).map_err(error(directory))?;
    let stat = process.stat().map_err(error(&directory.join("stat")))?;
    let ticks_per_second = precise(procfs::ticks_per_second());
    let max_fds = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
    Ok(ProcessUsage {
        cpu_user: precise(stat.utime) / ticks_per_second,
        cpu_system: precise(stat.stime) / ticks_per_second,
        resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        virtual_bytes: stat.vsize,
        threads: u64::try_from(stat.num_threads).unwrap_or_default(),
        open_fds: process.fd_count().ok().map(|count| count as u64),
        max_fds: max_fds.and_then(|limit| match limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(limit) => Some(limit),
        }),
    })
}

fn error(path: &Path) -> impl FnOnce(ProcError) -> Error {
    move |error| match error {
        ProcError::Io(error, _) => Error::io(path)(error),
        // procfs drops the error of the kernel
        ProcError::PermissionDenied(_) => Error::io(path)(Errno::ACCESS.into()),
        ProcError::NotFound(_) => Error::io(path)(Errno::NOENT.into()),
        error => Error::malformed(path, error.to_string().as_bytes()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a million years are exact")]
fn precise(ticks: u64) -> f64 {
    ticks as f64
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn own_process_has_all_values() {
        let usage = read(Path::new("/proc/self")).unwrap();
        assert!(usage.resident_bytes > 0 && usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.threads > 0 && usage.open_fds > Some(2) && usage.max_fds > usage.open_fds);
    }

    #[test]
    fn missing_and_malformed_files_are_errors_that_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let process = directory.path().join("1");
        let missing = read(&process).unwrap_err().to_string();
        assert!(missing.contains("/1") && missing.contains("No such file"), "{missing}");
        fs::create_dir(&process).unwrap();
        fs::write(process.join("stat"), "1 (x) S").unwrap();
        let malformed = read(&process).unwrap_err().to_string();
        assert!(malformed.contains("/1/stat"), "{malformed}");
    }
}
