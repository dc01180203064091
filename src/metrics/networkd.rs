//! The network and its links, as reported by systemd-networkd.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
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
            help: "Current state of the network by aspect: operational, carrier, address, online; constant 1, current state only.",
            source: "D-Bus network1 Manager.OperationalState, CarrierState, AddressState, OnlineState (systemd 249)",
            profile: Profile::Full,
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
            help: "Current state of the link by aspect: operational, carrier, address, online, setup; constant 1, the first 256 links.",
            source: "D-Bus network1 Link.OperationalState, CarrierState, AddressState, OnlineState (systemd 249), AdministrativeState",
            profile: Profile::Full,
            labels: ["interface", "aspect", "state"],
        },
        network.into_iter().flat_map(|network| &network.links).flat_map(|link| {
            link.states.iter().map(|(aspect, state)| ([&*link.name, *aspect, &**state], true))
        }),
    )
}
