//! The boot stages, the slowest units at boot, and the hardware watchdog.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithBoot;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::manager::{STAGES, Stage};
use crate::systemd::unit::name::type_of;
use crate::systemd::unit::value::Timestamp;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "boot", title: "Boot and watchdog" }) {
        return Ok(());
    }
    let manager = snapshot.systemd.as_ref().map(|systemd| &systemd.manager);

    out.family(
        Family {
            name: "systemd_boot_monotonic_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Time at which the boot stage was reached, on CLOCK_MONOTONIC (*TimestampMonotonic); 0 if the boot had no such stage.",
            source: "D-Bus Manager.*TimestampMonotonic",
            profile: Profile::Fleet,
            labels: ["stage"],
        },
        stages(snapshot, |stage| stage.monotonic),
    )?;

    out.family(
        Family {
            name: "systemd_boot_time_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Unix time at which the boot stage was reached (*Timestamp); 0 if the boot had no such stage.",
            source: "D-Bus Manager.*Timestamp",
            profile: Profile::Fleet,
            labels: ["stage"],
        },
        stages(snapshot, |stage| stage.time),
    )?;

    out.family(
        Family {
            name: "systemd_unit_boot_activation_seconds",
            kind: Gauge,
            per: Per::Unit,
            help: "Time that the unit took to start at boot, of the 20 slowest units. Absent if the unit was restarted before the exporter read it.",
            source: "D-Bus Unit.InactiveExitTimestampMonotonic to ActiveEnterTimestampMonotonic or InactiveEnterTimestampMonotonic, read once",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        snapshot
            .systemd
            .iter()
            .flat_map(|systemd| &systemd.boot_blame)
            .map(|(name, took)| ([&**name, type_of(name)], *took)),
    )?;

    out.family(
        Family {
            name: "systemd_soft_reboots_total",
            kind: Counter(WithBoot),
            per: Per::Host,
            help: "Soft-reboots of the host since its kernel was booted (SoftRebootsCount); systemd 256.",
            source: "D-Bus Manager.SoftRebootsCount",
            profile: Profile::Full,
            labels: [],
        },
        manager.and_then(|manager| Some(([], manager.soft_reboots?))),
    )?;

    let device = manager.and_then(|manager| manager.watchdog_device.as_deref());
    let enabled = device.is_some_and(|device| !device.is_empty());

    out.family(
        Family {
            name: "systemd_watchdog_enabled",
            kind: Gauge,
            per: Per::Host,
            help: "Whether systemd uses a hardware watchdog (WatchdogDevice).",
            source: "D-Bus Manager.WatchdogDevice (systemd 252)",
            profile: Profile::Default,
            labels: [],
        },
        device.map(|_| ([], enabled)),
    )?;

    let device = device.filter(|_| enabled);

    out.family(
        Family {
            name: "systemd_watchdog_last_ping_monotonic_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Time of the last hardware watchdog ping, on CLOCK_MONOTONIC. Absent without a watchdog.",
            source: "D-Bus Manager.WatchdogLastPingTimestampMonotonic, polled every minute",
            profile: Profile::Default,
            labels: ["device"],
        },
        device.and_then(|device| Some(([device], manager?.watchdog_ping_monotonic?))),
    )?;

    out.family(
        Family {
            name: "systemd_watchdog_last_ping_time_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Unix time of the last hardware watchdog ping (WatchdogLastPingTimestamp). Absent without a watchdog.",
            source: "D-Bus Manager.WatchdogLastPingTimestamp, polled every minute",
            profile: Profile::Default,
            labels: ["device"],
        },
        device.and_then(|device| Some(([device], manager?.watchdog_ping?))),
    )?;

    out.family(
        Family {
            name: "systemd_watchdog_runtime_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "Hardware watchdog timeout (RuntimeWatchdogSec=). Absent without a watchdog.",
            source: "D-Bus Manager.RuntimeWatchdogUSec",
            profile: Profile::Default,
            labels: ["device"],
        },
        device.and_then(|device| Some(([device], manager?.runtime_watchdog?))),
    )
}

fn stages(
    snapshot: &Snapshot,
    time: impl Fn(&Stage) -> Option<Timestamp>,
) -> impl Iterator<Item = ([&str; 1], Timestamp)> {
    let stages = snapshot.systemd.iter().flat_map(|systemd| &systemd.manager.boot);
    stages.zip(STAGES).filter_map(move |(stage, name)| Some(([name], time(stage)?)))
}
