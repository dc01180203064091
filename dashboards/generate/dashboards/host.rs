//! One host: its failing units, resource usage, journal and systemd itself.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{
    HOST, UNIT, areas, bars, lines, stat, state_timeline, to_dashboard, to_unit,
};
use super::super::query::{events, state};
use super::super::style::{
    BAD, GOOD, INFO, JOB_RESULTS, PRIORITIES, QUIET, RESOURCES, RESULTS, STATES, SYSTEM_STATES,
    WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    Builder::new(
        "systemd-host",
        "Host",
        "Failing units, resource usage and journal of one host, and systemd itself.",
        Hosts::One,
        Units::All,
    )
    .row("Overview", vec![
        stat(
            "System state",
            "State of the whole system as reported by systemd. degraded: at least one unit is failed. maintenance: rescue or emergency mode.",
            "max by (state) (systemd_system_state)",
        )
        .named("{{state}}", &SYSTEM_STATES)
        .if_empty("Not reporting"),
        stat("Failed units", "Units in state failed. Services that are being restarted are not included.", "sum(systemd_failed_units) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0")
            .trend(),
        stat("Failures", "Service failures in the time range.", "sum(increase(systemd_host_service_failures_total[$__range])) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0")
            .link(to_dashboard("Crash forensics", "systemd-crashes")),
        stat("Start limit hit", "Services that reached their start limit: systemd no longer restarts them.", "sum(systemd_service_start_limit_hit) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("systemd jobs", "systemd jobs that wait or run. A value that stays above 0 indicates a unit that hangs while it starts or stops.", "sum(systemd_jobs) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, INFO), (10.0, WARNING)]))
            .if_empty("0"),
        stat(
            "Uptime",
            "Time since the kernel started systemd.",
            r#"min(time() - systemd_boot_time_seconds{stage="Userspace"})"#,
        )
        .unit("dtdurations")
        .colored(thresholds(WARNING, &[(600.0, GOOD)]))
        .if_empty("Not reporting"),
        stat(
            "Boot duration",
            "Time from the start of systemd until the boot finished. Absent until then.",
            r#"max((systemd_boot_monotonic_seconds{stage="Finish"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Userspace"})"#,
        )
        .unit("s")
        .decimals(1)
        .if_empty("Not finished")
        .link(to_dashboard("Boot", "systemd-boot")),
        stat(
            "Collector errors",
            "Collectors that failed to read their source. Their metrics are missing or outdated on this dashboard.",
            "count(unit_exporter_collector_success == 0) or vector(0)",
        )
        .zero_is_good(WARNING)
        .if_empty("0")
        .link(to_dashboard("Exporter", "systemd-exporter")),
    ])
    .row("Failures", vec![
        state_timeline(
            "Units with failures",
            "State of each unit that was failed, or failed and was restarted, in the time range. A fast crash loop is hardly visible here; the bars below count every failure.",
        )
        .line(&format!("{} and on (instance, name) ({FAILING})", state("")), "{{name}}")
        .link(to_unit(HOST, UNIT))
        .size(24, 8)
        .if_empty("No failures"),
        bars("Failures by unit", "Failures of each service, including those after which Restart= restarted it immediately.")
            .line(
                &events("instance, name", "systemd_service_failures_total"),
                "{{name}}",
            )
            .link(to_unit(HOST, UNIT))
            .size(24, 6)
            .of_failures()
            .if_empty("No failures"),
        table(
            "Failure causes",
            "Services that failed in the time range, and units in state failed. Start limit hit: systemd no longer restarts the service. Exit status: exit status or signal number of the last run.",
            &["instance", "name"],
        )
        .only(FAILING_AT_END)
        .column("State", &state(""), Cell::numbered(&STATES).width(100))
        .labels_of("max by (instance, name, result) (systemd_service_result)")
        .label("result", "Last result", Cell::words(&RESULTS).width(120))
        .column(
            "Exit code",
            "max by (instance, name) (systemd_service_main_process_exit_code)",
            Cell::plain().decimals(0).width(100),
        )
        .column(
            "Signal",
            "max by (instance, name) (systemd_service_main_process_exit_signal)",
            Cell::plain().decimals(0).width(80),
        )
        .column(
            "Failures",
            "sum by (instance, name) (increase(systemd_service_failures_total[$__range]))",
            Cell::plain().decimals(0).bar(WARNING).width(110),
        )
        .column(
            "Restarts",
            "sum by (instance, name) (increase(systemd_service_restart_total[$__range]))",
            Cell::plain().decimals(0).bar(INFO).width(110),
        )
        .column(
            "Start limit hit",
            "max by (instance, name) (systemd_service_start_limit_hit)",
            Cell::count(BAD).width(125),
        )
        .column(
            "Last ended",
            "max by (instance, name) (systemd_unit_inactive_enter_time_seconds > 0 or systemd_unit_active_exit_time_seconds > 0) * 1000",
            Cell::ago(),
        )
        .sort("Failures", true)
        .size(24, 8)
        .if_empty("No failures"),
    ])
    .row("Resource usage", vec![
        table(
            "Resource usage by unit",
            "Current resource usage of each unit. Stalled: share of time in which all tasks of the unit waited for memory or IO (PSI full). Descriptors and Tasks: share of the limit in use.",
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
            Cell::stalled(),
        )
        .column(
            "Descriptors",
            r#"max by (instance, name) (systemd_unit_worst_fd_ratio{type!="slice"})"#,
            Cell::share(),
        )
        .column(
            "Tasks",
            "max by (instance, name) (systemd_unit_tasks_current / ignoring (type) (systemd_unit_tasks_max > 0))",
            Cell::share(),
        )
        .sort("CPUs", true)
        .size(24, 9)
        .if_empty("Collector cgroup is disabled"),
        areas("CPU by unit", "CPUs used by the eight units with the highest CPU usage in the time range, and by the whole host.")
            .line(
                &format!(r#"sum by (instance, name) (rate(systemd_unit_cpu_seconds_total{{type!="slice"}}[$__rate_interval])) and on (instance, name) topk(8, {CPU_IN_RANGE})"#),
                "{{name}}",
            )
            .link(to_unit(HOST, UNIT))
            .limit(r#"sum(rate(systemd_unit_cpu_seconds_total{name="-.slice"}[$__rate_interval]))"#, "whole host", "text")
            .decimals(3)
            .if_empty("Collector cgroup is disabled"),
        areas("Memory by unit", "Memory of the eight largest units, page cache included. Without a memory controller: resident memory of their processes.")
            .line(
                r#"(sum by (instance, name) (systemd_unit_memory_current_bytes{type!="slice"}) or sum by (instance, name) (systemd_unit_resident_memory_bytes{type!="slice"})) and on (instance, name) topk(8, sum by (instance, name) (avg_over_time(systemd_unit_memory_current_bytes{type!="slice"}[$__range] @ end())) or sum by (instance, name) (avg_over_time(systemd_unit_resident_memory_bytes{type!="slice"}[$__range] @ end())))"#,
                "{{name}}",
            )
            .unit("bytes")
            .link(to_unit(HOST, UNIT))
            .if_empty("Collectors cgroup and process are disabled"),
        lines("Host pressure (PSI)", "Share of time in which at least one task waited for the resource (PSI some). CPU: more runnable tasks than CPUs. Memory: thrashing. IO: slow disks.")
            .line(
                r#"max by (resource) (rate(systemd_unit_pressure_waiting_seconds_total{name="-.slice"}[$__rate_interval]))"#,
                "{{resource}}",
            )
            .unit("percentunit")
            .series_colors(&RESOURCES)
            .if_empty("No PSI data: requires cgroup v2"),
        lines("IO by unit", "Bytes written to block devices (above the axis) and read from them (below), for the eight units with the most IO.")
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
            .if_empty("No IO on block devices"),
    ])
    .row("Journal", vec![
        bars("Journal messages by priority", "All journal messages of the host by priority. A sudden increase of warnings and errors often explains a failure.")
            .line(&events("priority", "systemd_journal_messages_total"), "{{priority}}")
            .series_colors(&PRIORITIES)
            .size(12, 7)
            .if_empty("No messages, or no permission to read the journal"),
        bars("Journal errors by unit", "Journal messages of priority err or higher, for the eight units with the most.")
            .line(
                &format!("({}) and on (instance, name) topk(8, {ERRORS})", events("instance, name", r#"systemd_unit_journal_messages_total{priority=~"emerg|alert|crit|err"}"#)),
                "{{name}}",
            )
            .link(to_unit(HOST, UNIT))
            .size(12, 7)
            .of_failures()
            .if_empty("No errors logged"),
    ])
    .collapsed("Wanted units and due restarts", vec![
        table("Wanted and inactive", "Units that an active target or service wants and that are inactive without having been stopped on request. exited: ended by itself. not-started: not started since the boot. dependency: stopped with a unit that it requires.", &["instance", "name"])
            .labels_of("max by (instance, name, because) (systemd_unit_wanted_inactive)")
            .label("because", "Cause", Cell::plain())
            .column("Inactive since", "max by (instance, name) (systemd_unit_inactive_enter_time_seconds > 0 and on (instance, name) systemd_unit_wanted_inactive) * 1000", Cell::ago())
            .size(12, 6)
            .if_empty("All wanted units are active"),
        table("Restart due", "Services that were started before one of their files changed: program or script, unit file, link of the directory, library.", &["instance", "name"])
            .labels_of("max by (instance, name, because) (systemd_service_restart_due)")
            .label("because", "Cause", Cell::plain())
            .column("Started", "max by (instance, name) (systemd_unit_active_enter_time_seconds and on (instance, name) systemd_service_restart_due) * 1000", Cell::ago())
            .size(12, 6)
            .if_empty("All services run the current files"),
    ])
    .collapsed("systemd (PID 1)", vec![
        bars("systemd jobs by result", "Completed systemd jobs (start, stop, reload) by result. dependency: not started because a required unit failed.")
            .line(&events("result", "systemd_jobs_completed_total"), "{{result}}")
            .series_colors(&JOB_RESULTS)
            .if_empty("No completed jobs"),
        lines("Oldest systemd job", "Age of the oldest systemd job in the queue. Minutes indicate a stuck job.")
            .line("max(time() - systemd_job_oldest_enqueued_timestamp_seconds) or vector(0)", "oldest job")
            .unit("s")
            .if_empty("No queued jobs"),
        lines("PID 1 CPU", "CPU time of systemd. More than a few percent indicates frequent D-Bus calls, or units that are created and removed often.")
            .line("sum by (mode) (rate(systemd_pid1_cpu_seconds_total[$__rate_interval]))", "{{mode}}")
            .unit("percentunit")
            .if_empty("Collector manager is disabled"),
        lines("PID 1 memory", "Resident memory of systemd, which grows with the number of units.")
            .line("max(systemd_pid1_resident_memory_bytes)", "resident")
            .unit("bytes")
            .if_empty("Collector manager is disabled"),
        lines("Units by state", "Units loaded by systemd, exported or not.")
            .line("sum by (state) (systemd_units)", "{{state}}")
            .series_colors(&STATES)
            .decimals(0)
            .if_empty("Collector manager is disabled"),
        bars("Configuration reloads", "Completed daemon-reload and daemon-reexec operations.")
            .line("sum(rate(systemd_manager_reloads_total[$__rate_interval])) * $__interval_ms / 1000", "reloads")
            .series_colors(&[("reloads", INFO)])
            .if_empty("0"),
    ])
    .build()
}

/// Units that were failed, or failed and were restarted, at any time in the range.
const FAILING: &str = r#"max_over_time(systemd_unit_state{state="failed"}[$__range] @ end()) == 1 or on (instance, name) increase(systemd_service_failures_total[$__range] @ end()) > 0"#;

/// The same for an instant query at the end of the range.
const FAILING_AT_END: &str = r#"systemd_unit_state{state="failed"} == 1 or on (instance, name) increase(systemd_service_failures_total[$__range]) > 0"#;

const ERRORS: &str = r#"sum by (instance, name) (increase(systemd_unit_journal_messages_total{priority=~"emerg|alert|crit|err"}[$__range] @ end()))"#;

const CPU_IN_RANGE: &str = r#"sum by (instance, name) (increase(systemd_unit_cpu_seconds_total{type!="slice"}[$__range] @ end()))"#;
