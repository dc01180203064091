//! How many descriptors a process has open.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, openat, statat};

/// How this kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// The size of the directory, which anyone may ask (Linux 6.2).
    Size,
    /// Its entries, which only the same user may list.
    Entries,
}

impl Counting {
    /// Asks for this process, which has some open: older kernels give the directory no size.
    pub(super) fn detect(proc: &OwnedFd) -> Self {
        match statat(proc, "self/fd", AtFlags::empty()).ok().and_then(size) {
            Some(1..) => Self::Size,
            Some(0) | None => Self::Entries,
        }
    }
}

/// What the state of a directory of descriptors says.
pub(super) fn size(directory: Stat) -> Option<u64> {
    u64::try_from(directory.st_size).ok()
}

/// The entries of a directory of descriptors; `None` if it cannot be listed.
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
