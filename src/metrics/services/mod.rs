//! Services: failures by cause, exits, restarts and settings.

mod ip;
mod settings;

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithBoot;
use super::results::failed_results;
use super::{Exemplar, Family, Per, Sample, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::ledger::{Counted, ExitCode, UnitCounters};
use crate::systemd::unit::Service;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::value::Timestamp;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "services", title: "Services" }) {
        return Ok(());
    }

    out.family(
        Family {
            name: "systemd_service_restart_total",
            kind: Counter(WithBoot),
            per: Per::Service,
            help: "Automatic restarts of the service (Restart=). Unlike NRestarts, not reset by a manual start or reset-failed.",
            source: "D-Bus PropertiesChanged: Service.NRestarts, added up",
            profile: Profile::Minimal,
            labels: ["name"],
        },
        accounts(snapshot)
            .map(|(name, account)| Sample::since(([name], account.restarts), account.since)),
    )?;

    out.family(
        Family {
            name: "systemd_service_failures_total",
            kind: Counter(WithBoot),
            per: Per::Service,
            help: "Failures of the service, also if a restart follows, but not runs skipped by ExecCondition=. The exemplar has the invocation ID of the last.",
            source: "D-Bus PropertiesChanged: Service.Result, ExecMainExitTimestampMonotonic",
            profile: Profile::Minimal,
            labels: ["name"],
        },
        accounts(snapshot).map(|(name, account)| {
            let failures = &account.failures;
            Sample::since(([name], failures.total, exemplar(failures)), account.since)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_failures_by_result_total",
            kind: Counter(WithBoot),
            per: Per::Service,
            help: "Failures of the service by systemd result; unknown if the cause was neither seen nor found in the journal. Absent if there were none.",
            source: "D-Bus PropertiesChanged: Service.Result",
            profile: Profile::Minimal,
            labels: ["name", "result"],
        },
        accounts(snapshot).flat_map(|(name, account)| {
            account.failures_by_result.iter().map(move |(result, failures)| {
                Sample::after(([name, &**result], failures.total), failures.first)
            })
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_process_exits_total",
            kind: Counter(WithBoot),
            per: Per::Service,
            help: "Exits of the main process by code (exited, killed, dumped) and status or signal; of a loaded oneshot, of each ExecStart=, but not if it restarts at once.",
            source: "D-Bus PropertiesChanged: Service.ExecMainCode, ExecMainStatus, ExecMainExitTimestampMonotonic; of oneshots, Service.ExecStart, read after the last exit",
            profile: Profile::Fleet,
            labels: ["name", "code", "status"],
        },
        accounts(snapshot).flat_map(|(name, account)| {
            account.main_exits.iter().map(move |((code, status), exits)| {
                let labels = [name, code.as_str(), &**status];
                Sample::after((labels, exits.total, exemplar(exits)), exits.first)
            })
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_result",
            kind: Gauge,
            per: Per::Service,
            help: "Result of the last run of the service (Result); constant 1, current result only. Absent on success and before the first run.",
            source: "D-Bus Service.Result",
            profile: Profile::Fleet,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Service),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_process_exit_code",
            kind: Gauge,
            per: Per::Service,
            help: "Exit code of the last main process (ExecMainStatus). Absent while it runs, before its first exit, and if a signal ended it.",
            source: "D-Bus Service.ExecMainStatus, ExecMainCode",
            profile: Profile::Fleet,
            labels: ["name"],
        },
        last_exits(snapshot, |code| code == ExitCode::Exited),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_process_exit_signal",
            kind: Gauge,
            per: Per::Service,
            help: "Number of the signal that ended the last main process (ExecMainStatus). Absent while it runs, before its first exit, and if it exited by itself.",
            source: "D-Bus Service.ExecMainStatus, ExecMainCode",
            profile: Profile::Fleet,
            labels: ["name"],
        },
        last_exits(snapshot, |code| code != ExitCode::Exited),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_process_start_time_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "Unix time of the last start of the main process (ExecMainStartTimestamp). Absent before the first.",
            source: "D-Bus Service.ExecMainStartTimestamp",
            profile: Profile::Full,
            labels: ["name"],
        },
        times(snapshot, |service| service.main_start),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_process_exit_time_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "Unix time of the last exit of the main process (ExecMainExitTimestamp). Absent while it runs.",
            source: "D-Bus Service.ExecMainExitTimestamp",
            profile: Profile::Full,
            labels: ["name"],
        },
        times(snapshot, |service| service.main_exit),
    )?;

    out.family(
        Family {
            name: "systemd_service_start_limit_hit",
            kind: Gauge,
            per: Per::Service,
            help: "Whether systemd refused to start the service because of its start limit, until it is started or reset. Without Restart=, absent unless it did.",
            source: "D-Bus Unit.ActiveState, StateChangeTimestamp, InactiveEnterTimestamp, InvocationID, Service.Result: a service that was to be started and failed instead",
            profile: Profile::Minimal,
            labels: ["name"],
        },
        snapshot.systemd.iter().flat_map(|systemd| {
            let accounts = &systemd.counters;
            systemd.units.iter().filter_map(move |unit| {
                let service = unit.service()?;
                let at = accounts.binary_search_by(|(name, _)| name.cmp(&unit.name)).ok()?;
                let is_hit = accounts[at].1.start_limit_hit;
                (service.is_restarted() || is_hit).then_some(([&*unit.name], is_hit))
            })
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_process_pid",
            kind: Gauge,
            per: Per::Service,
            help: "Process ID of the main process (MainPID). Absent if there is none.",
            source: "D-Bus Service.MainPID",
            profile: Profile::Full,
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| Some(([name], service.main_pid?))),
    )?;

    out.family(
        Family {
            name: "systemd_service_restart_due",
            kind: Gauge,
            per: Per::Service,
            help: "1 if the running service is older than its program, its unit file, its directory's link or a library. Absent otherwise.",
            source: "D-Bus Service.ExecStart, WorkingDirectory, ExecMainStartTimestamp, Unit.FragmentPath, DropInPaths; the ctime of these files; /proc/PID/maps with CAP_SYS_PTRACE; once a minute",
            profile: Profile::Minimal,
            labels: ["name", "because"],
        },
        snapshot.restart_due.iter().map(|due| ([&*due.name, due.because.as_str()], true)),
    )?;

    settings::families(snapshot, out)?;
    ip::families(snapshot, out)
}

