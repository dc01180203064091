//! The exporters: their health, the completeness of their data, and their cost.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{HOST, bars, lines, stat, status_history, to_host};
use super::super::query::events;
use super::super::style::{BAD, GOOD, INFO, QUIET, WARNING, mapping, thresholds};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    Builder::new(
        "systemd-exporter",
        "Exporter",
        "Health of the exporters, completeness of their data, and their cost.",
        Hosts::All,
        Units::All,
    )
    .row("Overview", vec![
        stat("Exporters", "Exporters that respond.", "count(unit_exporter_build_info) or vector(0)")
            .colored(thresholds(BAD, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Not responding", "Targets of the exporter's scrape jobs that do not respond to Prometheus.", "count(up == 0 and on (job) group by (job) (present_over_time(unit_exporter_build_info[1h]))) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Collector errors", "Collectors that failed to read their source, and unit types that systemd failed to list. Their metrics are missing or outdated.", "count(unit_exporter_collector_success == 0 or unit_exporter_unit_type_success == 0) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Not subscribed", "Exporters that receive no D-Bus signals from systemd: their unit states are outdated.", "count(unit_exporter_dbus_subscribed == 0) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Events lost", "Service failures in the time range whose cause was not seen. They are counted as failures with result unknown.", "sum(increase(unit_exporter_events_lost_total[$__range])) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Cache errors", "Units that differed from the exporter's cache in a comparison, in the time range. Expected to stay 0: please report any.", "sum(increase(unit_exporter_cache_inconsistencies_total[$__range])) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Series", "Series exported by all exporters.", "sum(scrape_samples_scraped and on (job, instance) unit_exporter_build_info) or vector(0)")
            .unit("short")
            .if_empty("0"),
        stat("Slowest scrape", "Duration of the longest last scrape, as measured by Prometheus.", "max(scrape_duration_seconds and on (job, instance) unit_exporter_build_info)")
            .unit("s")
            .decimals(1)
            .colored(thresholds(GOOD, &[(1.0, WARNING), (5.0, BAD)]))
            .if_empty("Not reporting"),
    ])
    .row("Collectors and exporters", vec![
        status_history("Collectors", "Result of each collector, on the host with the worst result.")
            .line("min by (collector) (unit_exporter_collector_success)", "{{collector}}")
            .mapped(mapping([("1", "ok", GOOD), ("0", "failed", BAD)].into_iter()))
            .size(12, 8)
            .if_empty("No exporter reports"),
        lines("Collector duration", "Duration of each collector in a scrape, on the slowest host.")
            .line("max by (collector) (unit_exporter_collector_duration_seconds)", "{{collector}}")
            .unit("s")
            .if_empty("No exporter reports"),
        table("Exporters", "One row per exporter. Last contact: time since systemd last responded; the exporter checks every 15 seconds. Counts kept: 1 if the counters continue those of the process before.", &["instance"])
            .labels_of("max by (instance, version, revision) (unit_exporter_build_info)")
            .label("version", "Version", Cell::plain().width(100))
            .label("revision", "Revision", Cell::plain().width(110))
            .column("Started", "max by (instance) (process_start_time_seconds and on (job, instance) unit_exporter_build_info) * 1000", Cell::ago())
            .column("Last contact", "max by (instance) (time() - unit_exporter_systemd_last_seen_timestamp_seconds)", Cell::unit("s").decimals(1).colors(thresholds(GOOD, &[(30.0, WARNING), (60.0, BAD)])))
            .column("Counts kept", "max by (instance) (unit_exporter_state_restored)", Cell::plain().decimals(0).width(110))
            .column("Units", "sum by (instance) (unit_exporter_cached_units)", Cell::plain().decimals(0).width(80))
            .column("Series", "max by (instance) (scrape_samples_scraped and on (job, instance) unit_exporter_build_info)", Cell::unit("short").bar(INFO))
            .column("Scrape", "max by (instance) (scrape_duration_seconds and on (job, instance) unit_exporter_build_info)", Cell::unit("s").decimals(1).bar("purple"))
            .column("Memory", "max by (instance) (process_resident_memory_bytes and on (job, instance) unit_exporter_build_info)", Cell::unit("bytes").decimals(1).bar(GOOD))
            .column("CPU", "sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) unit_exporter_build_info)", Cell::unit("percentunit").decimals(2).bar(WARNING))
            .sort("Scrape", true)
            .size(24, 8)
            .if_empty("No exporter reports"),
    ])
    .row("Cost", vec![
        lines("Scrape duration", "Time to read a host: median and 99th percentile over all hosts.")
            .line("histogram_quantile(0.5, sum by (le) (rate(unit_exporter_scrape_duration_seconds_bucket[$__rate_interval])))", "p50")
            .line("histogram_quantile(0.99, sum by (le) (rate(unit_exporter_scrape_duration_seconds_bucket[$__rate_interval])))", "p99")
            .unit("s")
            .series_colors(&[("p50", GOOD), ("p99", WARNING)])
            .size(8, 7)
            .if_empty("No exporter reports"),
        lines("CPU", "CPU time of the exporter, as a share of one CPU.")
            .line("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) unit_exporter_build_info)", "{{instance}}")
            .unit("percentunit")
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No exporter reports"),
        lines("Memory", "Resident memory of the exporter.")
            .line("sum by (instance) (process_resident_memory_bytes and on (job, instance) unit_exporter_build_info)", "{{instance}}")
            .unit("bytes")
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No exporter reports"),
        table("Largest metric families", "Metric families by number of series on all hosts: the savings of a filter or of --no-collector.", &[])
            .label("family", "Metric", Cell::plain())
            .column("Series", "topk(15, sum by (family) (unit_exporter_series))", Cell::plain().decimals(0).bar(INFO))
            .sort("Series", true)
            .size(12, 9)
            .if_empty("No exporter reports"),
        bars("D-Bus signals", "D-Bus signals from systemd that the exporters processed.")
            .line(&events("signal", "unit_exporter_dbus_signals_total"), "{{signal}}")
            .size(12, 9)
            .if_empty("No exporter reports"),
    ])
    .collapsed("D-Bus, HTTP and journal", vec![
        bars("D-Bus errors", "Failed D-Bus operations by kind.")
            .line(&events("kind", "unit_exporter_dbus_errors_total"), "{{kind}}")
            .size(8, 7)
            .of_failures()
            .if_empty("No errors"),
        bars("D-Bus disconnects", "Lost D-Bus connections, after which the exporter reconnected.")
            .line(&events("instance", "unit_exporter_dbus_disconnects_total"), "{{instance}}")
            .link(to_host(HOST))
            .size(8, 7)
            .of_failures()
            .if_empty("No disconnects"),
        bars("Cache comparisons", "Comparisons of the exporter's cache with systemd's list of units, by reason.")
            .line(&events("reason", "unit_exporter_cache_resyncs_total"), "{{reason}}")
            .size(8, 7)
            .if_empty("No comparisons"),
        bars("D-Bus calls", "D-Bus calls of the exporters to systemd. Scrapes make none.")
            .line(&events("kind", "unit_exporter_dbus_calls_total"), "{{kind}}")
            .size(8, 7)
            .if_empty("No calls"),
        bars("HTTP responses by status", "HTTP responses of the exporters. 401: request without valid credentials. 503: too many concurrent requests.")
            .line(&events("code", "unit_exporter_http_requests_total"), "{{code}}")
            .series_colors(&[("200", GOOD), ("401", WARNING), ("404", QUIET), ("503", BAD)])
            .size(8, 7)
            .if_empty("No responses"),
        bars("Limited HTTP clients", "Clients that reached a shared limit: refused, or an idle connection closed for a newcomer.")
            .line(&events("limit, action", "unit_exporter_http_limited_total"), "{{limit}} {{action}}")
            .size(8, 7)
            .of_failures()
            .if_empty("No limit reached"),
        lines("FD usage", "Open file descriptors (FDs) of the exporter as a share of its limit.")
            .line("max by (instance) (process_open_fds / process_max_fds and on (job, instance) unit_exporter_build_info)", "{{instance}}")
            .unit("percentunit")
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No exporter reports"),
        lines("Unread journal entries", "Journal entries not read yet, because of the time limit or a corrupt file. Message counters lag by this number.")
            .line("sum by (instance) (unit_exporter_journal_entries_waiting)", "{{instance}}")
            .decimals(0)
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("Collector journal is disabled"),
        bars("Unreadable journal entries", "Journal entries that could not be read, and corrupt journal files.")
            .line("sum(rate(unit_exporter_journal_entries_unreadable_total[$__rate_interval])) * $__interval_ms / 1000", "entries")
            .line("sum(rate(unit_exporter_journal_files_damaged_total[$__rate_interval])) * $__interval_ms / 1000", "files")
            .series_colors(&[("entries", WARNING), ("files", BAD)])
            .size(12, 7)
            .if_empty("Collector journal is disabled"),
        table("Incomplete collectors", "Collectors that did not read all units in the last scrape, or failed to decode values.", &["instance"])
            .label("collector", "Collector", Cell::plain())
            .column("Units omitted", "max by (instance, collector) (increase(unit_exporter_truncated_units_total[$__range]) > 0)", Cell::count(WARNING))
            .column("Panics", "max by (instance, collector) (increase(unit_exporter_collector_panics_total[$__range]) > 0)", Cell::count(BAD))
            .column("Failed reads", "max by (instance, collector) (increase(unit_exporter_failed_reads_total[$__range]) > 0)", Cell::count(WARNING))
            .size(12, 7)
            .if_empty("All collectors are complete"),
        table("Dropped series", "Series that a scrape response omitted in the time range because of --web.max-series.", &["instance"])
            .label("family", "Metric", Cell::plain())
            .column("Dropped", "sum by (instance, family) (increase(unit_exporter_series_dropped_total[$__range])) > 0", Cell::count(WARNING))
            .size(12, 7)
            .if_empty("No dropped series"),
        bars("State file", "Writes of the file that keeps the counts over a restart of the exporter. None is expected while nothing happens.")
            .line("sum(rate(unit_exporter_state_saves_total[$__rate_interval])) * $__interval_ms / 1000", "saved")
            .line("sum(rate(unit_exporter_state_failed_saves_total[$__rate_interval])) * $__interval_ms / 1000", "failed")
            .series_colors(&[("saved", INFO), ("failed", BAD)])
            .size(12, 7)
            .if_empty("No state directory"),
        bars("Rejected and dropped input", "D-Bus messages that systemd did not send, processes beyond the limits, and log lines that were written faster than they could be output.")
            .line("sum(rate(unit_exporter_dbus_untrusted_messages_total[$__rate_interval])) * $__interval_ms / 1000", "messages")
            .line("sum(rate(unit_exporter_log_lines_dropped_total[$__rate_interval])) * $__interval_ms / 1000", "log lines")
            .line("sum(rate(unit_exporter_truncated_processes_total[$__rate_interval])) * $__interval_ms / 1000", "processes")
            .series_colors(&[("messages", WARNING), ("log lines", WARNING), ("processes", WARNING)])
            .size(12, 7)
            .if_empty("No exporter"),
    ])
    .build()
}
