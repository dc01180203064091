//! Units that should be active and are not: found without a list, and not after a stop that somebody asked for.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use support::{Exporter, Machine, eventually};

/// Exits with status 0 when a file appears, as a queue worker after queue:restart.
const WORKER: &str = "[Service]\nExecStart=/bin/sh -c 'until [ -e /run/quit-%n ]; do sleep 0.1; done'\nRestart=on-failure\nRestartSec=100ms\n";

const INSTALL: &str = "[Install]\nWantedBy=multi-user.target\n";

/// The reasons of all units that are wanted and inactive, which are as many as the total.
fn wanted(exporter: &Exporter<'_>) -> BTreeMap<String, String> {
    let page = exporter.samples();
    let all = page.all("systemd_unit_wanted_inactive", &[]);
    let all = all.map(|sample| {
        assert_eq!(sample.value, 1.0);
        (sample.label("name").to_owned(), sample.label("because").to_owned())
    });
    let all: BTreeMap<_, _> = all.collect();
    let total = page.value("systemd_units_wanted_inactive", &[]).unwrap();
    assert_eq!(total, f64::from(u32::try_from(all.len()).unwrap()));
    all
}

#[track_caller]
fn assert_wanted(exporter: &Exporter<'_>, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(name, because)| ((*name).to_owned(), (*because).to_owned()))
        .collect();
    let mut last = BTreeMap::new();
    let found = support::in_time(|| {
        last = wanted(exporter);
        (last == expected).then_some(())
    });
    assert!(found.is_some(), "{last:?} instead of {expected:?}");
}

fn is(machine: &Machine, name: &str, state: &str) {
    eventually(&format!("{name} is {state}"), || {
        let is = machine.ok(&["systemctl", "show", "-P", "ActiveState", name]);
        (is.trim() == state).then_some(())
    });
}

#[test]
fn plain_boot_has_no_wanted_inactive_unit() {
    let machine = &Machine::options().boot();
    let exporter = machine.exporter(&[]);
    assert_eq!(wanted(&exporter), BTreeMap::new());
    // excluded targets still determine which services are wanted
    machine.unit("late.service", &format!("{WORKER}{INSTALL}"));
    machine.ok(&["systemctl", "enable", "late"]);
    for include in [".+", r".+\.service"] {
        let flag = format!("--systemd.collector.unit-include={include}");
        let exporter = machine.exporter(&[&flag]);
        assert_wanted(&exporter, &[("late.service", "not-started")]);
    }
    machine.ok(&["systemctl", "start", "late"]);
    assert_wanted(&exporter, &[]);
    machine.ok(&["systemctl", "disable", "late"]);
    machine.ok(&["touch", "/run/quit-late.service"]);
    is(machine, "late", "inactive");
    assert_wanted(&exporter, &[]);
}

#[test]
fn own_exit_counts_and_a_requested_stop_does_not() {
    let machine = &Machine::options().boot();
    let worker = format!("{WORKER}{INSTALL}");
    let names = ["worker@1.service", "worker@2.service", "worker@3.service", "worker@4.service"];
    machine.unit("worker@.service", &worker);
    machine.ok(&[&["systemctl", "enable", "--now"][..], &names].concat());
    machine.ok(&["mkdir", "/run/state"]);
    let state = ["--state.directory=/run/state"];
    let exporter = machine.exporter(&state);
    assert_wanted(&exporter, &[]);
    // queue:restart: exits with 0, and Restart=on-failure does not start it again
    machine.ok(&["touch", "/run/quit-worker@1.service"]);
    let exited = [("worker@1.service", "exited")];
    assert_wanted(&exporter, &exited);
    // an administrator; a deployment; a package upgrade
    machine.ok(&["systemctl", "stop", names[1]]);
    machine.ok(&["systemctl", "restart", names[2]]);
    machine.ok(&["systemctl", "stop", names[3]]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "daemon-reexec"]);
    machine.ok(&["systemctl", "start", names[3]]);
    assert_wanted(&exporter, &exited);
    // a restart of the exporter continues from its state
    drop(exporter);
    let exporter = machine.exporter(&state);
    assert_wanted(&exporter, &exited);
    // killed: failed has its own metric, until somebody resets it
    machine.ok(&["systemctl", "set-property", "--runtime", names[2], "MemoryMax=1G"]);
    machine.unit(
        "dies.service",
        &format!("[Service]\nExecStart=/bin/sh -c 'sleep 0.1; exit 1'\n{INSTALL}"),
    );
    machine.ok(&["systemctl", "enable", "--now", "dies"]);
    is(machine, "dies", "failed");
    assert_wanted(&exporter, &exited);
    machine.ok(&["systemctl", "reset-failed", "dies"]);
    assert_wanted(&exporter, &exited);
    // SIGTERM by hand is an exit like any other
    machine.ok(&["systemctl", "kill", "--signal=TERM", names[2]]);
    assert_wanted(&exporter, &[exited[0], ("worker@3.service", "exited")]);
    // at once after a reload, as in a deployment: PID 1 sends the first change of a unit without values
    machine.ok(&["systemctl", "start", names[0], names[2]]);
    machine.ok(&["rm", "/run/quit-worker@1.service"]);
    for _ in 0..5 {
        machine.ok(&["systemctl", "restart", names[0], names[1], names[2]]);
        // the signals of these jobs are read some time later: an exit right after them would be theirs
        thread::sleep(Duration::from_secs(2));
        let stop = format!(
            "systemctl daemon-reload; systemctl kill {}; systemctl stop {}",
            names[0], names[1]
        );
        machine.ok(&["sh", "-c", &stop]);
        assert_wanted(&exporter, &exited);
    }
    machine.ok(&["systemctl", "start", names[0]]);
    assert_wanted(&exporter, &[]);
}

