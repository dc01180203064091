//! The manager, systemd jobs, and the boot.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::prepared;
use crate::support::{Machine, eventually};

#[test]
fn manager_metrics_match_busctl_and_systemctl() {
    let (machine, exporter) = prepared();
    let page = exporter.samples();
    let version = machine.ok(&["systemctl", "--version"]);
    let version: f64 = version.split(' ').nth(1).and_then(|v| v.parse().ok()).expect("a version");
    assert_eq!(page.value("systemd_version", &[]), Some(version));
    let one = |family: &str| {
        page.all(family, &[]).map(|sample| sample.labels.clone()).collect::<Vec<_>>()
    };
    let virtualization = manager(machine, "Virtualization");
    assert_eq!(
        one("systemd_virtualization_info")[0]["virtualization_type"],
        virtualization["data"]
    );
    let tainted: Vec<_> =
        one("systemd_taint_info").iter().map(|labels| labels["taint"].clone()).collect();
    assert_eq!(tainted.join(":"), manager(machine, "Tainted")["data"].as_str().expect("text"));
    // other tests start and reset failing units meanwhile
    eventually("the state that systemctl shows", || {
        let page = exporter.samples();
        let state = page.all("systemd_system_state", &[]).next()?.label("state").to_owned();
        let shown = machine.exec(&["systemctl", "is-system-running"]).stdout;
        let running = page.value("systemd_system_running", &[]);
        assert_eq!(running, Some(f64::from(u8::from(state == "running"))));
        (state.as_bytes() == shown.trim_ascii()).then_some(())
    });
    for stage in ["Userspace", "Finish", "UnitsLoadStart", "SecurityFinish", "InitRD"] {
        for (family, suffix) in [("monotonic", "TimestampMonotonic"), ("time", "Timestamp")] {
            let shown = manager(machine, &format!("{stage}{suffix}"))["data"].as_f64();
            let value = page.value(&format!("systemd_boot_{family}_seconds"), &[("stage", stage)]);
            assert_eq!(value, shown.map(|micros| micros / 1e6), "{stage} {family}");
        }
    }
    // systemd 252 and newer
    let device = property(machine, "WatchdogDevice").map(|device| device["data"] != "");
    let enabled = page.value("systemd_watchdog_enabled", &[]);
    assert_eq!(enabled, device.map(|device| f64::from(u8::from(device))));
    assert!(version < 252.0 || enabled.is_some());
    let threads = std::fs::read_dir(format!("/proc/{}/task", machine.pid1())).expect("PID 1");
    assert_eq!(page.value("systemd_pid1_threads", &[]), Some(threads.count() as f64));
    let listed = |options: &[&str]| {
        let command =
            [&["systemctl", "list-units", "--all", "--no-legend", "--plain"], options].concat();
        machine.ok(&command).lines().count() as f64
    };
    eventually("as many units as systemctl lists", || {
        let before = (listed(&[]), listed(&["--state=failed"]), listed(&["--state=not-found"]));
        let page = exporter.samples();
        let units: f64 = page.all("systemd_units", &[]).map(|sample| sample.value).sum();
        let absent = page.value("systemd_units_by_load_state", &[("load_state", "not-found")]);
        let failed = page.value("systemd_failed_units", &[])?;
        ((units, failed, absent?) == before).then_some(())
    });
}

#[test]
fn systemd_jobs_match_systemctl_list_jobs() {
    let (machine, exporter) = prepared();
    machine.unit("queued.service", "[Unit]\nAfter=slow.service\n[Service]\nExecStart=/bin/true\n");
    let before = SystemTime::now();
    machine.ok(&["systemctl", "start", "--no-block", "slow.service", "queued.service"]);
    eventually("waiting and running jobs", || {
        let listed = machine.ok(&["systemctl", "list-jobs", "--no-legend"]);
        let listed = |state: &str| {
            listed.lines().filter(|line| line.split_whitespace().last() == Some(state)).count()
        };
        let page = exporter.samples();
        let jobs = |state| page.value("systemd_jobs", &[("state", state)]);
        let (waiting, running) = (listed("waiting"), listed("running"));
        (waiting > 0 && running > 0).then_some(())?;
        ((jobs("waiting"), jobs("running")) == (Some(waiting as f64), Some(running as f64)))
            .then_some(())
    });
    let page = exporter.samples();
    let oldest = page.value("systemd_job_oldest_enqueued_timestamp_seconds", &[]).expect("a job");
    let oldest = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(oldest);
    // a float of seconds since 1970 is exact to a microsecond
    let range = before - Duration::from_millis(1)..SystemTime::now();
    assert!(range.contains(&oldest), "{oldest:?} is not in {range:?}");
    machine.ok(&["systemctl", "stop", "slow.service", "queued.service"]);
}

