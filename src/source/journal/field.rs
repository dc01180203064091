//! The kinds of fields, cached by file and offset: journald stores each value once per file.

use super::oom_kill;
use super::totals::{Priority, Totals};

/// The kind of a field. Only fields that begin with `_` are set by journald; the sender chooses the
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// Any other field.
    Other,
    /// `_SYSTEMD_UNIT=`: the index of the unit that logged.
    Unit(u32),
    /// `PRIORITY=`
    Priority(Priority),
    /// `_PID=1`: PID 1 logged it.
    PidOne,
    /// `UNIT=`: the unit of a message that PID 1 logged.
    PidOneUnit,
    /// The `MESSAGE_ID=` of a unit's exit, if PID 1 logged it.
    ExitMessage,
    /// The `MESSAGE_ID=` of the exit of a process, if PID 1 logged it.
    ProcessExitMessage,
    /// The `MESSAGE_ID=` of a restart by `Restart=`, if PID 1 logged it.
    RestartMessage,
    /// `INVOCATION_ID=` or `UNIT_RESULT=` of an exit.
    RunDetail,
    /// `_TRANSPORT=kernel`: the kernel logged it.
    Kernel,
    /// The `MESSAGE=` of an OOM kill, if the kernel logged it.
    OomKillMessage,
    /// The `MESSAGE_ID=` of a core dump or of an event of journald, if that logged it.
    KnownMessageId,
}

impl FieldKind {
    /// The kind by the first bytes of a field: all, or at least [`MAX_FIELD_LENGTH`].
    pub(super) fn of(field: &[u8], totals: &mut Totals) -> Self {
        if let Some(name) = field.strip_prefix(b"_SYSTEMD_UNIT=") {
            return totals.unit_index(name).map_or(Self::Other, Self::Unit);
        }
        if let Some(value) = field.strip_prefix(b"PRIORITY=") {
            return Self::Priority(Priority::parse(value));
        }
        match field {
            b"_PID=1" => Self::PidOne,
            CORE_DUMP | DROPPED | MISSED | STARTED => Self::KnownMessageId,
            SUCCESS | FAILURE => Self::ExitMessage,
            RESTART_SCHEDULED => Self::RestartMessage,
            PROCESS_EXIT => Self::ProcessExitMessage,
            KERNEL => Self::Kernel,
            _ if field.starts_with(b"UNIT=") => Self::PidOneUnit,
            _ if field
                .strip_prefix(MESSAGE)
                .is_some_and(|text| text.starts_with(oom_kill::PREFIX)) =>
            {
                Self::OomKillMessage
            }
            _ if field.starts_with(RUN) || field.starts_with(RESULT) => Self::RunDetail,
            _ => Self::Other,
        }
    }
}

/// The kinds of the last fields, by file and offset.
#[derive(Debug, Default)]
pub(super) struct FieldCache(Vec<(u32, u64, FieldKind)>);

impl FieldCache {
    pub(super) fn lookup(&self, file: u32, offset: u64) -> Option<FieldKind> {
        let (of, at, kind) = self.0.get(slot(file, offset))?;
        ((*of, *at) == (file, offset)).then_some(*kind)
    }

    /// Replaces the field in the slot.
    pub(super) fn insert(&mut self, file: u32, offset: u64, kind: FieldKind) {
        if self.0.is_empty() {
            self.0.resize(CACHE_SLOTS, (0, 0, FieldKind::Other));
        }
        self.0[slot(file, offset)] = (file, offset, kind);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

fn slot(file: u32, offset: u64) -> usize {
    let mixed = (offset ^ u64::from(file) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> (64 - CACHE_SLOTS.ilog2())).unwrap_or_default()
}

/// Bytes of the longest field that is read whole: `OBJECT_SYSTEMD_UNIT=` and the name of a unit.
/// journald compresses no field below 512 bytes, unless `Compress=` sets less.
pub(super) const MAX_FIELD_LENGTH: usize = 20 + 255;

/// Enough that frequent fields are rarely evicted.
const CACHE_SLOTS: usize = 8192;

pub(super) const KERNEL: &[u8] = b"_TRANSPORT=kernel";
pub(super) const MESSAGE: &[u8] = b"MESSAGE=";
pub(super) const RUN: &[u8] = b"INVOCATION_ID=";
pub(super) const RESULT: &[u8] = b"UNIT_RESULT=";

// sd-messages.h: SD_MESSAGE_UNIT_SUCCESS, SD_MESSAGE_UNIT_FAILURE_RESULT, SD_MESSAGE_UNIT_PROCESS_EXIT,
// SD_MESSAGE_UNIT_RESTART_SCHEDULED, SD_MESSAGE_COREDUMP,
// SD_MESSAGE_JOURNAL_DROPPED, SD_MESSAGE_JOURNAL_MISSED, SD_MESSAGE_JOURNAL_START
const SUCCESS: &[u8] = b"MESSAGE_ID=7ad2d189f7e94e70a38c781354912448";
pub(super) const FAILURE: &[u8] = b"MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c";
pub(super) const RESTART_SCHEDULED: &[u8] = b"MESSAGE_ID=5eb03494b6584870a536b337290809b3";
pub(super) const PROCESS_EXIT: &[u8] = b"MESSAGE_ID=98e322203f7a4ed290d09fe03c09fe15";
pub(super) const CORE_DUMP: &[u8] = b"MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1";
pub(super) const DROPPED: &[u8] = b"MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e";
pub(super) const MISSED: &[u8] = b"MESSAGE_ID=e9bf28e6e834481bb6f48f548ad13606";
pub(super) const STARTED: &[u8] = b"MESSAGE_ID=f77379a8490b408bbe5f6940505a777b";
