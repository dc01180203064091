//! Details of units, each group of them off unless it is asked for.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;
use crate::systemd::unit::Unit as SystemdUnit;
use crate::systemd::unit::value::Timestamp;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if out.subject(Subject { collector: "dependencies", title: "Dependencies of services" }) {
        dependencies(snapshot, out)?;
    }
    if out.subject(Subject { collector: "conditions", title: "Conditions of units" }) {
        conditions(snapshot, out)?;
    }
    if out.subject(Subject { collector: "unit-files", title: "Files of units" }) {
        files(snapshot, out)?;
    }
    if out.subject(Subject { collector: "sandbox", title: "Sandboxes of services" }) {
        sandbox(snapshot, out)?;
    }
    Ok(())
}

fn dependencies(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_dependency_info",
            kind: Gauge,
            per: Per::Unit,
            help: "A unit that the service depends on (Requires=, BindsTo=, Requisite=, Wants=); constant 1. Services only.",
            source: "D-Bus Unit.Requires, BindsTo, Requisite, Wants",
            labels: ["name", "type", "dependency", "relation"],
        },
        units(snapshot).filter_map(|unit| Some((unit, unit.service()?))).flat_map(
            |(unit, service)| {
                service.dependencies.iter().map(move |(relation, dependency)| {
                    ([&*unit.name, unit.kind.as_str(), &**dependency, relation.as_str()], true)
                })
            },
        ),
    )
}

fn conditions(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_condition_failed",
            kind: Gauge,
            per: Per::Unit,
            help: "1 if the last start of the unit was skipped because a Condition...= was not met (ConditionResult). Absent otherwise.",
            source: "D-Bus Unit.ConditionResult, ConditionTimestamp",
            labels: ["name", "type"],
        },
        units(snapshot)
            .filter(|unit| unit.conditions_met == Some(false))
            .filter(|unit| unit.conditions_checked.and_then(Timestamp::set).is_some())
            .map(|unit| ([&*unit.name, unit.kind.as_str()], true)),
    )
}

fn files(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_file_info",
            kind: Gauge,
            per: Per::Unit,
            help: "Enablement state of the unit file and the preset of the distribution (UnitFileState, UnitFilePreset); constant 1.",
            source: "D-Bus Unit.UnitFileState, UnitFilePreset, asked of one unit a second",
            labels: ["name", "type", "unit_file_state", "preset"],
        },
        units(snapshot).filter_map(|unit| {
            // a unit without a file has an empty state
            let state = unit.file_state.as_deref().filter(|state| !state.is_empty())?;
            let preset = unit.file_preset.as_deref().unwrap_or_default();
            Some(([&*unit.name, unit.kind.as_str(), state, preset], true))
        }),
    )
}

fn sandbox(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_service_sandbox_enabled",
            kind: Gauge,
            per: Per::Unit,
            help: "Whether the sandboxing setting of systemd.exec(5) restricts the service to any degree: NoNewPrivileges, PrivateTmp and others.",
            source: "D-Bus Service, the property of that name",
            labels: ["name", "setting"],
        },
        units(snapshot).filter_map(|unit| Some((unit, unit.service()?))).flat_map(
            |(unit, service)| {
                service.sandbox.iter().map(move |(setting, is_on)| ([&*unit.name, setting], is_on))
            },
        ),
    )
}

fn units(snapshot: &Snapshot) -> impl Iterator<Item = &SystemdUnit> {
    snapshot.systemd.iter().flat_map(|systemd| &systemd.units).map(|unit| &**unit)
}
