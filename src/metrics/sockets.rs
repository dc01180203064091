//! Socket units: the connections that systemd accepted and refused for them.

use std::borrow::Cow;
use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithUnit;
use super::results::failed_results;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::unit::Socket;
use crate::systemd::unit::name::UnitKind;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "sockets", title: "Socket units" }) {
        return Ok(());
    }
    let infos = infos(snapshot);

    out.family(
        Family {
            name: "systemd_socket_accepted_connections_total",
            kind: Counter(WithUnit),
            per: Per::Socket,
            help: "Connections accepted by systemd for the socket unit with Accept=yes (NAccepted).",
            source: "D-Bus Socket.NAccepted, read on signals of the socket unit, and every minute",
            profile: Profile::Default,
            labels: ["name"],
        },
        sockets(snapshot).filter_map(|(name, socket)| Some(([name], socket.accepted?))),
    )?;

    out.family(
        Family {
            name: "systemd_socket_current_connections",
            kind: Gauge,
            per: Per::Socket,
            help: "Open connections accepted by systemd for the socket unit with Accept=yes (NConnections).",
            source: "D-Bus Socket.NConnections, read on signals of the socket unit, and every minute",
            profile: Profile::Default,
            labels: ["name"],
        },
        sockets(snapshot).filter_map(|(name, socket)| Some(([name], socket.connections?))),
    )?;

    out.family(
        Family {
            name: "systemd_socket_refused_connections_total",
            kind: Counter(WithUnit),
            per: Per::Socket,
            help: "Connections refused because of MaxConnections= or MaxConnectionsPerSource= (NRefused).",
            source: "D-Bus Socket.NRefused, read on signals of the socket unit, and every minute",
            profile: Profile::Fleet,
            labels: ["name"],
        },
        sockets(snapshot).filter_map(|(name, socket)| Some(([name], socket.refused?))),
    )?;

    out.family(
        Family {
            name: "systemd_socket_info",
            kind: Gauge,
            per: Per::Socket,
            help: "Service that the socket unit activates; with accept=yes, one instance per connection; constant 1.",
            source: "D-Bus Unit.Triggers, Socket.Accept",
            profile: Profile::Fleet,
            labels: ["name", "triggers", "accept"],
        },
        infos.iter().map(|(name, unit, accept)| ([*name, &**unit, *accept], true)),
    )?;

    out.family(
        Family {
            name: "systemd_socket_result",
            kind: Gauge,
            per: Per::Socket,
            help: "Result of the socket unit (Result); constant 1, current result only. Absent on success.",
            source: "D-Bus Socket.Result",
            profile: Profile::Full,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Socket),
    )
}

fn sockets(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Socket)> {
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    units.filter_map(|unit| Some((&*unit.name, unit.socket()?)))
}

fn infos(snapshot: &Snapshot) -> Vec<(&str, Cow<'_, str>, &'static str)> {
    sockets(snapshot)
        .filter_map(|(name, socket)| {
            if !socket.accept? {
                return Some((name, Cow::Borrowed(&**socket.triggers.first()?), "no"));
            }
            // systemd.socket(5): foo.socket starts foo@.service
            let stem = name.strip_suffix(".socket")?;
            let stem = stem.split_once('@').map_or(stem, |(stem, _)| stem);
            Some((name, Cow::Owned(format!("{stem}@.service")), "yes"))
        })
        .collect()
}
