//! The processes of each unit, from /proc.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithProcess;
use super::{Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;
use crate::source::process::{MainProcess, UnitProcesses};
use crate::systemd::unit::name::Kind;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "process", title: "Processes, from /proc" }) {
        return Ok(());
    }
    main_processes(snapshot, out)?;
    all_processes(snapshot, out)
}

fn main_processes(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_process_cpu_seconds_total",
            kind: Counter(WithProcess),
            per: Per::RunningUnit,
            help: "CPU time of the service's main process, user and system. The whole service's is systemd_unit_cpu_seconds_total.",
            source: "/proc/PID/stat utime, stime",
            labels: ["name"],
        },
        per_main(snapshot, |main| Some(main.cpu)),
    )?;

    out.family(
        Family {
            name: "systemd_process_resident_memory_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Resident memory of the service's main process.",
            source: "/proc/PID/stat rss",
            labels: ["name"],
        },
        per_main(snapshot, |main| Some(main.resident_bytes)),
    )?;

    out.family(
        Family {
            name: "systemd_process_virtual_memory_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Virtual memory of the service's main process.",
            source: "/proc/PID/stat vsize",
            labels: ["name"],
        },
        per_main(snapshot, |main| Some(main.virtual_bytes)),
    )?;

    out.family(
        Family {
            name: "systemd_process_virtual_memory_max_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "The most virtual memory that the service's main process may have: LimitAS=. Absent without a limit.",
            source: "/proc/PID/limits Max address space",
            labels: ["name"],
        },
        per_main(snapshot, |main| main.virtual_max_bytes?.number()),
    )?;

    out.family(
        Family {
            name: "systemd_process_open_fds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Open file descriptors of the service's main process. Absent on kernels before 6.2 unless the exporter may list them.",
            source: "/proc/PID/fd, its size (kernel 6.2) or entries",
            labels: ["name"],
        },
        per_main(snapshot, |main| main.open_fds),
    )?;

    out.family(
        Family {
            name: "systemd_process_max_fds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "The most file descriptors that the service's main process may open: LimitNOFILE=, or what it has made of that. Absent without a limit.",
            source: "/proc/PID/limits Max open files",
            labels: ["name"],
        },
        per_main(snapshot, |main| main.max_fds?.number()),
    )?;

    out.family(
        Family {
            name: "systemd_process_threads",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Threads of the service's main process.",
            source: "/proc/PID/stat num_threads",
            labels: ["name"],
        },
        per_main(snapshot, |main| Some(main.threads)),
    )?;

    out.family(
        Family {
            name: "systemd_process_start_time_seconds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "When the service's main process started, since the Unix epoch.",
            source: "/proc/PID/stat starttime, /proc/stat btime",
            labels: ["name"],
        },
        per_main(snapshot, |main| main.start_time),
    )
}

fn all_processes(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_unit_processes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Processes of the unit by state: running, sleeping, disk_sleep, stopped, zombie, other. A state that no process is in is left out.",
            source: "/proc/PID/stat state of cgroup.procs",
            labels: ["name", "type", "state"],
        },
        processes(snapshot).flat_map(|(name, kind, unit)| {
            let states = unit.states;
            [
                ("running", states.running),
                ("sleeping", states.sleeping),
                ("disk_sleep", states.disk_sleep),
                ("stopped", states.stopped),
                ("zombie", states.zombie),
                ("other", states.other),
            ]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(move |(state, count)| ([name, kind, state], count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_threads",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Threads of all the unit's processes.",
            source: "/proc/PID/stat num_threads of cgroup.procs",
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.threads),
    )?;

    out.family(
        Family {
            name: "systemd_unit_open_fds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Open file descriptors of all the unit's processes. Absent on kernels before 6.2 unless the exporter may list them.",
            source: "/proc/PID/fd of cgroup.procs, its size (kernel 6.2) or entries",
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.open_fds),
    )?;

    out.family(
        Family {
            name: "systemd_unit_max_fds_ratio",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "How much of its limit of file descriptors has been used up, 0 to 1, by the process of the unit that is closest to it. Limits are read every 5 minutes.",
            source: "/proc/PID/fd, /proc/PID/limits Max open files of cgroup.procs",
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.max_fds_ratio),
    )?;

    out.family(
        Family {
            name: "systemd_unit_resident_memory_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Resident memory of all the unit's processes; what they share is counted for each. The unit's own share is systemd_unit_memory_stat_bytes.",
            source: "/proc/PID/stat rss of cgroup.procs",
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.resident_bytes),
    )?;

    out.family(
        Family {
            name: "systemd_unit_oldest_process_start_time_seconds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "When the oldest of the unit's processes started, since the Unix epoch.",
            source: "/proc/PID/stat starttime of cgroup.procs, /proc/stat btime",
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.oldest_start_time),
    )?;

    out.family(
        Family {
            name: "systemd_unit_processes_truncated",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Processes and control groups of the unit that are missing from its other values: past 20000 processes, 1000 control groups or 32 levels, out of time, or in a PID namespace that the exporter cannot see. Absent if there are none.",
            source: "the exporter",
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| (unit.truncated > 0).then_some(unit.truncated)),
    )
}

/// Each unit's processes with its name and type.
fn processes(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &'static str, &UnitProcesses)> {
    let units = snapshot.processes.iter().flat_map(|readings| &readings.units);
    units.filter_map(|(name, unit)| Some((&**name, Kind::of(name)?.as_str(), unit)))
}

fn per_unit<T>(
    snapshot: &Snapshot,
    value: impl Fn(&UnitProcesses) -> Option<T>,
) -> impl Iterator<Item = ([&str; 2], T)> {
    processes(snapshot).filter_map(move |(name, kind, unit)| Some(([name, kind], value(unit)?)))
}

fn per_main<T>(
    snapshot: &Snapshot,
    value: impl Fn(&MainProcess) -> Option<T>,
) -> impl Iterator<Item = ([&str; 1], T)> {
    processes(snapshot)
        .filter_map(move |(name, _, unit)| Some(([name], value(unit.main.as_ref()?)?)))
}
