//! Fuzzing: the bytes of a bus.

use super::framing::{Framing, START};

/// Bytes as they arrive: no more than those is passed on, in whatever chunks they arrive.
pub(crate) fn framing(data: &[u8]) {
    let Some((chunk, data)) = data.split_first() else { return };
    let chunk = usize::from(*chunk).max(1);
    let (mut at_once, mut in_chunks) = (Vec::new(), Vec::new());
    let whole = Framing::new(LIMIT).filter(data, &mut at_once);
    let mut framing = Framing::new(LIMIT);
    let parts = data.chunks(chunk).try_for_each(|part| {
        let before = in_chunks.len();
        let result = framing.filter(part, &mut in_chunks);
        assert!(in_chunks.len() - before <= part.len() + START);
        result
    });
    assert_eq!((whole.is_ok(), at_once), (parts.is_ok(), in_chunks));
}

/// Small, so that inputs exceed it.
const LIMIT: u64 = 256;
