//! The exposure score of services.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "security", title: "Security exposure" }) {
        return Ok(());
    }
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);

    out.family(
        Family {
            name: "systemd_unit_security_exposure_score",
            kind: Gauge,
            per: Per::Unit,
            help: "Overall exposure level from systemd-analyze security, 0 (best) to 10 (worst), assessed every hour.",
            source: "systemd-analyze security --json (systemd 250)",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        units.filter_map(|unit| {
            let exposure = snapshot.daemons.exposures.as_ref()?.get(&*unit.name)?;
            Some(([&*unit.name, unit.kind.as_str()], *exposure))
        }),
    )
}
