//! IP traffic of services, under the names of systemd_exporter.

use std::fmt;

use super::services;
use crate::collector::Profile;
use crate::metrics::Kind::{Counter, InheritedCounter};
use crate::metrics::Resets::WithUnit;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::systemd::unit::Ip;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_service_ip_ingress_bytes",
            kind: InheritedCounter(WithUnit),
            per: Per::Service,
            help: "Bytes received since the service was started (IPAccounting=). Absent without IPAccounting=.",
            source: "D-Bus Service.IPIngressBytes, polled every 15 s",
            profile: Profile::Default,
            labels: ["name"],
        },
        traffic(snapshot, |ip| ip.ingress_bytes),
    )?;

    out.family(
        Family {
            name: "systemd_service_ip_egress_bytes",
            kind: InheritedCounter(WithUnit),
            per: Per::Service,
            help: "Bytes sent since the service was started (IPAccounting=). Absent without IPAccounting=.",
            source: "D-Bus Service.IPEgressBytes, polled every 15 s",
            profile: Profile::Default,
            labels: ["name"],
        },
        traffic(snapshot, |ip| ip.egress_bytes),
    )?;

    out.family(
        Family {
            name: "systemd_service_ip_ingress_packets_total",
            kind: Counter(WithUnit),
            per: Per::Service,
            help: "Packets received since the service was started (IPAccounting=). Absent without IPAccounting=.",
            source: "D-Bus Service.IPIngressPackets, polled every 15 s",
            profile: Profile::Default,
            labels: ["name"],
        },
        traffic(snapshot, |ip| ip.ingress_packets),
    )?;

    out.family(
        Family {
            name: "systemd_service_ip_egress_packets_total",
            kind: Counter(WithUnit),
            per: Per::Service,
            help: "Packets sent since the service was started (IPAccounting=). Absent without IPAccounting=.",
            source: "D-Bus Service.IPEgressPackets, polled every 15 s",
            profile: Profile::Default,
            labels: ["name"],
        },
        traffic(snapshot, |ip| ip.egress_packets),
    )
}

fn traffic(
    snapshot: &Snapshot,
    value: impl Fn(&Ip) -> Option<u64>,
) -> impl Iterator<Item = ([&str; 1], u64)> {
    services(snapshot)
        .filter(|(_, service)| service.ip_accounting == Some(true))
        .filter_map(move |(name, service)| Some(([name], value(&service.ip)?)))
}
