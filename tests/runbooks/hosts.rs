//! Runbooks of alerts about a whole host, about many hosts, and about the exporter's own data.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::follow::{Host, Runbook};
use crate::support::{Machine, eventually};
use crate::{SLEEPS, fails};

#[test]
fn boot_not_finished() {
    let machine = boot_that_does_not_finish();
    let host = &Host::start(&machine, "");
    host.wait_for(r#"systemd_system_state{state=~"initializing|starting"}"#);
    let runbook = Runbook::of(host, "SystemdBootNotFinished", "waits.service");
    runbook.diagnosis(&[
        ("systemctl is-system-running", 1, "starting"),
        ("systemctl list-jobs", 0, "start running"),
        ("systemctl list-jobs", 0, "waiting for job"),
        ("systemctl --state", 0, "waits.service"),
        ("journalctl", 0, ""),
    ]);
    runbook.shows("systemctl status UNIT", 3, "Active: activating (start)");
    runbook.shows("journalctl --boot --unit=UNIT", 0, "waiting for the disk");
    let jobs = machine.ok(&["systemctl", "list-jobs", "--no-legend"]);
    let job = jobs.lines().find(|line| line.contains("waits.service")).expect("a job");
    let id = job.split_whitespace().next().expect("a number");
    let runbook = runbook.with("ID", id);
    runbook.mitigation(2).verification();
    host.wait_for(r#"systemd_system_state{state=~"running|degraded"}"#);
}

/// Boots until a unit that multi-user.target wants waits without end. The machine counts as booted once another unit has
/// sent READY=1 in place of systemd.
fn boot_that_does_not_finish() -> Machine {
    let overlay = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-not-finished");
    let units = overlay.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    fs::remove_dir_all(&overlay).ok();
    fs::create_dir_all(&wanted).expect("a directory");
    let ready = "env NOTIFY_SOCKET=/run/host/notify systemd-notify --ready";
    for (name, text) in [
        ("waits.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo waiting for the disk; sleep infinity'\n".to_owned()),
        ("later.service", format!("[Unit]\nAfter=waits.service\n{SLEEPS}")),
        ("says-ready.service", format!("[Unit]\nAfter=dbus.service\n[Service]\nType=oneshot\nExecStart=/usr/bin/{ready}\n")),
    ] {
        fs::write(units.join(name), text).expect("a unit");
        symlink(format!("../{name}"), wanted.join(name)).expect("a link");
    }
    let machine = Machine::options().overlay(&overlay).boot();
    fs::remove_dir_all(&overlay).ok();
    machine
}

#[test]
fn emergency_mode() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "");
    machine.ok(&["systemctl", "enable", "unit-exporter"]);
    // instead of a shell at the console, which a container lacks
    machine.write(
        "/etc/systemd/system/rescue.service.d/console.conf",
        "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/sleep infinity\nStandardInput=null\nStandardOutput=journal\n",
    );
    machine.write("/etc/fstab", "/dev/disk/by-uuid/0badbad0 /srv ext4 defaults 0 2\n");
    machine.unit(
        "srv.mount",
        "[Mount]\nWhat=/run/no-such-disk\nWhere=/srv\nType=ext4\n[Install]\nWantedBy=multi-user.target\n",
    );
    machine.ok(&["systemctl", "enable", "srv.mount"]);
    machine.exec(&["systemctl", "start", "srv.mount"]);
    machine.ok(&["systemctl", "start", "rescue.target"]);
    host.wait_for(r#"systemd_system_state{state="maintenance"}"#);
    let runbook = Runbook::of(host, "SystemdEmergencyMode", "srv.mount");
    runbook.diagnosis(&[
        ("systemctl --failed", 0, "srv.mount"),
        ("journalctl", 0, "Failed to mount"),
        ("findmnt", 0, "unreachable source"),
    ]);
    machine.ok(&["rm", "/etc/fstab"]);
    machine.ok(&["systemctl", "disable", "srv.mount"]);
    machine.ok(&["rm", "/etc/systemd/system/srv.mount"]);
    runbook.mitigation(2);
    runbook.shows("systemctl default", 0, "");
    machine.ok(&["systemctl", "reset-failed"]);
    runbook.verification();
}

#[test]
fn unit_failed_on_many_hosts() {
    let machine = Machine::options().boot();
    let host = &Host::start_with_targets(&machine, "", &THREE_NAMES);
    machine.unit("release.service", &fails("bad release", "exit 4"));
    machine.exec(&["systemctl", "start", "release"]);
    host.wait_for(r#"count(systemd_service_failures_total{name="release.service"} == 1) == 3"#);
    machine.exec(&["systemctl", "start", "release"]);
    host.wait_for(r#"job_name:systemd_units_failing:count{name="release.service"} == 3"#);
    let runbook = Runbook::of(host, "SystemdUnitFailedOnManyHosts", "release.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: failed (Result: exit-code)"),
        ("journalctl", 0, "bad release"),
    ]);
    machine.unit("release.service", SLEEPS);
    runbook.mitigation(2);
    eventually("no host has the failed unit", || {
        let query = r#"job_name:systemd_units_failing:count{name="release.service"} >= 3"#;
        host.prometheus.query(query).is_empty().then_some(())
    });
}

#[test]
fn exporter_down_on_many_hosts() {
    let machine = Machine::options().boot();
    let host = &Host::start_with_targets(&machine, "", &THREE_NAMES);
    machine.ok(&["systemctl", "stop", "unit-exporter"]);
    host.wait_for(r#"count(up{job="hosts"} == 0) == 3"#);
    let runbook = Runbook::of(host, "UnitExporterDownOnManyHosts", "unit-exporter.service");
    runbook.diagnosis(&[
        ("curl", 7, "Failed to connect"),
        ("ping", 0, "3 packets transmitted, 3 received"),
    ]);
    machine.ok(&["systemctl", "start", "unit-exporter"]);
    host.wait_for(r#"count(up{job="hosts"} == 1) == 3"#);
}

#[test]
fn exporter_absent() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "");
    host.wait_for("job:systemd_hosts:count");
    let config = "/etc/prometheus/prometheus.yml";
    let before = fs::read_to_string(machine.path(config)).expect("the configuration");
    // not without the scrape job, whose series would stay for the 5 minutes of the lookback
    machine.write(config, before.replace("\"localhost:9558\"", ""));
    machine.ok(&["systemctl", "reload", "prometheus"]);
    eventually("no target", || host.prometheus.query("up").is_empty().then_some(()));
    let runbook = Runbook::of(host, "UnitExporterAbsent", "unit-exporter.service");
    runbook.diagnosis(&[
        // the target is gone from the configuration
        ("up", 0, ""),
        ("promtool", 0, "SUCCESS"),
        ("journalctl", 0, "Completed loading of configuration file"),
        ("curl", 0, ""),
    ]);
    machine.write(config, before);
    runbook.mitigation(1);
    host.wait_for("up == 1");
}

#[test]
fn exporter_events_lost() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "--no-collector.journal");
    machine.unit(
        "crashes.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'sleep 1; exit 3'\nRestart=always\nRestartSec=100ms\n",
    );
    machine.ok(&["systemctl", "start", "crashes"]);
    host.wait_for(r#"systemd_service_failures_total{name="crashes.service"} > 0"#);
    machine.ok(&["systemctl", "stop", "dbus.socket", "dbus.service"]);
    let restarts = || machine.ok(&["systemctl", "show", "--property=NRestarts", "crashes"]);
    let before = restarts();
    eventually("a crash without bus", || (restarts() != before).then_some(()));
    machine.ok(&["systemctl", "start", "dbus.socket", "dbus.service"]);
    host.wait_for("increase(unit_exporter_events_lost_total[1h]) > 0");
    let runbook = Runbook::of(host, "UnitExporterEventsLost", "unit-exporter.service");
    runbook.diagnosis(&[
        ("journalctl", 0, "level=WARN"),
        // a series of a cause begins with 1, and the collector journal is off
        (r#"unit_exporter_collector_success{instance="INSTANCE", collector="journal"}"#, 0, ""),
    ]);
    machine.ok(&["systemctl", "stop", "crashes"]);
}

/// Three targets that are this machine.
const THREE_NAMES: [&str; 3] = ["localhost:9558", "127.0.0.1:9558", "[::1]:9558"];
