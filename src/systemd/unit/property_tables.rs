//! The properties that the mirror keeps, by interface.

use std::time::Duration;

use super::properties::{CONDITION_TIME, CONTROL_GROUP, Learnt, Property, property};
use crate::systemd::unit::value::{
    as_bool, as_duration, as_invocation_id, as_number, as_str, as_time, as_word,
};
use crate::systemd::unit::{Detail, Service, Socket, Timer, Unit};

pub(super) const UNIT: &[Property<Unit>] = &[
    property("LoadState", Learnt::Listed, |unit, value| unit.load_state = as_word(value)),
    property("ActiveState", Learnt::Listed, |unit, value| unit.active_state = as_word(value)),
    property("SubState", Learnt::Listed, |unit, value| unit.sub_state = as_word(value)),
    property("ActiveEnterTimestamp", Learnt::Signalled, |unit, value| {
        unit.active_enter = as_time(value);
    }),
    property("ActiveExitTimestamp", Learnt::Signalled, |unit, value| {
        unit.active_exit = as_time(value);
    }),
    property("InactiveEnterTimestamp", Learnt::Signalled, |unit, value| {
        unit.inactive_enter = as_time(value);
    }),
    property("InactiveExitTimestamp", Learnt::Signalled, |unit, value| {
        unit.inactive_exit = as_time(value);
    }),
    property("InvocationID", Learnt::Signalled, |unit, value| {
        unit.invocation_id = as_invocation_id(value);
    }),
    property("ConditionResult", Learnt::Apart, |unit, value| {
        unit.conditions_met = as_bool(value);
    }),
    property(CONDITION_TIME, Learnt::Apart, |unit, value| {
        unit.conditions_checked = as_time(value);
    }),
    property("UnitFileState", Learnt::Apart, |unit, value| unit.file_state = as_word(value)),
    property("UnitFilePreset", Learnt::Apart, |unit, value| unit.file_preset = as_word(value)),
    property("InactiveExitTimestampMonotonic", Learnt::Apart, |unit, value| {
        unit.since_boot.inactive_exit = as_time(value);
    }),
    property("ActiveEnterTimestampMonotonic", Learnt::Apart, |unit, value| {
        unit.since_boot.active_enter = as_time(value);
    }),
    property("InactiveEnterTimestampMonotonic", Learnt::Apart, |unit, value| {
        unit.since_boot.inactive_enter = as_time(value);
    }),
    property("NeedDaemonReload", Learnt::Apart, |unit, value| unit.needs_reload = as_bool(value)),
    property("StartLimitBurst", Learnt::Apart, |unit, value| {
        if let Detail::Service(service) = &mut unit.detail {
            service.start_limit_burst = as_number(value);
        }
    }),
    property("StartLimitIntervalUSec", Learnt::Apart, |unit, value| {
        if let Detail::Service(service) = &mut unit.detail {
            service.start_limit_interval = as_duration(value);
        }
    }),
];

/// Of every kind with a cgroup, on its own interface.
pub(super) const CGROUP: &[Property<Unit>] = &[
    property(CONTROL_GROUP, Learnt::Fetched, |unit, value| {
        // empty while nothing runs: the last path stays, its files are absent then
        if let Some(path) = as_str(value).filter(|path| !path.is_empty()) {
            unit.control_group = Some(path.into());
        }
    }),
    property("OOMKills", Learnt::Polled, |unit, value| unit.oom_kills = as_number(value)),
    property("ManagedOOMKills", Learnt::Polled, |unit, value| {
        unit.managed_oom_kills = as_number(value);
    }),
];

