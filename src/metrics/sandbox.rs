//! Sandboxing settings of services.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "sandbox", title: "Sandboxing of services" }) {
        return Ok(());
    }
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);

    out.family(
        Family {
            name: "systemd_service_sandbox_enabled",
            kind: Gauge,
            per: Per::Unit,
            help: "Whether the sandboxing setting of systemd.exec(5) restricts the service to any degree: NoNewPrivileges, PrivateTmp and others.",
            source: "D-Bus Service, the property of that name",
            profile: Profile::Full,
            labels: ["name", "setting"],
        },
        units.filter_map(|unit| Some((unit, unit.service()?))).flat_map(
            |(unit, service)| {
                service.sandbox.iter().map(move |(setting, is_on)| ([&*unit.name, setting], is_on))
            },
        ),
    )
}
