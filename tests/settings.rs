//! Settings that change while a unit runs are exported soon: `systemctl set-property`, sd_notify,
//! growing delays. The times are those of docs/settings.md.
#![allow(clippy::disallowed_types)]

#[path = "resources/changes.rs"]
mod changes;
mod support;

use std::time::{Duration, Instant};

use changes::{Change, cgroup_rows, update_document};
use support::{Machine, Samples, eventually};

/// Each row: the setting, how it is changed, and the longest time until /metrics shows it.
#[test]
fn settings_changed_at_run_time_are_exported() {
    // hybrid, where the host mounts the controllers as v1
    let machine =
        Machine::options().cgroup_v1().try_boot().unwrap_or_else(|_| Machine::options().boot());
    machine.write("srv/notify.py", NOTIFY);
    machine.units(&[
        ("web.service", "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nTasksMax=100\n"),
        ("idle.service", "[Service]\nExecStart=/bin/sleep infinity\nTasksMax=100\n"),
        ("keep.target", "[Unit]\nWants=web.service\nAfter=idle.service\n"),
        ("notify.service", "[Service]\nType=notify\nExecStart=/usr/bin/python3 /srv/notify.py\n"),
        ("tick.timer", "[Timer]\nOnCalendar=2036-01-01 UTC\nUnit=idle.service\n"),
    ]);
    machine.ok(&["systemctl", "start", "keep.target", "web", "notify", "tick.timer"]);
    machine.ok(&["systemd-run", "--unit=transient", "--property=TasksMax=100", "sleep", "inf"]);
    let exporter = machine.exporter(&[]);
    let mut rows = Vec::new();
    let soon = Duration::from_secs(5);
    let run = |command: &str| {
        let begun = Instant::now();
        machine.ok(&command.split(' ').collect::<Vec<_>>());
        begun
    };
    let set = "systemctl set-property";
    for (command, unit, value) in [
        (format!("{set} web.service TasksMax=8192"), "web.service", 8192.0),
        (format!("{set} web.service TasksMax=200"), "web.service", 200.0),
        (format!("{set} --runtime web.service TasksMax=300"), "web.service", 300.0),
        ("systemctl revert web.service".to_owned(), "web.service", 100.0),
        (format!("{set} transient.service TasksMax=400"), "transient.service", 400.0),
    ] {
        let begun = run(&command);
        let by = &format!("`{command}`");
        let (setting, metric, expected) = ("`TasksMax=`", "systemd_unit_tasks_max", Some(value));
        let change = Change { setting, by, metric, unit, expected, at_most: soon };
        rows.push(change.row(&exporter, begun));
    }
    // off by default; the traffic is polled every 15 s
    run(&format!("{set} notify.service IPAccounting=yes"));
    let read = ["systemctl", "show", "--value", "--property=IPIngressBytes", "notify"];
    if machine.ok(&read).trim().parse::<u64>().is_ok_and(|bytes| bytes < u64::MAX) {
        let command = format!("{set} web.service IPAccounting=yes");
        let begun = run(&command);
        let change = Change {
            setting: "`IPAccounting=`",
            by: &format!("`{command}`"),
            metric: "systemd_service_ip_ingress_bytes",
            unit: "web.service",
            expected: None,
            at_most: Duration::from_secs(25),
        };
        rows.push(change.row(&exporter, begun));
    } else {
        eprintln!("not on this machine: IPAccounting");
    }
    rows.extend(cgroup_rows(&machine, &exporter, "web.service", "notify.service"));
    let begun = run("systemctl kill --signal=USR1 notify.service");
    let change = Change {
        setting: "`WatchdogSec=`",
        by: "`sd_notify WATCHDOG_USEC=`",
        metric: "systemd_service_watchdog_timeout_seconds",
        unit: "notify.service",
        expected: Some(1234.0),
        at_most: Duration::from_secs(62),
    };
    rows.push(change.row(&exporter, begun));
    // a changed file of a unit, before it is read
    let begun = Instant::now();
    let text = "[Service]\nExecStart=/bin/sleep infinity\nTasksMax=200\n";
    machine.write("etc/systemd/system/idle.service", text);
    let change = Change {
        setting: "any",
        by: "a changed file of the unit",
        metric: "systemd_unit_need_daemon_reload",
        unit: "idle.service",
        expected: Some(1.0),
        // without inotify, units are read in turn
        at_most: Duration::from_secs(40),
    };
    rows.push(change.row(&exporter, begun));
    for (unit, section, line, metric, expected) in RELOADED {
        let file = format!("etc/systemd/system/{unit}.d/changed.conf");
        machine.write(&file, format!("[{section}]\n{line}\n"));
        let begun = run("systemctl daemon-reload");
        let (setting, _) = line.split_once('=').expect("a setting");
        let change = Change {
            setting: &format!("`{setting}=`"),
            by: &format!("`{line}` for `{unit}`, `systemctl daemon-reload`"),
            metric,
            unit,
            expected: Some(*expected),
            at_most: soon,
        };
        rows.push(change.row(&exporter, begun));
    }
    update_document(&rows);
}

