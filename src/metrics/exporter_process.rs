//! The exporter's own log and its process, the latter under the names of the client libraries.

use std::fmt;
use std::time::SystemTime;

use super::Kind::{Counter, Gauge};
use super::Resets::WithExporter;
use super::{Family, Per, Sink};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let own = snapshot.own.as_ref();

    out.family(
        Family {
            name: "unit_exporter_log_lines_dropped_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Log lines dropped because the log output was blocked.",
            source: "the exporter",
            profile: Profile::Default,
            labels: [],
        },
        [([], snapshot.exporter.lines_dropped)],
    )?;

    out.family(
        Family {
            name: "process_cpu_seconds_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "User and system CPU time of the exporter.",
            source: "/proc/self/stat utime, stime",
            profile: Profile::Fleet,
            labels: [],
        },
        own.map(|own| ([], own.cpu_user + own.cpu_system)),
    )?;

    out.family(
        Family {
            name: "process_resident_memory_bytes",
            kind: Gauge,
            per: Per::Host,
            help: "Resident memory of the exporter.",
            source: "/proc/self/stat rss",
            profile: Profile::Fleet,
            labels: [],
        },
        own.map(|own| ([], own.resident_bytes)),
    )?;

    out.family(
        Family {
            name: "process_virtual_memory_bytes",
            kind: Gauge,
            per: Per::Host,
            help: "Virtual memory of the exporter.",
            source: "/proc/self/stat vsize",
            profile: Profile::Default,
            labels: [],
        },
        own.map(|own| ([], own.virtual_bytes)),
    )?;

    out.family(
        Family {
            name: "process_threads",
            kind: Gauge,
            per: Per::Host,
            help: "Threads of the exporter.",
            source: "/proc/self/stat num_threads",
            profile: Profile::Default,
            labels: [],
        },
        own.map(|own| ([], own.threads)),
    )?;

    out.family(
        Family {
            name: "process_open_fds",
            kind: Gauge,
            per: Per::Host,
            help: "Open file descriptors of the exporter.",
            source: "/proc/self/fd",
            profile: Profile::Fleet,
            labels: [],
        },
        own.and_then(|own| Some(([], own.open_fds?))),
    )?;

    out.family(
        Family {
            name: "process_max_fds",
            kind: Gauge,
            per: Per::Host,
            help: "Maximum number of open file descriptors of the exporter.",
            source: "/proc/self/limits",
            profile: Profile::Fleet,
            labels: [],
        },
        own.and_then(|own| Some(([], own.max_fds?))),
    )?;

    out.family(
        Family {
            name: "process_start_time_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Start time of the exporter since the Unix epoch.",
            source: "the exporter",
            profile: Profile::Fleet,
            labels: [],
        },
        snapshot
            .exporter
            .started
            .and_then(|started| Some(([], started.duration_since(SystemTime::UNIX_EPOCH).ok()?))),
    )
}