#[test]
fn unit_stopped_with_its_requirement_is_wanted_once_that_is_back() {
    let machine = &Machine::options().boot();
    let requires = "[Unit]\nRequires=store.service\nAfter=store.service\n";
    machine.units(&[
        ("store.service", &format!("[Service]\nExecStart=/bin/sleep infinity\n{INSTALL}")),
        ("uses.service", &format!("{requires}[Service]\nExecStart=/bin/sleep infinity\n{INSTALL}")),
        (
            "other.service",
            &format!("{requires}[Service]\nExecStart=/bin/sleep infinity\n{INSTALL}"),
        ),
    ]);
    machine.ok(&["systemctl", "enable", "--now", "store", "uses", "other"]);
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemctl", "stop", "other"]);
    machine.ok(&["systemctl", "stop", "store"]);
    assert_wanted(&exporter, &[]);
    machine.ok(&["systemctl", "start", "store"]);
    assert_wanted(&exporter, &[("uses.service", "dependency")]);
    machine.ok(&["systemctl", "start", "uses"]);
    machine.ok(&["systemctl", "restart", "store"]);
    assert_wanted(&exporter, &[]);
}

#[test]
fn units_that_need_not_run_are_not_wanted() {
    let machine = &Machine::options().boot();
    let exits = "ExecStart=/bin/sleep 0.2\n";
    machine.units(&[
        ("done.service", &format!("[Service]\nType=oneshot\n{exits}{INSTALL}")),
        (
            "stays.service",
            &format!("[Service]\nType=oneshot\nRemainAfterExit=yes\n{exits}{INSTALL}"),
        ),
        (
            "unmet.service",
            &format!("[Unit]\nConditionPathExists=/nonexistent\n[Service]\n{exits}{INSTALL}"),
        ),
        ("skipped.service", &format!("[Service]\nExecCondition=/bin/false\n{exits}{INSTALL}")),
        // exits when idle, and is started again by the next event
        ("idle.service", &format!("[Service]\n{exits}{INSTALL}")),
        ("idle.socket", "[Socket]\nListenStream=/run/idle.sock\n"),
        ("watched.service", &format!("[Service]\n{exits}{INSTALL}")),
        ("watched.path", "[Path]\nPathExists=/run/nonexistent\n"),
        ("timed.service", &format!("[Service]\n{exits}{INSTALL}")),
        ("timed.timer", "[Timer]\nOnActiveSec=1h\n"),
        // no target wants it
        ("free.service", &format!("[Service]\n{exits}")),
        // the sockets and timers themselves
        (
            "bare.timer",
            "[Timer]\nOnActiveSec=1h\nUnit=free.service\n[Install]\nWantedBy=timers.target\n",
        ),
    ]);
    let services = ["done", "stays", "unmet", "skipped", "idle", "watched", "timed"];
    machine.ok(&[&["systemctl", "enable", "bare.timer"][..], &services].concat());
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemctl", "start", "bare.timer", "idle.socket", "watched.path", "timed.timer"]);
    machine.ok(&[&["systemctl", "start", "free"][..], &services].concat());
    for name in ["idle", "watched", "timed", "free", "done"] {
        is(machine, name, "inactive");
    }
    assert_wanted(&exporter, &[]);
    machine.ok(&["systemctl", "stop", "bare.timer"]);
    assert_wanted(&exporter, &[]);
    // nothing starts it any more
    machine.ok(&["systemctl", "stop", "idle.socket"]);
    assert_wanted(&exporter, &[("idle.service", "exited")]);
}

#[test]
fn instances_are_counted_by_template_and_state() {
    let machine = &Machine::options().boot();
    machine.units(&[
        ("many@.service", "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\n"),
        ("task@.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"),
    ]);
    machine.write("run/config.yml", "expect_instances: ['many@.service:3', 'none@.service:2']\n");
    machine.ok(&["systemctl", "start", "many@1", "many@2", "many@3", "task@1", "task@2"]);
    let exporter = machine.exporter(&["--config.file=/run/config.yml"]);
    let counts = || -> BTreeMap<String, f64> {
        let page = exporter.samples();
        let instances = page.all("systemd_template_instances", &[]);
        let expected = page.all("systemd_template_expected_instances", &[]);
        let instances =
            instances.map(|it| (format!("{} {}", it.label("name"), it.label("state")), it.value));
        let expected = expected.map(|it| (it.label("name").to_owned(), it.value));
        instances.chain(expected).collect()
    };
    let expect = |expected: &[(&str, f64)]| {
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let mut last = BTreeMap::new();
        let found = support::in_time(|| {
            last = counts();
            (last == expected).then_some(())
        });
        assert!(found.is_some(), "{last:?} instead of {expected:?}");
    };
    let none = ("none@.service active", 0.0);
    let both = [("many@.service", 3.0), ("none@.service", 2.0)];
    expect(&[both[0], both[1], ("many@.service active", 3.0), none]);
    machine.ok(&["systemctl", "kill", "--signal=KILL", "many@2"]);
    machine.ok(&["systemctl", "stop", "many@3"]);
    // systemd unloads a stopped instance that no unit wants
    expect(&[both[0], both[1], ("many@.service active", 2.0), none]);
    machine.write("run/config.yml", "expect_instances: ['many@.service:2']\n");
    machine.ok(&["systemctl", "kill", "--signal=HUP", exporter.unit()]);
    expect(&[("many@.service", 2.0), ("many@.service active", 2.0)]);
}
