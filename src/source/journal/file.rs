//! One journal file: the number of entries and their offsets.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;

use super::format::{
    ARRAY_ITEMS, ENTRY_ARRAY, FileHeader, HEADER_SIZE, HeaderError, Id128, ObjectHeader,
    array_stride, le64, offsets,
};
use super::read_buffer::fill;

/// An open file and the position in it.
#[derive(Debug)]
pub(super) struct JournalFile {
    descriptor: OwnedFd,
    inode: Inode,
    /// Unlike the inode number, never reused for another file.
    number: u32,
    header: FileHeader,
    /// The number of entries that were read or skipped.
    position: u64,
    /// The array with the offset of the next entry, once read.
    array: Option<Array>,
    buffer: Vec<u8>,
}

/// Device and inode number.
pub(super) type Inode = (u64, u64);

/// One of the entry arrays, each at least as long as those before it.
#[derive(Clone, Copy, Debug)]
struct Array {
    at: u64,
    /// The index of the entry of its first item.
    first: u64,
    length: u64,
}

/// Why a file cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// An error of the kernel.
    #[error("{0}")]
    Io(io::Error),
    /// The file has features of a newer systemd.
    #[error("written by a newer systemd with features that this exporter does not support")]
    Newer,
    /// The content is not what journald writes.
    #[error("{0}")]
    Corrupt(&'static str, Inode),
}

