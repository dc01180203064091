//! The units of a host, and their changes: the signals that systemd would send, in its order.

use std::time::{Duration, SystemTime};

use unit_exporter::systemd::manager::STAGES;
use unit_exporter::systemd::mirror::ListedUnit;
use unit_exporter::systemd::state::State;
use unit_exporter::systemd::unit::properties::Interface;
use unit_exporter::systemd::unit::value::intern;
use zbus::Variant;

/// 100 units: number, name with its number, and states.
const UNITS: [(u32, &str, &str, &str); 12] = [
    (1, "ssh.service", "active", "running"),
    (1, "nginx.service", "active", "running"),
    (1, "redis.service", "active", "running"),
    (APPS, "app-#.service", "active", "running"),
    (TIMERS, "job-#.service", "inactive", "dead"),
    (6, "setup-#.service", "active", "exited"),
    (TIMERS, "job-#.timer", "active", "waiting"),
    (5, "api-#.socket", "active", "listening"),
    (12, "srv-#.mount", "active", "mounted"),
    (10, "stage-#.target", "active", "active"),
    (4, "tenant-#.slice", "active", "active"),
    (3, "system-#.slice", "active", "active"),
];

const APPS: u32 = 37;
pub(super) const TIMERS: u32 = 10;
pub(super) const SLICES: [&str; 3] = ["-.slice", "system.slice", "user.slice"];

/// The services that run, in order.
pub(super) fn running_services() -> impl Iterator<Item = String> {
    let running = |&(.., sub_state): &(u32, &str, &str, &str)| sub_state == "running";
    UNITS.into_iter().filter(running).flat_map(|(count, name, ..)| names(count, name))
}

fn names(count: u32, name: &str) -> impl Iterator<Item = String> {
    (0..count).map(move |number| name.replace('#', &number.to_string()))
}

/// A host that booted an hour ago.
pub(super) fn boot(state: &mut State) {
    let now = SystemTime::now();
    let booted = now - Duration::from_hours(1);
    for (count, name, active, sub) in UNITS {
        let all: Vec<_> = match name {
            "system-#.slice" => SLICES.map(str::to_owned).into(),
            name => names(count, name).collect(),
        };
        for name in all {
            let [load_state, active_state, sub_state] = ["loaded", active, sub].map(intern);
            state.mirror.list(&ListedUnit {
                name: name.clone(),
                load_state,
                active_state,
                sub_state,
            });
            describe(state, &name, booted);
            let unit = state.mirror.unit(&name).cloned();
            unit.into_iter().for_each(|unit| state.ledger.open(&unit));
        }
    }
    for number in 0..TIMERS {
        elapse(state, number, now, now + Duration::from_secs(660));
    }
    for stage in STAGES {
        let reached = !stage.contains("InitRD");
        let (time, seconds) = if reached { (micros(booted), 12_500_000) } else { (0, 0) };
        state.manager.set(&format!("{stage}Timestamp"), &Variant::U64(time));
        state.manager.set(&format!("{stage}TimestampMonotonic"), &Variant::U64(seconds));
    }
    for (property, value) in [
        ("Version", Variant::from("257.9-1~deb13u1")),
        ("SystemState", Variant::from("running")),
        ("Virtualization", Variant::from("kvm")),
        ("DefaultRestartUSec", Variant::U64(100_000)),
        ("DefaultStartLimitBurst", Variant::U32(5)),
        ("DefaultStartLimitIntervalUSec", Variant::U64(10_000_000)),
    ] {
        state.manager.set(property, &value);
    }
    state.boot_blame = Some(vec![("nginx.service".into(), Duration::from_millis(1_234))]);
    state.status.following = true;
    state.status.filled = true;
}

fn describe(state: &mut State, name: &str, booted: SystemTime) {
    let (none, time) = (Variant::U64(0), Variant::U64(micros(booted)));
    for (property, value) in [
        ("ActiveEnterTimestamp", time.clone()),
        ("ActiveExitTimestamp", none.clone()),
        ("InactiveEnterTimestamp", none.clone()),
        ("InactiveExitTimestamp", time.clone()),
        ("StateChangeTimestamp", time.clone()),
    ] {
        state.mirror.change(name, |unit| unit.set(Interface::Unit, property, &value));
    }
    let kind = name.rsplit('.').next().unwrap_or_default();
    let service_type = match name.split('-').next() {
        Some("job" | "setup") => "oneshot",
        Some("app") => "simple",
        _ => "notify",
    };
    let properties = match kind {
        "service" => vec![
            ("Type", Variant::from(service_type)),
            ("Restart", Variant::from("on-failure")),
            ("Slice", Variant::from("system.slice")),
            ("Result", Variant::from("success")),
            ("NRestarts", Variant::U32(0)),
            ("MainPID", Variant::U32(4711)),
            ("ExecMainStartTimestamp", time),
            ("ExecMainExitTimestampMonotonic", none),
        ],
        "socket" => vec![
            ("Accept", Variant::Bool(false)),
            ("NAccepted", Variant::U32(0)),
            ("NConnections", Variant::U32(0)),
            ("NRefused", Variant::U32(0)),
            ("Result", Variant::from("success")),
        ],
        "timer" => vec![
            ("Unit", Variant::from(name.replace(".timer", ".service"))),
            ("AccuracyUSec", Variant::U64(60_000_000)),
            ("Result", Variant::from("success")),
        ],
        "mount" => vec![("Type", Variant::from("ext4")), ("Result", Variant::from("success"))],
        _ => Vec::new(),
    };
    for (property, value) in properties {
        state.mirror.change(name, |unit| unit.set(Interface::Kind, property, &value));
    }
}

