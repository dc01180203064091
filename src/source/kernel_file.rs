//! Small kernel files: opened beneath a directory, read whole into one reused buffer.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::path::Arg;

use super::Error;

/// The one buffer that every small file is read into, kept between scrapes.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// A buffer that holds any common file; it grows for longer ones and stays grown.
    pub(crate) fn new() -> Self {
        Self(vec![0; START_SIZE])
    }

    /// The whole content of `name` in `directory`; `None` if there is no such file, if what it
    /// speaks of has gone, or if this kernel does not offer it.
    ///
    /// # Errors
    /// Whatever else the kernel answers, and `EFBIG` past [`MAX_SIZE`].
    pub(crate) fn read(
        &mut self,
        directory: impl AsFd,
        name: impl Arg,
    ) -> rustix::io::Result<Option<&[u8]>> {
        let Some(file) = open(directory, name)? else { return Ok(None) };
        let length = self.fill(&file)?;
        Ok(length.map(|length| self.content(length)))
    }

    /// Reads the whole of an open file as it is now, and says how long it is; `None` as above.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn fill(&mut self, file: &OwnedFd) -> rustix::io::Result<Option<usize>> {
        match self.fill_present(file) {
            Ok(length) => Ok(Some(length)),
            Err(error) if gone(error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// So much of what was read last.
    pub(crate) fn content(&self, length: usize) -> &[u8] {
        &self.0[..length]
    }

    fn fill_present(&mut self, file: &OwnedFd) -> rustix::io::Result<usize> {
        let mut length = 0;
        loop {
            match pread(file, &mut self.0[length..], length as u64) {
                Ok(0) => return Ok(length),
                // A seq_file hands out whole records up to a page at a time: what is shorter
                // than half a page is all there is, and asking again would only cost.
                Ok(count) if length == 0 && count < HALF_A_PAGE => return Ok(count),
                Ok(count) => length += count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            if length == self.0.len() {
                if length >= MAX_SIZE {
                    return Err(Errno::FBIG);
                }
                self.0.resize(length * 2, 0);
            }
        }
    }
}

/// Opens a file to read; `None` as in [`Buffer::read`].
pub(crate) fn open(directory: impl AsFd, name: impl Arg) -> rustix::io::Result<Option<OwnedFd>> {
    present(openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// Opens the directory at `path`.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|error| Error::io(path)(error.into()))
}

/// Opens a directory to look at, not into; `None` if there is none, or if it has gone.
pub(crate) fn open_path(at: impl AsFd, path: impl Arg) -> rustix::io::Result<Option<OwnedFd>> {
    present(openat(at, path, OFlags::PATH | DIRECTORY, Mode::empty()))
}

/// Opens a directory beneath another; `None` if there is none, or if it has gone.
pub(crate) fn open_directory(at: impl AsFd, path: impl Arg) -> rustix::io::Result<Option<OwnedFd>> {
    present(openat(at, path, DIRECTORY, Mode::empty()))
}

/// Reads one file at start or at long intervals.
pub(crate) fn read_once(
    directory: impl AsFd,
    base: &Path,
    name: &CStr,
) -> Result<Option<Vec<u8>>, Error> {
    let mut buffer = Buffer::new();
    match buffer.read(directory, name) {
        Ok(content) => Ok(content.map(<[u8]>::to_vec)),
        Err(error) => Err(Error::io(&base.join(&*name.to_string_lossy()))(error.into())),
    }
}

fn present(opened: rustix::io::Result<OwnedFd>) -> rustix::io::Result<Option<OwnedFd>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if gone(error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel answers when a cgroup or process has gone (ENOENT by path, ENODEV for a cgroup
/// that was open, ESRCH for a process), or offers no such thing (EOPNOTSUPP: pressure switched
/// off, or the process list of a threaded cgroup).
pub(crate) fn gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NODEV | Errno::SRCH | Errno::OPNOTSUPP)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const START_SIZE: usize = 16 << 10;
const HALF_A_PAGE: usize = 2048;
/// More than any of these files should hold: the PIDs of some 150,000 processes.
const MAX_SIZE: usize = 1 << 20;
