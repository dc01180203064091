//! The network, as systemd-networkd has it.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "networkd", title: "Network links" }) {
        return Ok(());
    }
    let network = snapshot.daemons.network.as_ref();

    out.family(
        Family {
            name: "systemd_networkd_state",
            kind: Gauge,
            per: Per::Host,
            help: "Always 1. The state of the network as a whole in each aspect: operational (routable, degraded, carrier, off …), carrier, address, online.",
            source: "D-Bus network1 Manager.OperationalState, CarrierState, AddressState, OnlineState (systemd 249)",
            labels: ["aspect", "state"],
        },
        network
            .into_iter()
            .flat_map(|network| &network.states)
            .map(|(aspect, state)| ([*aspect, &**state], true)),
    )?;

    out.family(
        Family {
            name: "systemd_networkd_link_state",
            kind: Gauge,
            per: Per::Host,
            help: "Always 1. The state of the link in each aspect: operational (routable, degraded, carrier, no-carrier, off …), carrier, address, online, and setup (configured, configuring, failed, unmanaged …). The first 256 links.",
            source: "D-Bus network1 Link.OperationalState, CarrierState, AddressState, OnlineState (systemd 249), AdministrativeState",
            labels: ["interface", "aspect", "state"],
        },
        network.into_iter().flat_map(|network| &network.links).flat_map(|link| {
            link.states.iter().map(|(aspect, state)| ([&*link.name, *aspect, &**state], true))
        }),
    )
}
