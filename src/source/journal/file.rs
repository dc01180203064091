//! One journal file: how many entries it has, and where the next ones stand.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;

use super::format::{
    ARRAY_ITEMS, ENTRY_ARRAY, HEADER_SIZE, Header, Id, NoHeader, Object, array_stride, le64,
    offsets,
};
use super::read_buffer::fill;

/// A file open to read, and how far it has been read.
#[derive(Debug)]
pub(super) struct File {
    descriptor: OwnedFd,
    inode: Inode,
    /// Unlike an inode's, never another file's later.
    number: u32,
    header: Header,
    /// How many entries were read, or passed over.
    position: u64,
    /// The array that names the next entry, as far as it has been looked for.
    array: Option<Array>,
    buffer: Vec<u8>,
}

/// Device and inode number.
pub(super) type Inode = (u64, u64);

/// One of the arrays that name the entries, each at least as long as those before it.
#[derive(Clone, Copy, Debug)]
struct Array {
    at: u64,
    /// Which entry its first item names.
    first: u64,
    length: u64,
}

/// Why a file cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// What the kernel answered.
    #[error("{0}")]
    Io(io::Error),
    /// A later version's file.
    #[error("written by a newer systemd, in a way that this exporter does not know")]
    Newer,
    /// Not what journald writes.
    #[error("{0}")]
    Damaged(&'static str, Inode),
}

impl File {
    /// Opens a file; `None` if it has gone, or is not written yet.
    ///
    /// # Errors
    /// That it must not be read, is no journal file, or a newer one.
    pub(super) fn open(path: &Path, number: u32) -> Result<Option<Self>, Fault> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let descriptor = match open(path, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(Fault::Io(error.into())),
        };
        Self::of(descriptor, number)
    }

    /// The file behind a descriptor; `None` if it is not written yet.
    ///
    /// # Errors
    /// As above.
    pub(super) fn of(descriptor: OwnedFd, number: u32) -> Result<Option<Self>, Fault> {
        let inode = fstat(&descriptor).map(inode).map_err(|error| Fault::Io(error.into()))?;
        match header(&descriptor).map_err(Fault::Io)? {
            Ok(header) => {
                let (array, buffer) = (None, Vec::new());
                Ok(Some(Self { descriptor, inode, number, header, position: 0, array, buffer }))
            }
            Err(NoHeader::Short) => Ok(None),
            Err(NoHeader::Foreign) => Err(Fault::Damaged("it is no journal file", inode)),
            Err(NoHeader::Newer) => Err(Fault::Newer),
        }
    }

    /// Reads the header anew, and gives how many entries there are.
    ///
    /// # Errors
    /// That it is no longer the header that it was.
    pub(super) fn refresh(&mut self) -> Result<u64, Fault> {
        let now = header(&self.descriptor).map_err(Fault::Io)?;
        let Ok(now) = now else { return Err(self.damaged("its header is gone")) };
        let same = (now.file_id, now.compact) == (self.header.file_id, self.header.compact);
        if !same || now.entries < self.position {
            return Err(self.damaged("its header has changed"));
        }
        self.header = now;
        Ok(now.entries)
    }

    /// Where the next entries before `end` stand, one at least if there is one.
    ///
    /// # Errors
    /// That the arrays do not lead there.
    pub(super) fn next(&mut self, end: u64, found: &mut Vec<u64>) -> Result<(), Fault> {
        found.clear();
        if self.position >= end {
            return Ok(());
        }
        let array = self.array_of_next()?;
        self.array = Some(array);
        let index = self.position - array.first;
        let count = (end - self.position).min(array.length - index).min(BATCH);
        let stride = array_stride(self.header.compact);
        let at = array.at.saturating_add(ARRAY_ITEMS as u64 + index * stride as u64);
        let length = usize::try_from(count).unwrap_or_default() * stride;
        self.buffer.resize(length, 0);
        if fill(&self.descriptor, &mut self.buffer, at).map_err(Fault::Io)? < length {
            return Err(self.damaged("it has been cut short"));
        }
        let items = offsets(&self.buffer, self.header.compact, stride);
        found.extend(items.take_while(|offset| *offset != 0));
        if found.is_empty() {
            return Err(self.damaged("it has fewer entries than it says"));
        }
        Ok(())
    }

    fn array_of_next(&self) -> Result<Array, Fault> {
        let mut array = match self.array {
            Some(array) => array,
            None => self.array_at(self.header.entry_array, 0)?,
        };
        // each next one stands further on, so there is an end to it
        while self.position - array.first >= array.length {
            let next = self.next_array(array)?;
            array = self.array_at(next, array.first + array.length)?;
        }
        Ok(array)
    }

    fn next_array(&self, array: Array) -> Result<u64, Fault> {
        let mut bytes = [0; ARRAY_ITEMS];
        fill(&self.descriptor, &mut bytes, array.at).map_err(Fault::Io)?;
        match le64(&bytes, 16) {
            Some(next) if next > array.at => Ok(next),
            _ => Err(self.damaged("it has fewer entries than it says")),
        }
    }

    fn array_at(&self, at: u64, first: u64) -> Result<Array, Fault> {
        let mut bytes = [0; ARRAY_ITEMS];
        fill(&self.descriptor, &mut bytes, at).map_err(Fault::Io)?;
        let array = Object::parse(&bytes).filter(|array| array.kind == ENTRY_ARRAY);
        let size = array.and_then(|array| array.size.checked_sub(ARRAY_ITEMS as u64));
        match size.map(|size| size / array_stride(self.header.compact) as u64) {
            Some(length) if length > 0 && length <= LONGEST && at >= self.header.size => {
                Ok(Array { at, first, length })
            }
            _ => Err(self.damaged("what names its entries is not where it should be")),
        }
    }

    /// The entry that [`next`](Self::next) gave first has been dealt with.
    pub(super) fn step(&mut self) {
        self.position += 1;
    }

    /// Leaves out what it had when the header was last read.
    pub(super) fn skip_to_end(&mut self) {
        self.position = self.header.entries;
    }

    /// Where its first entry stands; `None` if it has none, or if that cannot be found.
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

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn id(&self) -> Id {
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

    /// Whether that path leads to this file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        stat(path).is_ok_and(|there| inode(there) == self.inode)
    }

    /// Whether its last entry is of an earlier boot than that, or from before `since` in it.
    pub(super) fn ended_before(&self, boot_id: &Id, since: u64) -> bool {
        self.header.tail_boot_id != *boot_id || self.header.tail_monotonic < since
    }

    pub(super) fn damaged(&self, how: &'static str) -> Fault {
        Fault::Damaged(how, self.inode)
    }
}

fn header(descriptor: &OwnedFd) -> io::Result<Result<Header, NoHeader>> {
    let mut bytes = [0; HEADER_SIZE];
    let length = fill(descriptor, &mut bytes, 0)?;
    Ok(Header::parse(&bytes[..length]))
}

fn inode(stat: rustix::fs::Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

/// Entries looked up at once.
const BATCH: u64 = 512;

/// As many entries as a file of 32 GiB might have.
const LONGEST: u64 = 1 << 28;
