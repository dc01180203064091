//! All hosts: their state, failures, alerts and differences.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{HOST, bars, lines, stat, to_dashboard, to_host};
use super::super::query::events;
use super::super::style::{
    BAD, GOOD, INFO, RESULTS, SEVERITIES, STATES, SYSTEM_STATES, WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    Builder::new(
        "systemd-fleet",
        "Fleet",
        "State, failures and alerts of all hosts, and the differences between them.",
        Hosts::All,
        Units::All,
    )
    .row("Overview", vec![
        stat(
            "Hosts reporting",
            "Hosts whose exporter responds to Prometheus. If hosts are missing, check Not reporting, then the scrape configuration.",
            "count(unit_exporter_build_info) or vector(0)",
        )
        .colored(thresholds(BAD, &[(0.5, GOOD)]))
        .if_empty("0"),
        stat(
            "Not reporting",
            "Targets of the exporter's scrape jobs that do not respond. No other panel includes them. Check that the host is up, that unit-exporter runs, and that Prometheus can reach it.",
            "count(up == 0 and on (job) group by (job) (present_over_time(unit_exporter_build_info[1h]))) or vector(0)",
        )
        .zero_is_good(BAD)
        .if_empty("0")
        .link(to_dashboard("Exporter", "systemd-exporter")),
        stat(
            "Not healthy",
            "Hosts whose system state is not running: degraded, starting or maintenance. The table below lists them.",
            "count(systemd_system_running == 0) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0"),
        stat(
            "Failed units",
            "Units in state failed. A service that restarts in a loop is never among them: see Failures.",
            "sum(systemd_failed_units) or vector(0)",
        )
        .zero_is_good(BAD)
        .if_empty("0")
        .trend()
        .link(to_dashboard("Crash forensics", "systemd-crashes")),
        stat(
            "Failures",
            "Service failures in the time range, including those that Restart= hides.",
            "sum(increase(systemd_host_service_failures_total[$__range])) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_dashboard("Crash forensics", "systemd-crashes")),
        stat(
            "Full queues",
            "Listeners whose accept queue is more than 80 % full. The kernel drops new connections when a queue is full.",
            "count(systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0) > 0.8) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_dashboard("Listeners", "systemd-listeners")),
        stat(
            "Timers overdue",
            "Timers whose next elapse is more than 15 minutes in the past.",
            "count(time() - systemd_timer_next_trigger_seconds > 900) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_dashboard("Timers", "systemd-timers")),
        stat(
            "Collector errors",
            "Collectors that failed to read their source. Their metrics are missing or outdated on all dashboards.",
            "count(unit_exporter_collector_success == 0) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_dashboard("Exporter", "systemd-exporter")),
    ])
    .row("Hosts, units and alerts", vec![
        table(
            "Hosts",
            "One row per host, sorted by failures. Failed: units in state failed. Failures: service failures in the time range. Start limit hit: services that systemd no longer restarts. CPUs used and Stalled cover the whole host; Stalled is the share of time in which all tasks waited for CPU, memory or IO (PSI full).",
            &["instance"],
        )
        .labels_of("max by (instance, state) (systemd_system_state)")
        .label("state", "State", Cell::words(&SYSTEM_STATES).width(110))
        .column("Failed", "sum by (instance) (systemd_failed_units)", Cell::count(BAD).width(80))
        .column(
            "Failures",
            "sum by (instance) (increase(systemd_host_service_failures_total[$__range]))",
            Cell::count(WARNING).width(90),
        )
        .column("Start limit hit", "sum by (instance) (systemd_service_start_limit_hit)", Cell::count(BAD).width(125))
        .column(
            "CPUs used",
            r#"sum by (instance) (rate(systemd_unit_cpu_seconds_total{name="-.slice"}[$__rate_interval]))"#,
            Cell::plain().decimals(2).bar(INFO),
        )
        .column(
            "Stalled",
            r#"max by (instance) (rate(systemd_unit_pressure_stalled_seconds_total{name="-.slice"}[$__rate_interval]))"#,
            Cell::stalled(),
        )
        .column("Units", "sum by (instance) (systemd_units)", Cell::plain().decimals(0).width(80))
        .column(
            "Booted",
            r#"max by (instance) (systemd_boot_time_seconds{stage="Userspace"}) * 1000"#,
            Cell::ago(),
        )
        .labels_of("max by (instance, version) (systemd_version)")
        .label("version", "systemd", Cell::plain().width(150))
        .sort("Failures", true)
        .size(24, 8)
        .if_empty("No host reports"),
        table(
            "Units failing on most hosts",
            "A unit that fails on many hosts usually indicates a bad release, not a bad host. Hosts failed: hosts where the unit is in state failed. Hosts failing and Failures: hosts where it failed in the last 15 minutes, and how often.",
            &["name"],
        )
        .column(
            "Hosts failed",
            r#"topk(20, count by (name) (systemd_unit_state{state="failed"} == 1))"#,
            Cell::count(BAD).width(105),
        )
        .column(
            "Hosts failing",
            "topk(20, count by (name) (increase(systemd_service_failures_total[15m]) > 0))",
            Cell::count(WARNING).width(115),
        )
        .column(
            "Failures",
            "topk(20, sum by (name) (increase(systemd_service_failures_total[15m]) > 0))",
            Cell::count(WARNING).width(90),
        )
        .sort("Hosts failing", true)
        .size(10, 8)
        .if_empty("No unit is failed, and none failed in the last 15 minutes"),
        table(
            "Firing alerts",
            "Firing alerts of systemd-alerts.yml, for the selected hosts and for the whole fleet.",
            &["instance", "name"],
        )
        .labels_of(r#"max by (alertname, severity, instance, name) (ALERTS{alertname=~"(Systemd|UnitExporter).+",alertstate="firing"} or ALERTS{alertname=~"(Systemd|UnitExporter).+",alertstate="firing",instance=""})"#)
        .label("alertname", "Alert", Cell::plain().min_width(220))
        .label("severity", "Severity", Cell::words(&SEVERITIES).width(100))
        .sort("Severity", false)
        .size(14, 8)
        .if_empty("No alert is firing"),
    ])
    .row("Timeline", vec![
        bars(
            "Failures by cause",
            "Service failures of all hosts by result. Many failures with the same cause starting at the same time usually indicate a bad release.",
        )
        .line(&events("result", "systemd_host_service_failures_total"), "{{result}}")
        .series_colors(&RESULTS)
        .if_empty("No failures"),
        lines(
            "Failed units by host",
            "Units in state failed, for the ten hosts with the most failed units in the time range.",
        )
        .line(
            "sum by (instance) (systemd_failed_units) and on (instance) topk(10, sum by (instance) (max_over_time(systemd_failed_units[$__range] @ end())) > 0)",
            "{{instance}}",
        )
        .decimals(0)
        .link(to_host(HOST))
        .of_failures()
        .if_empty("No failed units"),
    ])
    .collapsed("Differences between hosts", vec![
        table(
            "systemd versions",
            "Hosts by systemd version.",
            &[],
        )
        .label("version", "Version", Cell::plain())
        .column("Hosts", "count by (version) (systemd_version)", Cell::plain().decimals(0).bar(INFO))
        .sort("Hosts", true)
        .size(8, 7)
        .if_empty("No host reports"),
        table(
            "Exporter versions",
            "Hosts by version of unit-exporter.",
            &[],
        )
        .label("version", "Version", Cell::plain())
        .label("revision", "Revision", Cell::plain())
        .column(
            "Hosts",
            "count by (version, revision) (unit_exporter_build_info)",
            Cell::plain().decimals(0).bar(INFO),
        )
        .sort("Hosts", true)
        .size(8, 7)
        .if_empty("No host reports"),
        table(
            "Recently booted hosts",
            "Hosts that booted in the time range, the latest first.",
            &["instance"],
        )
        .column(
            "Booted",
            r#"max by (instance) (systemd_boot_time_seconds{stage="Userspace"} > time() - $__range_s) * 1000"#,
            Cell::ago(),
        )
        .sort("Booted", true)
        .size(8, 7)
        .if_empty("No host booted"),
        table(
            "daemon-reload required",
            "Hosts with unit files that are newer than the configuration loaded by systemd.",
            &["instance"],
        )
        .column(
            "Units",
            "sum by (instance) (systemd_units_needing_daemon_reload) > 0",
            Cell::plain().decimals(0).bar(WARNING),
        )
        .sort("Units", true)
        .size(8, 8)
        .if_empty("All hosts have loaded their unit files"),
        lines("Units by state", "Loaded units of all hosts by state.")
            .max_points(100)
            .line("sum by (state) (systemd_units)", "{{state}}")
            .series_colors(&STATES)
            .decimals(0)
            .size(8, 8)
            .if_empty("No host reports"),
        lines("systemd jobs queued", "systemd jobs that wait or run, for the ten hosts with the most. A value that stays above 0 indicates a stuck job.")
            .line(
                "sum by (instance) (systemd_jobs) and on (instance) topk(10, sum by (instance) (max_over_time(systemd_jobs[$__range] @ end())) > 0)",
                "{{instance}}",
            )
            .decimals(0)
            .size(8, 8)
            .link(to_host(HOST))
            .if_empty("No queued jobs"),
    ])
    .build()
}
