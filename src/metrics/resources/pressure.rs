//! Time that each unit waited for CPU, memory and I/O (PSI).

use std::fmt;

use super::cgroups;
use crate::collector::Profile;
use crate::metrics::Kind::Counter;
use crate::metrics::Resets::WithUnit;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::source::cgroup::Pressure;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_pressure_waiting_seconds_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Total time that some tasks of the unit were stalled on the resource: cpu, memory, io (PSI some). Absent without PSI.",
            source: "cgroup cpu.pressure, memory.pressure, io.pressure: some total",
            profile: Profile::Fleet,
            labels: ["name", "type", "resource"],
        },
        pressures(snapshot, |_, pressure| Some(pressure.some)),
    )?;

    out.family(
        Family {
            name: "systemd_unit_pressure_stalled_seconds_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Total time that all non-idle tasks of the unit were stalled on the resource: memory, io (PSI full). Absent without PSI.",
            source: "cgroup memory.pressure, io.pressure: full total",
            profile: Profile::Fleet,
            labels: ["name", "type", "resource"],
        },
        // no rule and no panel reads the stall on cpu
        pressures(snapshot, |resource, pressure| pressure.full.filter(|_| resource != "cpu")),
    )
}

fn pressures<T>(
    snapshot: &Snapshot,
    value: impl Fn(&str, &Pressure) -> Option<T> + Copy,
) -> impl Iterator<Item = ([&str; 3], T)> {
    cgroups(snapshot).flat_map(move |(name, kind, cgroup)| {
        let pressure = &cgroup.pressure;
        [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)]
            .into_iter()
            .filter_map(move |(resource, pressure)| {
                Some(([name, kind, resource], value(resource, &pressure?)?))
            })
    })
}
