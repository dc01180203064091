//! The processes of each unit, from /proc.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithProcess;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::source::process::{MainProcess, UnitProcesses};
use crate::systemd::unit::name::UnitKind;

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
            help: "User and system CPU time of the service's main process. For the whole service, see systemd_unit_cpu_seconds_total.",
            source: "/proc/PID/stat utime, stime",
            profile: Profile::Default,
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
            profile: Profile::Default,
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
            profile: Profile::Full,
            labels: ["name"],
        },
        per_main(snapshot, |main| Some(main.virtual_bytes)),
    )?;

    out.family(
        Family {
            name: "systemd_process_virtual_memory_max_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Virtual memory limit of the service's main process (LimitAS=). Absent without a limit.",
            source: "/proc/PID/limits Max address space",
            profile: Profile::Full,
            labels: ["name"],
        },
        per_main(snapshot, |main| main.virtual_max_bytes?.number()),
    )?;

    out.family(
        Family {
            name: "systemd_process_open_fds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Open file descriptors of the service's main process. Absent before Linux 6.2 unless the exporter may list them.",
            source: "/proc/PID/fd, its size (kernel 6.2) or entries",
            profile: Profile::Default,
            labels: ["name"],
        },
        per_main(snapshot, |main| main.open_fds),
    )?;

    out.family(
        Family {
            name: "systemd_process_max_fds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "File descriptor limit of the service's main process (LimitNOFILE=). Absent without a limit.",
            source: "/proc/PID/limits Max open files",
            profile: Profile::Full,
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
            profile: Profile::Full,
            labels: ["name"],
        },
        per_main(snapshot, |main| Some(main.threads)),
    )?;

    out.family(
        Family {
            name: "systemd_process_start_time_seconds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Start time of the service's main process since the Unix epoch.",
            source: "/proc/PID/stat starttime, /proc/stat btime",
            profile: Profile::Full,
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
            help: "Processes of the unit by state: running, sleeping, disk_sleep, stopped, zombie, other. States without processes are absent.",
            source: "/proc/PID/stat state of cgroup.procs",
            profile: Profile::Full,
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
            help: "Threads of all processes of the unit.",
            source: "/proc/PID/stat num_threads of cgroup.procs",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.threads),
    )?;

    out.family(
        Family {
            name: "systemd_unit_open_fds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Open file descriptors of all processes of the unit. Absent before Linux 6.2 unless the exporter may list them.",
            source: "/proc/PID/fd of cgroup.procs, its size (kernel 6.2) or entries",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.open_fds),
    )?;

    out.family(
        Family {
            name: "systemd_unit_worst_fd_ratio",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Highest ratio of open to maximum file descriptors of any process of the unit. Limits are read every 5 minutes.",
            source: "/proc/PID/fd, /proc/PID/limits Max open files of cgroup.procs",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.max_fds_ratio),
    )?;

    out.family(
        Family {
            name: "systemd_unit_resident_memory_bytes",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Resident memory of all processes of the unit; shared pages count for each. For the unit's charge, see systemd_unit_memory_stat_bytes.",
            source: "/proc/PID/stat rss of cgroup.procs",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.resident_bytes),
    )?;

    out.family(
        Family {
            name: "systemd_unit_oldest_process_start_timestamp_seconds",
            kind: Gauge,
            per: Per::RunningUnit,
            help: "Unix time at which the oldest process of the unit started.",
            source: "/proc/PID/stat starttime of cgroup.procs, /proc/stat btime",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        per_unit(snapshot, |unit| unit.oldest_start_time),
    )
}

/// The processes of each unit, with its name and type.
fn processes(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &'static str, &UnitProcesses)> {
    let units = snapshot.processes.iter().flat_map(|readings| &readings.units);
    units.filter_map(|(name, unit)| Some((&**name, UnitKind::of(name)?.as_str(), unit)))
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
