//! One unit on one or all hosts: its state, failures, settings, dependencies and resources.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{HOST, bars, lines, stat, state_timeline, to_host, to_unit};
use super::super::query::{events, state};
use super::super::style::{
    BAD, GOOD, INFO, PRIORITIES, QUIET, RESOURCES, RESULTS, STATES, WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    Builder::new(
        "systemd-unit",
        "Unit",
        "State, failures, settings, dependencies and resource usage of one unit on one or all hosts.",
        Hosts::All,
        Units::Selected,
    )
    .row("Overview of $name", vec![
        stat("Hosts active", "Hosts where the unit is active.", r#"sum(systemd_unit_state{name=~"$name",state="active"}) or vector(0)"#)
            .colored(thresholds(BAD, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Hosts failed", "Hosts where the unit is in state failed.", r#"sum(systemd_unit_state{name=~"$name",state="failed"}) or vector(0)"#)
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Failures", "Failures of the unit in the time range.", r#"sum(increase(systemd_service_failures_total{name=~"$name"}[$__range])) or vector(0)"#)
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Restarts", "Automatic restarts (Restart=) of the unit in the time range.", r#"sum(increase(systemd_service_restart_total{name=~"$name"}[$__range])) or vector(0)"#)
            .zero_is_good(INFO)
            .if_empty("0"),
        stat("Active for", "Time since the unit became active; with several hosts, the shortest.", r#"min(time() - (systemd_unit_active_enter_time_seconds{name=~"$name"} > 0) and on (instance, name) systemd_unit_state{name=~"$name",state="active"} == 1)"#)
            .unit("dtdurations")
            .colored(thresholds(WARNING, &[(600.0, GOOD)]))
            .if_empty("Not active"),
        stat("Last result", "Result of the last run of the service.", r#"topk(1, count by (result) (systemd_service_result{name=~"$name"}))"#)
            .named("{{result}}", &RESULTS)
            .if_empty("Not a service"),
        stat("FD usage", "Open file descriptors (FDs) as a share of the limit (LimitNOFILE=), of the process that is closest to it.", r#"max(systemd_unit_worst_fd_ratio{name=~"$name"})"#)
            .unit("percentunit")
            .colored(thresholds(GOOD, &[(0.8, WARNING), (0.95, BAD)]))
            .if_empty("No process"),
        stat("Task usage", "Tasks as a share of TasksMax=.", r#"max(systemd_unit_tasks_current{name=~"$name"} / ignoring (type) (systemd_unit_tasks_max{name=~"$name"} > 0))"#)
            .unit("percentunit")
            .colored(thresholds(GOOD, &[(0.8, WARNING), (0.95, BAD)]))
            .if_empty("No limit"),
    ])
    .row("State and failures", vec![
        state_timeline("State by host", "State of the unit on each host. States shorter than the interval between two scrapes are not visible here; the bars below count every failure.")
            .line(&state(r#",name=~"$name""#), "{{instance}}")
            .link(to_host(HOST))
            .size(24, 6)
            .if_empty("Unit exists on no host"),
        bars("Failures by cause", "Failures of the unit by result. Prometheus cannot see the result of the first failure of each kind since the exporter started: that failure is shown as first occurrence.")
            .line(BY_CAUSE, "{{result}}")
            .line(FIRST_OCCURRENCES, "first occurrence")
            .series_colors(&RESULTS)
            .series_colors(&[("first occurrence", "dark-red")])
            .size(8, 7)
            .if_empty("No failures"),
        bars("Starts", "Starts of the unit by Restart= and by other triggers: an administrator, a timer or another unit. Many other starts without failures indicate a script that restarts the unit repeatedly.")
            .line(RESTARTED, "automatic (Restart=)")
            .line(STARTED, "other")
            .series_colors(&[("automatic (Restart=)", WARNING), ("other", GOOD)])
            .size(8, 7)
            .if_empty("No starts"),
        bars("Journal by priority", "Journal messages of the unit, and of systemd about the unit, by priority.")
            .line(&events("priority", r#"systemd_unit_journal_messages_total{name=~"$name"}"#), "{{priority}}")
            .series_colors(&PRIORITIES)
            .size(8, 7)
            .if_empty("No messages, or no permission to read the journal"),
        table("Unit by host", "State, last result and main process of the unit on each host.", &["instance", "name"])
            .column("State", &state(r#",name=~"$name""#), Cell::numbered(&STATES).width(100))
            .labels_of(r#"max by (instance, name, sub_state) (systemd_unit_sub_state{name=~"$name"})"#)
            .label("sub_state", "Sub-state", Cell::plain())
            .labels_of(r#"max by (instance, name, result) (systemd_service_result{name=~"$name"})"#)
            .label("result", "Last result", Cell::words(&RESULTS).width(120))
            .column("Exit code", r#"max by (instance, name) (systemd_service_main_process_exit_code{name=~"$name"})"#, Cell::plain().decimals(0).width(100))
            .column("Signal", r#"max by (instance, name) (systemd_service_main_process_exit_signal{name=~"$name"})"#, Cell::plain().decimals(0).width(80))
            .column("Failures", r#"sum by (instance, name) (increase(systemd_service_failures_total{name=~"$name"}[$__range]))"#, Cell::count(WARNING).width(90))
            .column("Start limit hit", r#"max by (instance, name) (systemd_service_start_limit_hit{name=~"$name"})"#, Cell::count(BAD).width(125))
            .column("Active since", r#"max by (instance, name) (systemd_unit_active_enter_time_seconds{name=~"$name"} > 0) * 1000"#, Cell::ago())
            .column("Last ended", r#"max by (instance, name) (systemd_unit_active_exit_time_seconds{name=~"$name"} > 0) * 1000"#, Cell::ago())
            .sort("Host", false)
            .size(24, 6)
            .if_empty("Unit exists on no host"),
    ])
    .row("Settings and dependencies", vec![
        table("Settings", "Settings of the service. Start limit: number of starts allowed within the limit interval; beyond it, systemd no longer restarts the service. Reload required: the unit files are newer than the configuration loaded by systemd.", &["instance", "name"])
            .labels_of(r#"max by (instance, name, service_type, restart, user, slice) (systemd_service_info{name=~"$name"})"#)
            .label("service_type", "Type=", Cell::plain().width(90))
            .label("restart", "Restart=", Cell::plain().width(110))
            .label("user", "User=", Cell::plain().width(130))
            .label("slice", "Slice=", Cell::plain().width(130))
            .column("Restart delay", &or_default("restart_delay_seconds"), Cell::unit("s").width(125))
            .column("Start limit", &or_default("start_limit_burst"), Cell::plain().decimals(0).width(110))
            .column("Limit interval", &or_default("start_limit_interval_seconds"), Cell::unit("s").width(130))
            .column("Watchdog", r#"max by (instance, name) (systemd_service_watchdog_timeout_seconds{name=~"$name"})"#, Cell::unit("s").width(110))
            .column("Reload required", r#"max by (instance, name) (systemd_unit_need_daemon_reload{name=~"$name"})"#, Cell::required().width(150))
            .sort("Host", false)
            .size(24, 5)
            .if_empty("Not a service"),
        table("Unmet dependencies", "Number of dependencies of the unit that are not active. requires, binds_to, requisite: the unit cannot start without them. wants, upholds: the unit starts without them.", &["instance", "name"])
            .label("relation", "Relation", Cell::words(&RELATIONS).width(110))
            .column("Units", r#"max by (instance, name, relation) (systemd_unit_unmet_dependencies{name=~"$name"})"#, Cell::plain().decimals(0).width(80))
            .size(8, 5)
            .if_empty("All dependencies are active"),
        table("Failed dependencies", "Dependencies of the unit in state failed. Requires --collector.dependencies.", &["instance"])
            .label("dependency", "Depends on", Cell::plain().link(to_unit("${__data.fields.Host}", "${__value.raw}")))
            .label("relation", "Relation", Cell::words(&RELATIONS).width(110))
            .labels_of(r#"max by (instance, dependency, relation) (systemd_unit_dependency_info{name=~"$name"} and on (job, instance, dependency) label_replace(systemd_unit_state{state="failed"} == 1, "dependency", "$1", "name", "(.+)"))"#)
            .size(8, 5)
            .if_empty("No failed dependencies, or --collector.dependencies is not set"),
        table("Triggered by", "Timers and socket units that start the unit.", &["instance", "name"])
            .labels_of(r#"max by (instance, name) (systemd_timer_info{triggers=~"$name"} or systemd_socket_info{triggers=~"$name"})"#)
            .size(8, 5)
            .if_empty("No timer or socket unit"),
    ])
    .row("Resources and limits", vec![
        lines("CPU", "CPUs used. Dashed: CPUQuota=, above which the unit is throttled.")
            .line(r#"sum by (instance) (rate(systemd_unit_cpu_seconds_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}}")
            .limit(r#"min(systemd_unit_cpu_quota_cores{name=~"$name"})"#, "quota", WARNING)
            .link(to_host(HOST))
            .if_empty("No cgroup"),
        lines("Memory", "Memory charged to the unit, page cache included; without a memory controller, resident memory of its processes. Dashed: MemoryHigh= (throttled above it) and MemoryMax= (killed above it).")
            .line(r#"sum by (instance) (systemd_unit_memory_current_bytes{name=~"$name"}) or sum by (instance) (systemd_unit_resident_memory_bytes{name=~"$name"})"#, "{{instance}}")
            .limit(r#"min(systemd_unit_memory_high_bytes{name=~"$name"})"#, "high", WARNING)
            .limit(r#"min(systemd_unit_memory_max_bytes{name=~"$name"})"#, "max", BAD)
            .unit("bytes")
            .link(to_host(HOST))
            .if_empty("No processes"),
        lines("Pressure (PSI)", "Share of time in which at least one task of the unit waited for the resource (PSI some), on the host with the highest value. Dashed: share of time throttled by CPUQuota=.")
            .line(r#"max by (resource) (rate(systemd_unit_pressure_waiting_seconds_total{name=~"$name"}[$__rate_interval]))"#, "{{resource}}")
            .limit(r#"max(rate(systemd_unit_cpu_throttled_seconds_total{name=~"$name"}[$__rate_interval]))"#, "throttled by CPUQuota=", WARNING)
            .unit("percentunit")
            .series_colors(&RESOURCES)
            .if_empty("No PSI data: requires cgroup v2"),
        lines("IO", "Bytes written to block devices (above the axis) and read from them (below).")
            .line(r#"sum by (instance) (rate(systemd_unit_io_write_bytes_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} writes")
            .line(r#"sum by (instance) (rate(systemd_unit_io_read_bytes_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} reads")
            .mirrored("/reads$/")
            .unit("Bps")
            .link(to_host(HOST))
            .if_empty("No cgroup with the io controller"),
        lines("Tasks", "Processes and threads. Dashed: TasksMax=, above which the unit cannot create more.")
            .line(r#"sum by (instance) (systemd_unit_tasks_current{name=~"$name"})"#, "{{instance}}")
            .limit(r#"min(systemd_unit_tasks_max{name=~"$name"}) and max(systemd_unit_tasks_current{name=~"$name"} / ignoring (type) systemd_unit_tasks_max{name=~"$name"}) > 0.2"#, "max", BAD)
            .decimals(0)
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No processes"),
        lines("File descriptors", "Open file descriptors of all processes of the unit.")
            .line(r#"sum by (instance) (systemd_unit_open_fds{name=~"$name"})"#, "{{instance}}")
            .decimals(0)
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("No processes"),
        lines("Processes by state", "Processes of the unit by state. disk_sleep for a long time: a disk or NFS hangs. zombie: a parent process does not collect its children. Requires --collector.process.")
            .line(r#"sum by (state) (systemd_unit_processes{name=~"$name"})"#, "{{state}}")
            .series_colors(&[("running", GOOD), ("sleeping", QUIET), ("disk_sleep", WARNING), ("stopped", INFO), ("zombie", BAD)])
            .decimals(0)
            .size(8, 7)
            .if_empty("Requires --collector.process"),
    ])
    .collapsed("Listeners and network", vec![
        table("Listeners", "Listeners of the unit and their accept queues.", &["instance", "protocol", "address", "port"])
            .column("Queue length", r#"max by (instance, protocol, address, port) (systemd_listener_accept_queue_length{name=~"$name"})"#, Cell::plain().decimals(0).width(110))
            .column("Queue limit", r#"max by (instance, protocol, address, port) (systemd_listener_accept_queue_limit{name=~"$name"})"#, Cell::plain().decimals(0).width(105))
            .column("Queue usage", r#"max by (instance, protocol, address, port) (systemd_listener_accept_queue_length{name=~"$name"} / (systemd_listener_accept_queue_limit{name=~"$name"} > 0))"#, Cell::share())
            .labels_of(r#"max by (instance, protocol, address, port) (systemd_listener_info{name=~"$name"})"#)
            .sort("Queue usage", true)
            .size(12, 7)
            .if_empty("No listeners"),
        lines("Accept queue", "Connections that wait to be accepted. Dashed: queue limit, above which the kernel drops new connections.")
            .line(r#"max by (instance, port) (systemd_listener_accept_queue_length{name=~"$name"})"#, "{{instance}} port {{port}}")
            .limit(r#"min(systemd_listener_accept_queue_limit{name=~"$name"})"#, "limit", BAD)
            .decimals(0)
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("No TCP listeners"),
        lines("Packets", "IP packets sent (above the axis) and received (below). Requires IPAccounting=.")
            .line(r#"sum by (instance) (rate(systemd_service_ip_egress_packets_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} sent")
            .line(r#"sum by (instance) (rate(systemd_service_ip_ingress_packets_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} received")
            .mirrored("/received$/")
            .unit("pps")
            .link(to_host(HOST))
            .size(24, 7)
            .if_empty("IPAccounting= is not set"),
    ])
    .collapsed("Watchdog", vec![
        lines("Time since last watchdog ping", "Time since the service sent WATCHDOG=1 to systemd. Dashed: WatchdogSec=, after which systemd kills the service.")
            .line(r#"max by (instance, name) (time() - systemd_service_watchdog_last_ping_timestamp_seconds{name=~"$name"})"#, "{{name}} · {{instance}}")
            .limit(r#"min(systemd_service_watchdog_timeout_seconds{name=~"$name"})"#, "limit", BAD)
            .unit("s")
            .link(to_host(HOST))
            .size(24, 7)
            .if_empty("WatchdogSec= is not set"),
    ])
    .build()
}

/// Failures whose series started with this failure: `increase` does not see the first value of a series.
const FIRST_OCCURRENCES: &str = r#"sum(rate(systemd_service_failures_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 - (sum(rate(systemd_service_failures_by_result_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 or vector(0)) > 0.5"#;

const BY_CAUSE: &str = r#"sum by (result) (rate(systemd_service_failures_by_result_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 > 0"#;

const RESTARTED: &str = r#"sum(rate(systemd_service_restart_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000"#;

/// A setting of services with Restart=, which has a series where it differs from the manager's default.
fn or_default(setting: &str) -> String {
    format!(
        r#"max by (instance, name) (systemd_service_{setting}{{name=~"$name"}}) or max by (instance, name) (systemd_service_info{{name=~"$name",restart!="no"}} * on (instance) group_left () max by (instance) (systemd_manager_default_{setting}))"#
    )
}

const STARTED: &str = r#"clamp_min(sum(rate(systemd_unit_starts_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 - (sum(rate(systemd_service_restart_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 or vector(0)), 0)"#;

const RELATIONS: [(&str, &str); 5] = [
    ("requires", BAD),
    ("binds_to", BAD),
    ("requisite", BAD),
    ("wants", WARNING),
    ("upholds", WARNING),
];