#[test]
fn slowest_units_of_boot_match_systemd_analyze_blame() {
    let machine = slow_to_boot();
    let exporter = machine.exporter(&[]);
    let slowest = eventually("the slowest units", || {
        let page = exporter.samples();
        let all = page.all("systemd_unit_boot_activation_seconds", &[]);
        let all: Vec<_> =
            all.map(|sample| (sample.label("name").to_owned(), sample.value)).collect();
        (!all.is_empty()).then_some(all)
    });
    assert!(slowest.len() <= 20);
    let analyzed = machine.ok(&["systemd-analyze", "blame", "--no-pager"]);
    let analyzed: Vec<(String, f64)> = analyzed
        .lines()
        .filter_map(|line| line.trim().rsplit_once(' '))
        // without units that are excluded by default, and the exporter, which started after the boot
        .filter(|(_, name)| !name.ends_with(".device") && !name.starts_with("unit-exporter"))
        .map(|(took, name)| (name.to_owned(), seconds(took)))
        .collect();
    eprintln!("{slowest:?}\n{analyzed:?}");
    assert_eq!(slowest[0].0, "sluggish.service");
    assert!(slowest[0].1 > 2.0);
    for (name, took) in &slowest {
        let found = analyzed.iter().find(|(other, _)| other == name);
        let (_, expected) = found.expect("a line of systemd-analyze blame");
        // systemd-analyze prints milliseconds
        assert!((expected - took).abs() <= 0.001_1, "{name}: {took}, {expected}");
    }
    let shortest = slowest.last().expect("a unit").1;
    for (name, took) in analyzed.iter().filter(|(_, took)| *took > shortest + 0.001) {
        assert!(slowest.iter().any(|(other, _)| other == name), "{name} took {took}");
    }
    // a later start does not replace the value of the boot
    machine.ok(&["systemctl", "restart", "sluggish.service"]);
    let page = exporter.samples();
    let labels = [("name", "sluggish.service")];
    assert_eq!(page.value("systemd_unit_boot_activation_seconds", &labels), Some(slowest[0].1));
    // an exporter started after the restart does not export it as part of the boot
    let late = machine.exporter(&[]);
    eventually("the other units", || {
        let page = late.samples();
        let all = page.all("systemd_unit_boot_activation_seconds", &[]).count();
        assert_eq!(page.value("systemd_unit_boot_activation_seconds", &labels), None);
        (all > 0).then_some(())
    });
}

/// A machine with a service that takes two seconds to start at boot.
fn slow_to_boot() -> Machine {
    let overlay = std::env::temp_dir().join(format!("unit-exporter-slow-{}", std::process::id()));
    let wants = overlay.join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).expect("a directory");
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 2.1\n";
    std::fs::write(overlay.join("etc/systemd/system/sluggish.service"), unit).expect("a unit");
    std::os::unix::fs::symlink("../sluggish.service", wants.join("sluggish.service"))
        .expect("a link");
    let machine = Machine::options().overlay(&overlay).boot();
    std::fs::remove_dir_all(&overlay).expect("the directory");
    machine
}

/// Seconds of `1min 2.345s` or `12ms`, as systemd-analyze prints durations.
fn seconds(text: &str) -> f64 {
    let part = |part: &str| -> f64 {
        let at = part.find(|c: char| c.is_ascii_alphabetic()).expect("a unit");
        let factor = match &part[at..] {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            other => panic!("{other}"),
        };
        part[..at].parse::<f64>().expect("a number") * factor
    };
    text.split(' ').map(part).sum()
}

/// A property of PID 1, from busctl.
#[track_caller]
fn manager(machine: &Machine, name: &str) -> Value {
    property(machine, name).unwrap_or_else(|| panic!("no property {name}"))
}

/// The same; `None` if this systemd has no such property.
fn property(machine: &Machine, property: &str) -> Option<Value> {
    let (name, path) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
    let interface = "org.freedesktop.systemd1.Manager";
    let command = ["busctl", "--json=short", "get-property", name, path, interface, property];
    let output = machine.exec(&command);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn manager_defaults_replace_settings_equal_to_them() {
    let (machine, exporter) = prepared();
    machine
        .unit("as-default.service", "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\n");
    machine.unit(
        "half-default.service",
        "[Unit]\nStartLimitBurst=9\n[Service]\nExecStart=/bin/sleep infinity\nRestart=always\n",
    );
    machine.ok(&["systemctl", "start", "as-default.service", "half-default.service"]);
    let manager = |property: &str| {
        let shown = machine.ok(&[
            "busctl",
            "get-property",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            property,
        ]);
        shown.split_whitespace().last().and_then(|number| number.parse::<f64>().ok())
    };
    let settings = [
        ("restart_delay_seconds", manager("DefaultRestartUSec").map(|micros| micros / 1e6)),
        ("start_limit_burst", manager("DefaultStartLimitBurst")),
        (
            "start_limit_interval_seconds",
            manager("DefaultStartLimitIntervalUSec").map(|micros| micros / 1e6),
        ),
    ];
    let page = eventually("the burst of half-default.service", || {
        let page = exporter.samples();
        let name = [("name", "half-default.service")];
        let burst = page.value("systemd_service_start_limit_burst", &name);
        (burst == Some(9.0)).then_some(page)
    });
    for (setting, default) in settings {
        assert!(default.is_some(), "{setting}");
        assert_eq!(page.value(&format!("systemd_manager_default_{setting}"), &[]), default);
        let name = [("name", "as-default.service")];
        assert_eq!(page.value(&format!("systemd_service_{setting}"), &name), None, "{setting}");
    }
}
