//! The exporter itself: collectors, D-Bus connection, requests, resources and series.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::Kind::{Counter, Gauge, Histogram};
use super::Resets::{WithBoot, WithExporter};
use super::{Family, Per, Sample, SeriesCounts, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::unit::name::UnitKind;

const SUBJECT: Subject = Subject { collector: "exporter", title: "The exporter itself" };

/// The families that do not depend on the scrape response.
pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    let attempts = &snapshot.attempts;
    let status = &snapshot.status;
    let exporter = &snapshot.exporter;
    let host = snapshot.systemd.iter().map(|systemd| &systemd.host);
    let kinds = snapshot.systemd.iter().flat_map(|_| UnitKind::ALL);

    out.family(
        Family {
            name: "unit_exporter_build_info",
            kind: Gauge,
            per: Per::Host,
            help: "Build information of unit-exporter; constant 1.",
            source: "the exporter",
            profile: Profile::Minimal,
            labels: ["version", "revision", "rustc"],
        },
        [([env!("CARGO_PKG_VERSION"), env!("BUILT_FROM"), env!("BUILT_BY")], true)],
    )?;

    out.family(
        Family {
            name: "systemd_exporter_build_info",
            kind: Gauge,
            per: Per::Host,
            help: "Alias of unit_exporter_build_info for dashboards of systemd_exporter; constant 1.",
            source: "the exporter",
            profile: Profile::Default,
            labels: ["version", "revision", "rustc"],
        },
        [([env!("CARGO_PKG_VERSION"), env!("BUILT_FROM"), env!("BUILT_BY")], true)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_collector_success",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the collector succeeded in this scrape. If 0, its metrics are absent or stale; the log has the error.",
            source: "the exporter",
            profile: Profile::Minimal,
            labels: ["collector"],
        },
        attempts.iter().map(|attempt| ([attempt.collector], attempt.error.is_none())),
    )?;

    out.family(
        Family {
            name: "unit_exporter_collector_duration_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Duration of the collector in this scrape.",
            source: "the exporter",
            profile: Profile::Default,
            labels: ["collector"],
        },
        attempts.iter().map(|attempt| ([attempt.collector], attempt.took)),
    )?;

    out.family(
        Family {
            name: "unit_exporter_collector_last_success_timestamp_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Unix time of the last success of the collector. Absent if it never succeeded.",
            source: "the exporter",
            profile: Profile::Default,
            labels: ["collector"],
        },
        attempts.iter().filter_map(|attempt| {
            let since = attempt.last_success?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(([attempt.collector], since))
        }),
    )?;

    out.family(
        Family {
            name: "unit_exporter_collector_panics_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Panics of the collector: bugs of the exporter. A panic fails only this collector in that scrape.",
            source: "the exporter",
            profile: Profile::Default,
            labels: ["collector"],
        },
        attempts.iter().map(|attempt| ([attempt.collector], attempt.panics)),
    )?;

    out.family(
        Family {
            name: "unit_exporter_truncated_units_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Units that the collector skipped because the scrape ran out of time, summed over all scrapes.",
            source: "the exporter",
            profile: Profile::Fleet,
            labels: ["collector"],
        },
        counts(&exporter.truncated_units),
    )?;

    out.family(
        Family {
            name: "unit_exporter_truncated_processes_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Processes and cgroups of units skipped by a limit, by lack of time or in another PID namespace, summed over all scrapes.",
            source: "the exporter: 20,000 processes, 1,000 cgroups and 32 levels a unit",
            profile: Profile::Default,
            labels: [],
        },
        [([], exporter.truncated_processes)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_truncated_listeners_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Listening sockets dropped by --collector.listeners.max, summed over all scrapes.",
            source: "the exporter: --collector.listeners.max",
            profile: Profile::Fleet,
            labels: [],
        },
        [([], exporter.truncated_listeners)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_failed_reads_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Files that the collector failed to read or parse, summed over all scrapes. Their values are absent; the log has the first error.",
            source: "the exporter",
            profile: Profile::Fleet,
            labels: ["collector"],
        },
        counts(&exporter.failed_reads),
    )?;

    out.family(
        Family {
            name: "unit_exporter_unit_type_success",
            kind: Gauge,
            per: Per::Host,
            help: "Whether systemd could list the units of this type. systemd before 258 fails if a unit's path is not UTF-8; its units are then stale.",
            source: "D-Bus Manager.ListUnits, ListUnitsByPatterns",
            profile: Profile::Fleet,
            labels: ["type"],
        },
        kinds.map(|kind| ([kind.as_str()], !status.unlisted.contains_key(&kind))),
    )?;

    out.family(
        Family {
            name: "unit_exporter_dbus_subscribed",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the exporter receives systemd's D-Bus signals. If 0, unit states are stale and counters catch up later.",
            source: "the exporter",
            profile: Profile::Minimal,
            labels: [],
        },
        [([], status.following)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_cached_units",
            kind: Gauge,
            per: Per::Host,
            help: "Units in the exporter's unit cache, exported or not.",
            source: "the exporter",
            profile: Profile::Fleet,
            labels: [],
        },
        snapshot.systemd.as_ref().map(|systemd| ([], systemd.active_states.values().sum::<u64>())),
    )?;

    out.family(
        Family {
            name: "unit_exporter_systemd_last_seen_timestamp_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Unix time of the last D-Bus message from systemd, polled every 15 s. Older values mean stale unit states. Absent before the first.",
            source: "D-Bus, any message from systemd",
            profile: Profile::Minimal,
            labels: [],
        },
        snapshot.last_seen.and_then(|at| Some(([], at.duration_since(SystemTime::UNIX_EPOCH).ok()?))),
    )?;

    out.family(
        Family {
            name: "unit_exporter_dbus_signals_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "D-Bus signals received from systemd, by signal.",
            source: "D-Bus",
            profile: Profile::Default,
            labels: ["signal"],
        },
        counts(&status.signals),
    )?;

    out.family(
        Family {
            name: "unit_exporter_events_lost_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Service failures whose cause could not be determined, by reason; also counted with result=unknown. See reconnect, reload, coalesced.",
            source: "D-Bus Service.NRestarts",
            profile: Profile::Minimal,
            labels: ["reason"],
        },
        host.flat_map(|host| counts(&host.lost).map(|lost| Sample::since(lost, host.since))),
    )?;

    out.family(
        Family {
            name: "unit_exporter_dbus_untrusted_messages_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "D-Bus signals ignored because their sender was not systemd.",
            source: "D-Bus, sender of each message",
            profile: Profile::Default,
            labels: [],
        },
        [([], status.untrusted_messages)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_cache_resyncs_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Comparisons of the unit cache with systemd's unit list, by reason: connect, reload, schedule.",
            source: "D-Bus Manager.ListUnits",
            profile: Profile::Default,
            labels: ["reason"],
        },
        counts(&status.resyncs),
    )?;

    out.family(
        Family {
            name: "unit_exporter_cache_inconsistencies_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Units that a scheduled resync found different from the unit cache, and corrected. Expected to stay 0.",
            source: "D-Bus Manager.ListUnits",
            profile: Profile::Default,
            labels: [],
        },
        [([], status.drift)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_dbus_calls_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "D-Bus calls to systemd. A scrape makes none.",
            source: "D-Bus",
            profile: Profile::Default,
            labels: ["kind"],
        },
        counts(&status.calls),
    )?;

    out.family(
        Family {
            name: "unit_exporter_dbus_errors_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Failed D-Bus exchanges with systemd: error reply (answer), undecodable message (decode), no reply within 10 s (timeout), panic.",
            source: "D-Bus",
            profile: Profile::Default,
            labels: ["kind"],
        },
        counts(&status.errors),
    )?;

    out.family(
        Family {
            name: "unit_exporter_dbus_disconnects_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Lost connections to the bus.",
            source: "D-Bus",
            profile: Profile::Default,
            labels: [],
        },
        [([], status.disconnects)],
    )?;

    super::journal::progress(snapshot, out)?;

    super::exporter_http::families(snapshot, out)?;

    out.histogram(
        Family {
            name: "unit_exporter_scrape_duration_seconds",
            kind: Histogram,
            per: Per::Host,
            help: "Duration of reading the host for a scrape.",
            source: "the exporter",
            profile: Profile::Default,
            labels: [],
        },
        &snapshot.exporter.scrapes,
    )?;

    super::exporter_state::families(snapshot, out)?;
    super::exporter_process::families(snapshot, out)
}

/// The families that count the series of the scrape response.
pub(super) fn response(tally: &SeriesCounts, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    out.family(
        Family {
            name: "unit_exporter_series",
            kind: Gauge,
            per: Per::Host,
            help: "Series of the metric in this scrape response, of metrics with at least 20 series.",
            source: "the exporter",
            profile: Profile::Minimal,
            labels: ["family"],
        },
        counts(&tally.kept).filter(|(_, count)| *count >= MIN_SERIES),
    )?;

    out.family(
        Family {
            name: "unit_exporter_series_dropped_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Series of the metric dropped by --web.max-series, summed over all scrape responses. Absent if none were.",
            source: "the exporter: --web.max-series",
            profile: Profile::Minimal,
            labels: ["family"],
        },
        counts(&tally.dropped),
    )
}

/// Metrics with fewer series have none in `unit_exporter_series`: more than a hundred of the metrics.
const MIN_SERIES: u64 = 20;

fn counts<'a>(
    counts: &'a BTreeMap<&'static str, u64>,
) -> impl Iterator<Item = ([&'a str; 1], u64)> + use<'a> {
    counts.iter().map(|(label, count)| ([*label], *count))
}
