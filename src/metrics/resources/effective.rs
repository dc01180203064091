//! Limits of each unit together with those of the slices above it: the smallest is effective.

use std::collections::HashMap;
use std::fmt;

use crate::collector::Profile;
use crate::metrics::Kind::Gauge;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::source::Limit;
use crate::source::cgroup::Cgroup;
use crate::systemd::unit::Unit as SystemdUnit;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let limits = EffectiveLimits::new(snapshot);

    out.family(
        Family {
            name: "systemd_unit_memory_effective_max_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Smallest memory limit (MemoryMax=) of the unit and of the slices above it, as EffectiveMemoryMax. Absent without a limit.",
            source: "cgroup memory.max of the unit and of its slices; v1 memory.limit_in_bytes",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        limits.smallest(|cgroup| cgroup.memory.max),
    )?;

    out.family(
        Family {
            name: "systemd_unit_memory_effective_high_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Smallest memory throttling limit (MemoryHigh=) of the unit and of the slices above it. Absent without a limit, and on cgroup v1.",
            source: "cgroup memory.high of the unit and of its slices",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        limits.smallest(|cgroup| cgroup.memory.high),
    )?;

    out.family(
        Family {
            name: "systemd_unit_tasks_effective_max",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Smallest task limit (TasksMax=) of the unit and of the slices above it, as EffectiveTasksMax. Absent without a limit.",
            source: "cgroup pids.max of the unit and of its slices",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        limits.smallest(|cgroup| cgroup.pids.max),
    )
}

/// The units with a cgroup, and the readings by path.
struct EffectiveLimits<'a> {
    units: Vec<(&'a SystemdUnit, &'a str)>,
    readings: HashMap<&'a str, &'a Cgroup>,
}

impl<'a> EffectiveLimits<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let readings = snapshot.cgroups.iter().flat_map(|readings| &readings.units);
        let by_name: HashMap<&str, &Cgroup> =
            readings.map(|(name, cgroup)| (&**name, cgroup)).collect();
        let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
        let units = units.filter_map(|unit| {
            by_name.get(&*unit.name)?;
            Some((&**unit, unit.control_group.as_deref()?))
        });
        let units: Vec<_> = units.collect();
        let readings = units.iter().map(|(unit, path)| (*path, by_name[&*unit.name])).collect();
        Self { units, readings }
    }

    fn smallest(
        &self,
        limit: impl Fn(&Cgroup) -> Option<Limit>,
    ) -> impl Iterator<Item = ([&'a str; 2], u64)> {
        self.units.iter().filter_map(move |(unit, path)| {
            let limits = self.at_and_above(path).filter_map(|cgroup| limit(cgroup)?.number());
            Some(([&*unit.name, unit.kind.as_str()], limits.min()?))
        })
    }

    /// The readings of a cgroup and of those above it.
    fn at_and_above(&self, path: &'a str) -> impl Iterator<Item = &'a Cgroup> {
        let above = |path: &&'a str| path.rfind('/').map(|end| &path[..end]);
        let paths = std::iter::successors(Some(path), above);
        paths.filter_map(|path| self.readings.get(path).copied())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::UnitReadings;
    use crate::systemd::snapshot::SystemdSnapshot;
    use crate::systemd::unit::name::UnitKind;

    #[test]
    fn smallest_limit_of_unit_and_slices_is_effective() {
        let cgroup = |max: Option<u64>| {
            let mut cgroup = Cgroup::default();
            cgroup.memory.max = Some(max.map_or(Limit::Unlimited, Limit::At));
            cgroup
        };
        let mut snapshot = Snapshot::default();
        let (mut units, mut readings) = (Vec::new(), Vec::new());
        for (name, kind, path, max) in [
            ("a.slice", UnitKind::Slice, "/a.slice", Some(100)),
            ("a-b.slice", UnitKind::Slice, "/a.slice/a-b.slice", None),
            ("x.service", UnitKind::Service, "/a.slice/a-b.slice/x.service", Some(200)),
            ("y.service", UnitKind::Service, "/a.slice/y.service", Some(50)),
            ("z.service", UnitKind::Service, "/z.service", None),
        ] {
            let mut unit = SystemdUnit::new(name.into(), kind, true);
            unit.control_group = Some(path.into());
            units.push(Arc::new(unit));
            readings.push((name.into(), cgroup(max)));
        }
        snapshot.systemd = Some(SystemdSnapshot { units, ..SystemdSnapshot::default() });
        snapshot.cgroups = Some(UnitReadings { units: readings, ..UnitReadings::default() });
        let limits = EffectiveLimits::new(&snapshot);
        let found: Vec<_> = limits.smallest(|cgroup| cgroup.memory.max).collect();
        let found: Vec<_> = found.into_iter().map(|([name, _], max)| (name, max)).collect();
        let expected =
            [("a.slice", 100), ("a-b.slice", 100), ("x.service", 100), ("y.service", 50)];
        assert_eq!(found, expected);
    }
}