pub(super) const SERVICE: &[Property<Service>] = &[
    property("Type", Learnt::Fetched, |service, value| service.service_type = as_word(value)),
    property("Restart", Learnt::Fetched, |service, value| service.restart = as_word(value)),
    property("User", Learnt::Fetched, |service, value| {
        service.user = as_str(value).map(Into::into)
    }),
    property("Slice", Learnt::Fetched, |service, value| {
        service.slice = as_str(value).map(Into::into);
    }),
    property("RestartUSec", Learnt::Fetched, |service, value| {
        service.restart_delay = as_number(value).map(Duration::from_micros);
    }),
    property("WatchdogUSec", Learnt::Fetched, |service, value| {
        service.watchdog = as_duration(value);
    }),
    property("WatchdogTimestamp", Learnt::Watched, |service, value| {
        service.watchdog_ping = as_time(value);
    }),
    property("FileDescriptorStoreMax", Learnt::Fetched, |service, value| {
        service.fd_store_max = as_number(value);
    }),
    property("NFileDescriptorStore", Learnt::Polled, |service, value| {
        service.fd_store = as_number(value);
    }),
    property("IPAccounting", Learnt::Fetched, |service, value| {
        service.ip_accounting = as_bool(value);
    }),
    property("IPIngressBytes", Learnt::Watched, |service, value| {
        service.ip.ingress_bytes = as_number(value);
    }),
    property("IPIngressPackets", Learnt::Watched, |service, value| {
        service.ip.ingress_packets = as_number(value);
    }),
    property("IPEgressBytes", Learnt::Watched, |service, value| {
        service.ip.egress_bytes = as_number(value);
    }),
    property("IPEgressPackets", Learnt::Watched, |service, value| {
        service.ip.egress_packets = as_number(value);
    }),
    property("TasksMax", Learnt::Fetched, |service, value| service.tasks_max = as_number(value)),
    property("StatusErrno", Learnt::Signalled, |service, value| {
        service.status_errno = as_number(value);
    }),
    property("ReloadResult", Learnt::Signalled, |service, value| {
        service.reload_result = as_word(value);
    }),
    property("Result", Learnt::Signalled, |service, value| service.result = as_word(value)),
    property("NRestarts", Learnt::Signalled, |service, value| service.restarts = as_number(value)),
    property("MainPID", Learnt::Signalled, |service, value| {
        let pid = as_number(value).and_then(|pid| u32::try_from(pid).ok());
        service.main_pid = pid.filter(|pid| *pid != 0);
    }),
    property("ExecMainCode", Learnt::Signalled, |service, value| {
        service.exit_code = as_number(value);
    }),
    property("ExecMainStatus", Learnt::Signalled, |service, value| {
        service.exit_status = as_number(value);
    }),
    property("ExecMainStartTimestamp", Learnt::Signalled, |service, value| {
        service.main_start = as_time(value);
    }),
    property("ExecMainExitTimestamp", Learnt::Signalled, |service, value| {
        service.main_exit = as_time(value);
    }),
    property("ExecMainExitTimestampMonotonic", Learnt::Signalled, |service, value| {
        service.main_exit_monotonic = as_time(value);
    }),
];

pub(super) const TIMER: &[Property<Timer>] = &[
    property("Unit", Learnt::Fetched, |timer, value| timer.unit = as_str(value).map(Into::into)),
    property("AccuracyUSec", Learnt::Fetched, |timer, value| timer.accuracy = as_duration(value)),
    property("RandomizedDelayUSec", Learnt::Fetched, |timer, value| {
        timer.randomized_delay = as_duration(value);
    }),
    property("LastTriggerUSec", Learnt::Signalled, |timer, value| {
        timer.last_trigger = as_time(value);
    }),
    property("NextElapseUSecRealtime", Learnt::Signalled, |timer, value| {
        timer.next_realtime = as_time(value);
    }),
    property("NextElapseUSecMonotonic", Learnt::Signalled, |timer, value| {
        timer.next_monotonic = as_time(value);
    }),
    property("Result", Learnt::Signalled, |timer, value| timer.result = as_word(value)),
];

pub(super) const SOCKET: &[Property<Socket>] = &[
    property("Listen", Learnt::Fetched, |socket, value| {
        socket.listen = value.try_clone().ok().and_then(|v| v.try_into().ok()).unwrap_or_default();
    }),
    property("Accept", Learnt::Fetched, |socket, value| socket.accept = as_bool(value)),
    property("NAccepted", Learnt::Polled, |socket, value| socket.accepted = as_number(value)),
    property("NConnections", Learnt::Polled, |socket, value| {
        socket.connections = as_number(value);
    }),
    property("NRefused", Learnt::Polled, |socket, value| socket.refused = as_number(value)),
    property("Result", Learnt::Signalled, |socket, value| socket.result = as_word(value)),
];
