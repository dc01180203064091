//! One entry: who logged it, how much it matters, and what it tells of.
//!
//! Anybody may log anything, under any MESSAGE_ID, with a UNIT= of their choice. What names a unit
//! here cannot be forged: journald itself puts down who sent a message, in fields that begin
//! with `_`.

use std::io;
use std::time::Instant;

use super::field::{CORE_DUMP, DROPPED, LONGEST, MISSED, Meaning, Memory, RESULT, RUN, STARTED};
use super::file::{Fault, File};
use super::format::{DATA, ENTRY, ENTRY_ITEMS, Object, Stamp, data_payload, entry_stride, offsets};
use super::read_buffer::Window;
use super::totals::{Priority, Totals};
use crate::systemd::unit::value::{InvocationId, word};

/// Reads entries and counts them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    window: Window,
    memory: Memory,
    entries: Vec<u64>,
    fields: Vec<u64>,
}

/// How reading a file went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Entries that make no sense.
    pub(super) unreadable: u64,
    /// Why it was not read to its end.
    pub(super) fault: Option<Fault>,
}

/// An entry, or a field of one, that makes no sense or cannot be read.
#[derive(Debug)]
struct Unreadable;

impl From<io::Error> for Unreadable {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// What an entry with a MESSAGE_ID of interest says beyond that.
#[derive(Debug, Default)]
struct Record {
    message_id: Vec<u8>,
    /// `_TRANSPORT=driver`: journald speaks for itself.
    by_journald: bool,
    /// `_SYSTEMD_UNIT=`
    sender: Vec<u8>,
    core_dump_unit: Vec<u8>,
    core_dump_signal: Option<u8>,
    object_unit: Vec<u8>,
    dropped: Option<u64>,
    message: Vec<u8>,
}

impl Reader {
    /// Counts the entries before `end` for which `counts` holds, by boot and time, until the
    /// deadline.
    pub(super) fn read(
        &mut self,
        file: &mut File,
        end: u64,
        deadline: Instant,
        counts: impl Fn(&Stamp) -> bool,
        totals: &mut Totals,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        // what is in it is older than `end`
        self.window.clear();
        let mut entries = std::mem::take(&mut self.entries);
        while file.position() < end && Instant::now() < deadline {
            if let Err(fault) = file.next(end, &mut entries) {
                outcome.fault = Some(fault);
                break;
            }
            for entry in &entries {
                let read = self.entry(file, *entry, &counts, totals);
                outcome.unreadable += u64::from(read.is_err());
                file.step();
            }
        }
        self.entries = entries;
        outcome
    }

    /// `CLOCK_MONOTONIC` of the first entry; `None` if there is none that makes sense.
    pub(super) fn first_monotonic(&mut self, file: &File) -> Option<u64> {
        self.window.clear();
        self.stamp(file, file.first()?).ok().map(|stamp| stamp.monotonic)
    }

    /// Units have other numbers than before.
    pub(super) fn forget(&mut self) {
        self.memory.clear();
    }

    /// Counts one entry, if `counts` holds.
    fn entry(
        &mut self,
        file: &File,
        at: u64,
        counts: impl Fn(&Stamp) -> bool,
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        let stamp = self.stamp(file, at)?;
        if !counts(&stamp) {
            return Ok(());
        }
        let fields = std::mem::take(&mut self.fields);
        let outcome = self.count(file, &fields, stamp.monotonic, totals);
        self.fields = fields;
        outcome
    }

    fn count(
        &mut self,
        file: &File,
        fields: &[u64],
        at: u64,
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        let (mut unit, mut priority) = (None, Priority::NONE);
        let (mut by_init, mut about, mut is_record) = (false, None, false);
        let (mut is_end, mut details) = (false, [None; 2]);
        for field in fields {
            match self.meaning(file, *field, totals)? {
                Meaning::Other => {}
                Meaning::Unit(number) => unit = Some(number),
                Meaning::Priority(is) => priority = is,
                Meaning::Init => by_init = true,
                Meaning::About => about = Some(*field),
                Meaning::End => is_end = true,
                Meaning::Detail => {
                    details.rotate_left(1);
                    details[1] = Some(*field);
                }
                Meaning::Record => is_record = true,
            }
        }
        if let Some(about) = about.filter(|_| by_init) {
            let name = self.field(file, about)?.strip_prefix(b"UNIT=");
            unit = name.and_then(|name| totals.number(name));
            if is_end {
                self.end(file, details.into_iter().flatten(), unit, at, totals)?;
            }
        }
        totals.message(unit, priority);
        if is_record {
            self.record(file, fields)?.count(at, totals);
        }
        Ok(())
    }

