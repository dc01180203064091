//! Hostile input by unprivileged users of the host and by clients: names, floods, forged messages, blocking files.
//! docs/internals/robustness.md lists the attacks with their tests.
#![allow(clippy::disallowed_types, reason = "tests run programs")]

mod access;
mod bus;
mod denied;
mod descriptors;
mod excluded;
#[path = "../fixture/mod.rs"]
mod fixture;
mod journal_files;
mod listeners;
mod long_lists;
mod names;
mod processes;
mod replies;
mod rogue_bus;
mod round_trip;
mod scale;
mod secrets;
mod series;
#[path = "../support/mod.rs"]
mod support;
mod user_bus;

use std::collections::BTreeSet;

use support::{Machine, Samples};

/// A service that only sleeps.
const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// The names of the units that have state series.
fn units(samples: &Samples) -> BTreeSet<String> {
    let states = samples.all("systemd_unit_state", &[]);
    states.map(|sample| sample.label("name").to_owned()).collect()
}

#[track_caller]
fn assert_active(samples: &Samples, unit: &str) {
    let labels = [("name", unit), ("state", "active")];
    assert_eq!(samples.value("systemd_unit_state", &labels), Some(1.0), "{unit}");
}

/// The resident memory of a process in bytes, current and peak; `pid` is that of the host's pid namespace.
fn resident(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let kilobytes = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a value");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (kilobytes("VmRSS:") << 10, kilobytes("VmHWM:") << 10)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Runs a script of this directory as a service of the machine, and waits for its readiness notification.
#[track_caller]
fn run_script(
    machine: &Machine,
    unit: &str,
    script: &str,
    properties: &[&str],
    arguments: &[&str],
) {
    let file = format!("/opt/{unit}.py");
    machine.write(&file, script);
    let name = format!("--unit={unit}");
    let mut command = vec!["systemd-run", "--quiet", &name];
    let notify = ["Type=notify", "NotifyAccess=all", "TimeoutStartSec=infinity"];
    command.extend(notify.iter().chain(properties).flat_map(|property| ["--property", property]));
    command.extend(["--", "/usr/bin/python3", &file]);
    command.extend(arguments);
    if !machine.exec(&command).status.success() {
        let log = machine.exec(&["journalctl", "--no-pager", "--output=cat", "--unit", unit]);
        panic!("{unit} is not ready:\n{}", String::from_utf8_lossy(&log.stdout));
    }
}
