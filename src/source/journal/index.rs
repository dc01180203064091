//! The index of a journal file: the entries that have a given field, found by a hash table.

use super::file::{FileError, JournalFile};
use super::format::{
    ARRAY_ITEMS, DATA, DATA_HEADER_SIZE, ENTRY_ARRAY, Id128, ObjectHeader, array_stride,
    data_payload, le64, offsets,
};
use super::read_buffer::fill;

/// The offsets of the entries that have this field, in their order, from the entry at `from` on;
/// empty if there are none.
///
/// # Errors
/// The file cannot be read, or its index is corrupt.
pub(super) fn entries_with(
    file: &JournalFile,
    field: &[u8],
    from: u64,
) -> Result<Vec<u64>, FileError> {
    let Some(data) = lookup(file, field)? else { return Ok(Vec::new()) };
    let mut found = vec![data.first];
    let mut array = data.array;
    let mut left = data.entries.saturating_sub(1).min(MAX_ENTRIES);
    while left > 0 && array != 0 {
        let (next, length) = array_head(file, array)?;
        let count = left.min(length);
        let stride = array_stride(file.header().compact);
        let mut items = vec![0; usize::try_from(count).unwrap_or_default() * stride];
        if read(file, array.saturating_add(ARRAY_ITEMS as u64), &mut items)? < items.len() {
            return Err(file.corrupt("the file is truncated"));
        }
        found.extend(offsets(&items, file.header().compact, stride).filter(|at| *at != 0));
        left -= count;
        if next != 0 && next <= array {
            // the offsets increase, so that the loop ends
            return Err(file.corrupt("entry arrays out of order"));
        }
        array = next;
    }
    found.retain(|at| *at >= from);
    Ok(found)
}

/// The first entry that has this field.
///
/// # Errors
/// As above.
pub(super) fn first_entry_with(file: &JournalFile, field: &[u8]) -> Result<Option<u64>, FileError> {
    Ok(lookup(file, field)?.map(|data| data.first))
}

/// A data object: a field with its entries.
struct DataObject {
    first: u64,
    array: u64,
    entries: u64,
}

fn lookup(file: &JournalFile, field: &[u8]) -> Result<Option<DataObject>, FileError> {
    let header = file.header();
    let buckets = header.hash_table_size / HASH_ITEM_SIZE;
    if buckets == 0 {
        return Ok(None);
    }
    let hash = if header.keyed { sip_hash(header.file_id, field) } else { jenkins_hash(field) };
    let mut item = [0; 16];
    let bucket = (hash % buckets).saturating_mul(HASH_ITEM_SIZE);
    read(file, header.hash_table.saturating_add(bucket), &mut item)?;
    let mut at = le64(&item, 0).unwrap_or_default();
    let payload = data_payload(header.compact);
    let mut object = vec![0; payload + field.len()];
    for _step in 0..MAX_CHAIN {
        if at == 0 {
            return Ok(None);
        }
        let length = read(file, at, &mut object)?;
        let data = object.get(..length).filter(|data| data.len() >= DATA_HEADER_SIZE);
        let head = data.and_then(ObjectHeader::parse).filter(|head| head.kind == DATA);
        let (Some(data), Some(head)) = (data, head) else {
            return Err(file.corrupt("no data object at its offset"));
        };
        let number = |at| le64(data, at).unwrap_or_default();
        let is_same = number(16) == hash
            && head.size == (payload + field.len()) as u64
            && data.get(payload..) == Some(field);
        if is_same {
            let (first, array, entries) = (number(40), number(48), number(56));
            return Ok((first != 0 && entries != 0).then_some(DataObject {
                first,
                array,
                entries,
            }));
        }
        let next = number(24);
        if next != 0 && next <= at {
            return Err(file.corrupt("data objects out of order"));
        }
        at = next;
    }
    Err(file.corrupt("too many data objects with the same hash"))
}

/// The offset of the next array, and the length of this one.
fn array_head(file: &JournalFile, at: u64) -> Result<(u64, u64), FileError> {
    let mut head = [0; ARRAY_ITEMS];
    read(file, at, &mut head)?;
    let array = ObjectHeader::parse(&head).filter(|array| array.kind == ENTRY_ARRAY);
    let size = array.and_then(|array| array.size.checked_sub(ARRAY_ITEMS as u64));
    let length = size.map(|size| size / array_stride(file.header().compact) as u64);
    match length.filter(|length| *length > 0) {
        Some(length) => Ok((le64(&head, 16).unwrap_or_default(), length)),
        None => Err(file.corrupt("no entry array at its offset")),
    }
}

fn read(file: &JournalFile, at: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
    fill(file.descriptor(), buffer, at).map_err(FileError::Io)
}

/// SipHash-2-4 with the id of the file as key.
#[allow(deprecated, reason = "the only SipHash-2-4 with a key in std")]
fn sip_hash(file_id: Id128, field: &[u8]) -> u64 {
    use std::hash::{Hasher, SipHasher};
    let key = |at| le64(&file_id, at).unwrap_or_default();
    let mut hasher = SipHasher::new_with_keys(key(0), key(8));
    hasher.write(field);
    hasher.finish()
}

/// Jenkins's lookup3 (hashlittle2), of files without keyed hashes: systemd before 246, and Debian 11.
fn jenkins_hash(field: &[u8]) -> u64 {
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    let mut state = [0xdead_beef_u32.wrapping_add(length); 3];
    let mut blocks = field.chunks(12).peekable();
    while let Some(block) = blocks.next() {
        for (word, bytes) in state.iter_mut().zip(block.chunks(4)) {
            let mut padded = [0; 4];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = word.wrapping_add(u32::from_le_bytes(padded));
        }
        if blocks.peek().is_some() {
            for (x, y, z, rotation) in MIX {
                state[x] = state[x].wrapping_sub(state[y]) ^ state[y].rotate_left(rotation);
                state[y] = state[y].wrapping_add(state[z]);
            }
        } else {
            for (x, y, rotation) in FINAL_MIX {
                state[x] = (state[x] ^ state[y]).wrapping_sub(state[y].rotate_left(rotation));
            }
        }
    }
    let [_, low, high] = state.map(u64::from);
    high << 32 | low
}

/// The words of each step of lookup3, and a rotation.
const MIX: [(usize, usize, usize, u32); 6] =
    [(0, 2, 1, 4), (1, 0, 2, 6), (2, 1, 0, 8), (0, 2, 1, 16), (1, 0, 2, 19), (2, 1, 0, 4)];

const FINAL_MIX: [(usize, usize, u32); 7] =
    [(2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)];

const HASH_ITEM_SIZE: u64 = 16;

/// journald rotates a file with a longer chain: 100.
const MAX_CHAIN: usize = 1000;

/// Entries with one field in one file.
const MAX_ENTRIES: u64 = 1 << 20;
