//! One entry: the unit that logged it, its priority, and the event that it reports.
//!
//! Any process may log any MESSAGE_ID and any UNIT=. The fields that assign an entry to a unit here
//! cannot be forged: journald itself sets those that begin with `_`.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::field::{
    CORE_DUMP, DROPPED, FieldCache, FieldKind, MAX_FIELD_LENGTH, MESSAGE, MISSED, RESULT, RUN,
    STARTED,
};
use super::file::{FileError, JournalFile};
use super::format::{
    DATA, ENTRY, ENTRY_ITEMS, EntryStamp, Id128, ObjectHeader, data_payload, entry_stride, offsets,
};
use super::oom_kill::OomKill;
use super::read_buffer::ReadBuffer;
use super::totals::{Priority, Totals};
use crate::source::journal::exits::JournalProcessExit;
use crate::systemd::unit::value::{InvocationId, intern};

/// Reads entries and counts them.
#[derive(Debug, Default)]
pub(super) struct EntryReader {
    buffer: ReadBuffer,
    cache: FieldCache,
    entries: Vec<u64>,
    fields: Vec<u64>,
    /// Whether only events are counted, of the time before the journal was followed.
    is_history: bool,
}

/// The result of reading a file.
#[derive(Debug, Default)]
pub(super) struct ReadOutcome {
    /// Entries that could not be decoded.
    pub(super) unreadable: u64,
    /// Why the file was not read to its end.
    pub(super) error: Option<FileError>,
}

/// An entry, or a field of one, that cannot be decoded or read.
#[derive(Debug)]
pub(super) struct Unreadable;

impl From<io::Error> for Unreadable {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// The fields of an entry whose MESSAGE_ID is that of a core dump or of an event of journald.
#[derive(Debug, Default)]
struct KnownMessage {
    message_id: Vec<u8>,
    /// `_TRANSPORT=driver`: journald itself logged it.
    by_journald: bool,
    /// `_SYSTEMD_UNIT=`
    sender: Vec<u8>,
    core_dump_unit: Vec<u8>,
    core_dump_signal: Option<u8>,
    object_unit: Vec<u8>,
    dropped: Option<u64>,
    message: Vec<u8>,
}

impl EntryReader {
    /// Counts the entries before `end` for which `is_counted` holds, until the deadline.
    pub(super) fn read(
        &mut self,
        file: &mut JournalFile,
        end: u64,
        deadline: Instant,
        is_counted: impl Fn(&EntryStamp) -> bool,
        totals: &mut Totals,
    ) -> ReadOutcome {
        let mut outcome = ReadOutcome::default();
        // its content may be older than `end`
        self.buffer.clear();
        let mut entries = std::mem::take(&mut self.entries);
        while file.position() < end && Instant::now() < deadline {
            if let Err(error) = file.next(end, &mut entries) {
                outcome.error = Some(error);
                break;
            }
            for entry in &entries {
                let read = self.entry(file, *entry, &is_counted, totals);
                outcome.unreadable += u64::from(read.is_err());
                file.step();
            }
        }
        self.entries = entries;
        outcome
    }

    /// Counts the event that one entry reports, if `is_wanted` holds, but not its message.
    pub(super) fn read_event(
        &mut self,
        file: &JournalFile,
        at: u64,
        is_wanted: impl Fn(&EntryStamp) -> bool,
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        self.buffer.clear();
        self.is_history = true;
        let outcome = self.entry(file, at, is_wanted, totals);
        self.is_history = false;
        outcome
    }

    /// `CLOCK_MONOTONIC` of the first entry of a file, in microseconds; 0 if it is of another boot.
    pub(super) fn first_monotonic_of(&mut self, file: &JournalFile, boot_id: &Id128) -> u64 {
        self.buffer.clear();
        let stamp = file.first().and_then(|at| self.stamp(file, at).ok());
        stamp.filter(|stamp| stamp.boot_id == *boot_id).map_or(0, |stamp| stamp.monotonic)
    }

    /// `CLOCK_MONOTONIC` of the first entry, in microseconds; `None` if it is missing or corrupt.
    pub(super) fn first_monotonic(&mut self, file: &JournalFile) -> Option<u64> {
        self.buffer.clear();
        self.stamp(file, file.first()?).ok().map(|stamp| stamp.monotonic)
    }

    /// Discards the cached indexes of units.
    pub(super) fn clear_cache(&mut self) {
        self.cache.clear();
    }

    /// Counts one entry, if `is_counted` holds.
    fn entry(
        &mut self,
        file: &JournalFile,
        at: u64,
        is_counted: impl Fn(&EntryStamp) -> bool,
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        let stamp = self.stamp(file, at)?;
        if !is_counted(&stamp) {
            return Ok(());
        }
        let fields = std::mem::take(&mut self.fields);
        let outcome = self.count(file, &fields, stamp.monotonic, totals);
        self.fields = fields;
        outcome
    }

