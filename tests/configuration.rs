//! The configuration file under SIGHUP, and the D-Bus socket of a container.

#![allow(clippy::disallowed_types)]

mod support;

use support::{Exporter, Samples, eventually, machine};

#[test]
fn reload_replaces_expectations_and_keeps_counts() {
    let machine = machine();
    let file = "/run/reloaded.yml";
    machine.write(file, "expect_units: [a.service]\nexpect_listeners: [a.service:tcp:1]\n");
    let exporter = &machine.exporter(&[&format!("--config.file={file}")]);
    let pid = exporter.pid();
    machine.unit("counted.service", "[Service]\nExecStart=/bin/sh -c 'echo says; exit 3'\n");
    for _ in 0..2 {
        machine.exec(&["systemctl", "start", "--wait", "counted"]);
        machine.ok(&["systemctl", "reset-failed", "counted"]);
    }
    wait_for_failures(exporter, 2.0);
    assert_eq!(missing(&exporter.samples()), ["a.service", "a.service:tcp:1"]);
    let counters =
        ["service_failures_total", "service_main_process_exits_total", "unit_starts_total"];
    let counts = || {
        let page = exporter.samples();
        counters.map(|name| page.value(&format!("systemd_{name}"), &COUNTED))
    };
    let before = counts();
    assert_eq!(before, [Some(2.0); 3]);

    machine.write(file, "expect_units: [b.service, c.service]\n");
    reload(exporter);
    eventually("the new expectations", || {
        (missing(&exporter.samples()) == ["b.service", "c.service"]).then_some(())
    });
    assert_eq!(counts(), before);
    machine.exec(&["systemctl", "start", "--wait", "counted"]);
    wait_for_failures(exporter, 3.0);
    assert_eq!(exporter.pid(), pid);
    assert!(exporter.log().contains("SIGHUP: reloaded"), "{}", exporter.log());
}

#[test]
fn reload_of_invalid_file_keeps_settings_and_logs_the_line() {
    let machine = machine();
    let file = "/run/invalid.yml";
    machine.write(file, "expect_units: [a.service]\n");
    let exporter = &machine.exporter(&[&format!("--config.file={file}")]);
    let pid = exporter.pid();
    for (number, (content, reason)) in [
        ("expect_units:\n- b.service\n- no unit\n", "line 3"),
        ("expect_units: [b.service\n", file),
        ("profile: small\n", "minimal, fleet, default, full"),
        ("expected: []\n", "expected"),
    ]
    .into_iter()
    .enumerate()
    {
        machine.write(file, content);
        reload(exporter);
        let log = eventually("an error in the log", || {
            let log = exporter.log();
            let errors = log.lines().filter(|line| line.contains(INVALID));
            (errors.count() == number + 1).then_some(log)
        });
        let error = log.lines().rfind(|line| line.contains(INVALID)).expect("a line");
        assert!(error.contains("level=ERROR"), "{error}");
        assert!(error.contains(file) && error.contains(reason), "{content:?}: {error}");
        assert_eq!(missing(&exporter.samples()), ["a.service"], "{content:?}");
    }
    machine.ok(&["rm", file]);
    reload(exporter);
    eventually("an error for the missing file", || {
        exporter.log().contains("No such file").then_some(())
    });
    assert_eq!(missing(&exporter.samples()), ["a.service"]);
    assert!(!exporter.log().contains("SIGHUP: reloaded"), "{}", exporter.log());

    machine.write(file, "expect_units: [b.service]\nprofile: minimal\n");
    reload(exporter);
    eventually("the corrected file", || {
        (missing(&exporter.samples()) == ["b.service"]).then_some(())
    });
    let log = exporter.log();
    let restart = log.lines().find(|line| line.contains("take effect after a restart"));
    assert!(restart.is_some_and(|line| line.contains("keys=profile")), "{log}");
    assert_eq!(exporter.pid(), pid);
}

/// The mounts and arguments of the community's Helm chart for systemd_exporter, in a container without /run/dbus.
#[test]
fn uses_the_bus_below_var_run_when_only_that_is_mounted() {
    let machine = machine();
    machine.ok(&["mkdir", "-p", "/opt/container/var/run", "/opt/container/usr"]);
    for link in ["bin", "lib", "lib64"] {
        machine.ok(&["ln", "-sfn", &format!("usr/{link}"), &format!("/opt/container/{link}")]);
    }
    let container = [
        "RootDirectory=/opt/container",
        "MountAPIVFS=yes",
        "BindReadOnlyPaths=/usr /run/systemd /run/dbus:/var/run/dbus",
    ];
    let flags = ["--log.level=info", r"--systemd.collector.unit-include=dbus\.service|init\.scope"];
    let exporter = machine.exporter_unit(&container, &flags).ready();
    let page = exporter.samples();
    let bus = [("name", "dbus.service"), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &bus), Some(1.0));
    let path = format!("/proc/{}/root/run/dbus", exporter.pid());
    assert!(!std::path::Path::new(&path).exists(), "/run/dbus is in the container, too");
}

#[track_caller]
fn wait_for_failures(exporter: &Exporter<'_>, count: f64) {
    eventually("the failures are counted", || {
        let failures = exporter.samples().value("systemd_service_failures_total", &COUNTED);
        (failures == Some(count)).then_some(())
    });
}

fn reload(exporter: &Exporter<'_>) {
    machine().ok(&["systemctl", "kill", "--kill-who=main", "--signal=HUP", exporter.unit()]);
}

/// The expected units and listeners that are missing.
fn missing(page: &Samples) -> Vec<String> {
    let units = page.all("systemd_unit_missing", &[]).map(|unit| unit.label("name").to_owned());
    let listeners = page
        .all("systemd_listener_missing", &[])
        .map(|listener| ["name", "protocol", "port"].map(|label| listener.label(label)).join(":"));
    let mut all: Vec<_> = units.chain(listeners).collect();
    all.sort();
    all
}

const COUNTED: [(&str, &str); 1] = [("name", "counted.service")];
const INVALID: &str = "SIGHUP: invalid configuration file; the settings in use are kept";
