//! The service manager and the host: how many units in which state, jobs, PID 1 itself.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::{WithBoot, WithExporter};
use super::{Family, Per, Sink, Subject};
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
            help: "The systemd version as a number, and whole as a label.",
            source: "D-Bus Manager.Version",
            labels: ["version"],
        },
        manager
            .and_then(|manager| Some(([manager.version.as_deref()?], manager.version_number()?))),
    )?;

    out.family(
        Family {
            name: "systemd_units",
            kind: Gauge,
            per: Per::Host,
            help: "Units that systemd has loaded, whether they are exported or not.",
            source: "D-Bus Manager.ListUnits, Unit.ActiveState",
            labels: ["type", "state"],
        },
        systemd.iter().flat_map(|systemd| {
            systemd.counts.iter().map(|((kind, state), count)| ([kind.as_str(), state], *count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_units_by_load_state",
            kind: Gauge,
            per: Per::Host,
            help: "Units by how loading their file went, whether they are exported or not.",
            source: "D-Bus Manager.ListUnits",
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
            help: "Units in state failed, whether they are exported or not.",
            source: "D-Bus Unit.ActiveState",
            labels: [],
        },
        systemd.map(|systemd| {
            let failed = systemd.counts.iter().filter(|((_, state), _)| state == "failed");
            ([], failed.map(|(_, count)| count).sum::<u64>())
        }),
    )?;

    out.family(
        Family {
            name: "systemd_system_state",
            kind: Gauge,
            per: Per::Host,
            help: "Always 1. The state of the system as a whole: running, degraded, maintenance, starting and others.",
            source: "D-Bus Manager.SystemState, asked when a job ends, and every 15 s",
            labels: ["state"],
        },
        manager.and_then(|manager| Some(([manager.system_state.as_deref()?], true))),
    )?;

    out.family(
        Family {
            name: "systemd_system_running",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the system is running and no unit failed.",
            source: "D-Bus Manager.SystemState",
            labels: [],
        },
        manager.and_then(|manager| Some(([], manager.system_state.as_deref()? == "running"))),
    )?;

    out.family(
        Family {
            name: "systemd_virtualization_info",
            kind: Gauge,
            per: Per::Host,
            help: "Always 1. The virtual machine or container that systemd runs in; none on bare metal.",
            source: "D-Bus Manager.Virtualization",
            labels: ["virtualization_type"],
        },
        manager.and_then(|manager| {
            let kind = manager.virtualization.as_deref()?;
            Some(([if kind.is_empty() { "none" } else { kind }], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_tainted",
            kind: Gauge,
            per: Per::Host,
            help: "Always 1. What is unusual about the system in the eyes of systemd: unmerged-usr, cgroupsv1, local-hwclock and others.",
            source: "D-Bus Manager.Tainted",
            labels: ["taint"],
        },
        manager.iter().flat_map(|manager| manager.tainted.iter().map(|taint| ([&**taint], true))),
    )?;

    out.family(
        Family {
            name: "systemd_jobs_queued",
            kind: Gauge,
            per: Per::Host,
            help: "Jobs that wait or run.",
            source: "D-Bus Manager.JobNew, JobRemoved",
            labels: [],
        },
        systemd.map(|systemd| ([], systemd.jobs)),
    )?;

    out.family(
        Family {
            name: "systemd_job_oldest_age_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "How long the oldest job has been seen to wait or run. Absent without any.",
            source: "D-Bus Manager.JobNew, JobRemoved",
            labels: [],
        },
        systemd.and_then(|systemd| Some(([], systemd.oldest_job?))),
    )?;

    out.family(
        Family {
            name: "systemd_job_results_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Jobs ended, by result.",
            source: "D-Bus Manager.JobRemoved",
            labels: ["result"],
        },
        host.iter()
            .flat_map(|host| host.job_results.iter().map(|(result, count)| ([&**result], *count))),
    )?;

    out.family(
        Family {
            name: "systemd_failures_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Failures of services on this host by cause, for pages of many hosts.",
            source: "D-Bus PropertiesChanged: Service.Result",
            labels: ["result"],
        },
        host.iter()
            .flat_map(|host| host.failures.iter().map(|(result, count)| ([&**result], *count))),
    )?;

    out.family(
        Family {
            name: "systemd_manager_reloads_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Times that systemd reloaded its configuration or executed itself anew.",
            source: "D-Bus Manager.Reloading, Manager.UnitsLoadTimestamp",
            labels: [],
        },
        host.map(|host| ([], host.reloads)),
    )?;

    let pid1 = snapshot.pid1.as_ref();

    out.family(
        Family {
            name: "systemd_pid1_cpu_seconds_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "CPU time that PID 1 used, by mode.",
            source: "/proc/1/stat utime, stime",
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
            labels: [],
        },
        pid1.map(|pid1| ([], pid1.resident_bytes)),
    )?;

    out.family(
        Family {
            name: "systemd_pid1_open_fds",
            kind: Gauge,
            per: Per::Host,
            help: "Open file descriptors of PID 1.",
            source: "size of /proc/1/fd (kernel 6.2)",
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
            labels: [],
        },
        pid1.map(|pid1| ([], pid1.threads)),
    )
}
