//! Timers and the runs of their services; systemd jobs.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{HOST, UNIT, bars, lines, stat, status_history, to_host, to_unit};
use super::super::query::{events, events_from_birth};
use super::super::style::{
    BAD, GOOD, INFO, JOB_RESULTS, QUIET, RESULTS, WARNING, mapping, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    Builder::new(
        "systemd-timers",
        "Timers and jobs",
        "Timers, the results and durations of their services, and systemd jobs.",
        Hosts::All,
        Units::All,
    )
    .row("Overview", vec![
        stat("Timers", "Active timers.", r#"count(systemd_unit_state{type="timer",state="active"} == 1) or vector(0)"#)
            .colored(thresholds(QUIET, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Overdue", "Timers whose next elapse is more than 15 minutes in the past.", "count(time() - systemd_timer_next_trigger_seconds > 900) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Failed services", "Services of timers whose last run failed.", &format!(r#"count(systemd_service_result{{result!="success"}} {OF_TIMERS}) or vector(0)"#))
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Failed timers", "Timers whose result is not success: they no longer elapse.", "count(systemd_timer_result) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Elapses", "Elapses of all timers in the time range.", "sum(increase(systemd_timer_triggers_total[$__range])) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Failed runs", "Failures of the timers' services in the time range.", &format!("sum(increase(systemd_service_failures_total[$__range]) {OF_TIMERS}) or vector(0)"))
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Longest run", "Longest last run of the timers' services.", &format!("max({DURATION} {OF_TIMERS})"))
            .unit("s")
            .decimals(1)
            .if_empty("No completed runs"),
        stat("systemd jobs", "systemd jobs that wait or run.", "sum(systemd_jobs) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, INFO), (10.0, WARNING)]))
            .if_empty("0"),
    ])
    .row("Timers and their services", vec![
        table("Timers", "Timers and the services that they start. Overdue by: time since the next elapse has passed. Duration: last run of the service.", &["instance", "name"])
            .labels_of("max by (instance, name, triggers) (systemd_timer_info)")
            .label("triggers", "Triggers", Cell::plain().link(to_unit("${__data.fields.Host}", "${__value.raw}")))
            .column("Last", "max by (instance, name) (systemd_timer_last_trigger_seconds > 0) * 1000", Cell::ago())
            .column("Next", "max by (instance, name) (systemd_timer_next_trigger_seconds) * 1000", Cell::ago())
            .column("Overdue by", "max by (instance, name) (time() - systemd_timer_next_trigger_seconds > 60)", Cell::unit("dtdurations").width(110).colors(thresholds(QUIET, &[(60.0, WARNING), (900.0, BAD)])))
            .labels_of(&format!("max by (instance, name, result) ({BY_TIMER} (result) label_replace(systemd_service_result, {AS_UNIT}))"))
            .label("result", "Last result", Cell::words(&RESULTS).width(120))
            .column("Duration", &format!("max by (instance, name) ({BY_TIMER} () label_replace({DURATION}, {AS_UNIT}))"), Cell::unit("s").decimals(1).bar(INFO).width(120))
            .column("Elapses", "sum by (instance, name) (increase(systemd_timer_triggers_total[$__range]))", Cell::plain().decimals(0).width(90))
            .sort("Last", true)
            .size(24, 10)
            .if_empty("No timers"),
        status_history("Runs of timer services", "Runs and failures of each timer's service in each interval.")
            .line(
                &format!("clamp_max(2 * (sum by (instance, name) (rate(systemd_service_failures_total[$__rate_interval]) {OF_TIMERS}) > bool 0) + (sum by (instance, name) (rate(systemd_unit_starts_total[$__rate_interval]) {OF_TIMERS}) > bool 0), 2)"),
                "{{name}} · {{instance}}")
            .mapped(mapping([("0", "no run", "rgba(110, 118, 128, 0.15)"), ("1", "ran", GOOD), ("2", "failed", BAD)].into_iter()))
            .link(to_unit(HOST, UNIT))
            .size(24, 8)
            .if_empty("No timers"),
        lines("Run duration", "Duration of the last run of each timer's service. If it grows from run to run, it will exceed the interval of the timer.")
            .line(&format!("max by (instance, name) ({DURATION} {OF_TIMERS})"), "{{name}} · {{instance}}")
            .unit("s")
            .link(to_unit(HOST, UNIT))
            .if_empty("No completed runs"),
        bars("Failed runs", "Failures of the timers' services.")
            .line(
                &format!("sum by (instance, name) (rate(systemd_service_failures_total[$__rate_interval]) {OF_TIMERS}) * $__interval_ms / 1000 > 0"),
                "{{name}} · {{instance}}",
            )
            .link(to_unit(HOST, UNIT))
            .of_failures()
            .if_empty("No failed runs"),
    ])
    .row("systemd jobs", vec![
        bars("systemd jobs by result", "Completed systemd jobs (start, stop, reload) by result.")
            .line(&events("result", "systemd_jobs_completed_total"), "{{result}}")
            .series_colors(&JOB_RESULTS)
            .if_empty("No completed jobs"),
        table("Failed systemd jobs", "Units with systemd jobs that did not succeed in the time range. dependency: a required unit failed, so the unit stays inactive and is never in state failed.", &["instance", "name"])
            .label("result", "Result", Cell::words(&JOB_RESULTS).width(110))
            .column("Count", &events_from_birth("instance, name, result", "systemd_unit_job_failures_total"), Cell::plain().decimals(0).bar(WARNING))
            .sort("Count", true)
            .size(12, 8)
            .if_empty("No failed jobs"),
        lines("systemd jobs queued", "systemd jobs that wait or run, for the ten hosts with the most. A value that stays above 0 indicates a stuck job.")
            .line("sum by (instance) (systemd_jobs) and on (instance) topk(10, sum by (instance) (max_over_time(systemd_jobs[$__range] @ end())) > 0)", "{{instance}}")
            .decimals(0)
            .link(to_host(HOST))
            .if_empty("No queued jobs"),
        lines("Oldest systemd job", "Age of the oldest systemd job of each host.")
            .line("max by (instance) (time() - systemd_job_oldest_enqueued_timestamp_seconds)", "{{instance}}")
            .unit("s")
            .link(to_host(HOST))
            .if_empty("No queued jobs"),
    ])
    .build()
}

/// Restricts an expression about services to those that timers start.
const OF_TIMERS: &str = r#"and on (instance, name) label_replace(systemd_timer_info, "name", "$1", "triggers", "(.+)")"#;

/// Maps an expression about services to the timers that start them.
const BY_TIMER: &str = "systemd_timer_info * on (job, instance, manager_user, triggers) group_left";
const AS_UNIT: &str = r#""triggers", "$1", "name", "(.+)""#;

/// Duration of the last completed run.
const DURATION: &str =
    "(systemd_unit_inactive_enter_time_seconds - systemd_unit_inactive_exit_time_seconds > 0)";