    fn count(
        &mut self,
        file: &JournalFile,
        fields: &[u64],
        at: u64,
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        let (mut unit, mut priority) = (None, Priority::NONE);
        let (mut by_pid_one, mut pid_one_unit, mut is_known) = (false, None, false);
        let (mut is_exit, mut is_process_exit, mut is_restart) = (false, false, false);
        let (mut by_kernel, mut oom_kill, mut details) = (false, None, [None; 2]);
        for field in fields {
            match self.kind_of(file, *field, totals)? {
                FieldKind::Other => {}
                FieldKind::Unit(index) => unit = Some(index),
                FieldKind::Priority(is) => priority = is,
                FieldKind::PidOne => by_pid_one = true,
                FieldKind::PidOneUnit => pid_one_unit = Some(*field),
                FieldKind::ExitMessage => is_exit = true,
                FieldKind::RestartMessage => is_restart = true,
                FieldKind::ProcessExitMessage => is_process_exit = true,
                FieldKind::RunDetail => {
                    details.rotate_left(1);
                    details[1] = Some(*field);
                }
                FieldKind::Kernel => by_kernel = true,
                FieldKind::OomKillMessage => oom_kill = Some(*field),
                FieldKind::KnownMessageId => is_known = true,
            }
        }
        if let Some(field) = pid_one_unit.filter(|_| by_pid_one) {
            let name = self.field(file, field)?.strip_prefix(b"UNIT=").unwrap_or_default();
            unit = totals.unit_index(name);
            let exported = totals.exported_unit(name);
            if is_exit {
                self.exit(file, details.into_iter().flatten(), exported, at, totals)?;
            } else if is_process_exit {
                self.process_exit(file, fields, totals)?;
            } else if is_restart {
                totals.restart(exported, at);
            }
        }
        if let Some(field) = oom_kill.filter(|_| by_kernel) {
            let field = self.field_up_to(file, field, MAX_KERNEL_MESSAGE)?;
            if let Some(kill) = field.strip_prefix(MESSAGE).and_then(OomKill::parse) {
                totals.oom_kill(kill.unit, kill.pid, at);
            }
        }
        if !self.is_history {
            totals.message(unit, priority, at);
        }
        if is_known {
            self.known_message(file, fields)?.count(at, totals);
        }
        Ok(())
    }

    /// Remembers how a process exited; the exit of its unit follows.
    fn process_exit(
        &mut self,
        file: &JournalFile,
        fields: &[u64],
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        let (mut run, mut code, mut status, mut command) = (None, None, None, None);
        let mut is_main = false;
        for at in fields {
            let field = self.field(file, *at)?;
            let Some((name, value)) = split_field(field) else { continue };
            let text = str::from_utf8(value).ok();
            match name {
                b"INVOCATION_ID" => run = text.and_then(InvocationId::from_hex),
                b"EXIT_CODE" => code = EXIT_CODES.iter().position(|known| *known == value),
                b"EXIT_STATUS" => status = text.map(intern),
                b"COMMAND" => command = text.map(intern),
                b"MESSAGE" => is_main = contains(value, b": Main process exited"),
                _ => {}
            }
        }
        // a reload that fails ends no run
        let command = command.filter(|command| !is_main && command != "ExecReload");
        let is_known = is_main || command.is_some();
        if let (Some(run), Some(code), Some(status), true) = (run, code, status, is_known) {
            totals.process_exit(run, command, JournalProcessExit { code: code as u64 + 1, status });
        }
        Ok(())
    }

    /// Counts an exit that PID 1 logged.
    fn exit(
        &mut self,
        file: &JournalFile,
        details: impl Iterator<Item = u64>,
        unit: Option<Arc<str>>,
        at: u64,
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        // a clean exit has no UNIT_RESULT=
        let (mut run, mut result) = (None, intern("success"));
        for detail in details {
            let field = self.field(file, detail)?;
            if let Some(value) = field.strip_prefix(RUN) {
                run = str::from_utf8(value).ok().and_then(InvocationId::from_hex);
            } else if let Some(value) = field.strip_prefix(RESULT) {
                result = str::from_utf8(value).map_or(intern("unknown"), intern);
            }
        }
        if let Some(run) = run {
            totals.exit(unit, run, result, at);
        }
        Ok(())
    }

    /// Reads an entry and the offsets of its fields.
    fn stamp(&mut self, file: &JournalFile, at: u64) -> Result<EntryStamp, Unreadable> {
        let header = file.header();
        let head = self.buffer.advance(file.descriptor(), at, ENTRY_ITEMS)?;
        let object = ObjectHeader::parse(head).filter(|object| object.kind == ENTRY);
        let size = object.and_then(|object| usize::try_from(object.size).ok());
        let size = size.filter(|size| *size <= MAX_ENTRY_SIZE).ok_or(Unreadable)?;
        let entry = self.buffer.advance(file.descriptor(), at, size)?;
        let fields = entry.get(ENTRY_ITEMS..size).ok_or(Unreadable)?;
        self.fields.clear();
        self.fields.extend(offsets(fields, header.compact, entry_stride(header.compact)));
        EntryStamp::parse(entry).ok_or(Unreadable)
    }

