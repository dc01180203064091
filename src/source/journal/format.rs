//! The bytes of a journal file: header and objects, as systemd's JOURNAL_FILE_FORMAT documents
//! them. Any byte may be wrong.

/// A 128-bit id: of a file, a boot.
pub(super) type Id = [u8; 16];

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) file_id: Id,
    /// Offsets have 32 bits, and data objects two fields more.
    pub(super) compact: bool,
    /// Where objects begin.
    pub(super) size: u64,
    /// The first of the arrays that name the entries.
    pub(super) entry_array: u64,
    pub(super) entries: u64,
    /// The boot of the last entry or, up to systemd 253, that of the last writer.
    pub(super) tail_boot_id: Id,
    /// `CLOCK_MONOTONIC` of the last entry.
    pub(super) tail_monotonic: u64,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// It has not been written yet.
    Short,
    /// It is no journal file's.
    Foreign,
    /// It has features that nobody knew of when this was written.
    Newer,
}

/// An object's type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) kind: u8,
    pub(super) compressed: bool,
    pub(super) size: u64,
}

/// What an entry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) boot_id: Id,
    pub(super) monotonic: u64,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        let number = |at| le64(bytes, at).ok_or(NoHeader::Short);
        let id = |at| id_at(bytes, at).ok_or(NoHeader::Short);
        let size = number(88)?;
        let tail_monotonic = number(200)?;
        if !bytes.starts_with(b"LPKSHHRH") {
            // new files are zeros until they are written at once
            return Err(if bytes.starts_with(&[0; 8]) {
                NoHeader::Short
            } else {
                NoHeader::Foreign
            });
        }
        let flags = number(8)?;
        let incompatible = flags >> 32;
        if incompatible & !KNOWN != 0 {
            return Err(NoHeader::Newer);
        }
        if size < HEADER_SIZE as u64 {
            return Err(NoHeader::Foreign);
        }
        Ok(Self {
            file_id: id(24)?,
            compact: incompatible & COMPACT != 0,
            size,
            entry_array: number(176)?,
            entries: number(152)?,
            tail_boot_id: id(56)?,
            tail_monotonic,
        })
    }
}

impl Object {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, flags) = (*bytes.first()?, *bytes.get(1)?);
        Some(Self { kind, compressed: flags & COMPRESSED != 0, size: le64(bytes, 8)? })
    }
}

impl Stamp {
    /// Of an entry object.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { monotonic: le64(bytes, 32)?, boot_id: id_at(bytes, 40)? })
    }
}

/// The offsets in an array that names entries, or of the data objects of an entry, which in files
/// that are not compact have their hashes beside them.
pub(super) fn offsets(bytes: &[u8], compact: bool, stride: usize) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(stride).map(move |item| {
        let narrow = || le32(item, 0).map(u64::from);
        // a chunk is never too short
        if compact { narrow() } else { le64(item, 0) }.unwrap_or_default()
    })
}

/// The 32 hex digits of an id, with or without dashes.
pub(super) fn id(text: &[u8]) -> Option<Id> {
    let text = text.trim_ascii();
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'-').collect();
    let mut id = Id::default();
    if digits.len() != 2 * id.len() {
        return None;
    }
    for (byte, digits) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok().filter(|pair| !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(id)
}

pub(super) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn id_at(bytes: &[u8], at: usize) -> Option<Id> {
    bytes.get(at..at + 16)?.try_into().ok()
}

/// What every version's header has; newer ones have more.
pub(super) const HEADER_SIZE: usize = 208;
pub(super) const DATA: u8 = 1;
pub(super) const ENTRY: u8 = 3;
pub(super) const ENTRY_ARRAY: u8 = 6;
/// Where in an array its items begin; before them stands where the next array is.
pub(super) const ARRAY_ITEMS: usize = 24;
/// Where in an entry its items begin.
pub(super) const ENTRY_ITEMS: usize = 64;

/// Where in a data object its payload begins.
pub(super) const fn data_payload(compact: bool) -> usize {
    if compact { 72 } else { 64 }
}

/// How far the items of an array are apart.
pub(super) const fn array_stride(compact: bool) -> usize {
    if compact { 4 } else { 8 }
}

/// How far the items of an entry are apart.
pub(super) const fn entry_stride(compact: bool) -> usize {
    if compact { 4 } else { 16 }
}

/// XZ, LZ4, ZSTD.
const COMPRESSED: u8 = 0b111;
/// Incompatible features: the three compressions, keyed hashes (systemd 246), compact (252).
const KNOWN: u64 = 0b1_1111;
const COMPACT: u64 = 1 << 4;
