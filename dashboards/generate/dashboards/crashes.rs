//! Service crashes: their causes, their times, and the services and hosts affected.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{
    HOST, UNIT, bars, lines, stat, state_timeline, status_history, text, to_host, to_unit,
};
use super::super::query::{events, events_from_birth, state};
use super::super::style::{
    BAD, INFO, JOB_RESULTS, PRIORITIES, QUIET, RESULTS, STATES, WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    let cause = |title: &str, description, result: &str, color: &str| {
        stat(
            title,
            description,
            &format!("sum(increase(systemd_host_service_failures_total{{result=\"{result}\"}}[$__range])) or vector(0)"),
        )
        .colored(thresholds(QUIET, &[(0.5, color)]))
        .if_empty("0")
    };
    Builder::new(
        "systemd-crashes",
        "Crash forensics",
        "Service crashes: causes, times, services and hosts.",
        Hosts::All,
        Units::Selected,
    )
    .row("Overview", vec![
        stat("Failures", "Failures of all services on the selected hosts in the time range.", "sum(increase(systemd_host_service_failures_total[$__range])) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Start limit hit", "Services that reached their start limit: systemd no longer restarts them.", "sum(systemd_service_start_limit_hit) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        cause("Exit status", "Runs that ended with an exit status other than success.", "exit-code", "semi-dark-red"),
        cause("Signal", "Runs ended by a signal: killed, or a fault without a core dump.", "signal", "semi-dark-orange"),
        cause("Core dump", "Runs ended by a fault with a core dump; coredumpctl lists them.", "core-dump", "light-orange"),
        cause("Out of memory", "Runs killed by the kernel or systemd-oomd because memory was exhausted.", "oom-kill", "purple"),
        cause("Timeout", "Runs that exceeded a timeout while starting, running or stopping.", "timeout", "semi-dark-yellow"),
        cause("Watchdog", "Runs that sent no watchdog ping within WatchdogSec=: they hung.", "watchdog", "light-red"),
    ])
    .row("Timeline", vec![
        status_history("Failures by service", "Failures in each interval, for the 25 services with the most failures. A column of boxes indicates a problem of a host or the network, a row of boxes a problem of the service.")
            .line(
                "sum by (instance, name) (rate(systemd_service_failures_total[$__rate_interval])) * $__interval_ms / 1000 and on (instance, name) topk(25, sum by (instance, name) (increase(systemd_service_failures_total[$__range] @ end())) > 0)",
                "{{name}} · {{instance}}",
            )
            .decimals(0)
            .colored(thresholds("rgba(110, 118, 128, 0.15)", &[(0.5, "super-light-orange"), (1.5, "orange"), (4.5, "red"), (9.5, "dark-red")]))
            .link(to_unit(HOST, UNIT))
            .size(24, 8)
            .if_empty("No failures"),
        bars("Failures by cause", "Failures of all services on the selected hosts by result.")
            .line(&events("result", "systemd_host_service_failures_total"), "{{result}}")
            .series_colors(&RESULTS)
            .size(24, 6)
            .if_empty("No failures"),
    ])
    .row("Services", vec![
        table("Services that failed", "Services that failed in the time range, the latest first. Code and Status: how the main process of the last run ended, with its exit status or signal number. State activating: the service waits for its restart.", &["instance", "name"])
            .only("increase(systemd_service_failures_total[$__range]) > 0")
            .column("Last ended", "max by (instance, name) (systemd_unit_active_exit_time_seconds > 0 or systemd_unit_inactive_enter_time_seconds > 0) * 1000", Cell::ago())
            .column("State", &state(r#",type="service""#), Cell::numbered(&STATES).width(100))
            .labels_of("max by (instance, name, result) (systemd_service_result)")
            .label("result", "Last result", Cell::words(&RESULTS).width(120))
            .column("Exit code", "max by (instance, name) (systemd_service_main_process_exit_code)", Cell::plain().decimals(0).width(100))
            .column("Signal", "max by (instance, name) (systemd_service_main_process_exit_signal)", Cell::plain().decimals(0).width(80))
            .column("Failures", "sum by (instance, name) (increase(systemd_service_failures_total[$__range]))", Cell::plain().decimals(0).bar(WARNING).width(110))
            .column("Restarts", "sum by (instance, name) (increase(systemd_service_restart_total[$__range]))", Cell::plain().decimals(0).bar(INFO).width(110))
            .column("Start limit hit", "max by (instance, name) (systemd_service_start_limit_hit)", Cell::count(BAD).width(125))
            .sort("Last ended", true)
            .size(24, 9)
            .if_empty("No failures"),
    ])
    .row("Crashes of $name", vec![
        text("Crash loops and unit states", "Unit states during a crash loop.", "A service with `Restart=` is **never `failed` during a crash loop**: its state is `activating`, or `active` between two crashes. Prometheus sees states only at scrapes; the bars count every failure."),
        state_timeline("State by host", "States of the selected units on each host.")
            .line(&state(r#",name=~"$name""#), "{{name}} · {{instance}}")
            .link(to_unit(HOST, UNIT))
            .size(24, 6)
            .if_empty("Unit exists on no host"),
        bars("Failures by host", "Failures of the selected units by host. A unit that fails on all hosts at the same time usually indicates a bad release or a failed shared dependency.")
            .line(&events("instance", r#"systemd_service_failures_total{name=~"$name"}"#), "{{instance}}")
            .link(to_host(HOST))
            .size(24, 6)
            .of_failures()
            .if_empty("No failures"),
        table("Exit statuses and signals", "Ended main processes of the selected units in the time range, by exit status or signal.", &["instance", "name"])
            .label("code", "Code", Cell::words(&[("exited", "semi-dark-red"), ("killed", "semi-dark-orange"), ("dumped", "light-orange")]).width(90))
            .label("status", "Status or signal", Cell::plain().width(165))
            .column("Count", &events_from_birth("instance, name, code, status", r#"systemd_service_main_process_exits_total{name=~"$name"}"#), Cell::plain().decimals(0).bar(WARNING))
            .sort("Count", true)
            .size(12, 8)
            .if_empty("No main process ended"),
        lines("Memory and limits", "Memory of the selected units, to identify out-of-memory crashes. Dashed: MemoryHigh= and MemoryMax=.")
            .line(r#"sum by (instance, name) (systemd_unit_memory_current_bytes{name=~"$name"}) or sum by (instance, name) (systemd_unit_resident_memory_bytes{name=~"$name"})"#, "{{name}} · {{instance}}")
            .limit(r#"min by (name) (systemd_unit_memory_high_bytes{name=~"$name"})"#, "high {{name}}", WARNING)
            .limit(r#"min by (name) (systemd_unit_memory_max_bytes{name=~"$name"})"#, "max {{name}}", BAD)
            .unit("bytes")
            .link(to_unit(HOST, UNIT))
            .if_empty("No processes"),
        bars("Journal by priority", "Journal messages of the selected units, and of systemd about them, by priority. The messages just before a crash often explain it.")
            .line(&events("priority", r#"systemd_unit_journal_messages_total{name=~"$name"}"#), "{{priority}}")
            .series_colors(&PRIORITIES)
            .size(12, 7)
            .if_empty("No messages, or no permission to read the journal"),
        table("Core dumps", "Processes of the selected units that left a core dump, by signal; coredumpctl info on the host shows the backtrace. Requires systemd-coredump.", &["instance", "name"])
            .label("signal", "Signal", Cell::plain().width(130))
            .column("Count", &events_from_birth("instance, name, signal", r#"systemd_unit_core_dumps_total{name=~"$name"}"#), Cell::plain().decimals(0).bar(WARNING))
            .sort("Count", true)
            .size(12, 7)
            .if_empty("No core dumps"),
    ])
    .collapsed("Failed systemd jobs and unknown causes", vec![
        table("Failed systemd jobs", "systemd jobs that did not succeed in the time range. dependency: a required unit failed, so the unit stays inactive and is never in state failed.", &["instance", "name"])
            .label("result", "Result", Cell::words(&JOB_RESULTS).width(110))
            .column("Count", &events_from_birth("instance, name, result", "systemd_unit_job_failures_total"), Cell::plain().decimals(0).bar(WARNING))
            .sort("Count", true)
            .size(12, 8)
            .if_empty("No failed jobs"),
        bars("Failures with unknown cause", "Failures that the exporter counted without a cause, by reason: lost D-Bus connection, systemd reload, or two failures in one signal.")
            .line(&events("reason", "unit_exporter_events_lost_total"), "{{reason}}")
            .of_failures()
            .if_empty("All causes are known"),
    ])
    .build()
}
