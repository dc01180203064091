//! Settings that change while a unit runs are exported soon: `systemctl set-property`, sd_notify,
//! growing delays. The times are those of docs/settings.md.
#![allow(clippy::disallowed_types)]

mod support;

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use support::{Exporter, Machine, Samples, eventually, in_time};

/// Each row: the setting, how it is changed, and the longest time until /metrics shows it.
#[test]
fn settings_changed_at_run_time_are_exported() {
    // hybrid, where the host mounts the controllers as v1
    let machine =
        Machine::options().cgroup_v1().try_boot().unwrap_or_else(|_| Machine::options().boot());
    machine.write("srv/notify.py", NOTIFY);
    machine.units(&[
        ("web.service", "[Service]\nExecStart=/bin/sleep infinity\nTasksMax=100\n"),
        ("idle.service", "[Service]\nExecStart=/bin/sleep infinity\nTasksMax=100\n"),
        ("keep.target", "[Unit]\nWants=web.service\nAfter=idle.service\n"),
        ("notify.service", "[Service]\nType=notify\nExecStart=/usr/bin/python3 /srv/notify.py\n"),
    ]);
    machine.ok(&["systemctl", "start", "keep.target", "web", "notify"]);
    machine.ok(&["systemd-run", "--unit=transient", "--property=TasksMax=100", "sleep", "inf"]);
    let exporter = machine.exporter(&[]);
    let mut table = Vec::new();
    let mut row =
        |setting: &str, change: &str, unit: &str, name, expected: Option<f64>, at_most| {
            let command: Vec<_> = change.split(' ').collect();
            machine.ok(&command);
            let begun = Instant::now();
            let value = || exporter.samples().value(name, &[("name", unit)]);
            let shown = in_time(|| {
                let value = value();
                let is_there = value.is_some() && expected.is_none();
                (value == expected || is_there).then(|| begun.elapsed())
            });
            let took = shown.unwrap_or_else(|| panic!("{change}: {name} is {:?}", value()));
            assert!(took < at_most, "{change}: {name} after {took:?}");
            table.push((setting.to_owned(), change.to_owned(), name, took));
        };
    let (soon, tasks) = (Duration::from_secs(5), "systemd_unit_tasks_max");
    let set = "systemctl set-property";
    for (change, unit, value) in [
        (format!("{set} web.service TasksMax=8192"), "web.service", 8192.0),
        (format!("{set} web.service TasksMax=200"), "web.service", 200.0),
        (format!("{set} --runtime web.service TasksMax=300"), "web.service", 300.0),
        ("systemctl revert web.service".to_owned(), "web.service", 100.0),
        (format!("{set} transient.service TasksMax=400"), "transient.service", 400.0),
    ] {
        row("TasksMax", &change, unit, tasks, Some(value), soon);
    }
    // off by default; the traffic is polled every 15 s
    let traffic = "systemd_service_ip_ingress_bytes";
    let change = format!("{set} web.service IPAccounting=yes");
    machine.ok(&["systemctl", "set-property", "notify.service", "IPAccounting=yes"]);
    let read = ["systemctl", "show", "--value", "--property=IPIngressBytes", "notify"];
    if machine.ok(&read).trim().parse::<u64>().is_ok_and(|bytes| bytes < u64::MAX) {
        row("IPAccounting", &change, "web.service", traffic, None, Duration::from_secs(25));
    } else {
        eprintln!("not on this machine: IPAccounting");
    }
    for (setting, value, name, expected) in CGROUP_SETTINGS {
        let change = format!("{set} web.service {setting}={value}");
        // the machine may not have the controller
        machine
            .ok(&format!("{set} notify.service {setting}={value}").split(' ').collect::<Vec<_>>());
        if is_exported(&exporter, name, *expected) {
            row(setting, &change, "web.service", name, Some(*expected), soon);
        } else {
            eprintln!("not on this machine: {setting}");
        }
    }
    let watchdog = "systemd_service_watchdog_timeout_seconds";
    let notify = "systemctl kill --signal=USR1 notify.service";
    let minute = Duration::from_secs(62);
    machine.ok(&notify.split(' ').collect::<Vec<_>>());
    let begun = Instant::now();
    loop {
        let value = exporter.samples().value(watchdog, &[("name", "notify.service")]);
        if value == Some(1234.0) {
            break;
        }
        assert!(begun.elapsed() < minute, "{watchdog} is {value:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    table.push((
        "WatchdogSec".into(),
        "sd_notify WATCHDOG_USEC=".into(),
        watchdog,
        begun.elapsed(),
    ));
    let mut text = String::new();
    for (setting, change, name, took) in &table {
        let took = took.as_secs_f64();
        let _ = writeln!(text, "| `{setting}=` | `{change}` | `{name}` | {took:.1} s |");
    }
    println!("{text}");
    update_document(&text);
}

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

/// Whether the setting of the other service is exported within 3 s.
fn is_exported(exporter: &Exporter<'_>, name: &str, expected: f64) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        if exporter.samples().value(name, &[("name", "notify.service")]) == Some(expected) {
            return true;
        }
    }
    false
}

/// Replaces the rows of the table with `UPDATE=1`.
fn update_document(rows: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let text = fs::read_to_string(&path).expect("docs/settings.md");
    let (head, rest) = text.split_once(TABLE).expect("the table");
    let end = rest.find("\n\n").unwrap_or(rest.len() - 1);
    if env::var_os("UPDATE").is_some() {
        let text = format!("{head}{TABLE}{}{}", rows.trim_end(), &rest[end..]);
        fs::write(&path, text).expect("docs/settings.md");
    }
}

const TABLE: &str = "| setting | changed by | metric | time |\n| --- | --- | --- | --- |\n";

/// Settings whose values are read from the cgroup.
const CGROUP_SETTINGS: &[(&str, &str, &str, f64)] = &[
    ("MemoryMax", "512M", "systemd_unit_memory_max_bytes", 536_870_912.0),
    ("MemoryMax", "256M", "systemd_unit_memory_effective_max_bytes", 268_435_456.0),
    ("MemoryHigh", "128M", "systemd_unit_memory_high_bytes", 134_217_728.0),
    ("MemoryHigh", "64M", "systemd_unit_memory_effective_high_bytes", 67_108_864.0),
    ("MemorySwapMax", "32M", "systemd_unit_swap_max_bytes", 33_554_432.0),
    ("CPUQuota", "150%", "systemd_unit_cpu_quota_cores", 1.5),
    ("TasksMax", "50", "systemd_unit_tasks_effective_max", 50.0),
];

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
