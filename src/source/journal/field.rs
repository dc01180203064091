//! What the fields of entries mean for counting, remembered by where they stand: journald stores
//! each value once a file.

use super::totals::{Priority, Totals};

/// What one field of an entry means. Only what begins with `_` is journald's own word; the rest
/// whoever logs may write as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing that counts.
    Other,
    /// `_SYSTEMD_UNIT=`: the number of the unit that logged.
    Unit(u32),
    /// `PRIORITY=`
    Priority(Priority),
    /// `_PID=1`: PID 1 logged it.
    Init,
    /// `UNIT=`: which unit, if PID 1 says so.
    About,
    /// A `MESSAGE_ID=` that tells of the end of a unit's run, if PID 1 says so.
    End,
    /// `INVOCATION_ID=` or `UNIT_RESULT=`: of which run, and why.
    Detail,
    /// A `MESSAGE_ID=` that tells of more than a message, if the right one sent it.
    Record,
}

impl Meaning {
    /// Of a field's first bytes, at least [`LONGEST`] of them if there are as many.
    pub(super) fn of(field: &[u8], totals: &mut Totals) -> Self {
        if let Some(name) = field.strip_prefix(b"_SYSTEMD_UNIT=") {
            return totals.number(name).map_or(Self::Other, Self::Unit);
        }
        if let Some(value) = field.strip_prefix(b"PRIORITY=") {
            return Self::Priority(Priority::parse(value));
        }
        match field {
            b"_PID=1" => Self::Init,
            CORE_DUMP | DROPPED | MISSED | STARTED => Self::Record,
            SUCCESS | FAILURE => Self::End,
            _ if field.starts_with(b"UNIT=") => Self::About,
            _ if field.starts_with(RUN) || field.starts_with(RESULT) => Self::Detail,
            _ => Self::Other,
        }
    }
}

/// The meanings looked up last, by file and offset.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<(u32, u64, Meaning)>);

impl Memory {
    pub(super) fn recall(&self, file: u32, offset: u64) -> Option<Meaning> {
        let (of, at, meaning) = self.0.get(slot(file, offset))?;
        ((*of, *at) == (file, offset)).then_some(*meaning)
    }

    /// In the place of whatever was there.
    pub(super) fn remember(&mut self, file: u32, offset: u64, meaning: Meaning) {
        if self.0.is_empty() {
            self.0.resize(SLOTS, (0, 0, Meaning::Other));
        }
        self.0[slot(file, offset)] = (file, offset, meaning);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn slot(file: u32, offset: u64) -> usize {
    let mixed = (offset ^ u64::from(file) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> (64 - SLOTS.ilog2())).unwrap_or_default()
}

/// The longest field that is read to its end: `COREDUMP_UNIT=`, `OBJECT_SYSTEMD_UNIT=` and the
/// name of a unit. journald compresses no field below 512 bytes, unless `Compress=` sets less.
pub(super) const LONGEST: usize = 20 + 255;

/// So many that what is needed again and again is hardly ever pushed out.
const SLOTS: usize = 8192;

pub(super) const RUN: &[u8] = b"INVOCATION_ID=";
pub(super) const RESULT: &[u8] = b"UNIT_RESULT=";

// sd-messages.h: SD_MESSAGE_UNIT_SUCCESS, SD_MESSAGE_UNIT_FAILURE_RESULT, SD_MESSAGE_COREDUMP,
// SD_MESSAGE_JOURNAL_DROPPED, SD_MESSAGE_JOURNAL_MISSED, SD_MESSAGE_JOURNAL_START
const SUCCESS: &[u8] = b"MESSAGE_ID=7ad2d189f7e94e70a38c781354912448";
const FAILURE: &[u8] = b"MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c";
pub(super) const CORE_DUMP: &[u8] = b"MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1";
pub(super) const DROPPED: &[u8] = b"MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e";
pub(super) const MISSED: &[u8] = b"MESSAGE_ID=e9bf28e6e834481bb6f48f548ad13606";
pub(super) const STARTED: &[u8] = b"MESSAGE_ID=f77379a8490b408bbe5f6940505a777b";