impl JournalFile {
    /// Opens a file; `None` if it no longer exists, or is not written yet.
    ///
    /// # Errors
    /// No permission, not a journal file, or one of a newer systemd.
    pub(super) fn open(path: &Path, number: u32) -> Result<Option<Self>, FileError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let descriptor = match open(path, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(FileError::Io(error.into())),
        };
        Self::of(descriptor, number)
    }

    /// The file of a descriptor; `None` if it is not written yet.
    ///
    /// # Errors
    /// As above.
    pub(super) fn of(descriptor: OwnedFd, number: u32) -> Result<Option<Self>, FileError> {
        let inode = fstat(&descriptor).map(inode).map_err(|error| FileError::Io(error.into()))?;
        match header(&descriptor).map_err(FileError::Io)? {
            Ok(header) => {
                let (array, buffer) = (None, Vec::new());
                Ok(Some(Self { descriptor, inode, number, header, position: 0, array, buffer }))
            }
            Err(HeaderError::Short) => Ok(None),
            Err(HeaderError::Foreign) => Err(FileError::Corrupt("not a journal file", inode)),
            Err(HeaderError::Newer) => Err(FileError::Newer),
        }
    }

    /// Reads the header again, and returns the number of entries.
    ///
    /// # Errors
    /// The header is not the one of this file any more.
    pub(super) fn refresh(&mut self) -> Result<u64, FileError> {
        let now = header(&self.descriptor).map_err(FileError::Io)?;
        let Ok(now) = now else { return Err(self.corrupt("the header is missing")) };
        let same = (now.file_id, now.compact) == (self.header.file_id, self.header.compact);
        if !same || now.entries < self.position {
            return Err(self.corrupt("the header has changed"));
        }
        self.header = now;
        Ok(now.entries)
    }

    /// Reads the offsets of the next entries before `end` into `found`, at least one if there is one.
    ///
    /// # Errors
    /// The arrays do not have these entries.
    pub(super) fn next(&mut self, end: u64, found: &mut Vec<u64>) -> Result<(), FileError> {
        found.clear();
        if self.position >= end {
            return Ok(());
        }
        let array = self.array_of_next()?;
        self.array = Some(array);
        let index = self.position - array.first;
        let count = (end - self.position).min(array.length - index).min(MAX_BATCH);
        let stride = array_stride(self.header.compact);
        let at = array.at.saturating_add(ARRAY_ITEMS as u64 + index * stride as u64);
        let length = usize::try_from(count).unwrap_or_default() * stride;
        self.buffer.resize(length, 0);
        if fill(&self.descriptor, &mut self.buffer, at).map_err(FileError::Io)? < length {
            return Err(self.corrupt("the file is truncated"));
        }
        let items = offsets(&self.buffer, self.header.compact, stride);
        found.extend(items.take_while(|offset| *offset != 0));
        if found.is_empty() {
            return Err(self.corrupt("fewer entries than in the header"));
        }
        Ok(())
    }

    fn array_of_next(&self) -> Result<Array, FileError> {
        let mut array = match self.array {
            Some(array) => array,
            None => self.array_at(self.header.entry_array, 0)?,
        };
        // the offsets increase, so that the loop ends
        while self.position - array.first >= array.length {
            let next = self.next_array(array)?;
            array = self.array_at(next, array.first + array.length)?;
        }
        Ok(array)
    }

    fn next_array(&self, array: Array) -> Result<u64, FileError> {
        let mut bytes = [0; ARRAY_ITEMS];
        fill(&self.descriptor, &mut bytes, array.at).map_err(FileError::Io)?;
        match le64(&bytes, 16) {
            Some(next) if next > array.at => Ok(next),
            _ => Err(self.corrupt("fewer entries than in the header")),
        }
    }

    fn array_at(&self, at: u64, first: u64) -> Result<Array, FileError> {
        let mut bytes = [0; ARRAY_ITEMS];
        fill(&self.descriptor, &mut bytes, at).map_err(FileError::Io)?;
        let array = ObjectHeader::parse(&bytes).filter(|array| array.kind == ENTRY_ARRAY);
        let size = array.and_then(|array| array.size.checked_sub(ARRAY_ITEMS as u64));
        match size.map(|size| size / array_stride(self.header.compact) as u64) {
            Some(length) if length > 0 && length <= MAX_ARRAY_LENGTH && at >= self.header.size => {
                Ok(Array { at, first, length })
            }
            _ => Err(self.corrupt("no entry array at its offset")),
        }
    }

    /// Moves past one entry of [`next`](Self::next).
    pub(super) fn step(&mut self) {
        self.position += 1;
    }

    /// Skips the entries of the last read header.
    pub(super) fn skip_to_end(&mut self) {
        self.position = self.header.entries;
    }

    /// Skips this many entries, or all of the last read header if there are not as many.
    pub(super) fn skip(&mut self, entries: u64) {
        self.position = entries.min(self.header.entries);
    }

    /// The offset of the first entry; `None` if there is none, or if it cannot be found.
    pub(super) fn first(&self) -> Option<u64> {
        let array = self.array_at(self.header.entry_array, 0).ok()?;
        let mut item = [0; 8];
        let stride = array_stride(self.header.compact);
        fill(&self.descriptor, &mut item[..stride], array.at + ARRAY_ITEMS as u64).ok()?;
        offsets(&item[..stride], self.header.compact, stride).next()
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn header(&self) -> &FileHeader {
        &self.header
    }

    pub(super) fn id(&self) -> Id128 {
        self.header.file_id
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn inode(&self) -> Inode {
        self.inode
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Whether the path is that of this file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        stat(path).is_ok_and(|there| inode(there) == self.inode)
    }

    /// Whether the last entry is of another boot, or was logged before `since`.
    pub(super) fn ended_before(&self, boot_id: &Id128, since: u64) -> bool {
        self.header.tail_boot_id != *boot_id || self.header.tail_monotonic < since
    }

    pub(super) fn corrupt(&self, how: &'static str) -> FileError {
        FileError::Corrupt(how, self.inode)
    }
}

fn header(descriptor: &OwnedFd) -> io::Result<Result<FileHeader, HeaderError>> {
    let mut bytes = [0; HEADER_SIZE];
    let length = fill(descriptor, &mut bytes, 0)?;
    Ok(FileHeader::parse(&bytes[..length]))
}

fn inode(stat: rustix::fs::Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

/// Entries per read of an array.
const MAX_BATCH: u64 = 512;

/// Entries: as many as a file of 32 GiB may have.
const MAX_ARRAY_LENGTH: u64 = 1 << 28;
