//! How services are set up, and what they say of themselves.

use std::fmt;

use super::{services, times};
use crate::metrics::Kind::Gauge;
use crate::metrics::{Family, Per, Sink};
use crate::snapshot::Snapshot;
use crate::systemd::unit::Service;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_service_info",
            kind: Gauge,
            per: Per::Service,
            help: "Always 1. The service's Type=, Restart=, User= and Slice=; without a User= it runs as root.",
            source: "D-Bus Service.Type, Restart, User, Slice",
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
            help: "How long systemd waits before it restarts the service: RestartSec=. Services with Restart= only.",
            source: "D-Bus Service.RestartUSec",
            labels: ["name"],
        },
        restarted(snapshot)
            .filter_map(|(name, service)| Some(([name], service.restart_delay?))),
    )?;

    out.family(
        Family {
            name: "systemd_service_start_limit_burst",
            kind: Gauge,
            per: Per::Service,
            help: "So many starts within the interval and systemd gives the service up: StartLimitBurst=. Services with Restart= only. Absent without a limit.",
            source: "D-Bus Unit.StartLimitBurst",
            labels: ["name"],
        },
        restarted(snapshot).filter_map(|(name, service)| {
            service.start_limit_interval?;
            Some(([name], service.start_limit_burst.filter(|burst| *burst > 0)?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_start_limit_interval_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "The interval in which starts of the service are limited: StartLimitIntervalSec=. Services with Restart= only. Absent without a limit.",
            source: "D-Bus Unit.StartLimitIntervalUSec",
            labels: ["name"],
        },
        restarted(snapshot).filter_map(|(name, service)| {
            service.start_limit_burst.filter(|burst| *burst > 0)?;
            Some(([name], service.start_limit_interval?))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_service_watchdog_timeout_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "How often the service has to tell systemd that it is well, or be killed: WatchdogSec=. Absent without.",
            source: "D-Bus Service.WatchdogUSec",
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| Some(([name], service.watchdog?))),
    )?;

    out.family(
        Family {
            name: "systemd_service_watchdog_last_ping_time_seconds",
            kind: Gauge,
            per: Per::Service,
            help: "When the service last told systemd that it is well, since the Unix epoch. Absent without WatchdogSec=, and while the service does not run.",
            source: "D-Bus Service.WatchdogTimestamp, asked every 15 s",
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
            help: "The error number that the service told systemd of: ERRNO= of sd_notify(3). Absent where it told none.",
            source: "D-Bus Service.StatusErrno",
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
            help: "Always 1. What went wrong when the service was last reloaded. Absent on success.",
            source: "D-Bus Service.ReloadResult",
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
            help: "File descriptors that systemd keeps for the service. Absent without FileDescriptorStoreMax=.",
            source: "D-Bus Service.NFileDescriptorStore, asked every minute",
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
            help: "The most file descriptors that systemd keeps for the service. Absent without FileDescriptorStoreMax=.",
            source: "D-Bus Service.FileDescriptorStoreMax",
            labels: ["name"],
        },
        services(snapshot).filter_map(|(name, service)| {
            Some(([name], service.fd_store_max.filter(|max| *max > 0)?))
        }),
    )
}

fn restarted(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Service)> {
    services(snapshot).filter(|(_, service)| service.is_restarted())
}
