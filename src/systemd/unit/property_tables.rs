//! The properties that the mirror keeps, by interface.

use std::time::Duration;

use super::properties::{
    CONDITION_TIME, CONTROL_GROUP, FREEZER_STATE, NAMES, NEXT_DELAY, Property, STATE_CHANGE_TIME,
    Source, WATCHDOG, property,
};
use crate::systemd::unit::value::{
    as_bool, as_duration, as_interned, as_invocation_id, as_number, as_settings, as_str, as_time,
};
use crate::systemd::unit::{Detail, Service, Socket, Timer, Unit};

pub(super) const UNIT: &[Property<Unit>] = &[
    property("LoadState", Source::UnitList, |unit, value| unit.load_state = as_interned(value)),
    property("ActiveState", Source::UnitList, |unit, value| unit.active_state = as_interned(value)),
    property("SubState", Source::UnitList, |unit, value| unit.sub_state = as_interned(value)),
    property(NAMES, Source::GetOnce, |unit, value| unit.set_names(value)),
    property("ActiveEnterTimestamp", Source::Signal, |unit, value| {
        unit.active_enter = as_time(value);
    }),
    property("ActiveExitTimestamp", Source::Signal, |unit, value| {
        unit.active_exit = as_time(value);
    }),
    property("InactiveEnterTimestamp", Source::Signal, |unit, value| {
        unit.inactive_enter = as_time(value);
    }),
    property("InactiveExitTimestamp", Source::Signal, |unit, value| {
        unit.inactive_exit = as_time(value);
    }),
    property(STATE_CHANGE_TIME, Source::OnDemand, |unit, value| unit.state_change = as_time(value)),
    property("InvocationID", Source::Signal, |unit, value| {
        unit.invocation_id = as_invocation_id(value);
    }),
    property("ConditionResult", Source::OnDemand, |unit, value| {
        unit.conditions_met = as_bool(value);
    }),
    property(CONDITION_TIME, Source::OnDemand, |unit, value| {
        unit.conditions_checked = as_time(value);
    }),
    property("UnitFileState", Source::OnDemand, |unit, value| unit.file_state = as_interned(value)),
    property("UnitFilePreset", Source::OnDemand, |unit, value| {
        unit.file_preset = as_interned(value)
    }),
    property("InactiveExitTimestampMonotonic", Source::OnDemand, |unit, value| {
        unit.since_boot.inactive_exit = as_time(value);
    }),
    property("ActiveEnterTimestampMonotonic", Source::OnDemand, |unit, value| {
        unit.since_boot.active_enter = as_time(value);
    }),
    property("InactiveEnterTimestampMonotonic", Source::OnDemand, |unit, value| {
        unit.since_boot.inactive_enter = as_time(value);
    }),
    property(FREEZER_STATE, Source::OnDemand, |unit, value| {
        unit.freezer_state = as_interned(value);
    }),
    property("NeedDaemonReload", Source::OnDemand, |unit, value| {
        unit.needs_reload = as_bool(value)
    }),
    property("StartLimitBurst", Source::OnDemand, |unit, value| {
        if let Detail::Service(service) = &mut unit.detail {
            service.start_limit_burst = as_number(value);
        }
    }),
    property("StartLimitIntervalUSec", Source::OnDemand, |unit, value| {
        if let Detail::Service(service) = &mut unit.detail {
            service.start_limit_interval = as_duration(value);
        }
    }),
];

/// Of every kind with a cgroup, on its own interface.
pub(super) const CGROUP: &[Property<Unit>] = &[
    property(CONTROL_GROUP, Source::GetOnce, |unit, value| {
        // empty while nothing runs: the last path is kept, its files are absent then
        if let Some(path) = as_str(value).filter(|path| !path.is_empty()) {
            unit.control_group = Some(path.into());
        }
    }),
    property("OOMKills", Source::PollEveryMinute, |unit, value| unit.oom_kills = as_number(value)),
    property("ManagedOOMKills", Source::PollEveryMinute, |unit, value| {
        unit.managed_oom_kills = as_number(value);
    }),
];

