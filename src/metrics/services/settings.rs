//! Settings of services, and the status that they report to systemd.

use std::fmt;

use super::{services, times};
use crate::collector::Profile;
use crate::metrics::Kind::Gauge;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::systemd::manager::Manager;
use crate::systemd::unit::Service;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_service_info",
            kind: Gauge,
            per: Per::Service,
            help: "Type=, Restart=, User= and Slice= of the service; constant 1. Without User=, the service runs as root.",
            source: "D-Bus Service.Type, Restart, User, Slice",
            profile: Profile::Default,
            labels: ["name", "service_type", "restart", "user", "slice"],
        },
        services(snapshot).filter_map(|(name, service)| {
            let kind = service.service_type.as_deref()?;
            let restart = service.restart.as_deref()?;
            let user = service.user.as_deref().filter(|user| !user.is_empty()).unwrap_or("root");
            Some(([name, kind, restart, user, service.slice.as_deref()?], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_restart_delay_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "Delay before the next automatic restart (RestartSec=, RestartSteps=), where it is not the manager's default. Services with Restart= only.",
            source: "D-Bus Service.RestartUSecNext (systemd 254), RestartUSec",
            profile: Profile::Default,
            labels: ["name"],
        },
        restarted(snapshot).filter_map(|(name, service, manager)| {
            let delay = service.next_restart_delay.or(service.restart_delay)?;
            Some(([name], unless_default(delay, manager.default_restart_delay)?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_start_limit_burst",
            kind: Gauge,
            per: Per::Service,
            help: "Maximum number of starts within the start limit interval (StartLimitBurst=), where it is not the manager's default. Services with Restart= only.",
            source: "D-Bus Unit.StartLimitBurst",
            profile: Profile::Default,
            labels: ["name"],
        },
        restarted(snapshot).filter_map(|(name, service, manager)| {
            service.start_limit_interval?;
            let burst = service.start_limit_burst.filter(|burst| *burst > 0)?;
            Some(([name], unless_default(burst, manager.default_start_limit_burst)?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_start_limit_interval_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "Interval of the start limit (StartLimitIntervalSec=), where it is not the manager's default. Services with Restart= only.",
            source: "D-Bus Unit.StartLimitIntervalUSec",
            profile: Profile::Default,
            labels: ["name"],
        },
        restarted(snapshot).filter_map(|(name, service, manager)| {
            service.start_limit_burst.filter(|burst| *burst > 0)?;
            let interval = service.start_limit_interval?;
            Some(([name], unless_default(interval, manager.default_start_limit_interval)?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_watchdog_timeout_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "Watchdog timeout of the service (WatchdogSec=). Absent without a watchdog.",
            source: "D-Bus Service.WatchdogUSec",
            profile: Profile::Default,
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| Some(([name], service.watchdog?))),
    )?;

    out.family(
        Family {
            name: "systemd_service_watchdog_last_ping_timestamp_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "Unix time of the last watchdog ping of the service (WatchdogTimestamp). Absent without WatchdogSec= and while it does not run.",
            source: "D-Bus Service.WatchdogTimestamp, polled every 15 s",
            profile: Profile::Default,
            labels: ["name"],
        },
        times(snapshot, |service| {
            service.watchdog?;
            service.main_pid?;
            service.watchdog_ping
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_status_errno",
            kind: Gauge,
            per: Per::Service,
            help: "errno reported by the service through sd_notify (ERRNO=). Absent if it reported none.",
            source: "D-Bus Service.StatusErrno",
            profile: Profile::Full,
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| {
            Some(([name], service.status_errno.filter(|errno| *errno > 0)?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_reload_result",
            kind: Gauge,
            per: Per::Service,
            help: "Result of the last reload of the service (ReloadResult); constant 1, current result only. Absent on success.",
            source: "D-Bus Service.ReloadResult",
            profile: Profile::Full,
            labels: ["name", "result"],
        },
        services(snapshot).filter_map(|(name, service)| {
            let result = service.reload_result.as_deref().filter(|result| *result != "success")?;
            Some(([name, result], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_fd_store_entries",
            kind: Gauge,
            per: Per::Service,
            help: "File descriptors that systemd stores for the service (NFileDescriptorStore). Absent without FileDescriptorStoreMax=.",
            source: "D-Bus Service.NFileDescriptorStore, polled every minute",
            profile: Profile::Full,
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| {
            service.fd_store_max.filter(|max| *max > 0)?;
            Some(([name], service.fd_store?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_fd_store_max",
            kind: Gauge,
            per: Per::Service,
            help: "Maximum number of stored file descriptors of the service (FileDescriptorStoreMax=). Absent without it.",
            source: "D-Bus Service.FileDescriptorStoreMax",
            profile: Profile::Full,
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| {
            Some(([name], service.fd_store_max.filter(|max| *max > 0)?))
        }),
    )
}

/// The services with Restart=, with their manager.
fn restarted(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Service, &Manager)> {
    let manager = snapshot.systemd.as_ref().map(|systemd| &systemd.manager);
    services(snapshot)
        .filter(|(_, service)| service.is_restarted())
        .filter_map(move |(name, service)| Some((name, service, manager?)))
}

fn unless_default<T: PartialEq>(value: T, default: Option<T>) -> Option<T> {
    (Some(&value) != default.as_ref()).then_some(value)
}
