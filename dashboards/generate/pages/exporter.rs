//! Can the other pages be believed, and what does the exporter cost?

use super::super::grafana::Dashboard;
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{HOST, bars, lines, stat, status_history, to_host};
use super::super::query::events;
use super::super::style::{BAD, GOOD, INFO, QUIET, WARNING, mapping, thresholds};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    Page::new(
        "systemd-exporter",
        "Exporter",
        "Can the other pages be believed, and what does it cost to know all that?",
        Hosts::All,
        Units::All,
    )
    .row("Can the other pages be believed?", vec![
        stat("Exporters", "Exporters that answer.", "count(systemd_exporter_build_info) or vector(0)")
            .colored(thresholds(BAD, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Not answering", "Targets of the exporter's scrape jobs that do not answer Prometheus.", "count(up == 0 and on (job) group by (job) (present_over_time(systemd_exporter_build_info[1h]))) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Collectors failing", "Parts that could not read their source: what they know is missing or old.", "count(systemd_exporter_collector_success == 0) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Without signals", "Exporters that do not hear systemd now: states of units are as last seen.", "count(systemd_exporter_subscription_active == 0) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Events lost", "Deaths of services whose cause was not seen, in the time shown. They are counted as failures, with result unknown.", "sum(increase(systemd_exporter_events_lost_total[$__range])) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Drift", "Units that a comparison found different from what was remembered, in the time shown. Should stay 0: please report it.", "sum(increase(systemd_exporter_mirror_drift_total[$__range])) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Series", "Series that all exporters together send.", "sum(scrape_samples_scraped and on (job, instance) systemd_exporter_build_info) or vector(0)")
            .unit("short")
            .if_empty("0"),
        stat("Slowest scrape", "The longest last scrape, as Prometheus saw it.", "max(scrape_duration_seconds and on (job, instance) systemd_exporter_build_info)")
            .unit("s")
            .decimals(1)
            .colored(thresholds(GOOD, &[(1.0, WARNING), (5.0, BAD)]))
            .if_empty("Not reporting"),
    ])
    .row("Does every part work?", vec![
        status_history("Collectors", "Whether each collector answered, on the host where it is worst.")
            .line("min by (collector) (systemd_exporter_collector_success)", "{{collector}}")
            .mapped(mapping([("1", "works", GOOD), ("0", "fails", BAD)].into_iter()))
            .size(12, 8)
            .if_empty("No exporter reports"),
        lines("How long collectors take", "Duration of each collector in a scrape, on the slowest host.")
            .line("max by (collector) (systemd_exporter_collector_duration_seconds)", "{{collector}}")
            .unit("s")
            .if_empty("No exporter reports"),
        table("Exporters", "One line an exporter. Heard systemd: how long ago; it is asked for a sign of life every 15 seconds.", &["instance"])
            .labels_of("max by (instance, version, revision) (systemd_exporter_build_info)")
            .label("version", "Version", Cell::plain().width(90))
            .label("revision", "Revision", Cell::plain().width(110))
            .column("Started", "max by (instance) (process_start_time_seconds and on (job, instance) systemd_exporter_build_info) * 1000", Cell::ago())
            .column("Heard systemd", "max by (instance) (systemd_exporter_mirror_age_seconds)", Cell::unit("s").decimals(1).colors(thresholds(GOOD, &[(30.0, WARNING), (60.0, BAD)])))
            .column("Units", "sum by (instance) (systemd_exporter_mirror_units)", Cell::plain().decimals(0).width(80))
            .column("Series", "sum by (instance) (systemd_exporter_series)", Cell::unit("short").bar(INFO))
            .column("Scrape", "max by (instance) (scrape_duration_seconds and on (job, instance) systemd_exporter_build_info)", Cell::unit("s").decimals(1).bar("purple"))
            .column("Memory", "max by (instance) (process_resident_memory_bytes and on (job, instance) systemd_exporter_build_info)", Cell::unit("bytes").decimals(1).bar(GOOD))
            .column("CPU", "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) systemd_exporter_build_info)", Cell::unit("percentunit").decimals(2).bar(WARNING))
            .sort("Scrape", true)
            .size(24, 8)
            .if_empty("No exporter reports"),
    ])
    .row("What does it cost?", vec![
        lines("Duration of scrapes", "How long reading the host takes: the median and the slowest in a hundred, over all hosts.")
            .line("histogram_quantile(0.5, sum by (le) (rate(systemd_exporter_scrape_duration_seconds_bucket[$__rate_interval])))", "median")
            .line("histogram_quantile(0.99, sum by (le) (rate(systemd_exporter_scrape_duration_seconds_bucket[$__rate_interval])))", "99 of 100")
            .unit("s")
            .series_colors(&[("median", GOOD), ("99 of 100", WARNING)])
            .size(8, 7)
            .if_empty("No exporter reports"),
        lines("CPU", "CPU time of the exporter, as a share of one CPU.")
            .line("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) systemd_exporter_build_info)", "{{instance}}")
            .unit("percentunit")
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No exporter reports"),
        lines("Memory", "Resident memory of the exporter.")
            .line("sum by (instance) (process_resident_memory_bytes and on (job, instance) systemd_exporter_build_info)", "{{instance}}")
            .unit("bytes")
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No exporter reports"),
        table("Largest families", "Metrics by their series on all hosts: what a filter or --no-collector would save.", &[])
            .label("family", "Metric", Cell::plain())
            .column("Series", "topk(15, sum by (family) (systemd_exporter_series))", Cell::plain().decimals(0).bar(INFO))
            .sort("Series", true)
            .size(12, 9)
            .if_empty("No exporter reports"),
        bars("Signals from systemd", "Signals that systemd sent and the exporters took in.")
            .line(&events("source", "systemd_exporter_events_total"), "{{source}}")
            .size(12, 9)
            .if_empty("No exporter reports"),
    ])
    .collapsed("What went wrong between the exporter and systemd?", vec![
        bars("Errors on the bus", "What failed with systemd, by why.")
            .line(&events("kind", "systemd_exporter_dbus_errors_total"), "{{kind}}")
            .size(8, 7)
            .if_empty("Nothing failed"),
        bars("Connections lost", "Connections to the bus that were lost and made anew.")
            .line(&events("instance", "systemd_exporter_dbus_reconnects_total"), "{{instance}}")
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No connection was lost"),
        bars("Comparisons", "Comparisons of what is remembered with systemd's list, by why.")
            .line(&events("reason", "systemd_exporter_resyncs_total"), "{{reason}}")
            .size(8, 7)
            .if_empty("None was made"),
        bars("Calls to systemd", "Calls that exporters made to systemd. Scrapes make none.")
            .line(&events("kind", "systemd_exporter_dbus_calls_total"), "{{kind}}")
            .size(8, 7)
            .if_empty("None was made"),
        bars("Answers by status", "HTTP answers of the exporters. 401: somebody without a password; 503: too many at the same time.")
            .line(&events("code", "systemd_exporter_http_requests_total"), "{{code}}")
            .series_colors(&[("200", GOOD), ("401", WARNING), ("404", QUIET), ("503", BAD)])
            .size(8, 7)
            .if_empty("None was given"),
        lines("Descriptors used", "Open descriptors of the exporter as a share of what it may open.")
            .line("max by (instance) (process_open_fds / process_max_fds and on (job, instance) systemd_exporter_build_info)", "{{instance}}")
            .unit("percentunit")
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No exporter reports"),
        lines("Journal entries waiting", "Entries of the journal that have not been read yet, as time ran out or their file is damaged. Counts of messages are late by that much.")
            .line("sum by (instance) (systemd_exporter_journal_entries_waiting)", "{{instance}}")
            .decimals(0)
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("The collector journal is off"),
        bars("Journal that makes no sense", "Entries of the journal that could not be read, and files found damaged.")
            .line("sum(rate(systemd_exporter_journal_entries_unreadable_total[$__rate_interval])) * $__interval_ms / 1000", "entries")
            .line("sum(rate(systemd_exporter_journal_files_damaged_total[$__rate_interval])) * $__interval_ms / 1000", "files")
            .series_colors(&[("entries", WARNING), ("files", BAD)])
            .size(12, 7)
            .if_empty("The collector journal is off"),
        table("What could not be read", "Collectors that did not come to all units in the last scrape, or could not understand some of what they read.", &["instance"])
            .label("collector", "Collector", Cell::plain())
            .column("Units left out", "max by (instance, collector) (systemd_exporter_collector_truncated_units > 0)", Cell::count(WARNING))
            .column("Values unread", "max by (instance, collector) (systemd_exporter_collector_failed_reads > 0)", Cell::count(WARNING))
            .size(12, 7)
            .if_empty("Everything was read"),
        table("Series left out", "Series that a page had no room for, in the time shown: --web.max-series.", &["instance"])
            .label("family", "Metric", Cell::plain())
            .column("Left out", "sum by (instance, family) (increase(systemd_exporter_series_dropped_total[$__range])) > 0", Cell::count(WARNING))
            .size(12, 7)
            .if_empty("Every series had room"),
    ])
    .build()
}
