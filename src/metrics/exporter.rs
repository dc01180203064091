//! The exporter itself: how each collector went, what it missed, what a page holds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::Kind::{Counter, Gauge, Histogram};
use super::Resets::WithExporter;
use super::{Family, Per, SeriesCounts, Sink, Subject};
use crate::snapshot::Snapshot;
use crate::systemd::unit::name::Kind as UnitKind;

const SUBJECT: Subject = Subject { collector: "exporter", title: "The exporter itself" };

/// What is known before the page is written.
pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    let attempts = &snapshot.attempts;
    let status = &snapshot.status;
    let own = snapshot.own.as_ref();
    let cgroups = snapshot.cgroups.as_ref().map(|read| ("cgroup", read.truncated, read.failed));
    let processes =
        snapshot.processes.as_ref().map(|read| ("process", read.truncated, read.failed));
    let partial: Vec<_> = cgroups.into_iter().chain(processes).collect();
    let lost = snapshot.systemd.iter().map(|systemd| &systemd.host.lost);
    let kinds = snapshot.systemd.iter().flat_map(|_| UnitKind::ALL);

    out.family(
        Family {
            name: "systemd_exporter_build_info",
            kind: Gauge,
            per: Per::Host,
            help: "Always 1. What is running.",
            source: "the exporter",
            labels: ["version", "revision", "rustc"],
        },
        [([env!("CARGO_PKG_VERSION"), env!("BUILT_FROM"), env!("BUILT_BY")], true)],
    )?;

    out.family(
        Family {
            name: "systemd_exporter_collector_success",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the collector answered in this scrape; at 0 its metrics are absent or old, and the log says why.",
            source: "the exporter",
            labels: ["collector"],
        },
        attempts.iter().map(|attempt| ([attempt.collector], attempt.error.is_none())),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_collector_duration_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "How long the collector took in this scrape.",
            source: "the exporter",
            labels: ["collector"],
        },
        attempts.iter().map(|attempt| ([attempt.collector], attempt.took)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_collector_last_success_time_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "When the collector last answered, since the Unix epoch. Absent if it never did.",
            source: "the exporter",
            labels: ["collector"],
        },
        attempts.iter().filter_map(|attempt| {
            let since = attempt.last_success?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(([attempt.collector], since))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_collector_panics_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Times that the collector failed by a fault of the exporter, which cost nothing but its metrics in that scrape. Should stay 0.",
            source: "the exporter",
            labels: ["collector"],
        },
        attempts.iter().map(|attempt| ([attempt.collector], attempt.panics)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_collector_truncated_units",
            kind: Gauge,
            per: Per::Host,
            help: "Units that the collector did not come to in this scrape because time ran out.",
            source: "the exporter",
            labels: ["collector"],
        },
        partial.iter().map(|(collector, truncated, _)| ([*collector], *truncated)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_collector_failed_reads",
            kind: Gauge,
            per: Per::Host,
            help: "What the collector could not read or understand in this scrape, though it answered; those values are absent, and the log names the first.",
            source: "the exporter",
            labels: ["collector"],
        },
        partial.iter().map(|(collector, _, failed)| ([*collector], *failed)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_unit_type_success",
            kind: Gauge,
            per: Per::Host,
            help: "Whether systemd could list the units of this type. systemd up to 257 cannot while one of them has an invalid byte in its path; they are then as last seen.",
            source: "D-Bus Manager.ListUnits, ListUnitsByPatterns",
            labels: ["type"],
        },
        kinds.map(|kind| ([kind.as_str()], !status.unlisted.contains_key(&kind))),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_subscription_active",
            kind: Gauge,
            per: Per::Host,
            help: "Whether systemd's signals are followed: states are true and nothing is missed.",
            source: "the exporter",
            labels: [],
        },
        [([], status.following)],
    )?;

    out.family(
        Family {
            name: "systemd_exporter_mirror_units",
            kind: Gauge,
            per: Per::Host,
            help: "Units held in memory, exported or not.",
            source: "the exporter",
            labels: [],
        },
        snapshot.systemd.as_ref().map(|systemd| ([], systemd.counts.values().sum::<u64>())),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_mirror_age_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "How long ago systemd was last heard. It is asked for a sign of life every 15 s; beyond that, unit states are old. Absent if it never was.",
            source: "D-Bus, any message from systemd",
            labels: [],
        },
        snapshot.silence.map(|silence| ([], silence)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_events_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Signals taken from systemd.",
            source: "D-Bus",
            labels: ["source"],
        },
        counts(&status.signals),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_events_lost_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Deaths of services whose cause neither a signal nor the journal told, by why it was not seen: the bus was away (reconnect), a reload, or systemd told two as one (coalesced). They are counted as failures with result unknown.",
            source: "D-Bus Service.NRestarts",
            labels: ["reason"],
        },
        lost.flat_map(counts),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_foreign_messages_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Signals passed over because somebody else than systemd sent them.",
            source: "D-Bus, sender of each message",
            labels: [],
        },
        [([], status.foreign)],
    )?;

    out.family(
        Family {
            name: "systemd_exporter_resyncs_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Comparisons of the mirror with systemd's list of units, by why: at a connection, after a reload, on schedule.",
            source: "D-Bus Manager.ListUnits",
            labels: ["reason"],
        },
        counts(&status.resyncs),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_mirror_drift_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Units that a comparison on schedule found different from the mirror, and mended. Should stay 0.",
            source: "D-Bus Manager.ListUnits",
            labels: [],
        },
        [([], status.drift)],
    )?;

    out.family(
        Family {
            name: "systemd_exporter_dbus_calls_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Calls made to systemd. Scrapes make none.",
            source: "D-Bus",
            labels: ["kind"],
        },
        counts(&status.calls),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_dbus_errors_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "What failed with systemd, by why: an error as answer, an answer or a signal that makes no sense, no answer within 10 s, a fault of the exporter (panic).",
            source: "D-Bus",
            labels: ["kind"],
        },
        counts(&status.errors),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_dbus_reconnects_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Connections to the bus that were lost.",
            source: "D-Bus",
            labels: [],
        },
        [([], status.reconnects)],
    )?;

    super::journal::progress(snapshot, out)?;

    out.family(
        Family {
            name: "systemd_exporter_http_requests_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "HTTP answers, by status code.",
            source: "the exporter",
            labels: ["code"],
        },
        snapshot.exporter.requests.iter().map(|(code, count)| ([code.as_str()], *count)),
    )?;

    out.histogram(
        Family {
            name: "systemd_exporter_scrape_duration_seconds",
            kind: Histogram,
            per: Per::Host,
            help: "How long reading the host took.",
            source: "the exporter",
            labels: [],
        },
        &snapshot.exporter.scrapes,
    )?;

    out.family(
        Family {
            name: "systemd_exporter_log_lines_dropped_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Lines of the exporter's log that were dropped because nobody took them: journald hangs, or nobody reads the pipe.",
            source: "the exporter",
            labels: [],
        },
        [([], snapshot.exporter.lines_dropped)],
    )?;

    out.family(
        Family {
            name: "process_cpu_seconds_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "CPU time of the exporter, user and kernel mode.",
            source: "/proc/self/stat utime, stime",
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
            labels: [],
        },
        own.and_then(|own| Some(([], own.open_fds?))),
    )?;

    out.family(
        Family {
            name: "process_max_fds",
            kind: Gauge,
            per: Per::Host,
            help: "The most file descriptors that the exporter may open.",
            source: "/proc/self/limits",
            labels: [],
        },
        own.and_then(|own| Some(([], own.max_fds?))),
    )?;

    out.family(
        Family {
            name: "process_start_time_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "When the exporter was started, since the Unix epoch.",
            source: "the exporter",
            labels: [],
        },
        snapshot
            .exporter
            .started
            .and_then(|started| Some(([], started.duration_since(SystemTime::UNIX_EPOCH).ok()?))),
    )
}

/// What is known only once the page is written.
pub(super) fn response(tally: &SeriesCounts, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    out.family(
        Family {
            name: "systemd_exporter_series",
            kind: Gauge,
            per: Per::Host,
            help: "Series of the family on this page.",
            source: "the exporter",
            labels: ["family"],
        },
        tally.kept.iter().map(|(family, count)| ([*family], *count)),
    )?;

    out.family(
        Family {
            name: "systemd_exporter_series_dropped_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Series of the family that a page had no room for, added up over all pages. Absent while none were.",
            source: "the exporter: --web.max-series",
            labels: ["family"],
        },
        tally.dropped.iter().map(|(family, count)| ([*family], *count)),
    )
}

fn counts<'a>(
    counts: &'a BTreeMap<&'static str, u64>,
) -> impl Iterator<Item = ([&'a str; 1], u64)> + use<'a> {
    counts.iter().map(|(label, count)| ([*label], *count))
}
