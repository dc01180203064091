//! Timers: last and next trigger, settings, result.

use std::fmt;
use std::time::Duration;

use super::Kind::{Counter, Gauge};
use super::Resets::WithBoot;
use super::results::failed_results;
use super::{Family, Per, Sample, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::unit::Timer;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::value::Timestamp;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "timers", title: "Timers" }) {
        return Ok(());
    }
    let offset = snapshot.systemd.as_ref().map_or(Duration::ZERO, |systemd| systemd.boot_offset);

    out.family(
        Family {
            name: "systemd_timer_last_trigger_seconds",
            kind: Gauge,
            per: Per::Timer,
            help: "Unix time at which the timer last elapsed (LastTriggerUSec); 0 if never.",
            source: "D-Bus Timer.LastTriggerUSec",
            profile: Profile::Minimal,
            labels: ["name"],
        },
        timers(snapshot).filter_map(|(name, timer)| Some(([name], timer.last_trigger?))),
    )?;

    out.family(
        Family {
            name: "systemd_timer_next_trigger_seconds",
            kind: Gauge,
            per: Per::Timer,
            help: "Unix time at which the timer elapses next, the earlier of its calendar and monotonic times. Absent if it does not.",
            source: "D-Bus Timer.NextElapseUSecRealtime, NextElapseUSecMonotonic",
            profile: Profile::Minimal,
            labels: ["name"],
        },
        timers(snapshot).filter_map(move |(name, timer)| Some(([name], next(timer, offset)?))),
    )?;

    out.family(
        Family {
            name: "systemd_timer_dead",
            kind: Gauge,
            per: Per::Timer,
            help: "1 if the timer is active and will never elapse (elapsed): its unit never ran or its dates are past. Absent otherwise, and for one-time timers that elapsed.",
            source: "D-Bus Unit.SubState, Timer.TimersMonotonic, Timer.LastTriggerUSec, Unit.ActiveState of the triggered unit",
            profile: Profile::Minimal,
            labels: ["name"],
        },
        snapshot
            .systemd
            .iter()
            .flat_map(|systemd| &systemd.dead_timers)
            .map(|name| ([&**name], true)),
    )?;

    out.family(
        Family {
            name: "systemd_timer_accuracy_seconds",
            kind: Gauge,
            per: Per::Timer,
            help: "Accuracy of the timer (AccuracySec=): maximum delay after its time.",
            source: "D-Bus Timer.AccuracyUSec",
            profile: Profile::Minimal,
            labels: ["name"],
        },
        timers(snapshot).filter_map(|(name, timer)| Some(([name], timer.accuracy?))),
    )?;

    out.family(
        Family {
            name: "systemd_timer_randomized_delay_seconds",
            kind: Gauge,
            per: Per::Timer,
            help: "Maximum random delay of the timer (RandomizedDelaySec=). Absent without one.",
            source: "D-Bus Timer.RandomizedDelayUSec",
            profile: Profile::Full,
            labels: ["name"],
        },
        timers(snapshot).filter_map(|(name, timer)| Some(([name], timer.randomized_delay?))),
    )?;

    out.family(
        Family {
            name: "systemd_timer_info",
            kind: Gauge,
            per: Per::Timer,
            help: "Unit that the timer starts (Unit=); constant 1.",
            source: "D-Bus Timer.Unit",
            profile: Profile::Minimal,
            labels: ["name", "triggers"],
        },
        timers(snapshot).filter_map(|(name, timer)| Some(([name, timer.unit.as_deref()?], true))),
    )?;

    out.family(
        Family {
            name: "systemd_timer_triggers_total",
            kind: Counter(WithBoot),
            per: Per::Timer,
            help: "Number of times the timer elapsed (LastTriggerUSecMonotonic); a time read from the stamp file of Persistent= does not count.",
            source: "D-Bus PropertiesChanged: Timer.LastTriggerUSecMonotonic",
            profile: Profile::Fleet,
            labels: ["name"],
        },
        snapshot
            .systemd
            .iter()
            .flat_map(|systemd| &systemd.counters)
            .filter(|(_, account)| account.kind == UnitKind::Timer)
            .map(|(name, account)| {
                Sample::since(([&**name], account.triggers), account.seen_since)
            }),
    )?;

    out.family(
        Family {
            name: "systemd_timer_result",
            kind: Gauge,
            per: Per::Timer,
            help: "Result of the timer (Result); constant 1, current result only. Absent on success.",
            source: "D-Bus Timer.Result",
            profile: Profile::Fleet,
            labels: ["name", "result"],
        },
        failed_results(snapshot, UnitKind::Timer),
    )
}

fn timers(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &Timer)> {
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    units.filter_map(|unit| Some((&*unit.name, unit.timer()?)))
}

fn next(timer: &Timer, boot_offset: Duration) -> Option<Duration> {
    let calendar = timer.next_realtime.and_then(Timestamp::set).map(Timestamp::since_epoch);
    let monotonic = timer
        .next_monotonic
        .and_then(Timestamp::set)
        .map(|since_boot| since_boot.since_epoch() + boot_offset);
    calendar.into_iter().chain(monotonic).min()
}
