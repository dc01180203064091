//! Workers by template, during and after a deployment; Reverb and Redis.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{
    HOST, UNIT, bars, lines, stat, state_timeline, to_dashboard, to_host, to_unit,
};
use super::super::query::{events, events_from_birth, state};
use super::super::style::{self, BAD, GOOD, INFO, QUIET, STATES, WARNING, thresholds};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    let active = templates(r#"systemd_template_instances{state=~"active|reloading|refreshing"}"#);
    let expected = templates("systemd_template_expected_instances");
    let recycled = recycled("increase", "[$__range]");
    let crashed = of_workers("sum", "increase(systemd_service_failures_total[$__range])");
    let started = of_workers("min", ACTIVE_SINCE);
    Builder::new(
        "systemd-workers",
        "Workers",
        "Workers by template during and after a deployment, Reverb and Redis.",
        Hosts::All,
        Units::All,
    )
    .textbox("server", "Reverb", "Units of Reverb or of other servers, as a regular expression", ".*reverb.*")
    .textbox("store", "Redis", "Units of Redis or of another store, as a regular expression", "(redis|valkey).*")
    .row("Overview", vec![
        stat("Running", "Active instances of service templates, such as queue workers.", &format!("sum({active}) or vector(0)"))
            .colored(thresholds(QUIET, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Missing", "Instances that --expect-instances names and that are not active. 0 also if none is named.", &format!("sum(clamp_min({expected} - {active}, 0)) or vector(0)"))
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Not running", "Units that an active target or service wants and that are inactive without having been stopped on request. The table of the Host dashboard lists all of them.", "sum(systemd_units_wanted_inactive) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0")
            .link(to_dashboard("Host", "systemd-host")),
        stat("Restart due", "Services that were started before one of their files changed: program or script, unit file, link of the directory, library.", "count(count by (instance, name) (systemd_service_restart_due)) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0")
            .link(to_dashboard("Host", "systemd-host")),
        stat("Recycled", "Workers that ended with success in the time range, as after queue:restart or at a limit, and were started again by Restart=.", &format!("sum({recycled}) or vector(0)"))
            .colored(thresholds(QUIET, &[(0.5, INFO)]))
            .if_empty("0"),
        stat("Crashed", "Failures of workers in the time range.", &format!("sum({crashed}) or vector(0)"))
            .zero_is_good(WARNING)
            .if_empty("0")
            .link(to_dashboard("Crash forensics", "systemd-crashes")),
        stat("Oldest worker", "Time since the start of the worker that has run the longest.", &format!("max(time() - ({started}))"))
            .unit("dtdurations")
            .if_empty("No workers"),
        stat("Redis", "Whether all units of Redis are active on all selected hosts.", r#"min(systemd_unit_state{name=~"$store",state="active"})"#)
            .mapped(style::mapping([("1", "up", GOOD), ("0", "down", BAD)].into_iter()))
            .if_empty("No unit"),
    ])
    .row("Templates", vec![
        table(
            "Templates",
            "Service templates with several instances. Expected: --expect-instances. Current: active and not older than program, unit file and directory. Started: active since a start in the time range; begin the range at a deployment.",
            &["instance", "template"],
        )
        .only(TEMPLATES)
        .column("Active", &active, Cell::plain().decimals(0).width(70))
        .column("Expected", &expected, Cell::plain().decimals(0).width(85))
        .column("Current", &format!("{active} - ({} or 0 * {active})", of_workers("sum", OLD)), Cell::plain().decimals(0).width(80))
        .column("Started", &format!("{} or 0 * {active}", of_workers("count", &format!("{ACTIVE_SINCE} > time() - $__range_s"))), Cell::plain().decimals(0).width(75))
        .column("Recycled", &recycled, Cell::plain().decimals(0).bar(INFO).width(95))
        .column("Crashed", &crashed, Cell::plain().decimals(0).bar(WARNING).width(95))
        .column("CPUs", &of_workers("sum", "rate(systemd_unit_cpu_seconds_total[$__rate_interval])"), Cell::plain().decimals(2).width(65))
        .column("Memory", &of_workers("sum", "systemd_unit_memory_current_bytes"), Cell::unit("bytes").width(85))
        .column("Of limit", &of_workers("max", MEMORY_OF_LIMIT), Cell::share().width(95))
        .column("Oldest start", &format!("{started} * 1000"), Cell::ago())
        .size(24, 6)
        .if_empty("No templates with several instances"),
        lines("Running workers", "Active instances of each template on all selected hosts. Dashed: expected instances (--expect-instances).")
            .line(&format!("sum by (template) ({active})"), "{{template}}")
            .limit(&format!("sum by (template) ({expected})"), "expected {{template}}", "text")
            .decimals(0)
            .size(12, 7)
            .if_empty("No templates with several instances"),
        bars("Recycled, crashed and started workers", "Recycled: ended with success and restarted by Restart=. Crashed: failures. Started: on request, as by a deployment.")
            .line(&format!("sum({}) > 0", per_interval(&self::recycled("rate", "[$__rate_interval]"))), "recycled")
            .line(&events_of_workers("systemd_service_failures_total"), "crashed")
            .line(&format!("sum({}) > 0.5", per_interval(&on_request())), "started")
            .series_colors(&[("recycled", QUIET), ("crashed", BAD), ("started", INFO)])
            .size(12, 7)
            .if_empty("None"),
        lines("Oldest worker by template", "Time since the start of the oldest worker. Falls to 0 when all workers are restarted by a deployment.")
            .line(&format!("time() - ({started})"), "{{template}} · {{instance}}")
            .unit("dtdurations")
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("No workers"),
        lines("Memory of the largest workers", "Memory as a share of MemoryMax= of the eight workers closest to it. At 100 % the kernel kills the worker (oom-kill).")
            .line(
                &format!("max by (instance, name) ({MEMORY_OF_LIMIT} and on (instance, name) ({WORKERS})) and on (instance, name) topk(8, max by (instance, name) (max_over_time(systemd_unit_memory_current_bytes[$__range] @ end()) / systemd_unit_memory_max_bytes and on (instance, name) ({WORKERS})))"),
                "{{name}} · {{instance}}",
            )
            .limit("vector(1)", "limit", BAD)
            .unit("percentunit")
            .link(to_unit(HOST, UNIT))
            .size(12, 7)
            .if_empty("No worker has MemoryMax="),
    ])
    .row("Workers", vec![
        table("Workers", "Instances of the templates above. Inactive because: exited, not-started or dependency; empty after a stop on request. Restart due: older than its program, unit file, directory or a library.", &["instance", "name"])
            .only(WORKERS)
            .column("State", &state(r#",type="service""#), Cell::numbered(&STATES).width(100))
            .labels_of("max by (instance, name, because) (systemd_unit_wanted_inactive)")
            .label("because", "Inactive because", Cell::plain().width(160))
            .column("Restart due", "max by (instance, name) (systemd_service_restart_due)", Cell::required().width(105))
            .column("Started", &format!("max by (instance, name) ({ACTIVE_SINCE}) * 1000"), Cell::ago())
            .column("Memory", "max by (instance, name) (systemd_unit_memory_current_bytes)", Cell::unit("bytes").width(95))
            .column("Of limit", &format!("max by (instance, name) ({MEMORY_OF_LIMIT})"), Cell::share().width(105))
            .column("Restarts", "sum by (instance, name) (increase(systemd_service_restart_total[$__range]))", Cell::plain().decimals(0).bar(INFO).width(100))
            .column("Crashed", "sum by (instance, name) (increase(systemd_service_failures_total[$__range]))", Cell::plain().decimals(0).bar(WARNING).width(100))
            .sort("Unit", false)
            .size(16, 8)
            .if_empty("No templates with several instances"),
        table("Exits", "Ended main processes of the workers in the time range by status or signal. Of Laravel: 0 on purpose, 12 at its memory limit, SIGKILL at the timeout of a queue job.", &["instance", "template"])
            .label("status", "Status", Cell::plain().width(100))
            .column("Count", &exits(), Cell::plain().decimals(0).bar(INFO))
            .sort("Count", true)
            .size(8, 8)
            .if_empty("No worker ended"),
    ])
    .row("Reverb", vec![
        lines("Connections by state", "TCP connections of the server by state. Requires --collector.listeners.connections.")
            .line(r#"sum by (instance, name, state) (systemd_unit_connections{name=~"$server"})"#, "{{name}} {{state}} · {{instance}}")
            .decimals(0)
            .link(to_unit(HOST, UNIT))
            .size(8, 7)
            .if_empty("--collector.listeners.connections is not set"),
        lines("Accept queue", "Connections that wait to be accepted. Dashed: queue limit, above which the kernel drops new connections.")
            .line(r#"max by (instance, name, port) (systemd_listener_accept_queue_length{name=~"$server"})"#, "{{name}}:{{port}} · {{instance}}")
            .limit(r#"min(systemd_listener_accept_queue_limit{name=~"$server"})"#, "limit", BAD)
            .decimals(0)
            .link(to_unit(HOST, UNIT))
            .size(8, 7)
            .if_empty("The server does not listen"),
        lines("File descriptors", "Open file descriptors as a share of LimitNOFILE=. Each client needs one.")
            .line(r#"max by (instance, name) (systemd_unit_worst_fd_ratio{name=~"$server"})"#, "{{name}} · {{instance}}")
            .limit("vector(1)", "limit", BAD)
            .unit("percentunit")
            .link(to_unit(HOST, UNIT))
            .size(8, 7)
            .if_empty("No process"),
    ])
    .row("Redis", vec![
        state_timeline("State of Redis", "State of the units of Redis. Workers without Redis exit with status 1 and are restarted.")
            .line(&state(r#",name=~"$store""#), "{{name}} · {{instance}}")
            .link(to_unit(HOST, UNIT))
            .size(12, 5)
            .if_empty("No unit"),
        bars("Failures of Redis", "Failures of the units of Redis.")
            .line(&events("instance, name", r#"systemd_service_failures_total{name=~"$store"}"#), "{{name}} · {{instance}}")
            .link(to_unit(HOST, UNIT))
            .of_failures()
            .size(12, 5)
            .if_empty("No failures"),
        table("Listeners of Redis", "Addresses and ports of Redis, and their accept queues.", &["instance", "name", "protocol", "address", "port"])
            .column("Queue usage", r#"max by (instance, name, protocol, address, port) (systemd_listener_accept_queue_length{name=~"$store"} / (systemd_listener_accept_queue_limit{name=~"$store"} > 0))"#, Cell::share().width(115))
            .labels_of(r#"max by (instance, name, protocol, address, port) (systemd_listener_info{name=~"$store"})"#)
            .size(12, 6)
            .if_empty("Redis does not listen"),
        table("Units that depend on Redis", "Services that require or want a unit of Redis. After= alone is no dependency. Requires --collector.dependencies.", &["instance", "name"])
            .only(r#"systemd_unit_dependency_info{dependency=~"$store"}"#)
            .column("State", &state(r#",type="service""#), Cell::numbered(&STATES).width(100))
            .labels_of("max by (instance, name, relation, dependency) (systemd_unit_dependency_info{dependency=~\"$store\"})")
            .label("relation", "Relation", Cell::plain().width(110))
            .label("dependency", "Depends on", Cell::plain())
            .size(12, 6)
            .if_empty("None, or --collector.dependencies is not set"),
    ])
    .build()
}

/// The templates whose instances are counted.
const TEMPLATES: &str = r#"sum by (instance, template) (label_replace(systemd_template_instances, "template", "$1", "name", "(.+)"))"#;

/// Their instances.
const WORKERS: &str = r#"max by (instance, name) (label_replace(systemd_unit_state{type="service",state="active"}, "template", "$1@.service", "name", "([^@]+)@.+[.]service") and on (instance, template) label_replace(systemd_template_instances, "template", "$1", "name", "(.+)"))"#;

/// The start of each active service.
const ACTIVE_SINCE: &str = r#"(systemd_unit_active_enter_time_seconds{type="service"} and on (instance, name) systemd_unit_state{state="active"} == 1)"#;

/// 1 for each service that was started before one of its files changed.
const OLD: &str = "(max by (instance, name) (systemd_service_restart_due))";

const MEMORY_OF_LIMIT: &str =
    r#"systemd_unit_memory_current_bytes{type="service"} / (systemd_unit_memory_max_bytes > 0)"#;

/// An expression about templates.
fn templates(expression: &str) -> String {
    format!(
        r#"sum by (instance, template) (label_replace({expression}, "template", "$1", "name", "(.+)"))"#
    )
}

/// An expression about services, aggregated over the workers of each template.
fn of_workers(aggregation: &str, expression: &str) -> String {
    format!(
        r#"({aggregation} by (instance, template) (label_replace({expression}, "template", "$1@.service", "name", "([^@]+)@.+[.]service")) and on (instance, template) {TEMPLATES})"#
    )
}

/// Restarts after a success: by Restart=, and not after a failure.
fn recycled(function: &str, range: &str) -> String {
    let restarts = of_workers("sum", &format!("{function}(systemd_service_restart_total{range})"));
    let failures = of_workers("sum", &format!("{function}(systemd_service_failures_total{range})"));
    format!("clamp_min({restarts} - {failures}, 0)")
}

/// Starts that somebody asked for: not by Restart=.
fn on_request() -> String {
    let starts = r#"rate(systemd_unit_starts_total{type="service"}[$__rate_interval])"#;
    let restarts = "rate(systemd_service_restart_total[$__rate_interval])";
    format!("{} - {}", of_workers("sum", starts), of_workers("sum", restarts))
}

fn events_of_workers(counter: &str) -> String {
    let rate = of_workers("sum", &format!("rate({counter}[$__rate_interval])"));
    format!("sum({}) > 0", per_interval(&rate))
}

/// A rate as the number of events in each interval.
fn per_interval(rate: &str) -> String {
    format!("({rate}) * $__interval_ms / 1000")
}

/// Exits by status, of all workers of a template.
fn exits() -> String {
    let exits =
        events_from_birth("instance, name, status", "systemd_service_main_process_exits_total");
    format!(
        r#"sum by (instance, template, status) (label_replace({exits}, "template", "$1@.service", "name", "([^@]+)@.+[.]service")) and on (instance, template) {TEMPLATES} > 0"#
    )
}