    fn end(
        &mut self,
        file: &File,
        details: impl Iterator<Item = u64>,
        unit: Option<u32>,
        at: u64,
        totals: &mut Totals,
    ) -> Result<(), Unreadable> {
        // a clean end has no result
        let (mut run, mut result) = (None, word("success"));
        for detail in details {
            let field = self.field(file, detail)?;
            if let Some(value) = field.strip_prefix(RUN) {
                run = str::from_utf8(value).ok().and_then(InvocationId::from_hex);
            } else if let Some(value) = field.strip_prefix(RESULT) {
                result = str::from_utf8(value).map_or(word("unknown"), word);
            }
        }
        if let Some(run) = run {
            totals.end(unit, run, result, at);
        }
        Ok(())
    }

    /// Reads an entry, and where its fields stand.
    fn stamp(&mut self, file: &File, at: u64) -> Result<Stamp, Unreadable> {
        let header = file.header();
        let head = self.window.advance(file.descriptor(), at, ENTRY_ITEMS)?;
        let object = Object::parse(head).filter(|object| object.kind == ENTRY);
        let size = object.and_then(|object| usize::try_from(object.size).ok());
        let size = size.filter(|size| *size <= LARGEST).ok_or(Unreadable)?;
        let entry = self.window.advance(file.descriptor(), at, size)?;
        let fields = entry.get(ENTRY_ITEMS..size).ok_or(Unreadable)?;
        self.fields.clear();
        self.fields.extend(offsets(fields, header.compact, entry_stride(header.compact)));
        Stamp::parse(entry).ok_or(Unreadable)
    }

    fn meaning(
        &mut self,
        file: &File,
        at: u64,
        totals: &mut Totals,
    ) -> Result<Meaning, Unreadable> {
        if let Some(meaning) = self.memory.recall(file.number(), at) {
            return Ok(meaning);
        }
        let meaning = Meaning::of(self.field(file, at)?, totals);
        self.memory.remember(file.number(), at, meaning);
        Ok(meaning)
    }

    /// The first bytes of a field; none if it is compressed, as only long ones are.
    fn field(&mut self, file: &File, at: u64) -> Result<&[u8], Unreadable> {
        let payload = data_payload(file.header().compact);
        let data = self.window.look(file.descriptor(), at, payload + LONGEST)?;
        let object = Object::parse(data).filter(|object| object.kind == DATA).ok_or(Unreadable)?;
        let size = usize::try_from(object.size).unwrap_or(usize::MAX);
        if size > data.len() && data.len() < payload + LONGEST {
            // it goes on behind the file's end
            return Err(Unreadable);
        }
        let field = data.get(payload..size.min(data.len())).ok_or(Unreadable)?;
        Ok(if object.compressed { &[] } else { field })
    }

    fn record(&mut self, file: &File, fields: &[u64]) -> Result<Record, Unreadable> {
        let mut record = Record::default();
        for at in fields {
            record.take(self.field(file, *at)?);
        }
        Ok(record)
    }
}

impl Record {
    fn take(&mut self, field: &[u8]) {
        let Some(equals) = field.iter().position(|byte| *byte == b'=') else { return };
        let (name, value) = (&field[..equals], &field[equals + 1..]);
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

    /// Counts what it tells of, if it comes from who may tell that.
    fn count(&self, at: u64, totals: &mut Totals) {
        match &*self.message_id {
            CORE_DUMP if self.by_coredump() => {
                if let Some(signal) = self.core_dump_signal {
                    let unit = totals.number(&self.core_dump_unit);
                    totals.core_dump(unit, signal);
                }
            }
            DROPPED if self.by_journald => {
                let unit = totals.number(&self.object_unit);
                totals.dropped(unit, self.dropped.unwrap_or_default());
                totals.gap(at);
            }
            STARTED if self.by_journald => totals.gap(at),
            MISSED if self.by_journald => totals.missed(missed(&self.message)),
            _ => {}
        }
    }

    /// systemd-coredump gives up root before it logs, and a path proves nothing, for anybody may
    /// mount anything in a namespace of their own. The unit that it runs in is the proof: PID 1
    /// starts it, for connections to a socket that only root, and so the kernel, may make.
    fn by_coredump(&self) -> bool {
        let instance = self.sender.strip_prefix(b"systemd-coredump");
        instance.is_some_and(|rest| rest.starts_with(b"@") || rest == b".service")
    }
}

/// How many kernel messages, from journald's "Missed 17 kernel messages".
fn missed(message: &[u8]) -> u64 {
    let rest = message.strip_prefix(b"Missed ").unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    number(&rest[..end]).unwrap_or_default()
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// More than journald writes: it takes some thousand fields an entry.
const LARGEST: usize = 64 << 10;