fn services(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Service)> {
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    units.filter_map(|unit| Some((&*unit.name, unit.service()?)))
}

fn accounts(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &UnitCounters)> {
    let accounts = snapshot.systemd.iter().flat_map(|systemd| &systemd.counters);
    accounts
        .filter(|(_, account)| account.kind == UnitKind::Service)
        .map(|(name, account)| (&**name, &**account))
}

/// The exit status of the last main process, of the exit codes that `counts` selects.
fn last_exits(
    snapshot: &Snapshot,
    counts: impl Fn(ExitCode) -> bool,
) -> impl Iterator<Item = ([&str; 1], u64)> {
    services(snapshot).filter_map(move |(name, service)| {
        let code = ExitCode::from_number(service.exit_code?)?;
        counts(code).then_some(([name], service.exit_status?))
    })
}

fn times(
    snapshot: &Snapshot,
    time: impl Fn(&Service) -> Option<Timestamp>,
) -> impl Iterator<Item = ([&str; 1], Timestamp)> {
    services(snapshot).filter_map(move |(name, service)| Some(([name], time(service)?.set()?)))
}

fn exemplar(counted: &Counted) -> Option<Exemplar<'_>> {
    let (invocation_id, at) = counted.last.as_ref()?;
    Some(Exemplar { invocation_id, at: *at })
}
