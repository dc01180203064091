//! Small kernel files: opened beneath a directory, read whole into one reused buffer.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::path::Arg;

use super::Error;

/// The buffer that every small file is read into, kept between scrapes.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// A buffer that holds any common file; it grows for longer files and never shrinks.
    pub(crate) fn new() -> Self {
        Self(vec![0; START_SIZE])
    }

    /// The whole content of `name` in `directory`; `None` without such a file, if its process or
    /// cgroup was removed, or if this kernel does not offer it.
    ///
    /// # Errors
    /// Any other error of the kernel, and `EFBIG` past [`MAX_SIZE`].
    pub(crate) fn read(
        &mut self,
        directory: impl AsFd,
        name: impl Arg,
    ) -> rustix::io::Result<Option<&[u8]>> {
        let Some(file) = open(directory, name)? else { return Ok(None) };
        let length = self.fill(&file)?;
        Ok(length.map(|length| self.content(length)))
    }

    /// Reads the whole current content of an open file and returns its length; `None` and errors as
    /// in [`Buffer::read`].
    pub(crate) fn fill(&mut self, file: &OwnedFd) -> rustix::io::Result<Option<usize>> {
        match self.fill_present(file) {
            Ok(length) => Ok(Some(length)),
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first `length` bytes of the last read.
    pub(crate) fn content(&self, length: usize) -> &[u8] {
        &self.0[..length]
    }

    fn fill_present(&mut self, file: &OwnedFd) -> rustix::io::Result<usize> {
        let mut length = 0;
        loop {
            match pread(file, &mut self.0[length..], length as u64) {
                Ok(0) => return Ok(length),
                // A seq_file returns whole records, up to a memory page at a time: a first read
                // shorter than half a page is the whole file and saves the read that returns 0.
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

/// The value of a limit file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No limit.
    Unlimited,
    /// This many.
    At(u64),
}

impl Limit {
    /// The number; `None` without a limit.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::At(number) => Some(number),
        }
    }
}

/// Parses a single decimal number; `None` if the content is anything else or exceeds 64 bits.
pub(crate) fn integer(content: &[u8]) -> Option<u64> {
    let digits = content.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Opens a file to read; `None` as in [`Buffer::read`].
pub(crate) fn open(directory: impl AsFd, name: impl Arg) -> rustix::io::Result<Option<OwnedFd>> {
    present(openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// Opens the directory at `path`.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|error| Error::io(path)(error.into()))
}

/// Opens a directory for `fstat` only, not to list it; `None` if it does not exist.
pub(crate) fn open_path(at: impl AsFd, path: impl Arg) -> rustix::io::Result<Option<OwnedFd>> {
    present(openat(at, path, OFlags::PATH | DIRECTORY, Mode::empty()))
}

/// Opens a directory beneath another; `None` if it does not exist.
pub(crate) fn open_directory(at: impl AsFd, path: impl Arg) -> rustix::io::Result<Option<OwnedFd>> {
    present(openat(at, path, DIRECTORY, Mode::empty()))
}

/// Reads a file outside of scrapes: at start, or at long intervals.
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
        Err(error) if is_gone(error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a cgroup or process was removed (ENOENT by path, ENODEV for an open file of a cgroup,
/// ESRCH for one of a process), or has no such file (EOPNOTSUPP: pressure switched off, or the
/// process list of a threaded cgroup).
pub(crate) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NODEV | Errno::SRCH | Errno::OPNOTSUPP)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// In bytes.
const START_SIZE: usize = 16 << 10;
/// Of a memory page of 4 KiB, in bytes.
const HALF_A_PAGE: usize = 2048;
/// In bytes; more than any of these files should hold: the PIDs of some 150,000 processes.
const MAX_SIZE: usize = 1 << 20;
