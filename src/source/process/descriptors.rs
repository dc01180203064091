//! Counting the open descriptors of a process.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, openat, statat};

/// How descriptors are counted on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// By the size of /proc/PID/fd, which any user may stat (Linux 6.2).
    Size,
    /// By its entries, which only the same user may list.
    Entries,
}

impl Counting {
    /// Checks the own process, which has open descriptors: older kernels report a size of 0.
    pub(super) fn detect(proc: &OwnedFd) -> Self {
        match statat(proc, "self/fd", AtFlags::empty()).ok().and_then(size) {
            Some(1..) => Self::Size,
            Some(0) | None => Self::Entries,
        }
    }
}

/// The number of descriptors by the size of /proc/PID/fd.
pub(super) fn size(directory: Stat) -> Option<u64> {
    u64::try_from(directory.st_size).ok()
}

/// The number of entries of /proc/PID/fd; `None` if it cannot be listed.
pub(super) fn entries(proc: impl AsFd, directory: &str) -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(proc, directory, flags, Mode::empty()).ok()?;
    let mut count = 0;
    for entry in Dir::new(directory).ok()? {
        if !matches!(entry.ok()?.file_name().to_bytes(), b"." | b"..") {
            count += 1;
        }
    }
    Some(count)
}
