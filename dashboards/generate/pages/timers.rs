//! Did the jobs run, how long did they take, what is late?

use super::super::grafana::Dashboard;
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{HOST, UNIT, bars, lines, stat, status_history, to_host, to_unit};
use super::super::query::{events, events_from_birth};
use super::super::style::{
    BAD, GOOD, INFO, JOB_RESULTS, QUIET, RESULTS, WARNING, mapping, thresholds,
};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    Page::new(
        "systemd-timers",
        "Timers and jobs",
        "Did the jobs run, how did they end, how long did they take, and what is late?",
        Hosts::All,
        Units::All,
    )
    .row("Did everything run?", vec![
        stat("Timers", "Timers that are loaded.", r#"count(systemd_unit_state{type="timer",state="active"} == 1) or vector(0)"#)
            .colored(thresholds(QUIET, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Overdue", "Timers that should have elapsed more than 15 minutes ago.", "count(time() - systemd_timer_next_trigger_seconds > 900) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Jobs failing", "Services of timers whose last run failed.", &format!(r#"count(systemd_service_result{{result!="success"}} {OF_TIMERS}) or vector(0)"#))
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Timers broken", "Timers with a result that is not success: they do not elapse any more.", "count(systemd_timer_result) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Elapsed", "How often timers elapsed in the time shown.", "sum(increase(systemd_timer_triggers_total[$__range])) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Failed runs", "How often the services of timers failed in the time shown.", &format!("sum(increase(systemd_service_failures_total[$__range]) {OF_TIMERS}) or vector(0)"))
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Longest run", "The longest last run among the services of timers.", &format!("max({TOOK} {OF_TIMERS})"))
            .unit("s")
            .decimals(1)
            .if_empty("None has ended"),
        stat("Jobs waiting", "Jobs of systemd that wait or run now.", "sum(systemd_jobs_queued) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, INFO), (10.0, WARNING)]))
            .if_empty("0"),
    ])
    .row("When did they run, and when will they?", vec![
        table("Timers", "Every timer and the service that it starts. Overdue: how far its next time is in the past. Took: the last run of the service.", &["instance", "name"])
            .labels_of("max by (instance, name, unit) (systemd_timer_info)")
            .label("unit", "Starts", Cell::plain().link(to_unit("${__data.fields.Host}", "${__value.raw}")))
            .column("Last", "max by (instance, name) (systemd_timer_last_trigger_seconds > 0) * 1000", Cell::ago())
            .column("Next", "max by (instance, name) (systemd_timer_next_trigger_seconds) * 1000", Cell::ago())
            .column("Overdue by", "max by (instance, name) (time() - systemd_timer_next_trigger_seconds > 60)", Cell::unit("dtdurations").width(110).colors(thresholds(QUIET, &[(60.0, WARNING), (900.0, BAD)])))
            .labels_of(&format!("max by (instance, name, result) ({BY_TIMER} (result) label_replace(systemd_service_result, {AS_UNIT}))"))
            .label("result", "Last result", Cell::words(&RESULTS).width(110))
            .column("Took", &format!("max by (instance, name) ({BY_TIMER} () label_replace({TOOK}, {AS_UNIT}))"), Cell::unit("s").decimals(1).bar(INFO))
            .column("Elapsed", "sum by (instance, name) (increase(systemd_timer_triggers_total[$__range]))", Cell::plain().decimals(0).width(90))
            .sort("Last", true)
            .size(24, 10)
            .if_empty("There are no timers"),
        status_history("Runs of timers' services", "A box for each interval: whether the service ran, and whether it failed. Gaps in a row: it did not run.")
            .line(
                &format!("clamp_max(2 * (sum by (instance, name) (rate(systemd_service_failures_total[$__rate_interval]) {OF_TIMERS}) > bool 0) + (sum by (instance, name) (rate(systemd_unit_starts_total[$__rate_interval]) {OF_TIMERS}) > bool 0), 2)"),
                "{{name}} · {{instance}}")
            .mapped(mapping([("0", "did not run", "rgba(110, 118, 128, 0.15)"), ("1", "ran", GOOD), ("2", "failed", BAD)].into_iter()))
            .link(to_unit(HOST, UNIT))
            .size(24, 8)
            .if_empty("There are no timers"),
        lines("How long runs take", "Length of the last run of each timer's service. A line that rises from run to run: it will be too late some day.")
            .line(&format!("max by (instance, name) ({TOOK} {OF_TIMERS})"), "{{name}} · {{instance}}")
            .unit("s")
            .link(to_unit(HOST, UNIT))
            .if_empty("None has ended"),
        bars("Failed runs", "Failures of timers' services.")
            .line(
                &format!("sum by (instance, name) (rate(systemd_service_failures_total[$__rate_interval]) {OF_TIMERS}) * $__interval_ms / 1000 > 0"),
                "{{name}} · {{instance}}",
            )
            .link(to_unit(HOST, UNIT))
            .if_empty("No run has failed"),
    ])
    .row("What did systemd's jobs come to?", vec![
        bars("Jobs by result", "Starts, stops and reloads that ended, by result.")
            .line(&events("result", "systemd_job_results_total"), "{{result}}")
            .series_colors(&JOB_RESULTS)
            .if_empty("No job has ended"),
        table("Jobs that did not succeed", "Units whose starts or stops ended badly in the time shown. Dependency: a unit that it needs failed, so it stays inactive and never shows as failed.", &["instance", "name"])
            .label("result", "Result", Cell::words(&JOB_RESULTS).width(110))
            .column("Times", &events_from_birth("instance, name, result", "systemd_unit_job_failures_total"), Cell::plain().decimals(0).bar(WARNING))
            .sort("Times", true)
            .size(12, 8)
            .if_empty("Every job succeeded"),
        lines("Jobs waiting", "Jobs that wait or run, by host; the ten hosts with most. A line that stays up: something hangs.")
            .line("sum by (instance) (systemd_jobs_queued) and on (instance) topk(10, sum by (instance) (max_over_time(systemd_jobs_queued[$__range] @ end())) > 0)", "{{instance}}")
            .decimals(0)
            .link(to_host(HOST))
            .if_empty("No job has waited"),
        lines("Oldest job", "How long the oldest job of each host has been waiting or running.")
            .line("max by (instance) (systemd_job_oldest_age_seconds)", "{{instance}}")
            .unit("s")
            .link(to_host(HOST))
            .if_empty("No job has waited"),
    ])
    .build()
}

/// Narrows what is said of services to those that timers start.
const OF_TIMERS: &str =
    r#"and on (instance, name) label_replace(systemd_timer_info, "name", "$1", "unit", "(.+)")"#;

/// Says of timers what is known of the services that they start.
const BY_TIMER: &str = "systemd_timer_info * on (job, instance, user, unit) group_left";
const AS_UNIT: &str = r#""unit", "$1", "name", "(.+)""#;

/// How long the last run took, once it has ended.
const TOOK: &str =
    "(systemd_service_main_exit_time_seconds - systemd_service_main_start_time_seconds)";