/// A timer elapses, and its service has run.
pub(super) fn elapse(state: &mut State, number: u32, now: SystemTime, next: SystemTime) {
    let times = [
        ("LastTriggerUSec", Variant::U64(micros(now))),
        ("NextElapseUSecRealtime", Variant::U64(micros(next))),
    ];
    change(state, &format!("job-{number}.timer"), Interface::Kind, times);
    let service = format!("job-{number}.service");
    begin(state, &service, now);
    let ended = [("ExecMainExitTimestampMonotonic", Variant::U64(micros(now)))];
    change(state, &service, Interface::Kind, ended);
    enter(state, &service, "inactive", "dead", now);
}

/// `systemctl restart`.
pub(super) fn restart(state: &mut State, name: &str, now: SystemTime) {
    enter(state, name, "deactivating", "stop-sigterm", now);
    let ended = [("ExecMainExitTimestampMonotonic", Variant::U64(micros(now)))];
    change(state, name, Interface::Kind, ended);
    enter(state, name, "inactive", "dead", now);
    begin(state, name, now);
}

/// The main process is killed, and systemd waits to start it again.
pub(super) fn crash(state: &mut State, name: &str, result: &str, now: SystemTime) {
    let killed = [
        ("Result", Variant::from(result)),
        ("ExecMainCode", Variant::I32(2)),
        ("ExecMainStatus", Variant::I32(9)),
        ("ExecMainExitTimestamp", Variant::U64(micros(now))),
        ("ExecMainExitTimestampMonotonic", Variant::U64(micros(now))),
    ];
    change(state, name, Interface::Kind, killed);
    enter(state, name, "activating", "auto-restart", now);
}

/// systemd starts a service after a crash.
pub(super) fn recover(state: &mut State, name: &str, restarts: u32, now: SystemTime) {
    change(state, name, Interface::Kind, [("NRestarts", Variant::U32(restarts))]);
    begin(state, name, now);
}

/// systemd refuses to start a service after a crash.
pub(super) fn refuse(state: &mut State, name: &str, restarts: u32, now: SystemTime) {
    change(state, name, Interface::Kind, [("NRestarts", Variant::U32(restarts))]);
    enter(state, name, "failed", "failed", now);
}

fn begin(state: &mut State, name: &str, now: SystemTime) {
    let started = [
        ("Result", Variant::from("success")),
        ("ExecMainStartTimestamp", Variant::U64(micros(now))),
        ("ExecMainExitTimestampMonotonic", Variant::U64(0)),
    ];
    change(state, name, Interface::Kind, started);
    let invocation = u128::from(micros(now)).to_be_bytes().to_vec();
    let run = [("InvocationID", Variant::from(invocation))];
    change(state, name, Interface::Unit, run);
    enter(state, name, "active", "running", now);
}

fn enter(state: &mut State, name: &str, active: &str, sub: &str, now: SystemTime) {
    let time = || Variant::U64(micros(now));
    let left = match active {
        "active" => "ActiveEnterTimestamp",
        "deactivating" | "activating" => "ActiveExitTimestamp",
        _ => "InactiveEnterTimestamp",
    };
    let states = [
        ("ActiveState", Variant::from(active)),
        ("SubState", Variant::from(sub)),
        ("StateChangeTimestamp", time()),
        (left, time()),
    ];
    change(state, name, Interface::Unit, states);
}

fn change<const N: usize>(
    state: &mut State,
    name: &str,
    interface: Interface,
    values: [(&str, Variant<'_>); N],
) {
    let change = state.mirror.change(name, |unit| {
        for (property, value) in &values {
            unit.set(interface, property, value);
        }
    });
    change.into_iter().for_each(|change| state.observe(&change, None));
}

pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}
