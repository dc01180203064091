//! Who listens where, does anybody wait, and what has changed?

use super::super::grafana::Dashboard;
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{HOST, UNIT, bars, lines, stat, to_host, to_unit, to_unit_everywhere};
use super::super::query::{events, state};
use super::super::style::{BAD, GOOD, INFO, QUIET, STATES, WARNING, thresholds};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    Page::new(
        "systemd-listeners",
        "Listeners and sockets",
        "Who listens where, do clients wait or get turned away, and what has changed?",
        Hosts::All,
        Units::All,
    )
    .row("Can clients get in?", vec![
        stat("Listeners", "Addresses and ports that are listened on.", "count(systemd_listener_info) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Missing", "Listeners that --expect-listener names and that are not there. 0 also where nothing is expected.", "sum(systemd_listener_missing) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Queues full", "Accept queues that are more than 80 % full: the service does not accept fast enough.", "count(systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0) > 0.8) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Fullest queue", "How full the fullest accept queue is.", "max(systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0)) or vector(0)")
            .unit("percentunit")
            .colored(thresholds(GOOD, &[(0.5, WARNING), (0.8, BAD)]))
            .if_empty("0"),
        stat("Dropped", "Connections and datagrams that listeners had no room for, in the time shown.", "sum(increase(systemd_listener_drops_total[$__range])) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Refused", "Connections that socket units refused in the time shown, for MaxConnections= or MaxConnectionsPerSource=.", "sum(increase(systemd_socket_refused_connections_total[$__range])) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Sockets failed", "Socket units in state failed: nobody listens in their place.", r#"sum(systemd_unit_state{type="socket",state="failed"}) or vector(0)"#)
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Left out", "Listeners that the exporters' pages had no room for: --collector.listeners.max.", "sum(systemd_listeners_truncated) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
    ])
    .row("Who listens where?", vec![
        table("Listeners", "Every listener, the fullest first. Unit: whose process listens; empty where it belongs to none that is exported. Address *: all of IPv6 and IPv4.", &["instance", "name", "protocol", "address", "port"])
            .column("Waiting", "max by (instance, name, protocol, address, port) (systemd_listener_accept_queue_length)", Cell::plain().decimals(0).width(90))
            .column("Room", "max by (instance, name, protocol, address, port) (systemd_listener_accept_queue_limit)", Cell::plain().decimals(0).width(90))
            .column("Full", "max by (instance, name, protocol, address, port) (systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0))", Cell::share())
            .column("Dropped", "sum by (instance, name, protocol, address, port) (increase(systemd_listener_drops_total[$__range]))", Cell::count(BAD).width(90))
            .labels_of("max by (instance, name, protocol, address, port, socket_unit) (systemd_listener_info)")
            .label("socket_unit", "Socket unit", Cell::plain())
            .sort("Full", true)
            .size(24, 10)
            .if_empty("Nobody listens"),
        lines("Accept queues", "How full accept queues are: the eight that were fullest in the time shown. At 100 % clients are turned away.")
            .line(
                "max by (instance, name, port) (systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0)) and on (instance, name, port) topk(8, max by (instance, name, port) (max_over_time(systemd_listener_accept_queue_length[$__range] @ end()) / (systemd_listener_accept_queue_limit > 0)) > 0)",
                "{{name}}:{{port}} · {{instance}}",
            )
            .limit("vector(1)", "full", BAD)
            .unit("percentunit")
            .link(to_unit(HOST, UNIT))
            .if_empty("Nobody waits"),
        bars("Dropped", "Connections and datagrams that listeners had no room for.")
            .line(&events("instance, name, port", "systemd_listener_drops_total"), "{{name}}:{{port}} · {{instance}}")
            .link(to_unit(HOST, UNIT))
            .if_empty("Nothing was dropped"),
    ])
    .row("What has changed?", vec![
        table("Appeared", "Listeners that were not there at the start of the time shown. One that nobody expects may be an intruder's.", &["instance", "name", "protocol", "address", "port"])
            .labels_of("max by (instance, name, protocol, address, port) (systemd_listener_info unless on (instance, name, protocol, address, port) systemd_listener_info offset $__range and on (instance) systemd_exporter_build_info offset $__range)")
            .size(12, 7)
            .if_empty("No listener has appeared"),
        table("Vanished", "Listeners that were there at the start of the time shown, and are not any more.", &["instance", "name", "protocol", "address", "port"])
            .labels_of("max by (instance, name, protocol, address, port) (systemd_listener_info offset $__range unless on (instance, name, protocol, address, port) systemd_listener_info and on (instance) systemd_exporter_build_info)")
            .size(12, 7)
            .if_empty("No listener has vanished"),
        table("Expected", "What --expect-listener names, and whether it is there.", &["instance", "name", "protocol", "port"])
            .column("There", "1 - max by (instance, name, protocol, port) (systemd_listener_missing)", Cell::there().width(100))
            .sort("There", false)
            .size(12, 7)
            .if_empty("Nothing is expected: --expect-listener is not used"),
        lines("Listeners by host", "How many listeners each host has.")
            .line("sum by (instance) (systemd_unit_listeners)", "{{instance}}")
            .decimals(0)
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("Nobody listens"),
    ])
    .row("What comes in through socket units?", vec![
        table("Socket units", "Socket units. Open, accepted and refused are counted by systemd itself, for those with Accept=yes.", &["instance", "name"])
            .only(r#"systemd_unit_state{type="socket"}"#)
            .column("State", &state(r#",type="socket""#), Cell::numbered(&STATES).width(100))
            .labels_of("max by (instance, name, unit) (systemd_socket_info)")
            .label("unit", "Starts", Cell::plain().link(to_unit("${__data.fields.Host}", "${__value.raw}")))
            .column("Open", "sum by (instance, name) (systemd_socket_current_connections)", Cell::plain().decimals(0).bar(INFO))
            .column("Accepted/s", "sum by (instance, name) (rate(systemd_socket_accepted_connections_total[$__rate_interval]))", Cell::unit("cps").decimals(2).width(120))
            .column("Refused", "sum by (instance, name) (increase(systemd_socket_refused_connections_total[$__range]))", Cell::count(BAD).width(90))
            .sort("Open", true)
            .size(24, 8)
            .if_empty("There are no socket units"),
        lines("Connections of socket units", "Connections that systemd itself accepted and that are open.")
            .line("sum by (instance, name) (systemd_socket_current_connections) and on (instance, name) topk(8, sum by (instance, name) (max_over_time(systemd_socket_current_connections[$__range] @ end())) > 0)", "{{name}} · {{instance}}")
            .decimals(0)
            .size(24, 7)
            .link(to_unit(HOST, UNIT))
            .if_empty("No socket unit has Accept=yes and a connection"),
    ])
    .collapsed("What is off by default?", vec![
        lines("Connections by unit", "TCP connections by state. Needs --collector.listeners.connections.")
            .line("sum by (name, state) (systemd_unit_connections)", "{{name}} {{state}}")
            .link(to_unit_everywhere(UNIT))
            .decimals(0)
            .legend_right()
            .if_empty("--collector.listeners.connections is not used"),
        lines("Queues of unix sockets", "How full the accept queues of socket units' unix sockets are. Needs --collector.listeners.unix.")
            .line("max by (instance, name, path) (systemd_unix_listener_accept_queue_length / (systemd_unix_listener_accept_queue_limit > 0))", "{{path}}")
            .unit("percentunit")
            .legend_right()
            .link(to_unit(HOST, UNIT))
            .if_empty("--collector.listeners.unix is not used"),
    ])
    .build()
}
