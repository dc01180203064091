//! Memory of each unit: usage, limits and limit events.

use std::fmt;

use super::{cgroups, limits, per_unit};
use crate::collector::Profile;
use crate::metrics::Kind::{Counter, Gauge};
use crate::metrics::Resets::WithUnit;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::systemd::unit::Unit as SystemdUnit;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_memory_current_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Memory charged to the unit, including page cache (memory.current).",
            source: "cgroup memory.current; v1 memory.usage_in_bytes",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |cgroup| cgroup.memory.current),
    )?;

    out.family(
        Family {
            name: "systemd_unit_memory_peak_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Highest memory charge of the unit since it was started (memory.peak).",
            source: "cgroup memory.peak (kernel 5.19); v1 memory.max_usage_in_bytes",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |cgroup| cgroup.memory.peak),
    )?;

    out.family(
        Family {
            name: "systemd_unit_swap_current_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Swap used by the unit (memory.swap.current).",
            source: "cgroup memory.swap.current; v1 memory.stat total_swap",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |cgroup| cgroup.memory.swap_current),
    )?;

    out.family(
        Family {
            name: "systemd_unit_memory_max_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Memory limit of the unit (MemoryMax=); beyond it, its processes are OOM-killed. Absent without a limit.",
            source: "cgroup memory.max; v1 memory.limit_in_bytes",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        limits(snapshot, |cgroup| cgroup.memory.max),
    )?;

    out.family(
        Family {
            name: "systemd_unit_memory_high_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Memory throttling limit of the unit (MemoryHigh=). Absent without a limit, and on cgroup v1.",
            source: "cgroup memory.high",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        limits(snapshot, |cgroup| cgroup.memory.high),
    )?;

    out.family(
        Family {
            name: "systemd_unit_swap_max_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Swap limit of the unit (MemorySwapMax=). Absent without a limit, and on cgroup v1.",
            source: "cgroup memory.swap.max",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        limits(snapshot, |cgroup| cgroup.memory.swap_max),
    )?;

    out.family(
        Family {
            name: "systemd_unit_memory_stat_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Memory of the unit by kind (memory.stat): anon, file (page cache, tmpfs, shared memory), kernel.",
            source: "cgroup memory.stat anon, file, kernel (kernel 5.18); v1 total_rss, total_cache",
            profile: Profile::Fleet,
            labels: ["name", "type", "kind"],
        },
        cgroups(snapshot).flat_map(|(name, kind, cgroup)| {
            let memory = &cgroup.memory;
            [
                ("anon", memory.stat_anon),
                ("file", memory.stat_file),
                ("kernel", memory.stat_kernel),
            ]
            .into_iter()
            .filter_map(move |(of, bytes)| Some(([name, kind, of], bytes?)))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_memory_events_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Memory events of the unit (memory.events): oom_kill; high, max, oom unless 0. cgroup v1 has oom_kill only, and not for the units of a slice.",
            source: "cgroup memory.events; v1 memory.oom_control oom_kill (kernel 4.13)",
            profile: Profile::Fleet,
            labels: ["name", "type", "event"],
        },
        cgroups(snapshot).flat_map(|(name, kind, cgroup)| {
            let memory = &cgroup.memory;
            [
                ("high", memory.events_high),
                ("max", memory.events_max),
                ("oom", memory.events_oom),
                ("oom_kill", memory.events_oom_kill),
            ]
            .into_iter()
            .filter_map(move |(event, count)| Some(([name, kind, event], count?)))
            .filter(|([.., event], count)| *event == "oom_kill" || *count > 0)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_oom_kills_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Processes of the unit killed by the kernel's OOM killer (OOMKills, systemd 259). Before, see systemd_unit_memory_events_total.",
            source: "D-Bus OOMKills (systemd 259), polled every minute",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        kills(snapshot, |unit| unit.oom_kills),
    )?;

    out.family(
        Family {
            name: "systemd_unit_managed_oom_kills_total",
            kind: Counter(WithUnit),
            per: Per::RunningUnit,
            help: "Kills of the unit's processes by systemd-oomd (ManagedOOMKills, systemd 259).",
            source: "D-Bus ManagedOOMKills (systemd 259), polled every minute",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        kills(snapshot, |unit| unit.managed_oom_kills),
    )
}

fn kills(
    snapshot: &Snapshot,
    count: impl Fn(&SystemdUnit) -> Option<u64>,
) -> impl Iterator<Item = ([&str; 2], u64)> {
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    units.filter_map(move |unit| Some(([&*unit.name, unit.kind.as_str()], count(unit)?)))
}
