//! The units of a measured host.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::support::Machine;

/// Creates and starts `count` units: 60 % running services, 10 % completed oneshots, 10 % inactive services, 10 % timers,
/// 5 % sockets, 5 % failed services. `AWAKE` is the percentage of running services that run once a second; the others
/// sleep.
pub(crate) fn start(machine: &Machine, count: usize) {
    let mut wants = String::from("[Unit]\n");
    let awake = std::env::var("AWAKE").map_or(0, |percentage| percentage.parse().unwrap());
    for number in 0..count {
        let (name, text, started) = unit(number, awake);
        machine.write(&format!("etc/systemd/system/{name}"), text);
        if started {
            writeln!(wants, "Wants={name}").unwrap();
        } else {
            // referenced, so that systemd loads it
            writeln!(wants, "After={name}").unwrap();
        }
    }
    machine.write("etc/systemd/system/many.target", wants);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "start", "--no-block", "many.target"]);
    let begun = Instant::now();
    // systemd may be too busy to answer
    let is_done = || {
        let jobs = machine.exec(&["systemctl", "list-jobs", "--no-legend"]);
        jobs.status.success() && jobs.stdout.trim_ascii().is_empty()
    };
    while !is_done() {
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "systemd jobs of {count} units are not done after 300 s"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn unit(number: usize, awake: usize) -> (String, String, bool) {
    let service = |text: &str| format!("[Unit]\nDefaultDependencies=no\n[Service]\n{text}\n");
    let running = if number * 37 % 100 < awake {
        "ExecStart=/bin/sh -c 'while :; do sleep 1; done'\nRestart=on-failure"
    } else {
        "ExecStart=/bin/sleep infinity\nRestart=on-failure"
    };
    match number % 20 {
        0..12 => (format!("run-{number}.service"), service(running), true),
        12 | 13 => {
            let text = service("Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true");
            (format!("once-{number}.service"), text, true)
        }
        14 | 15 => (format!("idle-{number}.service"), service(running), false),
        16 | 17 => {
            let text = format!("[Timer]\nOnCalendar=yearly\nUnit=idle-{}.service\n", number - 2);
            (format!("tick-{number}.timer"), text, true)
        }
        18 => {
            let text = format!(
                "[Socket]\nListenStream=127.0.0.1:{}\nService=idle-{}.service\n",
                20_000 + number,
                number - 3
            );
            (format!("ear-{number}.socket"), text, true)
        }
        _ => (format!("fail-{number}.service"), service("ExecStart=/bin/false"), true),
    }
}
