//! Listening sockets of units, and their accept queues.

use std::collections::BTreeMap;
use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithExporter;
use super::{Family, Per, Sink, Subject, Value};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::source::sockets::{Listener, ListenerReading};
use crate::systemd::unit::name::type_of;

const SUBJECT: Subject = Subject { collector: "listeners", title: "Listeners" };

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(SUBJECT) {
        return Ok(());
    }
    let reading = snapshot.listeners.as_ref();
    inet(reading, out)?;
    expected(reading, out)?;
    optional(reading, out)
}

fn inet(reading: Option<&ListenerReading>, out: &mut impl Sink) -> fmt::Result {
    let listeners = reading.map_or(&[][..], |reading| &reading.listeners);

    out.family(
        Family {
            name: "systemd_listener_info",
            kind: Gauge,
            per: Per::Listener,
            help: "A listening TCP or bound UDP socket and its unit: the one that created it, or that holds it since. Constant 1. name is empty if no exported unit is known.",
            source: "NETLINK_SOCK_DIAG: INET_DIAG_CGROUP_ID (Linux 5.8); Socket.Listen, Unit.Triggers; /proc/PID/fd if the cgroup is gone",
            profile: Profile::Fleet,
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
            help: "Connections waiting for accept(), summed over SO_REUSEPORT sockets. Absent for UDP.",
            source: "NETLINK_SOCK_DIAG: idiag_rqueue",
            profile: Profile::Fleet,
            labels: ["name", "protocol", "address", "port"],
        },
        per_listener(listeners, |listener| listener.accept_queue),
    )?;

    out.family(
        Family {
            name: "systemd_listener_accept_queue_limit",
            kind: Gauge,
            per: Per::Listener,
            help: "Maximum length of the accept queue: listen() backlog, at most net.core.somaxconn, summed over SO_REUSEPORT sockets. Absent for UDP.",
            source: "NETLINK_SOCK_DIAG: idiag_wqueue",
            profile: Profile::Fleet,
            labels: ["name", "protocol", "address", "port"],
        },
        per_listener(listeners, |listener| listener.accept_queue_limit),
    )?;

    out.family(
        Family {
            name: "systemd_listener_drops_total",
            kind: Counter(WithExporter),
            per: Per::Listener,
            help: "TCP connections or UDP datagrams dropped by the listener because its queue was full. Kept when the socket is reopened.",
            source: "NETLINK_SOCK_DIAG: INET_DIAG_SKMEMINFO sk_drops",
            profile: Profile::Fleet,
            labels: ["name", "protocol", "address", "port"],
        },
        per_listener(listeners, |listener| listener.drops),
    )?;

    let mut sockets: BTreeMap<_, u64> = BTreeMap::new();
    for listener in listeners {
        let [name, protocol, ..] = labels(listener);
        *sockets.entry([name, type_of(name), protocol]).or_default() += listener.sockets;
    }
    out.family(
        Family {
            name: "systemd_unit_listeners",
            kind: Gauge,
            per: Per::Unit,
            help: "Listening sockets of the unit; each SO_REUSEPORT socket counts.",
            source: "NETLINK_SOCK_DIAG",
            profile: Profile::Fleet,
            labels: ["name", "type", "protocol"],
        },
        sockets,
    )
}

fn expected(reading: Option<&ListenerReading>, out: &mut impl Sink) -> fmt::Result {
    let expected = reading.map_or(&[][..], |reading| &reading.expected);
    out.family(
        Family {
            name: "systemd_listener_missing",
            kind: Gauge,
            per: Per::Listener,
            help: "Whether the expected listener (--expect-listener) is missing. tcp and udp include IPv6 for both. Absent if a socket there has no known unit.",
            source: "NETLINK_SOCK_DIAG; --expect-listener",
            profile: Profile::Fleet,
            labels: ["name", "protocol", "port"],
        },
        expected.iter().map(|(expected, missing)| {
            ([&*expected.unit, expected.protocol.name(), &expected.port], *missing)
        }),
    )
}

fn optional(reading: Option<&ListenerReading>, out: &mut impl Sink) -> fmt::Result {
    let connections = reading.and_then(|reading| reading.connections.as_deref());
    out.family(
        Family {
            name: "systemd_unit_connections",
            kind: Gauge,
            per: Per::Unit,
            help: "TCP connections of the unit by state (--collector.listeners.connections).",
            source: "NETLINK_SOCK_DIAG: INET_DIAG_CGROUP_ID (Linux 5.8)",
            profile: Profile::Default,
            labels: ["name", "type", "state"],
        },
        connections.into_iter().flatten().map(|connections| {
            let name = connections.unit.as_deref().unwrap_or_default();
            ([name, type_of(name), connections.state], connections.count)
        }),
    )?;

    let unix = reading.and_then(|reading| reading.unix.as_deref()).unwrap_or_default();
    out.family(
        Family {
            name: "systemd_unix_listener_accept_queue_length",
            kind: Gauge,
            per: Per::Unit,
            help: "Connections waiting for accept() on a unix socket of a socket unit (--collector.listeners.unix).",
            source: "NETLINK_SOCK_DIAG: UNIX_DIAG_RQLEN; Socket.Listen",
            profile: Profile::Default,
            labels: ["name", "path"],
        },
        unix.iter().map(|listener| ([&*listener.unit, &listener.path], listener.accept_queue)),
    )?;

    out.family(
        Family {
            name: "systemd_unix_listener_accept_queue_limit",
            kind: Gauge,
            per: Per::Unit,
            help: "Maximum length of the accept queue of a unix socket of a socket unit (--collector.listeners.unix).",
            source: "NETLINK_SOCK_DIAG: UNIX_DIAG_RQLEN; Socket.Listen",
            profile: Profile::Default,
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
