//! The D-Bus daemon: connections, names and match rules.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "dbus", title: "The D-Bus daemon" }) {
        return Ok(());
    }
    let bus = snapshot.daemons.bus.as_ref();

    out.family(
        Family {
            name: "systemd_dbus_connections",
            kind: Gauge,
            per: Per::Host,
            help: "Connections to the system bus by state: active, or incomplete before the Hello call.",
            source: "D-Bus org.freedesktop.DBus.Debug.Stats.GetStats ActiveConnections, IncompleteConnections",
            profile: Profile::Full,
            labels: ["state"],
        },
        bus.into_iter().flat_map(|bus| {
            let states = [("active", bus.active), ("incomplete", bus.incomplete)];
            states.into_iter().filter_map(|(state, count)| Some(([state], count?)))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_dbus_names",
            kind: Gauge,
            per: Per::Host,
            help: "Names owned on the system bus, including the unique names of connections (BusNames).",
            source: "D-Bus org.freedesktop.DBus.Debug.Stats.GetStats BusNames",
            profile: Profile::Full,
            labels: [],
        },
        bus.and_then(|bus| Some(([], bus.names?))),
    )?;

    out.family(
        Family {
            name: "systemd_dbus_match_rules",
            kind: Gauge,
            per: Per::Host,
            help: "Match rules of all connections to the system bus (MatchRules); each signal is compared with each rule.",
            source: "D-Bus org.freedesktop.DBus.Debug.Stats.GetStats MatchRules",
            profile: Profile::Full,
            labels: [],
        },
        bus.and_then(|bus| Some(([], bus.match_rules?))),
    )?;

    out.family(
        Family {
            name: "systemd_dbus_connection_match_rules_peak",
            kind: Gauge,
            per: Per::Host,
            help: "Highest number of match rules that one connection to the system bus ever had; dbus-daemon allows 512.",
            source: "D-Bus org.freedesktop.DBus.Debug.Stats.GetStats PeakMatchRulesPerConnection",
            profile: Profile::Full,
            labels: [],
        },
        bus.and_then(|bus| Some(([], bus.most_match_rules?))),
    )
}
