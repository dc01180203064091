//! The journal: what units log, dump and lose.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithExporter;
use super::{Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;
use crate::source::journal::{Counts, Priority, Reading};
use crate::systemd::ledger::ExitCode;
use crate::systemd::unit::value::Word;

const SUBJECT: Subject = Subject { collector: "journal", title: "Journal" };

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    let reading = snapshot.journal.as_ref();
    let units = reading.map_or(&[][..], |reading| &reading.units);
    counted(reading, out)?;

    out.family(
        Family {
            name: "systemd_unit_journal_messages_total",
            kind: Counter(WithExporter),
            per: Per::Unit,
            help: "Messages that the unit logged, by priority: emerg to debug, none for those without one. What systemd says of a unit counts as that unit's. Absent while there were none. A message whose sender was gone before journald looked at it has no unit.",
            source: "the journal: _SYSTEMD_UNIT, of PID 1 UNIT; PRIORITY",
            labels: ["name", "priority"],
        },
        units.iter().flat_map(|(name, counts)| {
            let priorities = Priority::ALL.into_iter().zip(counts.messages);
            priorities
                .filter(|(_, count)| *count > 0)
                .map(move |(priority, count)| ([&**name, priority], count))
        }),
    )?;

    let dumps: Vec<_> = units.iter().flat_map(|(name, counts)| dumps(name, counts)).collect();
    out.family(
        Family {
            name: "systemd_unit_core_dumps_total",
            kind: Counter(WithExporter),
            per: Per::Unit,
            help: "Core dumps of the unit's processes, also of those that are not its main process, by the signal that ended them. Absent while there were none. Needs systemd-coredump.",
            source: "the journal: COREDUMP_UNIT, COREDUMP_SIGNAL, from systemd-coredump alone",
            labels: ["name", "signal"],
        },
        dumps.iter().map(|(name, signal, count)| ([*name, &**signal], *count)),
    )?;

    out.family(
        Family {
            name: "systemd_journal_messages_dropped_total",
            kind: Counter(WithExporter),
            per: Per::Unit,
            help: "Messages of the unit that journald dropped for it logged too many. Told when the unit logs again after that. Absent while there were none.",
            source: "the journal: N_DROPPED, OBJECT_SYSTEMD_UNIT, from journald alone",
            labels: ["name"],
        },
        units.iter().filter(|(_, counts)| counts.dropped > 0).map(|(name, counts)| {
            ([&**name], counts.dropped)
        }),
    )
}

/// How reading the journal goes: of the exporter itself.
pub(super) fn progress(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let progress = snapshot.journal.as_ref().map(|reading| reading.progress);

    out.family(
        Family {
            name: "systemd_exporter_journal_files",
            kind: Gauge,
            per: Per::Host,
            help: "Journal files that are followed.",
            source: "the exporter",
            labels: [],
        },
        progress.map(|progress| ([], progress.files)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_journal_entries_waiting",
            kind: Gauge,
            per: Per::Host,
            help: "Entries of the journal that have not been read yet because time ran out, or because their file is damaged.",
            source: "the exporter",
            labels: [],
        },
        progress.map(|progress| ([], progress.waiting)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_journal_entries_unreadable_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Entries of the journal that make no sense or cannot be read. They are not counted.",
            source: "the exporter",
            labels: [],
        },
        progress.map(|progress| ([], progress.unreadable)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_journal_files_damaged_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Journal files found damaged so that they cannot be read, or not further. journald puts a damaged file aside once it notices.",
            source: "the exporter",
            labels: [],
        },
        progress.map(|progress| ([], progress.damaged)),
    )
}

/// What there is from the start, as soon as the journal is read.
fn counted(reading: Option<&Reading>, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_journal_messages_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Messages in the journal of any origin by priority: also the kernel's, those of units that are not exported and those that have no unit. There from the start.",
            source: "the journal: PRIORITY",
            labels: ["priority"],
        },
        reading.iter().flat_map(|reading| {
            Priority::ALL.into_iter().zip(reading.messages).map(|(name, count)| ([name], count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_journal_missed_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Kernel messages that were overwritten before journald had read them.",
            source: "the journal: journald's own message",
            labels: [],
        },
        reading.map(|reading| ([], reading.missed)),
    )
}

fn dumps<'a>(name: &'a str, counts: &'a Counts) -> impl Iterator<Item = (&'a str, Word, u64)> {
    counts
        .core_dumps
        .iter()
        .map(move |(signal, count)| (name, ExitCode::Dumped.status((*signal).into()), *count))
}
