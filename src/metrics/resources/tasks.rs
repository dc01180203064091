//! Tasks of each unit, and their limit.

use std::collections::HashSet;
use std::fmt;

use super::{cgroups, limits, per_unit};
use crate::collector::Profile;
use crate::metrics::Kind::{Counter, Gauge};
use crate::metrics::Resets::WithUnit;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::systemd::unit::name::UnitKind;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_tasks_current",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Tasks (processes and threads) of the unit (pids.current). Slices are excluded.",
            source: "cgroup pids.current",
            profile: Profile::Fleet,
            labels: ["name"],
        },
        cgroups(snapshot)
            .filter(|(_, kind, _)| *kind != UnitKind::Slice.as_str())
            .filter_map(|(name, _, cgroup)| Some(([name], cgroup.pids.current?))),
    )?;

    out.family(
        Family {
            name: "systemd_unit_tasks_max",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Task limit of the unit (TasksMax=); for services also while they do not run. Absent without a limit.",
            source: "cgroup pids.max; services without this file: D-Bus Service.TasksMax",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        limits(snapshot, |cgroup| cgroup.pids.max).chain(services_without_file(snapshot)),
    )?;

    out.family(
        Family {
            name: "systemd_unit_tasks_limit_hits_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Forks of the unit that failed because of TasksMax= (pids.events max).",
            source: "cgroup pids.events max",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |cgroup| cgroup.pids.events_max),
    )
}

/// The limits of services that do not run, or of a host without the controller. D-Bus has those of running ones, too, but
/// no signal for a limit that `systemctl set-property` changes.
fn services_without_file(snapshot: &Snapshot) -> impl Iterator<Item = ([&str; 2], u64)> {
    let with_file = cgroups(snapshot).filter(|(_, _, cgroup)| cgroup.pids.max.is_some());
    let with_file: HashSet<&str> = with_file.map(|(name, ..)| name).collect();
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    units
        .filter(move |unit| !with_file.contains(&*unit.name))
        .filter_map(|unit| Some(([&*unit.name, unit.kind.as_str()], unit.service()?.tasks_max?)))
}
