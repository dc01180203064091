//! The boot: when its stages were reached, what was slow; and the hardware watchdog.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;
use crate::systemd::manager::{STAGES, Stage};
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
            help: "When the stage of the boot was reached, since the kernel started; 0 where the boot had no such stage.",
            source: "D-Bus Manager.*TimestampMonotonic",
            labels: ["stage"],
        },
        stages(snapshot, |stage| stage.monotonic),
    )?;

    out.family(
        Family {
            name: "systemd_boot_time_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "When the stage of the boot was reached, since the Unix epoch; 0 where the boot had no such stage.",
            source: "D-Bus Manager.*Timestamp",
            labels: ["stage"],
        },
        stages(snapshot, |stage| stage.time),
    )?;

    out.family(
        Family {
            name: "systemd_unit_boot_activation_seconds",
            kind: Gauge,
            per: Per::Unit,
            help: "How long the unit took to start when the host booted: the 20 slowest exported ones. A unit that was started again before the exporter looked is not among them.",
            source: "D-Bus Unit.InactiveExitTimestampMonotonic to ActiveEnterTimestampMonotonic or InactiveEnterTimestampMonotonic, asked once",
            labels: ["name"],
        },
        snapshot
            .systemd
            .iter()
            .flat_map(|systemd| &systemd.blame)
            .map(|(name, took)| ([&**name], *took)),
    )?;

    let device = manager.and_then(|manager| manager.watchdog_device.as_deref());
    let enabled = device.is_some_and(|device| !device.is_empty());

    out.family(
        Family {
            name: "systemd_watchdog_enabled",
            kind: Gauge,
            per: Per::Host,
            help: "Whether systemd feeds a hardware watchdog.",
            source: "D-Bus Manager.WatchdogDevice (systemd 252)",
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
            help: "When systemd last fed the watchdog, since the kernel started. Absent without a watchdog.",
            source: "D-Bus Manager.WatchdogLastPingTimestampMonotonic, asked every minute",
            labels: ["device"],
        },
        device.and_then(|device| Some(([device], manager?.watchdog_ping_monotonic?))),
    )?;

    out.family(
        Family {
            name: "systemd_watchdog_last_ping_time_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "When systemd last fed the watchdog, since the Unix epoch. Absent without a watchdog.",
            source: "D-Bus Manager.WatchdogLastPingTimestamp, asked every minute",
            labels: ["device"],
        },
        device.and_then(|device| Some(([device], manager?.watchdog_ping?))),
    )?;

    out.family(
        Family {
            name: "systemd_watchdog_runtime_seconds",
            kind: Gauge,
            per: Per::Host,
            help: "The watchdog resets the machine unless it is fed so often. Absent without a watchdog.",
            source: "D-Bus Manager.RuntimeWatchdogUSec",
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
