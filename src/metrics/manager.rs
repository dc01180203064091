//! The service manager and the host: units by state, systemd jobs, PID 1.

use std::fmt;
use std::time::SystemTime;

use super::Kind::{Counter, Gauge};
use super::Resets::WithBoot;
use super::{Family, Per, Sample, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "manager", title: "The service manager and the host" }) {
        return Ok(());
    }
    let systemd = snapshot.systemd.as_ref();
    let manager = systemd.map(|systemd| &systemd.manager);
    let host = systemd.map(|systemd| &systemd.host);

    out.family(
        Family {
            name: "systemd_version",
            kind: Gauge,
            per: Per::Host,
            help: "systemd version: major version as value, full version string in label version.",
            source: "D-Bus Manager.Version",
            profile: Profile::Minimal,
            labels: ["version"],
        },
        manager
            .and_then(|manager| Some(([manager.version.as_deref()?], manager.version_number()?))),
    )?;

    out.family(
        Family {
            name: "systemd_manager_default_restart_delay_seconds",
            kind: Gauge,
            per: Per::Manager,
            help: "Restart delay of services that set none (DefaultRestartSec=).",
            source: "D-Bus Manager.DefaultRestartUSec",
            profile: Profile::Default,
            labels: [],
        },
        manager.and_then(|manager| Some(([], manager.default_restart_delay?))),
    )?;

    out.family(
        Family {
            name: "systemd_manager_default_start_limit_burst",
            kind: Gauge,
            per: Per::Manager,
            help: "Start limit of units that set none (DefaultStartLimitBurst=): maximum number of starts within the interval.",
            source: "D-Bus Manager.DefaultStartLimitBurst",
            profile: Profile::Default,
            labels: [],
        },
        manager.and_then(|manager| Some(([], manager.default_start_limit_burst?))),
    )?;

    out.family(
        Family {
            name: "systemd_manager_default_start_limit_interval_seconds",
            kind: Gauge,
            per: Per::Manager,
            help: "Interval of the start limit of units that set none (DefaultStartLimitIntervalSec=).",
            source: "D-Bus Manager.DefaultStartLimitIntervalUSec",
            profile: Profile::Default,
            labels: [],
        },
        manager.and_then(|manager| Some(([], manager.default_start_limit_interval?))),
    )?;

    out.family(
        Family {
            name: "systemd_units",
            kind: Gauge,
            per: Per::Host,
            help: "Number of loaded units by type and active state, exported or not.",
            source: "D-Bus Manager.ListUnits, Unit.ActiveState",
            profile: Profile::Fleet,
            labels: ["type", "state"],
        },
        systemd.iter().flat_map(|systemd| {
            systemd
                .active_states
                .iter()
                .map(|((kind, state), count)| ([kind.as_str(), state], *count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_units_by_load_state",
            kind: Gauge,
            per: Per::Host,
            help: "Number of loaded units by load state (LoadState), exported or not.",
            source: "D-Bus Manager.ListUnits",
            profile: Profile::Full,
            labels: ["load_state"],
        },
        systemd.iter().flat_map(|systemd| {
            systemd.load_states.iter().map(|(state, count)| ([&**state], *count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_failed_units",
            kind: Gauge,
            per: Per::Host,
            help: "Number of units in state failed, exported or not.",
            source: "D-Bus Unit.ActiveState",
            profile: Profile::Minimal,
            labels: [],
        },
        systemd.map(|systemd| {
            let failed = systemd.active_states.iter().filter(|((_, state), _)| state == "failed");
            ([], failed.map(|(_, count)| count).sum::<u64>())
        }),
    )?;

    out.family(
        Family {
            name: "systemd_system_state",
            kind: Gauge,
            per: Per::Host,
            help: "Current state of the system (SystemState); constant 1, current state only.",
            source: "D-Bus Manager.SystemState, read when a systemd job ends, and every 15 s",
            profile: Profile::Minimal,
            labels: ["state"],
        },
        manager.and_then(|manager| Some(([manager.system_state.as_deref()?], true))),
    )?;

    out.family(
        Family {
            name: "systemd_system_running",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the system state is running: the boot has finished and no unit has failed (SystemState).",
            source: "D-Bus Manager.SystemState",
            profile: Profile::Minimal,
            labels: [],
        },
        manager.and_then(|manager| Some(([], manager.system_state.as_deref()? == "running"))),
    )?;

    out.family(
        Family {
            name: "systemd_virtualization_info",
            kind: Gauge,
            per: Per::Host,
            help: "Virtual machine or container that systemd runs in, none on bare metal (Virtualization); constant 1.",
            source: "D-Bus Manager.Virtualization",
            profile: Profile::Fleet,
            labels: ["virtualization_type"],
        },
        manager.and_then(|manager| {
            let kind = manager.virtualization.as_deref()?;
            Some(([if kind.is_empty() { "none" } else { kind }], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_taint_info",
            kind: Gauge,
            per: Per::Host,
            help: "Taint flags of the systemd manager (Tainted); constant 1 per flag.",
            source: "D-Bus Manager.Tainted",
            profile: Profile::Fleet,
            labels: ["taint"],
        },
        manager.iter().flat_map(|manager| manager.tainted.iter().map(|taint| ([&**taint], true))),
    )?;

    out.family(
        Family {
            name: "systemd_jobs",
            kind: Gauge,
            per: Per::Host,
            help: "Number of systemd jobs by state: waiting, or running while the unit is activating, deactivating or reloading.",
            source: "D-Bus Manager.JobNew, JobRemoved",
            profile: Profile::Fleet,
            labels: ["state"],
        },
        systemd.iter().flat_map(|systemd| {
            [(["waiting"], systemd.waiting_jobs), (["running"], systemd.running_jobs)]
        }),
    )?;

    out.family(
        Family {
            name: "systemd_job_oldest_enqueued_timestamp_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Unix time at which the exporter saw the oldest waiting or running systemd job enqueued. Absent if there are no jobs.",
            source: "D-Bus Manager.JobNew, JobRemoved",
            profile: Profile::Minimal,
            labels: [],
        },
        systemd.and_then(|systemd| {
            Some(([], systemd.oldest_job?.duration_since(SystemTime::UNIX_EPOCH).ok()?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_jobs_completed_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Completed systemd jobs by result (JobRemoved).",
            source: "D-Bus Manager.JobRemoved",
            profile: Profile::Fleet,
            labels: ["result"],
        },
        host.iter().flat_map(|host| {
            let results = host.job_results.iter();
            results.map(|(result, count)| Sample::since(([&**result], *count), host.since))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_host_service_failures_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Service failures on this host by systemd result, summed over all exported services.",
            source: "D-Bus PropertiesChanged: Service.Result",
            profile: Profile::Minimal,
            labels: ["result"],
        },
        host.iter().flat_map(|host| {
            let results = host.failures.iter();
            results.map(|(result, count)| Sample::since(([&**result], *count), host.since))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_manager_reloads_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Number of daemon-reload and daemon-reexec operations (Reloading).",
            source: "D-Bus Manager.Reloading, Manager.UnitsLoadTimestamp",
            profile: Profile::Fleet,
            labels: [],
        },
        host.map(|host| Sample::since(([], host.reloads), host.since)),
    )?;

    let pid1 = snapshot.pid1.as_ref();

    out.family(
        Family {
            name: "systemd_pid1_cpu_seconds_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "CPU time of PID 1 by mode.",
            source: "/proc/1/stat utime, stime",
            profile: Profile::Fleet,
            labels: ["mode"],
        },
        pid1.iter().flat_map(|pid1| [(["user"], pid1.cpu_user), (["system"], pid1.cpu_system)]),
    )?;

    out.family(
        Family {
            name: "systemd_pid1_resident_memory_bytes",
            kind: Gauge,
            per: Per::Host,
            help: "Resident memory of PID 1.",
            source: "/proc/1/stat rss",
            profile: Profile::Fleet,
            labels: [],
        },
        pid1.map(|pid1| ([], pid1.resident_bytes)),
    )?;

    out.family(
        Family {
            name: "systemd_pid1_open_fds",
            kind: Gauge,
            per: Per::Host,
            help: "Open file descriptors of PID 1. Absent before Linux 6.2 unless the exporter may list them.",
            source: "size of /proc/1/fd (kernel 6.2)",
            profile: Profile::Full,
            labels: [],
        },
        pid1.and_then(|pid1| Some(([], pid1.open_fds?))),
    )?;

    out.family(
        Family {
            name: "systemd_pid1_threads",
            kind: Gauge,
            per: Per::Host,
            help: "Threads of PID 1.",
            source: "/proc/1/stat num_threads",
            profile: Profile::Full,
            labels: [],
        },
        pid1.map(|pid1| ([], pid1.threads)),
    )
}
