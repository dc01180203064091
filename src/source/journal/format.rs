//! The binary format of a journal file: header and objects, as systemd's JOURNAL_FILE_FORMAT documents
//! them. Any byte may be wrong.

pub(super) use crate::systemd::unit::value::Id128;
use crate::systemd::unit::value::id128_from_hex;

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) file_id: Id128,
    /// Compact files have offsets of 32 bits, and two more fields in data objects.
    pub(super) compact: bool,
    /// Whether the hashes have the file's id as key, from systemd 246 on.
    pub(super) keyed: bool,
    /// The offset of the hash table of data objects, and its size.
    pub(super) hash_table: u64,
    pub(super) hash_table_size: u64,
    /// The size of the header, and so the offset of the first object.
    pub(super) size: u64,
    /// The offset of the first entry array.
    pub(super) entry_array: u64,
    pub(super) entries: u64,
    /// The boot of the last entry or, up to systemd 253, of the last writer.
    pub(super) tail_boot_id: Id128,
    /// `CLOCK_MONOTONIC` of the last entry.
    pub(super) tail_monotonic: u64,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// The header has not been written yet.
    Short,
    /// The file is not a journal file.
    Foreign,
    /// The file has features of a newer systemd.
    Newer,
}

/// An object's type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectHeader {
    pub(super) kind: u8,
    pub(super) compressed: bool,
    pub(super) size: u64,
}

/// The boot and the time of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryStamp {
    pub(super) boot_id: Id128,
    pub(super) monotonic: u64,
}

impl FileHeader {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let number = |at| le64(bytes, at).ok_or(HeaderError::Short);
        let id = |at| id_at(bytes, at).ok_or(HeaderError::Short);
        let size = number(88)?;
        let tail_monotonic = number(200)?;
        if !bytes.starts_with(b"LPKSHHRH") {
            // new files are zeros until the whole header is written at once
            return Err(if bytes.starts_with(&[0; 8]) {
                HeaderError::Short
            } else {
                HeaderError::Foreign
            });
        }
        let flags = number(8)?;
        let incompatible = flags >> 32;
        if incompatible & !KNOWN_FEATURES != 0 {
            return Err(HeaderError::Newer);
        }
        if size < HEADER_SIZE as u64 {
            return Err(HeaderError::Foreign);
        }
        Ok(Self {
            file_id: id(24)?,
            compact: incompatible & COMPACT != 0,
            keyed: incompatible & KEYED_HASH != 0,
            hash_table: number(104)?,
            hash_table_size: number(112)?,
            size,
            entry_array: number(176)?,
            entries: number(152)?,
            tail_boot_id: id(56)?,
            tail_monotonic,
        })
    }
}

impl ObjectHeader {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, flags) = (*bytes.first()?, *bytes.get(1)?);
        Some(Self { kind, compressed: flags & COMPRESSED != 0, size: le64(bytes, 8)? })
    }
}

impl EntryStamp {
    /// Parses an entry object.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { monotonic: le64(bytes, 32)?, boot_id: id_at(bytes, 40)? })
    }
}

/// The offsets in an entry array, or those of the data objects of an entry, which in files that are not
/// compact are followed by a hash.
pub(super) fn offsets(bytes: &[u8], compact: bool, stride: usize) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(stride).map(move |item| {
        let narrow = || le32(item, 0).map(u64::from);
        // a chunk always has `stride` bytes
        if compact { narrow() } else { le64(item, 0) }.unwrap_or_default()
    })
}

/// Parses the 32 hex digits of an id, with or without dashes.
pub(super) fn parse_id(text: &[u8]) -> Option<Id128> {
    id128_from_hex(&str::from_utf8(text).ok()?.trim_ascii().replace('-', ""))
}

pub(super) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn id_at(bytes: &[u8], at: usize) -> Option<Id128> {
    bytes.get(at..at + 16)?.try_into().ok()
}

/// The bytes of the header that all versions have; newer ones have more.
pub(super) const HEADER_SIZE: usize = 208;
pub(super) const DATA: u8 = 1;
pub(super) const ENTRY: u8 = 3;
pub(super) const ENTRY_ARRAY: u8 = 6;
/// The offset of the items of an array; before them is the offset of the next array.
pub(super) const ARRAY_ITEMS: usize = 24;
/// The offset of the items of an entry.
pub(super) const ENTRY_ITEMS: usize = 64;

/// The bytes of a data object before those that only compact files have.
pub(super) const DATA_HEADER_SIZE: usize = 64;

/// The offset of the payload of a data object.
pub(super) const fn data_payload(compact: bool) -> usize {
    if compact { 72 } else { 64 }
}

/// The bytes of an item of an array.
pub(super) const fn array_stride(compact: bool) -> usize {
    if compact { 4 } else { 8 }
}

/// The bytes of an item of an entry.
pub(super) const fn entry_stride(compact: bool) -> usize {
    if compact { 4 } else { 16 }
}

/// XZ, LZ4, ZSTD.
const COMPRESSED: u8 = 0b111;
/// Incompatible features: the three compressions, keyed hashes (systemd 246), compact (252).
const KNOWN_FEATURES: u64 = 0b1_1111;
const KEYED_HASH: u64 = 1 << 2;
const COMPACT: u64 = 1 << 4;
