//! One unit, on one host or on all: how is it, what happened to it, what does it need?

use super::super::grafana::Dashboard;
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{HOST, bars, lines, stat, state_timeline, to_host, to_unit};
use super::super::query::{events, state};
use super::super::style::{
    BAD, GOOD, INFO, PRIORITIES, QUIET, RESOURCES, RESULTS, STATES, WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    Page::new(
        "systemd-unit",
        "Unit",
        "One unit, on one host or on all: how is it, what happened to it, what does it use?",
        Hosts::All,
        Units::Chosen,
    )
    .row("How is $name?", vec![
        stat("Active on", "Hosts where the unit is active.", r#"sum(systemd_unit_state{name=~"$name",state="active"}) or vector(0)"#)
            .colored(thresholds(BAD, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Failed on", "Hosts where the unit is in state failed.", r#"sum(systemd_unit_state{name=~"$name",state="failed"}) or vector(0)"#)
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Failures", "How often it failed in the time shown, each crash counted.", r#"sum(increase(systemd_service_failures_total{name=~"$name"}[$__range])) or vector(0)"#)
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Restarts", "How often Restart= brought it back in the time shown.", r#"sum(increase(systemd_service_restart_total{name=~"$name"}[$__range])) or vector(0)"#)
            .zero_is_good(INFO)
            .if_empty("0"),
        stat("Up for", "Since when it is active; of several hosts, the shortest.", r#"min(time() - (systemd_unit_active_enter_time_seconds{name=~"$name"} > 0) and on (instance, name) systemd_unit_state{name=~"$name",state="active"} == 1)"#)
            .unit("dtdurations")
            .colored(thresholds(WARNING, &[(600.0, GOOD)]))
            .if_empty("Not active"),
        stat("Last result", "How its last run ended, or success.", r#"topk(1, count by (result) (systemd_service_result{name=~"$name"}))"#)
            .named("{{result}}", &RESULTS)
            .if_empty("No service"),
        stat("Descriptors used", "How much of its limit of file descriptors is used, by the process that is closest to it: LimitNOFILE=.", r#"max(systemd_unit_max_fds_ratio{name=~"$name"})"#)
            .unit("percentunit")
            .colored(thresholds(GOOD, &[(0.8, WARNING), (0.95, BAD)]))
            .if_empty("No process"),
        stat("Tasks used", "How much of TasksMax= is used.", r#"max(systemd_unit_tasks_current{name=~"$name"} / ignoring (type) (systemd_unit_tasks_max{name=~"$name"} > 0))"#)
            .unit("percentunit")
            .colored(thresholds(GOOD, &[(0.8, WARNING), (0.95, BAD)]))
            .if_empty("No limit"),
    ])
    .row("What happened to it, and where?", vec![
        state_timeline("State by host", "The unit's state on each host. What is shorter than a step between two scrapes is not to be seen here: the bars below count every failure.")
            .line(&state(r#",name=~"$name""#), "{{instance}}")
            .link(to_host(HOST))
            .size(24, 6)
            .if_empty("No host has this unit"),
        bars("Failures by cause", "Every failure, by how the run ended. Prometheus cannot tell the cause of the first failure of each kind since the exporter started: that one is shown as first of its kind.")
            .line(BY_CAUSE, "{{result}}")
            .line(FIRST, "first of its kind")
            .series_colors(&RESULTS)
            .series_colors(&[("first of its kind", "dark-red")])
            .size(8, 7)
            .if_empty("It has not failed"),
        bars("Starts", "Runs of the unit begun, by Restart= or otherwise: by hand, by a timer, for another unit. Many of these without failures: somebody restarts it over and over.")
            .line(RESTARTED, "by Restart=")
            .line(STARTED, "otherwise")
            .series_colors(&[("by Restart=", WARNING), ("otherwise", GOOD)])
            .size(8, 7)
            .if_empty("It has not been started"),
        bars("Journal by priority", "What it logged, and what systemd said of it, by priority.")
            .line(&events("priority", r#"systemd_unit_journal_messages_total{name=~"$name"}"#), "{{priority}}")
            .series_colors(&PRIORITIES)
            .size(8, 7)
            .if_empty("It has logged nothing, or the journal may not be read"),
        table("On each host", "The unit as each host has it.", &["instance", "name"])
            .column("State", &state(r#",name=~"$name""#), Cell::numbered(&STATES).width(100))
            .labels_of(r#"max by (instance, name, sub_state) (systemd_unit_sub_state{name=~"$name"})"#)
            .label("sub_state", "In its own words", Cell::plain())
            .labels_of(r#"max by (instance, name, result) (systemd_service_result{name=~"$name"})"#)
            .label("result", "Last result", Cell::words(&RESULTS).width(110))
            .column("Exit status", r#"max by (instance, name) (systemd_service_main_exit_status{name=~"$name"})"#, Cell::plain().decimals(0).width(110))
            .column("Main PID", r#"max by (instance, name) (systemd_service_main_pid{name=~"$name"})"#, Cell::unit("none").decimals(0).width(100))
            .column("Failures", r#"sum by (instance, name) (increase(systemd_service_failures_total{name=~"$name"}[$__range]))"#, Cell::count(WARNING).width(90))
            .column("Given up", r#"max by (instance, name) (systemd_service_given_up{name=~"$name"})"#, Cell::count(BAD).width(100))
            .column("Active since", r#"max by (instance, name) (systemd_unit_active_enter_time_seconds{name=~"$name"} > 0) * 1000"#, Cell::ago())
            .column("Last ended", r#"max by (instance, name) (systemd_unit_active_exit_time_seconds{name=~"$name"} > 0) * 1000"#, Cell::ago())
            .sort("Host", false)
            .size(24, 6)
            .if_empty("No host has this unit"),
    ])
    .row("How is it set up, and what does it need?", vec![
        table("Settings", "What its unit file says of how it runs. Restart limit: so many starts within the time given, and systemd gives it up. Changed on disk: its files are newer than what systemd has read, a daemon-reload is due.", &["instance", "name"])
            .labels_of(r#"max by (instance, name, service_type, restart, user, slice) (systemd_service_info{name=~"$name"})"#)
            .label("service_type", "Type=", Cell::plain().width(90))
            .label("restart", "Restart=", Cell::plain().width(110))
            .label("user", "User=", Cell::plain().width(130))
            .label("slice", "Slice=", Cell::plain().width(130))
            .column("After", r#"max by (instance, name) (systemd_service_restart_delay_seconds{name=~"$name"})"#, Cell::unit("s").width(90))
            .column("Restart limit", r#"max by (instance, name) (systemd_service_start_limit_burst{name=~"$name"})"#, Cell::plain().decimals(0).width(130))
            .column("Within", r#"max by (instance, name) (systemd_service_start_limit_interval_seconds{name=~"$name"})"#, Cell::unit("s").width(90))
            .column("Watchdog", r#"max by (instance, name) (systemd_service_watchdog_timeout_seconds{name=~"$name"})"#, Cell::unit("s").width(110))
            .column("Changed on disk", r#"max by (instance, name) (systemd_unit_need_daemon_reload{name=~"$name"})"#, Cell::changed().width(150))
            .sort("Host", false)
            .size(24, 5)
            .if_empty("It is no service"),
        table("Needs what is not there", "How many of the units that it depends on are not active. Requires, binds_to, requisite: without them it cannot start. Wants: it does without.", &["instance", "name"])
            .label("relation", "Relation", Cell::words(&RELATIONS).width(90))
            .column("Units", r#"max by (instance, name, relation) (systemd_unit_unmet_dependencies{name=~"$name"})"#, Cell::plain().decimals(0).width(60))
            .size(8, 5)
            .if_empty("All that it needs is there"),
        table("Failed units that it depends on", "Which of the units that it depends on are failed. The exporter tells with --collector.dependencies.", &["instance"])
            .label("dependency", "Depends on", Cell::plain().link(to_unit("${__data.fields.Host}", "${__value.raw}")))
            .label("relation", "Relation", Cell::words(&RELATIONS).width(100))
            .labels_of(r#"max by (instance, dependency, relation) (systemd_unit_dependency_info{name=~"$name"} and on (job, instance, dependency) label_replace(systemd_unit_state{state="failed"} == 1, "dependency", "$1", "name", "(.+)"))"#)
            .size(8, 5)
            .if_empty("None, as far as dependencies are collected"),
        table("Started by", "Timers and socket units that start it.", &["instance", "name"])
            .labels_of(r#"max by (instance, name) (systemd_timer_info{unit=~"$name"} or systemd_socket_info{unit=~"$name"})"#)
            .size(8, 5)
            .if_empty("No timer and no socket unit starts it"),
    ])
    .row("What does it use, and how much may it?", vec![
        lines("CPU", "CPUs used. Dashed: CPUQuota=, past which it is held back.")
            .line(r#"sum by (instance) (rate(systemd_unit_cpu_seconds_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}}")
            .limit(r#"min(systemd_unit_cpu_quota_ratio{name=~"$name"})"#, "quota", WARNING)
            .link(to_host(HOST))
            .if_empty("It has no control group"),
        lines("Memory", "Memory charged to it, page cache included; where the host has no memory controller, the resident memory of its processes. Dashed: MemoryHigh=, past which it is slowed down, and MemoryMax=, past which it is killed.")
            .line(r#"sum by (instance) (systemd_unit_memory_current_bytes{name=~"$name"}) or sum by (instance) (systemd_unit_resident_memory_bytes{name=~"$name"})"#, "{{instance}}")
            .limit(r#"min(systemd_unit_memory_high_bytes{name=~"$name"})"#, "high", WARNING)
            .limit(r#"min(systemd_unit_memory_max_bytes{name=~"$name"})"#, "max", BAD)
            .unit("bytes")
            .link(to_host(HOST))
            .if_empty("It has no process"),
        lines("Waiting", "Share of time in which at least one of its tasks waited for the resource, on the host where it waited most.")
            .line(r#"max by (resource) (rate(systemd_unit_pressure_waiting_seconds_total{name=~"$name"}[$__rate_interval]))"#, "{{resource}}")
            .limit(r#"max(rate(systemd_unit_cpu_throttled_seconds_total{name=~"$name"}[$__rate_interval]))"#, "held back by CPUQuota=", WARNING)
            .unit("percentunit")
            .series_colors(&RESOURCES)
            .if_empty("The kernel keeps no pressure: it needs cgroup v2"),
        lines("IO", "Bytes written to block devices, and read from them below the line.")
            .line(r#"sum by (instance) (rate(systemd_unit_io_write_bytes_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} writes")
            .line(r#"sum by (instance) (rate(systemd_unit_io_read_bytes_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} reads")
            .mirrored("/reads$/")
            .unit("Bps")
            .link(to_host(HOST))
            .if_empty("It has no control group with the io controller"),
        lines("Tasks", "Processes and threads. Dashed: TasksMax=, past which it cannot start another.")
            .line(r#"sum by (instance) (systemd_unit_tasks_current{name=~"$name"}) or sum by (instance) (systemd_unit_threads{name=~"$name"})"#, "{{instance}}")
            .limit(r#"min(systemd_unit_tasks_max{name=~"$name"}) and max(systemd_unit_tasks_current{name=~"$name"} / ignoring (type) systemd_unit_tasks_max{name=~"$name"}) > 0.2"#, "max", BAD)
            .decimals(0)
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("It has no process"),
        lines("File descriptors", "Open descriptors of all its processes, and the limit of its main process where that is near.")
            .line(r#"sum by (instance) (systemd_unit_open_fds{name=~"$name"})"#, "{{instance}}")
            .limit(r#"min(systemd_process_max_fds{name=~"$name"}) and max(systemd_unit_max_fds_ratio{name=~"$name"}) > 0.2"#, "limit", BAD)
            .decimals(0)
            .link(to_host(HOST))
            .size(8, 7)
            .if_empty("It has no process"),
        lines("Processes by state", "Its processes, by what they do. disk_sleep for long: a disk or NFS hangs. zombie: a parent does not collect its children.")
            .line(r#"sum by (state) (systemd_unit_processes{name=~"$name"})"#, "{{state}}")
            .series_colors(&[("running", GOOD), ("sleeping", QUIET), ("disk_sleep", WARNING), ("stopped", INFO), ("zombie", BAD)])
            .decimals(0)
            .size(8, 7)
            .if_empty("It has no process"),
    ])
    .collapsed("Who can reach it?", vec![
        table("Listeners", "Where it listens, and how many connections wait to be accepted.", &["instance", "protocol", "address", "port"])
            .column("Waiting", r#"max by (instance, protocol, address, port) (systemd_listener_accept_queue_length{name=~"$name"})"#, Cell::plain().decimals(0).width(90))
            .column("Room", r#"max by (instance, protocol, address, port) (systemd_listener_accept_queue_limit{name=~"$name"})"#, Cell::plain().decimals(0).width(90))
            .column("Full", r#"max by (instance, protocol, address, port) (systemd_listener_accept_queue_length{name=~"$name"} / (systemd_listener_accept_queue_limit{name=~"$name"} > 0))"#, Cell::share())
            .labels_of(r#"max by (instance, protocol, address, port) (systemd_listener_info{name=~"$name"})"#)
            .sort("Full", true)
            .size(12, 7)
            .if_empty("It listens nowhere"),
        lines("Accept queue", "Connections that wait to be accepted. Dashed: how many may; beyond it, clients are turned away.")
            .line(r#"max by (instance, port) (systemd_listener_accept_queue_length{name=~"$name"})"#, "{{instance}} port {{port}}")
            .limit(r#"min(systemd_listener_accept_queue_limit{name=~"$name"})"#, "limit", BAD)
            .decimals(0)
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("It accepts no connections"),
        lines("Packets", "IP packets sent, and received below the line. Only where IPAccounting= is on.")
            .line(r#"sum by (instance) (rate(systemd_service_ip_egress_packets_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} sent")
            .line(r#"sum by (instance) (rate(systemd_service_ip_ingress_packets_total{name=~"$name"}[$__rate_interval]))"#, "{{instance}} received")
            .mirrored("/received$/")
            .unit("cps")
            .link(to_host(HOST))
            .size(24, 7)
            .if_empty("It has no IPAccounting="),
    ])
    .collapsed("Does it feed its watchdog?", vec![
        lines("Time since the last sign of life", "How long ago the service told systemd that it is well. Dashed: WatchdogSec=, past which it is killed.")
            .line(r#"max by (instance, name) (time() - systemd_service_watchdog_last_ping_time_seconds{name=~"$name"})"#, "{{name}} · {{instance}}")
            .limit(r#"min(systemd_service_watchdog_timeout_seconds{name=~"$name"})"#, "limit", BAD)
            .unit("s")
            .link(to_host(HOST))
            .size(24, 7)
            .if_empty("It has no WatchdogSec="),
    ])
    .build()
}

/// `increase` does not see the rise to 1 with which a series begins.
const FIRST: &str = r#"sum(rate(systemd_service_failures_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 - (sum(rate(systemd_service_failures_by_result_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 or vector(0)) > 0.5"#;

const BY_CAUSE: &str = r#"sum by (result) (rate(systemd_service_failures_by_result_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 > 0"#;

const RESTARTED: &str = r#"sum(rate(systemd_service_restart_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000"#;

const STARTED: &str = r#"clamp_min(sum(rate(systemd_unit_starts_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 - (sum(rate(systemd_service_restart_total{name=~"$name"}[$__rate_interval])) * $__interval_ms / 1000 or vector(0)), 0)"#;

const RELATIONS: [(&str, &str); 4] =
    [("requires", BAD), ("binds_to", BAD), ("requisite", BAD), ("wants", WARNING)];
