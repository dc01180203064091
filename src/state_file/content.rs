//! The content of the state file: JSON with a format, a version and the boot.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::source::journal::SavedJournal;
use crate::systemd::saved::SavedSystemd;

/// The state of the exporter: units, counters and events, and the position in the journal.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SavedState {
    /// Units, counters and events.
    pub systemd: SavedSystemd,
    /// The counters of the journal and the position in it; `None` if it has never been read.
    pub journal: Option<SavedJournal>,
}

/// The boot of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's boot id.
    pub id: String,
    /// When PID 1 was started, in clock ticks since boot: later than the boot in a container, which
    /// may have the boot id of its host.
    pub pid1_start: u64,
}

/// Why a file is no state to continue from.
#[derive(Debug, thiserror::Error)]
pub enum InvalidState {
    /// An error of the kernel.
    #[error("{0}")]
    Io(io::Error),
    /// A link, a directory, a pipe or a device.
    #[error("not a regular file")]
    NotRegular,
    /// The file belongs to another user.
    #[error("owned by another user")]
    OtherOwner,
    /// More than the exporter writes.
    #[error("too large")]
    TooLarge,
    /// Another program's file.
    #[error("not a state of unit-exporter")]
    Foreign,
    /// A version of the format that this exporter does not support.
    #[error("of another version of the format: {0}")]
    OtherVersion(u64),
    /// The state of an earlier boot.
    #[error("of another boot")]
    OtherBoot,
    /// Incomplete or changed.
    #[error("corrupt: {0}")]
    Corrupt(serde_json::Error),
    /// A number that no counter and no time of the exporter has.
    #[error("corrupt: a number is out of range")]
    Range,
}

/// The begin of each file; the rest depends on the version.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    version: u64,
    boot: Boot,
}

#[derive(Debug, Serialize, Deserialize)]
struct Whole<S> {
    #[serde(flatten)]
    head: Head,
    state: S,
}

impl Boot {
    /// This boot.
    ///
    /// # Errors
    /// The boot id cannot be read.
    pub fn current(proc: &Path) -> io::Result<Self> {
        let id = std::fs::read_to_string(proc.join("sys/kernel/random/boot_id"))?;
        let stat = std::fs::read_to_string(proc.join("1/stat")).unwrap_or_default();
        // the name in parentheses may contain anything; starttime is the 22nd field
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let start = fields.split_ascii_whitespace().nth(19);
        let pid1_start = start.and_then(|start| start.parse().ok()).unwrap_or_default();
        Ok(Self { id: id.trim().to_owned(), pid1_start })
    }
}

impl SavedState {
    /// Parses any bytes.
    pub(crate) fn parse(content: &[u8], boot: &Boot) -> Result<Self, InvalidState> {
        if content.is_empty() {
            return Err(InvalidState::Foreign);
        }
        // all fields but these are skipped
        let head: Head = match serde_json::from_slice(content) {
            Ok(head) => head,
            Err(error) if error.is_data() => return Err(InvalidState::Foreign),
            Err(error) => return Err(InvalidState::Corrupt(error)),
        };
        if head.format != FORMAT {
            return Err(InvalidState::Foreign);
        }
        if head.version != VERSION {
            return Err(InvalidState::OtherVersion(head.version));
        }
        if head.boot != *boot {
            return Err(InvalidState::OtherBoot);
        }
        if has_large_number(content) {
            return Err(InvalidState::Range);
        }
        let rest: Rest = serde_json::from_slice(content).map_err(InvalidState::Corrupt)?;
        Ok(rest.state)
    }

    pub(crate) fn to_bytes(&self, boot: &Boot) -> io::Result<Vec<u8>> {
        let head = Head { format: FORMAT.to_owned(), version: VERSION, boot: boot.clone() };
        Ok(serde_json::to_vec(&Whole { head, state: self })?)
    }
}

/// The part of the file after its head.
#[derive(Deserialize)]
struct Rest {
    state: SavedState,
}

/// Whether a number has more digits than microseconds since 1970 have, so that sums cannot overflow.
fn has_large_number(json: &[u8]) -> bool {
    let (mut in_text, mut escaped, mut digits) = (false, false, 0);
    json.iter().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
        digits = if byte.is_ascii_digit() && !in_text { digits + 1 } else { 0 };
        digits > MAX_DIGITS
    })
}

const FORMAT: &str = "unit-exporter-state";

/// Increases with an incompatible change; new fields are none.
const VERSION: u64 = 1;

/// 9,999,999,999,999,999 microseconds are the year 2286.
const MAX_DIGITS: u32 = 16;
