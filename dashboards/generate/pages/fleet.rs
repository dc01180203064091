//! All hosts: is everything well, and if not, where?

use super::super::grafana::Dashboard;
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{HOST, bars, lines, stat, to_host, to_page};
use super::super::query::events;
use super::super::style::{
    BAD, GOOD, INFO, RESULTS, SEVERITIES, STATES, SYSTEM_STATES, WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    Page::new(
        "systemd-fleet",
        "Fleet",
        "All hosts at a glance: is everything well, where is it not, since when?",
        Hosts::All,
        Units::All,
    )
    .row("Is everything well?", vec![
        stat(
            "Hosts reporting",
            "Hosts whose exporter answers Prometheus. Fewer than you have: look at the next number, then at the scrape configuration.",
            "count(systemd_exporter_build_info) or vector(0)",
        )
        .colored(thresholds(BAD, &[(0.5, GOOD)]))
        .if_empty("0"),
        stat(
            "Not reporting",
            "Targets of the exporter's scrape jobs that do not answer. Nothing else on this page speaks of them: is the host up, does unit-exporter run, may Prometheus reach it?",
            "count(up == 0 and on (job) group by (job) (present_over_time(systemd_exporter_build_info[1h]))) or vector(0)",
        )
        .zero_is_good(BAD)
        .if_empty("0")
        .link(to_page("The exporters", "systemd-exporter")),
        stat(
            "Not running well",
            "Hosts that are not in the state running: degraded, starting, in maintenance. The table below names them.",
            "count(systemd_system_running == 0) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0"),
        stat(
            "Units failed now",
            "Units in state failed. A service that is restarted over and over is never among them: look at the failures too.",
            "sum(systemd_failed_units) or vector(0)",
        )
        .zero_is_good(BAD)
        .if_empty("0")
        .trend()
        .link(to_page("What crashed?", "systemd-crashes")),
        stat(
            "Failures",
            "How often services failed in the time shown, each crash counted, also those that Restart= hides.",
            "sum(increase(systemd_failures_total[$__range])) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_page("What crashed?", "systemd-crashes")),
        stat(
            "Queues full",
            "Listeners whose accept queue is more than 80 % full: clients are about to be turned away.",
            "count(systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0) > 0.8) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_page("Listeners", "systemd-listeners")),
        stat(
            "Timers overdue",
            "Timers that should have elapsed more than 15 minutes ago.",
            "count(time() - systemd_timer_next_trigger_seconds > 900) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_page("Timers", "systemd-timers")),
        stat(
            "Collectors failing",
            "Parts of the exporters that could not read their source: what they know is missing or old on all pages.",
            "count(systemd_exporter_collector_success == 0) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_page("The exporters", "systemd-exporter")),
    ])
    .row("Where?", vec![
        table(
            "Hosts",
            "One line a host, those with most failures first. Failed: units in state failed now. Failures: crashes in the time shown. Given up: services past their start limit. CPU and stalled are the whole host's: stalled is the share of time in which nothing was done for want of CPU, memory or IO.",
            &["instance"],
        )
        .labels_of("max by (instance, state) (systemd_system_state)")
        .label("state", "State", Cell::words(&SYSTEM_STATES).width(110))
        .column("Failed", "sum by (instance) (systemd_failed_units)", Cell::count(BAD).width(80))
        .column(
            "Failures",
            "sum by (instance) (increase(systemd_failures_total[$__range]))",
            Cell::count(WARNING).width(90),
        )
        .column("Given up", "sum by (instance) (systemd_service_given_up)", Cell::count(BAD).width(100))
        .column(
            "CPUs used",
            r#"sum by (instance) (rate(systemd_unit_cpu_seconds_total{name="-.slice"}[$__rate_interval]))"#,
            Cell::plain().decimals(2).bar(INFO),
        )
        .column(
            "Stalled",
            r#"max by (instance) (rate(systemd_unit_pressure_stalled_seconds_total{name="-.slice"}[$__rate_interval]))"#,
            Cell::share(),
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
            "Units that fail on most hosts",
            "The same unit failing on many hosts is a bad release, not a bad host. Failed on: hosts where it is failed now; failing on: hosts where it failed in the last 15 minutes.",
            &["name"],
        )
        .column(
            "Failed on",
            r#"topk(20, count by (name) (systemd_unit_state{state="failed"} == 1))"#,
            Cell::count(BAD).width(110),
        )
        .column(
            "Failing on",
            "topk(20, count by (name) (increase(systemd_service_failures_total[15m]) > 0))",
            Cell::count(WARNING).width(110),
        )
        .column(
            "Failures in 15 min",
            "topk(20, sum by (name) (increase(systemd_service_failures_total[15m]) > 0))",
            Cell::plain().decimals(0).bar(WARNING),
        )
        .sort("Failing on", true)
        .size(12, 8)
        .if_empty("No unit is failed, and none has failed in the last 15 minutes"),
        table(
            "Firing alerts",
            "The alerts of systemd-alerts.yml that fire now, for the hosts chosen and for the fleet as a whole.",
            &["instance", "name"],
        )
        .labels_of(r#"max by (alertname, severity, instance, name) (ALERTS{alertname=~"(Systemd|UnitExporter).+",alertstate="firing"} or ALERTS{alertname=~"(Systemd|UnitExporter).+",alertstate="firing",instance=""})"#)
        .label("alertname", "Alert", Cell::plain())
        .label("severity", "Severity", Cell::words(&SEVERITIES).width(100))
        .sort("Severity", false)
        .size(12, 8)
        .if_empty("No alert fires"),
    ])
    .row("Since when?", vec![
        bars(
            "Failures by cause",
            "Failures of services on all hosts, by how they ended. A wall of one colour that starts at once is a release.",
        )
        .line(&events("result", "systemd_failures_total"), "{{result}}")
        .series_colors(&RESULTS)
        .if_empty("No service has failed"),
        lines(
            "Failed units by host",
            "The ten hosts with most units in state failed in the time shown.",
        )
        .line(
            "sum by (instance) (systemd_failed_units) and on (instance) topk(10, sum by (instance) (max_over_time(systemd_failed_units[$__range] @ end())) > 0)",
            "{{instance}}",
        )
        .decimals(0)
        .link(to_host(HOST))
        .if_empty("No unit is failed"),
    ])
    .collapsed("What differs between hosts?", vec![
        table(
            "Versions of systemd",
            "Hosts by their version of systemd. What one fixes, the others still have.",
            &[],
        )
        .label("version", "Version", Cell::plain())
        .column("Hosts", "count by (version) (systemd_version)", Cell::plain().decimals(0).bar(INFO))
        .sort("Hosts", true)
        .size(8, 7)
        .if_empty("No host reports"),
        table(
            "Versions of the exporter",
            "Hosts by the version of unit-exporter that they run.",
            &[],
        )
        .label("version", "Version", Cell::plain())
        .label("revision", "Revision", Cell::plain())
        .column(
            "Hosts",
            "count by (version, revision) (systemd_exporter_build_info)",
            Cell::plain().decimals(0).bar(INFO),
        )
        .sort("Hosts", true)
        .size(8, 7)
        .if_empty("No host reports"),
        table(
            "Booted in the time shown",
            "Hosts that have booted since the start of the time shown, the last one first.",
            &["instance"],
        )
        .column(
            "Booted",
            r#"max by (instance) (systemd_boot_time_seconds{stage="Userspace"} > time() - $__range_s) * 1000"#,
            Cell::ago(),
        )
        .sort("Booted", true)
        .size(8, 7)
        .if_empty("No host has booted"),
        table(
            "Configuration changed on disk",
            "Hosts where files of units are newer than what systemd has read: a daemon-reload is due.",
            &["instance"],
        )
        .column(
            "Units changed",
            "sum by (instance) (systemd_units_need_daemon_reload) > 0",
            Cell::plain().decimals(0).bar(WARNING),
        )
        .sort("Units changed", true)
        .size(8, 8)
        .if_empty("Every host is as systemd has read it"),
        lines("Units by state", "Units of all hosts by their state, as systemd has them loaded.")
            .points(100)
            .line("sum by (state) (systemd_units)", "{{state}}")
            .series_colors(&STATES)
            .decimals(0)
            .size(8, 8)
            .if_empty("No host reports"),
        lines("Jobs waiting", "Jobs that wait or run, by host; the ten hosts with most. A line that stays up is a job that hangs.")
            .line(
                "sum by (instance) (systemd_jobs_queued) and on (instance) topk(10, sum by (instance) (max_over_time(systemd_jobs_queued[$__range] @ end())) > 0)",
                "{{instance}}",
            )
            .decimals(0)
            .size(8, 8)
            .link(to_host(HOST))
            .if_empty("No job has waited"),
    ])
    .build()
}