pub(super) const SERVICE: &[Property<Service>] = &[
    property("Type", Source::GetOnce, |service, value| service.service_type = as_interned(value)),
    property("Restart", Source::GetOnce, |service, value| service.restart = as_interned(value)),
    property("User", Source::GetOnce, |service, value| {
        service.user = as_str(value).map(Into::into)
    }),
    property("Slice", Source::GetOnce, |service, value| {
        service.slice = as_str(value).map(Into::into);
    }),
    property("RestartUSec", Source::GetOnce, |service, value| {
        service.restart_delay = as_number(value).map(Duration::from_micros);
    }),
    property(NEXT_DELAY, Source::GetOnce, |service, value| {
        service.next_restart_delay = as_number(value).map(Duration::from_micros);
    }),
    property("RestartSteps", Source::GetOnce, |service, value| {
        service.restart_steps = as_number(value);
    }),
    property("NotifyAccess", Source::GetOnce, |service, value| {
        service.notify_access = as_interned(value);
    }),
    property(WATCHDOG, Source::PollEveryMinute, |service, value| {
        service.watchdog = as_duration(value);
    }),
    property("WatchdogTimestamp", Source::PollOften, |service, value| {
        service.watchdog_ping = as_time(value);
    }),
    property("FileDescriptorStoreMax", Source::Setting, |service, value| {
        service.fd_store_max = as_number(value);
    }),
    property("NFileDescriptorStore", Source::PollEveryMinute, |service, value| {
        service.fd_store = as_number(value);
    }),
    property("IPAccounting", Source::Setting, |service, value| {
        service.ip_accounting = as_bool(value);
    }),
    property("IPIngressBytes", Source::PollOften, |service, value| {
        service.ip.ingress_bytes = as_number(value);
    }),
    property("IPIngressPackets", Source::PollOften, |service, value| {
        service.ip.ingress_packets = as_number(value);
    }),
    property("IPEgressBytes", Source::PollOften, |service, value| {
        service.ip.egress_bytes = as_number(value);
    }),
    property("IPEgressPackets", Source::PollOften, |service, value| {
        service.ip.egress_packets = as_number(value);
    }),
    property("TasksMax", Source::Setting, |service, value| service.tasks_max = as_number(value)),
    property("StatusErrno", Source::Signal, |service, value| {
        service.status_errno = as_number(value);
    }),
    property("ReloadResult", Source::Signal, |service, value| {
        service.reload_result = as_interned(value);
    }),
    property("Result", Source::Signal, |service, value| service.result = as_interned(value)),
    property("NRestarts", Source::Signal, |service, value| service.restarts = as_number(value)),
    property("MainPID", Source::Signal, |service, value| {
        let pid = as_number(value).and_then(|pid| u32::try_from(pid).ok());
        service.main_pid = pid.filter(|pid| *pid != 0);
    }),
    property("ExecMainPID", Source::Signal, |service, value| {
        let pid = as_number(value).and_then(|pid| u32::try_from(pid).ok());
        service.exec_main_pid = pid.filter(|pid| *pid != 0);
    }),
    property("ExecMainCode", Source::Signal, |service, value| {
        service.exit_code = as_number(value);
    }),
    property("ExecMainStatus", Source::Signal, |service, value| {
        service.exit_status = as_number(value);
    }),
    property("ExecMainStartTimestamp", Source::Signal, |service, value| {
        service.main_start = as_time(value);
    }),
    property("ExecMainExitTimestamp", Source::Signal, |service, value| {
        service.main_exit = as_time(value);
    }),
    property("ExecMainExitTimestampMonotonic", Source::Signal, |service, value| {
        service.main_exit_monotonic = as_time(value);
    }),
];

pub(super) const TIMER: &[Property<Timer>] = &[
    property("Unit", Source::GetOnce, |timer, value| timer.unit = as_str(value).map(Into::into)),
    property("AccuracyUSec", Source::GetOnce, |timer, value| timer.accuracy = as_duration(value)),
    property("RandomizedDelayUSec", Source::GetOnce, |timer, value| {
        timer.randomized_delay = as_duration(value);
    }),
    property("TimersMonotonic", Source::GetOnce, |timer, value| {
        timer.follows_unit = as_settings(value)
            .map(|settings| settings.iter().any(|setting| setting.starts_with("OnUnit")));
    }),
    property("LastTriggerUSec", Source::Signal, |timer, value| {
        timer.last_trigger = as_time(value);
    }),
    property("LastTriggerUSecMonotonic", Source::Signal, |timer, value| {
        timer.last_trigger_monotonic = as_time(value);
    }),
    property("NextElapseUSecRealtime", Source::Signal, |timer, value| {
        timer.next_realtime = as_time(value);
    }),
    property("NextElapseUSecMonotonic", Source::Signal, |timer, value| {
        timer.next_monotonic = as_time(value);
    }),
    property("Result", Source::Signal, |timer, value| timer.result = as_interned(value)),
];

pub(super) const SOCKET: &[Property<Socket>] = &[
    property("Listen", Source::GetOnce, |socket, value| {
        socket.listen = value.try_clone().ok().and_then(|v| v.try_into().ok()).unwrap_or_default();
    }),
    property("Accept", Source::GetOnce, |socket, value| socket.accept = as_bool(value)),
    property("NAccepted", Source::PollEveryMinute, |socket, value| {
        socket.accepted = as_number(value)
    }),
    property("NConnections", Source::PollEveryMinute, |socket, value| {
        socket.connections = as_number(value);
    }),
    property("NRefused", Source::PollEveryMinute, |socket, value| {
        socket.refused = as_number(value)
    }),
    property("Result", Source::Signal, |socket, value| socket.result = as_interned(value)),
];
