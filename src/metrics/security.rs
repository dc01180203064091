//! How exposed services are.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "security", title: "Security exposure" }) {
        return Ok(());
    }
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);

    out.family(
        Family {
            name: "systemd_unit_security_exposure",
            kind: Gauge,
            per: Per::Unit,
            help: "How much the service's settings leave open, between 0 (closed) and 10 (everything), as systemd judges it. Assessed every hour.",
            source: "systemd-analyze security --json (systemd 250)",
            labels: ["name"],
        },
        units.filter_map(|unit| {
            let exposure = snapshot.daemons.exposures.as_ref()?.get(&*unit.name)?;
            Some(([&*unit.name], *exposure))
        }),
    )
}
