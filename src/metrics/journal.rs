//! The journal: messages, core dumps and dropped messages of units.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithBoot;
use super::{Family, Per, Sample, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::source::journal::{JournalCount, JournalCounts, JournalReading, Priority};
use crate::systemd::ledger::ExitCode;
use crate::systemd::unit::name::type_of;
use crate::systemd::unit::value::InternedStr;

const SUBJECT: Subject = Subject { collector: "journal", title: "Journal" };

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    let reading = snapshot.journal.as_ref();
    let units = reading.map_or(&[][..], |reading| &reading.units);
    totals(reading, out)?;

    out.family(
        Family {
            name: "systemd_unit_journal_messages_total",
            kind: Counter(WithBoot),
            per: Per::Unit,
            help: "Journal messages of the unit by priority, including those of systemd about the unit. Absent if there were none.",
            source: "the journal: _SYSTEMD_UNIT, of PID 1 UNIT; PRIORITY",
            profile: Profile::Fleet,
            labels: ["name", "type", "priority"],
        },
        units.iter().flat_map(|(name, counts)| {
            let priorities = Priority::ALL.into_iter().zip(counts.messages);
            priorities
                .filter(|(_, count)| count.total > 0)
                .map(move |(priority, count)| {
                    let labels = [&**name, type_of(name), priority];
                    Sample::after((labels, count.total), count.first)
                })
        }),
    )?;

    let dumps: Vec<_> = units.iter().flat_map(|(name, counts)| dumps(name, counts)).collect();
    out.family(
        Family {
            name: "systemd_unit_core_dumps_total",
            kind: Counter(WithBoot),
            per: Per::Unit,
            help: "Core dumps of the unit's processes by signal, recorded by systemd-coredump. Absent if there were none.",
            source: "the journal: COREDUMP_UNIT, COREDUMP_SIGNAL, only from systemd-coredump",
            profile: Profile::Fleet,
            labels: ["name", "type", "signal"],
        },
        dumps.iter().map(|(name, signal, count)| {
            let labels = [*name, type_of(name), &**signal];
            Sample::after((labels, count.total), count.first)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_kernel_oom_kills_total",
            kind: Counter(WithBoot),
            per: Per::Unit,
            help: "OOM kills in the unit's cgroup that the kernel logged, on cgroup v1 and v2, also if the cgroup is gone. Absent if there were none.",
            source: "the journal: task_memcg in lines of the kernel that begin with oom-kill:; the kernel logs ten in 5 s",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        units.iter().filter(|(_, counts)| counts.oom_kills.total > 0).map(|(name, counts)| {
            let kills = counts.oom_kills;
            Sample::after(([&**name, type_of(name)], kills.total), kills.first)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_journal_messages_dropped_total",
            kind: Counter(WithBoot),
            per: Per::Unit,
            help: "Messages of the unit dropped by journald's rate limit, counted when the unit logs again. Absent if there were none.",
            source: "the journal: N_DROPPED, OBJECT_SYSTEMD_UNIT, only from journald",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        units.iter().filter(|(_, counts)| counts.dropped.total > 0).map(|(name, counts)| {
            let dropped = counts.dropped;
            Sample::after(([&**name, type_of(name)], dropped.total), dropped.first)
        }),
    )
}

/// The progress of reading the journal, among the metrics of the exporter.
pub(super) fn progress(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let progress = snapshot.journal.as_ref().map(|reading| reading.progress);

    out.family(
        Family {
            name: "unit_exporter_journal_files",
            kind: Gauge,
            per: Per::Host,
            help: "Journal files that the exporter follows.",
            source: "the exporter",
            profile: Profile::Full,
            labels: [],
        },
        progress.map(|progress| ([], progress.files)),
    )?;

    out.family(
        Family {
            name: "unit_exporter_journal_entries_waiting",
            kind: Gauge,
            per: Per::Host,
            help: "Journal entries not read yet, because the scrape ran out of time or their file is corrupt.",
            source: "the exporter",
            profile: Profile::Default,
            labels: [],
        },
        progress.map(|progress| ([], progress.waiting)),
    )?;

    out.family(
        Family {
            name: "unit_exporter_journal_entries_unreadable_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Journal entries that could not be read or parsed; they are not counted in other metrics.",
            source: "the exporter",
            profile: Profile::Default,
            labels: [],
        },
        progress.map(|progress| ([], progress.unreadable)),
    )?;

    out.family(
        Family {
            name: "unit_exporter_journal_files_damaged_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Journal files found corrupt: they cannot be read, or only in part. journald rotates a corrupt file when it notices.",
            source: "the exporter",
            profile: Profile::Default,
            labels: [],
        },
        progress.map(|progress| ([], progress.damaged)),
    )
}

/// Totals of the host.
fn totals(reading: Option<&JournalReading>, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_journal_messages_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Journal messages by priority, from any source, including the kernel and units that are not exported. Initialized to 0.",
            source: "the journal: PRIORITY",
            profile: Profile::Fleet,
            labels: ["priority"],
        },
        reading.iter().flat_map(|reading| {
            Priority::ALL.into_iter().zip(reading.messages).map(|(name, count)| ([name], count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_journal_kernel_messages_missed_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Kernel messages overwritten before journald read them.",
            source: "the journal: journald's own message",
            profile: Profile::Full,
            labels: [],
        },
        reading.map(|reading| ([], reading.missed)),
    )
}

fn dumps<'a>(
    name: &'a str,
    counts: &'a JournalCounts,
) -> impl Iterator<Item = (&'a str, InternedStr, JournalCount)> {
    counts
        .core_dumps
        .iter()
        .map(move |(signal, count)| (name, ExitCode::Dumped.status((*signal).into()), *count))
}