    fn kind_of(
        &mut self,
        file: &JournalFile,
        at: u64,
        totals: &mut Totals,
    ) -> Result<FieldKind, Unreadable> {
        if let Some(kind) = self.cache.lookup(file.number(), at) {
            return Ok(kind);
        }
        let kind = FieldKind::of(self.field(file, at)?, totals);
        self.cache.insert(file.number(), at, kind);
        Ok(kind)
    }

    /// The first bytes of a field; empty if it is compressed, which only long ones are.
    fn field(&mut self, file: &JournalFile, at: u64) -> Result<&[u8], Unreadable> {
        self.field_up_to(file, at, MAX_FIELD_LENGTH)
    }

    fn field_up_to(
        &mut self,
        file: &JournalFile,
        at: u64,
        length: usize,
    ) -> Result<&[u8], Unreadable> {
        let payload = data_payload(file.header().compact);
        let data = self.buffer.peek(file.descriptor(), at, payload + length)?;
        let object =
            ObjectHeader::parse(data).filter(|object| object.kind == DATA).ok_or(Unreadable)?;
        let size = usize::try_from(object.size).unwrap_or(usize::MAX);
        if size > data.len() && data.len() < payload + length {
            return Err(Unreadable); // the field extends past the end of the file
        }
        let field = data.get(payload..size.min(data.len())).ok_or(Unreadable)?;
        Ok(if object.compressed { &[] } else { field })
    }

    fn known_message(
        &mut self,
        file: &JournalFile,
        fields: &[u64],
    ) -> Result<KnownMessage, Unreadable> {
        let mut message = KnownMessage::default();
        for at in fields {
            message.set(self.field(file, *at)?);
        }
        Ok(message)
    }
}

impl KnownMessage {
    fn set(&mut self, field: &[u8]) {
        let Some((name, value)) = split_field(field) else { return };
        let to = match name {
            b"MESSAGE_ID" => return self.message_id = field.to_vec(),
            b"_TRANSPORT" => return self.by_journald = value == b"driver",
            b"COREDUMP_SIGNAL" => return self.core_dump_signal = number(value),
            b"N_DROPPED" => return self.dropped = number(value),
            b"_SYSTEMD_UNIT" => &mut self.sender,
            b"COREDUMP_UNIT" => &mut self.core_dump_unit,
            b"OBJECT_SYSTEMD_UNIT" => &mut self.object_unit,
            b"MESSAGE" => &mut self.message,
            _ => return,
        };
        *to = value.to_vec();
    }

    /// Counts the event, if the sender is the one that logs it.
    fn count(&self, at: u64, totals: &mut Totals) {
        match &*self.message_id {
            CORE_DUMP if self.by_coredump() => {
                if let Some(signal) = self.core_dump_signal {
                    let unit = totals.unit_index(&self.core_dump_unit);
                    totals.core_dump(unit, signal, at);
                }
            }
            DROPPED if self.by_journald => {
                let unit = totals.unit_index(&self.object_unit);
                totals.dropped(unit, self.dropped.unwrap_or_default(), at);
                totals.gap(at);
            }
            STARTED if self.by_journald => totals.gap(at),
            MISSED if self.by_journald => totals.missed(missed(&self.message)),
            _ => {}
        }
    }

    /// Whether systemd-coredump logged it. That drops root before it logs, and its path proves
    /// nothing, because users can mount anything in their namespaces. Its unit is the proof: PID 1
    /// starts it for connections to a socket that only root, and so the kernel, can make.
    fn by_coredump(&self) -> bool {
        let instance = self.sender.strip_prefix(b"systemd-coredump");
        instance.is_some_and(|rest| rest.starts_with(b"@") || rest == b".service")
    }
}

/// The name and the value of a field.
fn split_field(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = field.iter().position(|byte| *byte == b'=')?;
    Some((&field[..equals], &field[equals + 1..]))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// `EXIT_CODE=`, from `CLD_EXITED` on.
const EXIT_CODES: [&[u8]; 3] = [b"exited", b"killed", b"dumped"];

/// The number of kernel messages, from journald's "Missed 17 kernel messages".
fn missed(message: &[u8]) -> u64 {
    let rest = message.strip_prefix(b"Missed ").unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    number(&rest[..end]).unwrap_or_default()
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Bytes of a kernel message: the kernel limits its lines to 1024.
const MAX_KERNEL_MESSAGE: usize = MESSAGE.len() + 1024;

/// Bytes: more than journald writes, which limits an entry to about a thousand fields.
const MAX_ENTRY_SIZE: usize = 64 << 10;