/// Settings that a reload changes: unit, section, line, metric and value.
const RELOADED: &[(&str, &str, &str, &str, f64)] = &[
    ("web.service", "Service", "RestartSec=7", "systemd_service_restart_delay_seconds", 7.0),
    ("web.service", "Unit", "StartLimitBurst=9", "systemd_service_start_limit_burst", 9.0),
    (
        "web.service",
        "Unit",
        "StartLimitIntervalSec=77",
        "systemd_service_start_limit_interval_seconds",
        77.0,
    ),
    ("web.service", "Service", "FileDescriptorStoreMax=5", "systemd_service_fd_store_max", 5.0),
    (
        "tick.timer",
        "Timer",
        "OnCalendar=2035-01-01 UTC",
        "systemd_timer_next_trigger_seconds",
        2_051_222_400.0,
    ),
    ("tick.timer", "Timer", "AccuracySec=10min", "systemd_timer_accuracy_seconds", 600.0),
    (
        "tick.timer",
        "Timer",
        "RandomizedDelaySec=5min",
        "systemd_timer_randomized_delay_seconds",
        300.0,
    ),
];

/// RestartSteps= makes each delay longer than the one before.
#[test]
fn restart_delay_is_that_of_the_next_restart() {
    let machine = Machine::options().boot();
    if !machine.since(254, "RestartSteps=") {
        return;
    }
    machine.unit(
        "steps.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/false\nRestart=always\n\
         RestartSec=200ms\nRestartSteps=5\nRestartMaxDelaySec=30\n",
    );
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemctl", "start", "steps"]);
    let delay = |page: &Samples| {
        page.value("systemd_service_restart_delay_seconds", &[("name", "steps.service")])
    };
    eventually("the delay has grown to that of systemctl", || {
        let show = ["systemctl", "show", "--value", "--property=RestartUSecNext", "steps"];
        let before = machine.ok(&show);
        let exported = delay(&exporter.samples())?;
        let is_same =
            before == machine.ok(&show) && (exported - seconds(before.trim())).abs() < 0.01;
        (exported > 1.0 && is_same).then_some(())
    });
}

fn seconds(text: &str) -> f64 {
    let parts = text.split(' ').map(|part| {
        let unit = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number: f64 = part[..part.len() - unit.len()].parse().expect("a number");
        number
            * match unit {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "min" => 60.0,
                other => panic!("{other}"),
            }
    });
    parts.sum()
}

/// Sets its watchdog timeout at SIGUSR1.
const NOTIFY: &str = r#"
import os, signal, socket
def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text, os.environ["NOTIFY_SOCKET"])
signal.signal(signal.SIGUSR1, lambda *_: notify(b"WATCHDOG_USEC=1234000000"))
notify(b"READY=1")
while True:
    signal.pause()
"#;
