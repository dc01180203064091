//! Listeners: their units, accept queues, drops and changes; socket units.

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::Dashboard;
use super::super::panel::{HOST, UNIT, bars, lines, stat, to_host, to_unit, to_unit_everywhere};
use super::super::query::{events, or_no_unit, state};
use super::super::style::{BAD, GOOD, INFO, QUIET, STATES, WARNING, thresholds};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    Builder::new(
        "systemd-listeners",
        "Listeners and sockets",
        "Listeners with their units, accept queues, drops and changes; socket units.",
        Hosts::All,
        Units::All,
    )
    .row("Overview", vec![
        stat("Listeners", "Addresses and ports with a listener.", "count(systemd_listener_info) or vector(0)")
            .colored(thresholds(QUIET, &[(0.5, GOOD)]))
            .if_empty("0"),
        stat("Missing", "Listeners named by --expect-listener that do not exist. 0 also if none is named.", "sum(systemd_listener_missing) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Full queues", "Accept queues that are more than 80 % full: the service accepts connections too slowly.", "count(systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0) > 0.8) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Fullest queue", "Usage of the fullest accept queue.", "max(systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0)) or vector(0)")
            .unit("percentunit")
            .colored(thresholds(GOOD, &[(0.5, WARNING), (0.8, BAD)]))
            .if_empty("0"),
        stat("Drops", "Connections and datagrams dropped by full queues in the time range.", "sum(increase(systemd_listener_drops_total[$__range])) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Refused", "Connections refused by socket units in the time range because of MaxConnections= or MaxConnectionsPerSource=.", "sum(increase(systemd_socket_refused_connections_total[$__range])) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Failed sockets", "Socket units in state failed: they do not listen.", r#"sum(systemd_unit_state{type="socket",state="failed"}) or vector(0)"#)
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Truncated", "Listeners omitted by the exporters because of --collector.listeners.max.", "sum(increase(unit_exporter_truncated_listeners_total[$__range])) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
    ])
    .row("Listeners and accept queues", vec![
        table("Listeners", "All listeners, the fullest queue first. Unit: unit of the listening process; absent if that unit is not exported. Address *: all IPv6 and IPv4 addresses.", &["instance", "name", "protocol", "address", "port"])
            .column("Queue length", "max by (instance, name, protocol, address, port) (systemd_listener_accept_queue_length)", Cell::plain().decimals(0).width(110))
            .column("Queue limit", "max by (instance, name, protocol, address, port) (systemd_listener_accept_queue_limit)", Cell::plain().decimals(0).width(105))
            .column("Queue usage", "max by (instance, name, protocol, address, port) (systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0))", Cell::share().width(115))
            .column("Drops", "sum by (instance, name, protocol, address, port) (increase(systemd_listener_drops_total[$__range]))", Cell::count(BAD).width(70))
            .labels_of("max by (instance, name, protocol, address, port, socket_unit) (systemd_listener_info)")
            .label("socket_unit", "Socket unit", Cell::plain())
            .sort("Queue usage", true)
            .size(24, 10)
            .if_empty("No listeners"),
        lines("Accept queues", "Usage of the accept queues that were the fullest eight in the time range. At 100 % the kernel drops new connections.")
            .line(
                &or_no_unit("max by (instance, name, port) (systemd_listener_accept_queue_length / (systemd_listener_accept_queue_limit > 0)) and on (instance, name, port) topk(8, max by (instance, name, port) (max_over_time(systemd_listener_accept_queue_length[$__range] @ end()) / (systemd_listener_accept_queue_limit > 0)) > 0)"),
                "{{name}}:{{port}} · {{instance}}",
            )
            .limit("vector(1)", "full", BAD)
            .unit("percentunit")
            .link(to_unit(HOST, UNIT))
            .if_empty("All queues are empty"),
        bars("Dropped connections", "Connections and datagrams dropped by full queues.")
            .line(&or_no_unit(&events("instance, name, port", "systemd_listener_drops_total")), "{{name}}:{{port}} · {{instance}}")
            .link(to_unit(HOST, UNIT))
            .of_failures()
            .if_empty("No drops"),
    ])
    .row("Changes", vec![
        table("New listeners", "Listeners that did not exist at the start of the time range. An unexpected listener may belong to an intruder.", &["instance", "name", "protocol", "address", "port"])
            .labels_of("max by (instance, name, protocol, address, port) (systemd_listener_info unless on (instance, name, protocol, address, port) systemd_listener_info offset $__range and on (instance) unit_exporter_build_info offset $__range)")
            .size(12, 7)
            .if_empty("No new listeners"),
        table("Closed listeners", "Listeners that existed at the start of the time range and no longer exist.", &["instance", "name", "protocol", "address", "port"])
            .labels_of("max by (instance, name, protocol, address, port) (systemd_listener_info offset $__range unless on (instance, name, protocol, address, port) systemd_listener_info and on (instance) unit_exporter_build_info)")
            .size(12, 7)
            .if_empty("No closed listeners"),
        table("Expected listeners", "Listeners named by --expect-listener and their status.", &["instance", "name", "protocol", "port"])
            .column("Status", "1 - max by (instance, name, protocol, port) (systemd_listener_missing)", Cell::presence().width(100))
            .sort("Status", false)
            .size(12, 7)
            .if_empty("--expect-listener is not set"),
        lines("Listeners by host", "Number of listeners of each host.")
            .line("sum by (instance) (systemd_unit_listeners)", "{{instance}}")
            .decimals(0)
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("No listeners"),
    ])
    .row("Socket units", vec![
        table("Socket units", "Socket units. systemd counts open, accepted and refused connections for units with Accept=yes.", &["instance", "name"])
            .only(r#"systemd_unit_state{type="socket"}"#)
            .column("State", &state(r#",type="socket""#), Cell::numbered(&STATES).width(100))
            .labels_of("max by (instance, name, triggers) (systemd_socket_info)")
            .label("triggers", "Triggers", Cell::plain().link(to_unit("${__data.fields.Host}", "${__value.raw}")))
            .column("Open", "sum by (instance, name) (systemd_socket_current_connections)", Cell::plain().decimals(0).bar(INFO))
            .column("Accepted", "sum by (instance, name) (rate(systemd_socket_accepted_connections_total[$__rate_interval]))", Cell::unit("conn/s").decimals(2).width(120))
            .column("Refused", "sum by (instance, name) (increase(systemd_socket_refused_connections_total[$__range]))", Cell::count(BAD).width(90))
            .sort("Open", true)
            .size(24, 8)
            .if_empty("No socket units"),
        lines("Socket unit connections", "Open connections that systemd accepted for socket units with Accept=yes.")
            .line("sum by (instance, name) (systemd_socket_current_connections) and on (instance, name) topk(8, sum by (instance, name) (max_over_time(systemd_socket_current_connections[$__range] @ end())) > 0)", "{{name}} · {{instance}}")
            .decimals(0)
            .size(24, 7)
            .link(to_unit(HOST, UNIT))
            .if_empty("No open connections of units with Accept=yes"),
    ])
    .collapsed("Optional collectors", vec![
        lines("Connections by unit", "TCP connections by state. Requires --collector.listeners.connections.")
            .line(&or_no_unit("sum by (name, state) (systemd_unit_connections)"), "{{name}} {{state}}")
            .link(to_unit_everywhere(UNIT))
            .decimals(0)
            .if_empty("--collector.listeners.connections is not set"),
        lines("Unix socket queues", "Usage of the accept queues of socket units' Unix sockets. Requires --collector.listeners.unix.")
            .line("max by (instance, name, path) (systemd_unix_listener_accept_queue_length / (systemd_unix_listener_accept_queue_limit > 0))", "{{path}}")
            .unit("percentunit")
            .link(to_unit(HOST, UNIT))
            .if_empty("--collector.listeners.unix is not set"),
    ])
    .build()
}
