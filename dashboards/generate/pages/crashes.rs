//! What crashed last night, of what, and where else?

use super::super::grafana::Dashboard;
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{
    HOST, UNIT, bars, lines, stat, state_timeline, status_history, text, to_host, to_unit,
};
use super::super::query::{events, events_from_birth, state};
use super::super::style::{
    BAD, INFO, JOB_RESULTS, PRIORITIES, QUIET, RESULTS, STATES, WARNING, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    let cause = |title: &str, description, result: &str, color: &str| {
        stat(
            title,
            description,
            &format!("sum(increase(systemd_failures_total{{result=\"{result}\"}}[$__range])) or vector(0)"),
        )
        .colored(thresholds(QUIET, &[(0.5, color)]))
        .if_empty("0")
    };
    Page::new(
        "systemd-crashes",
        "Crash forensics",
        "What crashed last night, of what, since when, and where else?",
        Hosts::All,
        Units::Chosen,
    )
    .row("What crashed, and of what?", vec![
        stat("Failures", "Failures of all services on the hosts chosen, in the time shown.", "sum(increase(systemd_failures_total[$__range])) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Given up", "Services that failed so often in a row that systemd does not restart them any more.", "sum(systemd_service_given_up) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        cause("Exit status", "Runs that ended with an exit status that is not success.", "exit-code", "semi-dark-red"),
        cause("Signal", "Runs ended by a signal: killed, or of a fault without a core dump.", "signal", "semi-dark-orange"),
        cause("Core dump", "Runs that died of a fault and left a core dump: coredumpctl lists them.", "core-dump", "light-orange"),
        cause("Out of memory", "Runs that the kernel or systemd-oomd killed for want of memory.", "oom-kill", "purple"),
        cause("Timeout", "Runs that took too long to start, to stop or to run.", "timeout", "semi-dark-yellow"),
        cause("Watchdog", "Runs that did not feed their watchdog in time: they hung.", "watchdog", INFO),
    ])
    .row("When?", vec![
        status_history("Failures of each service", "A box for each interval: how often the service failed in it, the 25 services that failed most. One column full of boxes: a host or a network. One row: a service.")
            .line(
                "sum by (instance, name) (rate(systemd_service_failures_total[$__rate_interval])) * $__interval_ms / 1000 and on (instance, name) topk(25, sum by (instance, name) (increase(systemd_service_failures_total[$__range] @ end())) > 0)",
                "{{name}} · {{instance}}",
            )
            .decimals(0)
            .colored(thresholds("rgba(110, 118, 128, 0.15)", &[(0.5, "super-light-orange"), (1.5, "orange"), (4.5, "red"), (9.5, "dark-red")]))
            .link(to_unit(HOST, UNIT))
            .size(24, 8)
            .if_empty("No service has failed"),
        bars("Failures by cause", "Failures of all services on the hosts chosen, by how they ended.")
            .line(&events("result", "systemd_failures_total"), "{{result}}")
            .series_colors(&RESULTS)
            .size(24, 6)
            .if_empty("No service has failed"),
    ])
    .row("Which services, and how did they end last?", vec![
        table("Services that failed", "Every service that failed in the time shown, the last one first. Status: of the last end, the exit status or the number of the signal. State activating: it waits for its restart.", &["instance", "name"])
            .only("increase(systemd_service_failures_total[$__range]) > 0")
            .column("Last ended", "max by (instance, name) (systemd_unit_active_exit_time_seconds > 0 or systemd_unit_inactive_enter_time_seconds > 0) * 1000", Cell::ago())
            .column("State", &state(r#",type="service""#), Cell::numbered(&STATES).width(100))
            .labels_of("max by (instance, name, result) (systemd_service_result)")
            .label("result", "Last result", Cell::words(&RESULTS).width(110))
            .labels_of("max by (instance, name, code) (systemd_service_main_exit_status)")
            .label("code", "Ended", Cell::plain().width(90))
            .column("Status", "max by (instance, name) (systemd_service_main_exit_status)", Cell::plain().decimals(0).width(80))
            .column("Failures", "sum by (instance, name) (increase(systemd_service_failures_total[$__range]))", Cell::plain().decimals(0).bar(WARNING))
            .column("Restarts", "sum by (instance, name) (increase(systemd_service_restart_total[$__range]))", Cell::plain().decimals(0).bar(INFO))
            .column("Given up", "max by (instance, name) (systemd_service_given_up)", Cell::count(BAD).width(100))
            .sort("Last ended", true)
            .size(24, 9)
            .if_empty("No service has failed"),
    ])
    .row("What happened to $name?", vec![
        text("How to read this", "What a crash loop looks like.", "A service with `Restart=` is **never `failed` while it loops**: it is `activating`, or `active` for the moment that it lives. So read the bars, which count every failure, together with the states, which are seen only when Prometheus scrapes."),
        state_timeline("State by host", "The states of the units chosen above, on each host.")
            .line(&state(r#",name=~"$name""#), "{{name}} · {{instance}}")
            .link(to_unit(HOST, UNIT))
            .size(24, 6)
            .if_empty("No host has this unit"),
        bars("Failures by host", "Every failure of the units chosen, by host. The same unit failing on all hosts at once: a release, or something they all need.")
            .line(&events("instance", r#"systemd_service_failures_total{name=~"$name"}"#), "{{instance}}")
            .link(to_host(HOST))
            .size(24, 6)
            .if_empty("It has not failed"),
        table("How its runs ended", "Ends of the main process in the time shown, by exit status or signal.", &["instance", "name"])
            .label("code", "Ended", Cell::words(&[("exited", "semi-dark-red"), ("killed", "semi-dark-orange"), ("dumped", "light-orange")]).width(90))
            .label("status", "Status or signal", Cell::plain().width(130))
            .column("Times", &events_from_birth("instance, name, code, status", r#"systemd_service_main_exits_total{name=~"$name"}"#), Cell::plain().decimals(0).bar(WARNING))
            .sort("Times", true)
            .size(12, 8)
            .if_empty("Its main process has not ended"),
        lines("Memory against its limits", "Did it die of memory? Current memory of the units chosen. Dashed: MemoryHigh= and MemoryMax=.")
            .line(r#"sum by (instance, name) (systemd_unit_memory_current_bytes{name=~"$name"}) or sum by (instance, name) (systemd_unit_resident_memory_bytes{name=~"$name"})"#, "{{name}} · {{instance}}")
            .limit(r#"min by (name) (systemd_unit_memory_high_bytes{name=~"$name"})"#, "high {{name}}", WARNING)
            .limit(r#"min by (name) (systemd_unit_memory_max_bytes{name=~"$name"})"#, "max {{name}}", BAD)
            .unit("bytes")
            .link(to_unit(HOST, UNIT))
            .if_empty("It has no process"),
        bars("Journal by priority", "What the units chosen logged, and what systemd said of them: the last words before a crash.")
            .line(&events("priority", r#"systemd_unit_journal_messages_total{name=~"$name"}"#), "{{priority}}")
            .series_colors(&PRIORITIES)
            .size(12, 7)
            .if_empty("They have logged nothing, or the journal may not be read"),
        table("Core dumps", "Processes of the units chosen that left a core dump, by signal: coredumpctl info there tells where it died. Needs systemd-coredump.", &["instance", "name"])
            .label("signal", "Signal", Cell::plain().width(130))
            .column("Times", &events_from_birth("instance, name, signal", r#"systemd_unit_core_dumps_total{name=~"$name"}"#), Cell::plain().decimals(0).bar(WARNING))
            .sort("Times", true)
            .size(12, 7)
            .if_empty("There are no core dumps"),
    ])
    .collapsed("What could not even start?", vec![
        table("Jobs that did not succeed", "Starts and stops that ended badly in the time shown. Dependency: a unit that it needs failed, so it stays inactive and never shows as failed.", &["instance", "name"])
            .label("result", "Result", Cell::words(&JOB_RESULTS).width(110))
            .column("Times", &events_from_birth("instance, name, result", "systemd_unit_job_failures_total"), Cell::plain().decimals(0).bar(WARNING))
            .sort("Times", true)
            .size(12, 8)
            .if_empty("Every job succeeded"),
        bars("Deaths whose cause was not seen", "Failures that the exporter counted without their cause, by why: the bus was away, systemd reloaded, or told two as one.")
            .line(&events("reason", "systemd_exporter_events_lost_total"), "{{reason}}")
            .if_empty("Every cause was seen"),
    ])
    .build()
}
