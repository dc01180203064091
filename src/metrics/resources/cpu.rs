//! CPU time of each unit, and its quota.

use std::fmt;

use super::{cgroups, per_unit};
use crate::collector::Profile;
use crate::metrics::Kind::{Counter, Gauge};
use crate::metrics::Resets::WithUnit;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::source::cgroup::{Cgroup, CpuMax};

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_cpu_seconds_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "CPU time of the unit by mode: user, system (cpu.stat).",
            source: "cgroup cpu.stat user_usec, system_usec; v1 cpuacct.stat",
            profile: Profile::Fleet,
            labels: ["name", "type", "mode"],
        },
        cgroups(snapshot).flat_map(|(name, kind, cgroup)| {
            [("user", cgroup.cpu.user), ("system", cgroup.cpu.system)]
                .into_iter()
                .filter_map(move |(mode, time)| Some(([name, kind, mode], time?)))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_cpu_throttled_seconds_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Time that the unit was throttled by CPUQuota= (throttled_usec). Absent without a quota.",
            source: "cgroup cpu.stat throttled_usec; v1 throttled_time",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        with_quota(snapshot, |cgroup| cgroup.cpu.throttled),
    )?;

    out.family(
        Family {
            name: "systemd_unit_cpu_throttled_periods_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Periods in which the unit was throttled by CPUQuota= (nr_throttled). Absent without a quota.",
            source: "cgroup cpu.stat nr_throttled",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        with_quota(snapshot, |cgroup| cgroup.cpu.nr_throttled),
    )?;

    out.family(
        Family {
            name: "systemd_unit_cpu_periods_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Periods in which the unit ran and CPUQuota= was enforced (nr_periods). Absent without a quota.",
            source: "cgroup cpu.stat nr_periods",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        with_quota(snapshot, |cgroup| cgroup.cpu.nr_periods),
    )?;

    out.family(
        Family {
            name: "systemd_unit_cpu_quota_cores",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "CPU quota of the unit in cores (CPUQuota=); 1 is one core. Absent without a quota.",
            source: "cgroup cpu.max; v1 cpu.cfs_quota_us, cpu.cfs_period_us",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        per_unit(snapshot, quota),
    )
}

fn with_quota<T>(
    snapshot: &Snapshot,
    value: impl Fn(&Cgroup) -> Option<T>,
) -> impl Iterator<Item = ([&str; 2], T)> {
    per_unit(snapshot, move |cgroup| quota(cgroup).and_then(|_| value(cgroup)))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a hundred years are exact")]
fn quota(cgroup: &Cgroup) -> Option<f64> {
    match cgroup.cpu.max? {
        CpuMax::Unlimited => None,
        CpuMax::Quota { quota, period } => {
            let (quota, period) = (quota.as_micros() as f64, period.as_micros() as f64);
            (period > 0.0).then(|| quota / period)
        }
    }
}
