//! One host: what is wrong, what was, and who uses the machine?

use super::super::grafana::Dashboard;
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{HOST, UNIT, areas, bars, lines, stat, state_timeline, to_page, to_unit};
use super::super::query::{events, state};
use super::super::style::{
    BAD, GOOD, INFO, JOB_RESULTS, PRIORITIES, QUIET, RESOURCES, RESULTS, STATES, SYSTEM_STATES,
    WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    Page::new(
        "systemd-host",
        "Host",
        "One host: which units are not well, since when, and who uses the machine?",
        Hosts::One,
        Units::All,
    )
    .row("Is this host well?", vec![
        stat(
            "System state",
            "What systemd says of the host as a whole. Degraded: a unit is failed. Maintenance: it is in rescue or emergency mode.",
            "max by (state) (systemd_system_state)",
        )
        .named("{{state}}", &SYSTEM_STATES)
        .if_empty("Not reporting"),
        stat("Units failed now", "Units in state failed. Not among them: services that are being restarted.", "sum(systemd_failed_units) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0")
            .trend(),
        stat("Failures", "How often services failed in the time shown, each crash counted.", "sum(increase(systemd_failures_total[$__range])) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0")
            .link(to_page("What crashed?", "systemd-crashes")),
        stat("Given up", "Services that failed so often in a row that systemd does not restart them any more.", "sum(systemd_service_given_up) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Jobs waiting", "Jobs that wait or run now. For long: something hangs while it starts or stops.", "sum(systemd_jobs_queued) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, INFO), (10.0, WARNING)]))
            .if_empty("0"),
        stat(
            "Up for",
            "Time since systemd was started by the kernel.",
            r#"min(time() - systemd_boot_time_seconds{stage="Userspace"})"#,
        )
        .unit("dtdurations")
        .colored(thresholds(WARNING, &[(600.0, GOOD)]))
        .if_empty("Not reporting"),
        stat(
            "Boot took",
            "From the start of systemd until all that belongs to the boot was started. Not there while it is going on.",
            r#"max((systemd_boot_monotonic_seconds{stage="Finish"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Userspace"})"#,
        )
        .unit("s")
        .decimals(1)
        .if_empty("Not finished")
        .link(to_page("Boot", "systemd-boot")),
        stat(
            "Collectors failing",
            "Parts of the exporter that could not read their source: what they know is missing or old on this page.",
            "count(systemd_exporter_collector_success == 0) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_page("The exporter", "systemd-exporter")),
    ])
    .row("Which units were not well, and when?", vec![
        state_timeline(
            "Units that failed in the time shown",
            "The states of every unit that was failed, or failed and was restarted, in the time shown. A quick crash loop is hardly to be seen here: the bars below show it.",
        )
        .line(&format!("{} and on (instance, name) ({UNWELL})", state("")), "{{name}}")
        .link(to_unit(HOST, UNIT))
        .size(24, 8)
        .if_empty("Every unit was well"),
        bars("Failures by unit", "How often each service failed, also where Restart= brought it back at once.")
            .line(
                &events("instance, name", "systemd_service_failures_total"),
                "{{name}}",
            )
            .link(to_unit(HOST, UNIT))
            .size(24, 6)
            .if_empty("No service has failed"),
        table(
            "What they died of",
            "Every service that failed in the time shown, and every unit that is failed now. Given up: systemd does not restart it any more. Exit status: the last one, or the number of the signal.",
            &["instance", "name"],
        )
        .only(UNWELL_NOW)
        .column("State", &state(""), Cell::numbered(&STATES).width(100))
        .labels_of("max by (instance, name, result) (systemd_service_result)")
        .label("result", "Last result", Cell::words(&RESULTS).width(110))
        .column(
            "Exit status",
            "max by (instance, name) (systemd_service_main_exit_status)",
            Cell::plain().decimals(0).width(110),
        )
        .column(
            "Failures",
            "sum by (instance, name) (increase(systemd_service_failures_total[$__range]))",
            Cell::plain().decimals(0).bar(WARNING),
        )
        .column(
            "Restarts",
            "sum by (instance, name) (increase(systemd_service_restart_total[$__range]))",
            Cell::plain().decimals(0).bar(INFO),
        )
        .column(
            "Given up",
            "max by (instance, name) (systemd_service_given_up)",
            Cell::count(BAD).width(100),
        )
        .column(
            "Last ended",
            "max by (instance, name) (systemd_unit_inactive_enter_time_seconds > 0 or systemd_unit_active_exit_time_seconds > 0) * 1000",
            Cell::ago(),
        )
        .sort("Failures", true)
        .size(24, 8)
        .if_empty("Every unit is well, and none has failed"),
    ])
    .row("Who uses the machine?", vec![
        table(
            "Units by what they use",
            "What each unit uses now. Stalled: share of time in which none of its tasks got on, for want of CPU, memory or IO. Descriptors and tasks: how much of their limit is used.",
            &["instance", "name"],
        )
        .column(
            "CPUs",
            r#"sum by (instance, name) (rate(systemd_unit_cpu_seconds_total{type!="slice"}[$__rate_interval]))"#,
            Cell::plain().decimals(3).bar(INFO),
        )
        .column(
            "Memory",
            r#"sum by (instance, name) (systemd_unit_memory_current_bytes{type!="slice"})"#,
            Cell::unit("bytes").decimals(0).bar("purple"),
        )
        .column(
            "Resident",
            r#"sum by (instance, name) (systemd_unit_resident_memory_bytes{type!="slice"})"#,
            Cell::unit("bytes").decimals(0).bar("purple"),
        )
        .column(
            "Stalled",
            r#"max by (instance, name) (rate(systemd_unit_pressure_stalled_seconds_total{type!="slice"}[$__rate_interval]))"#,
            Cell::share(),
        )
        .column(
            "Descriptors",
            r#"max by (instance, name) (systemd_unit_max_fds_ratio{type!="slice"})"#,
            Cell::share(),
        )
        .column(
            "Tasks",
            "max by (instance, name) (systemd_unit_tasks_current / ignoring (type) (systemd_unit_tasks_max > 0))",
            Cell::share(),
        )
        .sort("CPUs", true)
        .size(24, 9)
        .if_empty("The collector cgroup is off"),
        areas("CPU by unit", "CPUs used by the eight units that used most in the time shown, and by all the host.")
            .line(
                &format!(r#"sum by (instance, name) (rate(systemd_unit_cpu_seconds_total{{type!="slice"}}[$__rate_interval])) and on (instance, name) topk(8, {CPU_IN_ALL})"#),
                "{{name}}",
            )
            .link(to_unit(HOST, UNIT))
            .limit(r#"sum(rate(systemd_unit_cpu_seconds_total{name="-.slice"}[$__rate_interval]))"#, "whole host", "text")
            .decimals(3)
            .if_empty("The collector cgroup is off"),
        areas("Memory by unit", "Memory of the eight largest units, page cache included. Where the host has no memory controller: the resident memory of their processes.")
            .line(
                r#"(sum by (instance, name) (systemd_unit_memory_current_bytes{type!="slice"}) or sum by (instance, name) (systemd_unit_resident_memory_bytes{type!="slice"})) and on (instance, name) topk(8, sum by (instance, name) (avg_over_time(systemd_unit_resident_memory_bytes{type!="slice"}[$__range] @ end())))"#,
                "{{name}}",
            )
            .unit("bytes")
            .link(to_unit(HOST, UNIT))
            .if_empty("The collectors cgroup and process are off"),
        lines("Pressure on the host", "Share of time in which at least one task waited for the resource. CPU: more work than CPUs. Memory: it thrashes. IO: the disk is slow.")
            .line(
                r#"max by (resource) (rate(systemd_unit_pressure_waiting_seconds_total{name="-.slice"}[$__rate_interval]))"#,
                "{{resource}}",
            )
            .unit("percentunit")
            .series_colors(&RESOURCES)
            .if_empty("The kernel keeps no pressure: it needs cgroup v2"),
        lines("IO by unit", "Bytes that the eight busiest units write to block devices, and read from them below the line.")
            .line(
                r#"sum by (instance, name) (rate(systemd_unit_io_write_bytes_total{name!~".+[.]slice"}[$__rate_interval])) and on (instance, name) topk(8, sum by (instance, name) (increase(systemd_unit_io_write_bytes_total{name!~".+[.]slice"}[$__range] @ end())) > 0)"#,
                "{{name}} writes",
            )
            .line(
                r#"sum by (instance, name) (rate(systemd_unit_io_read_bytes_total{name!~".+[.]slice"}[$__rate_interval])) and on (instance, name) topk(8, sum by (instance, name) (increase(systemd_unit_io_read_bytes_total{name!~".+[.]slice"}[$__range] @ end())) > 0)"#,
                "{{name}} reads",
            )
            .unit("Bps")
            .mirrored("/reads$/")
            .link(to_unit(HOST, UNIT))
            .if_empty("No unit used a block device"),
    ])
    .row("What does the journal say?", vec![
        bars("Messages by priority", "All that was logged on the host, by priority. Warnings and worse that begin at once often explain what fails.")
            .line(&events("priority", "systemd_journal_messages_total"), "{{priority}}")
            .series_colors(&PRIORITIES)
            .size(12, 7)
            .if_empty("The exporter may not read the journal, or nothing was logged"),
        bars("Errors by unit", "Messages of priority err and worse, of the eight units that logged most of them.")
            .line(
                &format!("({}) and on (instance, name) topk(8, {ERRORS})", events("instance, name", r#"systemd_unit_journal_messages_total{priority=~"emerg|alert|crit|err"}"#)),
                "{{name}}",
            )
            .link(to_unit(HOST, UNIT))
            .size(12, 7)
            .if_empty("No unit logged an error"),
    ])
    .collapsed("What does systemd itself do?", vec![
        bars("Jobs by result", "Jobs that ended: starts, stops, reloads. Dependency: not begun, as what it needs failed.")
            .line(&events("result", "systemd_job_results_total"), "{{result}}")
            .series_colors(&JOB_RESULTS)
            .if_empty("No job has ended"),
        lines("Oldest job", "How long the oldest job has been waiting or running. Minutes: something hangs.")
            .line("max(systemd_job_oldest_age_seconds) or vector(0)", "oldest job")
            .unit("s")
            .if_empty("No job waits"),
        lines("CPU of PID 1", "CPU time of systemd itself. More than a few percent: something asks it all the time, or units come and go.")
            .line("sum by (mode) (rate(systemd_pid1_cpu_seconds_total[$__rate_interval]))", "{{mode}}")
            .unit("percentunit")
            .if_empty("The collector manager is off"),
        lines("Memory of PID 1", "Resident memory of systemd itself. It grows with the number of units.")
            .line("max(systemd_pid1_resident_memory_bytes)", "resident")
            .unit("bytes")
            .if_empty("The collector manager is off"),
        lines("Units by state", "Units as systemd has them loaded, exported or not.")
            .line("sum by (state) (systemd_units)", "{{state}}")
            .series_colors(&STATES)
            .decimals(0)
            .legend_right()
            .if_empty("The collector manager is off"),
        bars("Reloads", "Times that systemd read its configuration anew, or executed itself anew.")
            .line("sum(rate(systemd_manager_reloads_total[$__rate_interval])) * $__interval_ms / 1000", "reloads")
            .series_colors(&[("reloads", INFO)])
            .if_empty("0"),
    ])
    .build()
}

/// Units that were failed, or failed and came back, at any time in the span.
const UNWELL: &str = r#"max_over_time(systemd_unit_state{state="failed"}[$__range] @ end()) == 1 or on (instance, name) increase(systemd_service_failures_total[$__range] @ end()) > 0"#;

/// The same, asked at its end.
const UNWELL_NOW: &str = r#"systemd_unit_state{state="failed"} == 1 or on (instance, name) increase(systemd_service_failures_total[$__range]) > 0"#;

const ERRORS: &str = r#"sum by (instance, name) (increase(systemd_unit_journal_messages_total{priority=~"emerg|alert|crit|err"}[$__range] @ end()))"#;

const CPU_IN_ALL: &str = r#"sum by (instance, name) (increase(systemd_unit_cpu_seconds_total{type!="slice"}[$__range] @ end()))"#;
