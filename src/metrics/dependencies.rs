//! Dependencies of services.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "dependencies", title: "Dependencies of services" }) {
        return Ok(());
    }
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);

    out.family(
        Family {
            name: "systemd_unit_dependency_info",
            kind: Gauge,
            per: Per::Unit,
            help: "A unit that the service depends on (Requires=, BindsTo=, Requisite=, Wants=, Upholds=); constant 1. Services only.",
            source: "D-Bus Unit.Requires, BindsTo, Requisite, Wants, Upholds (systemd 249)",
            profile: Profile::Full,
            labels: ["name", "type", "dependency", "relation"],
        },
        units.filter_map(|unit| Some((unit, unit.service()?))).flat_map(
            |(unit, service)| {
                service.dependencies.iter().map(move |(relation, dependency)| {
                    ([&*unit.name, unit.kind.as_str(), &**dependency, relation.as_str()], true)
                })
            },
        ),
    )
}
