//! What services went through: failures and their causes, exits, restarts; and their settings.

mod ip;
mod settings;

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithExporter;
use super::{Exemplar, Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;
use crate::systemd::ledger::{Account, Counted, ExitCode};
use crate::systemd::unit::Service;
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::value::Timestamp;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "services", title: "What services went through" }) {
        return Ok(());
    }

    out.family(
        Family {
            name: "systemd_service_restart_total",
            kind: Counter(WithExporter),
            per: Per::Service,
            help: "Restarts of the service by Restart=. Goes on counting where systemd's own counter is reset: by a manual start and by reset-failed.",
            source: "D-Bus PropertiesChanged: Service.NRestarts, added up",
            labels: ["name"],
        },
        accounts(snapshot).map(|(name, account)| ([name], account.restarts)),
    )?;

    out.family(
        Family {
            name: "systemd_service_failures_total",
            kind: Counter(WithExporter),
            per: Per::Service,
            help: "Failures of the service, also those that Restart= hides: crashes, timeouts, unclean exits. Its exemplar names the run that failed last.",
            source: "D-Bus PropertiesChanged: Service.Result, ExecMainExitTimestampMonotonic",
            labels: ["name"],
        },
        accounts(snapshot).map(|(name, account)| {
            ([name], account.failures.total, exemplar(&account.failures))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_failures_by_result_total",
            kind: Counter(WithExporter),
            per: Per::Service,
            help: "Failures of the service by cause: exit-code, signal, core-dump, oom-kill, timeout, watchdog, protocol, resources and others; unknown where a restart was counted by systemd and its cause was not seen, nor found in the journal. Absent while there were none.",
            source: "D-Bus PropertiesChanged: Service.Result",
            labels: ["name", "result"],
        },
        accounts(snapshot).flat_map(|(name, account)| {
            account.failures_by_result.iter().map(move |(result, count)| ([name, &**result], *count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_exits_total",
            kind: Counter(WithExporter),
            per: Per::Service,
            help: "Ends of the service's main process: code is exited, killed or dumped, status the exit status or the signal's name. Clean ones are among them. Absent while there were none.",
            source: "D-Bus PropertiesChanged: Service.ExecMainCode, ExecMainStatus, ExecMainExitTimestampMonotonic",
            labels: ["name", "code", "status"],
        },
        accounts(snapshot).flat_map(|(name, account)| {
            account.main_exits.iter().map(move |((code, status), exits)| {
                ([name, code.as_str(), &**status], exits.total, exemplar(exits))
            })
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_result",
            kind: Gauge,
            per: Per::Service,
            help: "Always 1. How the service's last run ended, or success.",
            source: "D-Bus Service.Result",
            labels: ["name", "result"],
        },
        services(snapshot)
            .filter_map(|(name, service)| Some(([name, service.result.as_deref()?], true))),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_exit_status",
            kind: Gauge,
            per: Per::Service,
            help: "Exit status of the service's last main process, or the number of the signal that ended it. Absent while it runs, and before it ever ended.",
            source: "D-Bus Service.ExecMainStatus, ExecMainCode",
            labels: ["name", "code"],
        },
        services(snapshot).filter_map(|(name, service)| {
            let code = ExitCode::from_number(service.exit_code?)?;
            Some(([name, code.as_str()], service.exit_status?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_start_time_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "When the service's main process was started last, since the Unix epoch. Absent if it never was.",
            source: "D-Bus Service.ExecMainStartTimestamp",
            labels: ["name"],
        },
        times(snapshot, |service| service.main_start),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_exit_time_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "When the service's main process ended, since the Unix epoch; less its start time, how long the last run took. Absent while it runs.",
            source: "D-Bus Service.ExecMainExitTimestamp",
            labels: ["name"],
        },
        times(snapshot, |service| service.main_exit),
    )?;

    out.family(
        Family {
            name: "systemd_service_given_up",
            kind: Gauge,
            per: Per::Service,
            help: "Whether the start limit was hit, so that systemd does not restart the service any more, until the next start or reset-failed. Services with Restart= only.",
            source: "D-Bus Unit.ActiveState, SubState, Service.Restart, NRestarts: a service that was to be restarted and failed instead",
            labels: ["name"],
        },
        snapshot.systemd.iter().flat_map(|systemd| {
            let accounts = &systemd.accounts;
            systemd.units.iter().filter_map(move |unit| {
                unit.service()?.restart.as_deref().filter(|restart| *restart != "no")?;
                let at = accounts.binary_search_by(|(name, _)| name.cmp(&unit.name)).ok()?;
                Some(([&*unit.name], accounts[at].1.given_up))
            })
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_main_pid",
            kind: Gauge,
            per: Per::Service,
            help: "Process id of the service's main process. Absent while there is none.",
            source: "D-Bus Service.MainPID",
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| Some(([name], service.main_pid?))),
    )?;

    settings::families(snapshot, out)?;
    ip::families(snapshot, out)
}

fn services(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Service)> {
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    units.filter_map(|unit| Some((&*unit.name, unit.service()?)))
}

fn accounts(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Account)> {
    let accounts = snapshot.systemd.iter().flat_map(|systemd| &systemd.accounts);
    accounts
        .filter(|(_, account)| account.kind == Kind::Service)
        .map(|(name, account)| (&**name, &**account))
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
