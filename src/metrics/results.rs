//! Results of failed units; those of services, timers and socket units are with their other metrics.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::unit::name::UnitKind;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "units", title: "Results of units" }) {
        return Ok(());
    }
    out.family(
        Family {
            name: "systemd_mount_result",
            kind: Gauge,
            per: Per::Unit,
            help: "Result of the mount unit (Result); constant 1, current result only. Absent on success.",
            source: "D-Bus Mount.Result",
            profile: Profile::Full,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Mount),
    )?;

    out.family(
        Family {
            name: "systemd_automount_result",
            kind: Gauge,
            per: Per::Unit,
            help: "Result of the automount unit (Result); constant 1, current result only. Absent on success.",
            source: "D-Bus Automount.Result",
            profile: Profile::Full,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Automount),
    )?;

    out.family(
        Family {
            name: "systemd_swap_result",
            kind: Gauge,
            per: Per::Unit,
            help: "Result of the swap unit (Result); constant 1, current result only. Absent on success.",
            source: "D-Bus Swap.Result",
            profile: Profile::Full,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Swap),
    )?;

    out.family(
        Family {
            name: "systemd_scope_result",
            kind: Gauge,
            per: Per::Unit,
            help: "Result of the scope (Result); constant 1, current result only. Absent on success, and for scopes with short-lived names.",
            source: "D-Bus Scope.Result",
            profile: Profile::Full,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Scope),
    )?;

    out.family(
        Family {
            name: "systemd_path_result",
            kind: Gauge,
            per: Per::Unit,
            help: "Result of the path unit (Result); constant 1, current result only. Absent on success.",
            source: "D-Bus Path.Result",
            profile: Profile::Full,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Path),
    )
}

/// The labels `name` and `result` of the units of a kind whose result is not success.
pub(super) fn failed_results(
    snapshot: &Snapshot,
    kind: UnitKind,
) -> impl Iterator<Item = ([&str; 2], bool)> {
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    let units = units.filter(move |unit| unit.kind == kind);
    units.filter_map(|unit| Some(([&*unit.name, unit.failed_result()?], true)))
}
