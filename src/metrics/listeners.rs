//! Who listens where, and whether it keeps up.

use std::collections::BTreeMap;
use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithExporter;
use super::{Family, Per, Sink, Subject, Value};
use crate::snapshot::Snapshot;
use crate::source::sockets::{Listener, Reading};

const SUBJECT: Subject = Subject { collector: "listeners", title: "Listeners" };

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    let reading = snapshot.listeners.as_ref();
    inet(reading, out)?;
    expected(reading, out)?;
    on_demand(reading, out)
}

fn inet(reading: Option<&Reading>, out: &mut impl Sink) -> fmt::Result {
    let listeners = reading.map_or(&[][..], |reading| &reading.listeners);

    out.family(
        Family {
            name: "systemd_listener_info",
            kind: Gauge,
            per: Per::Listener,
            help: "Always 1. An address and port that is listened on: TCP sockets that listen, UDP sockets that are bound and not connected, clients' ports left out. The name is the unit whose cgroup made the socket, for a socket unit's the service it starts, and empty if it is no selected unit's. The address * is :: serving IPv4 too.",
            source: "NETLINK_SOCK_DIAG: INET_DIAG_CGROUP_ID (Linux 5.8); Socket.Listen, Unit.Triggers",
            labels: ["name", "protocol", "address", "port", "socket_unit"],
        },
        listeners.iter().map(|listener| {
            let [name, protocol, address, port] = labels(listener);
            let socket_unit = listener.socket_unit.as_deref().unwrap_or_default();
            ([name, protocol, address, port, socket_unit], true)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_listener_accept_queue_length",
            kind: Gauge,
            per: Per::Listener,
            help: "Connections that wait for accept(), added up over the sockets of SO_REUSEPORT. Absent for UDP.",
            source: "NETLINK_SOCK_DIAG: idiag_rqueue",
            labels: ["name", "protocol", "address", "port"],
        },
        per_listener(listeners, |listener| listener.accept_queue),
    )?;

    out.family(
        Family {
            name: "systemd_listener_accept_queue_limit",
            kind: Gauge,
            per: Per::Listener,
            help: "Connections that may wait for accept(): the backlog given to listen(), at most net.core.somaxconn, added up over the sockets of SO_REUSEPORT. Once more wait than that, connections are dropped. Absent for UDP.",
            source: "NETLINK_SOCK_DIAG: idiag_wqueue",
            labels: ["name", "protocol", "address", "port"],
        },
        per_listener(listeners, |listener| listener.accept_queue_limit),
    )?;

    out.family(
        Family {
            name: "systemd_listener_drops_total",
            kind: Counter(WithExporter),
            per: Per::Listener,
            help: "Connections (UDP: datagrams) that the listener had no room for. Goes on where the socket is made anew.",
            source: "NETLINK_SOCK_DIAG: INET_DIAG_SKMEMINFO sk_drops",
            labels: ["name", "protocol", "address", "port"],
        },
        per_listener(listeners, |listener| listener.drops),
    )?;

    let mut sockets: BTreeMap<_, u64> = BTreeMap::new();
    for listener in listeners {
        let [name, protocol, ..] = labels(listener);
        *sockets.entry([name, protocol]).or_default() += listener.sockets;
    }
    out.family(
        Family {
            name: "systemd_unit_listeners",
            kind: Gauge,
            per: Per::Unit,
            help: "Listening sockets of the unit, each one of SO_REUSEPORT counted.",
            source: "NETLINK_SOCK_DIAG",
            labels: ["name", "protocol"],
        },
        sockets,
    )?;

    out.family(
        Family {
            name: "systemd_listeners_truncated",
            kind: Gauge,
            per: Per::Host,
            help: "Listening sockets left out of this page for want of room: each unit keeps its first ones before any keeps more.",
            source: "the exporter: --collector.listeners.max",
            labels: [],
        },
        reading.map(|reading| ([], reading.truncated)),
    )
}

fn expected(reading: Option<&Reading>, out: &mut impl Sink) -> fmt::Result {
    let expected = reading.map_or(&[][..], |reading| &reading.expected);
    out.family(
        Family {
            name: "systemd_listener_missing",
            kind: Gauge,
            per: Per::Listener,
            help: "1 while the unit does not listen there, 0 while it does. The protocols tcp and udp are met by whatever IPv4 reaches. Absent where units of listeners are not known.",
            source: "NETLINK_SOCK_DIAG; --expect-listener",
            labels: ["name", "protocol", "port"],
        },
        expected.iter().map(|(expected, missing)| {
            ([&*expected.unit, expected.protocol.name(), &expected.port], *missing)
        }),
    )
}

fn on_demand(reading: Option<&Reading>, out: &mut impl Sink) -> fmt::Result {
    let connections = reading.and_then(|reading| reading.connections.as_deref());
    out.family(
        Family {
            name: "systemd_unit_connections",
            kind: Gauge,
            per: Per::Unit,
            help: "TCP connections of the unit by state. Off by default; --collector.listeners.connections.",
            source: "NETLINK_SOCK_DIAG: INET_DIAG_CGROUP_ID (Linux 5.8)",
            labels: ["name", "state"],
        },
        connections.into_iter().flatten().map(|connections| {
            ([connections.unit.as_deref().unwrap_or_default(), connections.state], connections.count)
        }),
    )?;

    let unix = reading.and_then(|reading| reading.unix.as_deref()).unwrap_or_default();
    out.family(
        Family {
            name: "systemd_unix_listener_accept_queue_length",
            kind: Gauge,
            per: Per::Unit,
            help: "Connections that wait for accept() on a unix socket that a socket unit names. Off by default; --collector.listeners.unix.",
            source: "NETLINK_SOCK_DIAG: UNIX_DIAG_RQLEN; Socket.Listen",
            labels: ["name", "path"],
        },
        unix.iter().map(|listener| ([&*listener.unit, &listener.path], listener.accept_queue)),
    )?;

    out.family(
        Family {
            name: "systemd_unix_listener_accept_queue_limit",
            kind: Gauge,
            per: Per::Unit,
            help: "Connections that may wait for accept() on a unix socket that a socket unit names. Off by default; --collector.listeners.unix.",
            source: "NETLINK_SOCK_DIAG: UNIX_DIAG_RQLEN; Socket.Listen",
            labels: ["name", "path"],
        },
        unix.iter().map(|listener| ([&*listener.unit, &listener.path], listener.accept_queue_limit)),
    )
}

fn per_listener<T: Into<Value>>(
    listeners: &[Listener],
    value: impl Fn(&Listener) -> Option<T>,
) -> impl Iterator<Item = ([&str; 4], T)> {
    listeners.iter().filter_map(move |listener| Some((labels(listener), value(listener)?)))
}

fn labels(listener: &Listener) -> [&str; 4] {
    let name = listener.unit.as_deref().unwrap_or_default();
    [name, listener.protocol.name(), &listener.address, &listener.port]
}
