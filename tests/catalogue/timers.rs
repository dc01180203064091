//! Timers and socket units.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Machine, Samples, eventually};
use crate::{number, prepared};

#[test]
fn next_elapse_and_settings_of_timers_match_systemctl() {
    let (machine, exporter) = prepared();
    machine.ok(&["systemctl", "start", "beat.timer", "weekly.timer", "both.timer"]);
    let offset = |page: &Samples, name: &str| {
        Some(
            page.value("systemd_timer_next_trigger_seconds", &[("name", name)])?
                - next(machine, name)?,
        )
    };
    // beat.timer elapses every second, so it may move between the two reads: one match in many is enough
    for name in ["beat.timer", "weekly.timer", "both.timer"] {
        let mut offsets = Vec::new();
        eventually("the time that systemctl shows", || {
            let off = offset(&exporter.samples(), name)?;
            offsets.push(off);
            (off.abs() < 1.0).then_some(())
        });
        eprintln!("{name}: {:?} s off", offsets.last());
    }
    // signals report a new timer first; its settings are fetched afterwards
    let page = eventually("the settings of all three", || {
        let page = exporter.samples();
        let known =
            |name| page.value("systemd_timer_accuracy_seconds", &[("name", name)]).is_some();
        ["beat.timer", "weekly.timer", "both.timer"].into_iter().all(known).then_some(page)
    });
    for sample in page.all("systemd_timer_info", &[]) {
        let shown = ["systemctl", "show", "-P", "Unit", sample.label("name")];
        assert_eq!(sample.label("triggers"), machine.ok(&shown).trim());
    }
    for (family, property, name) in [
        ("accuracy_seconds", "AccuracyUSec", "weekly.timer"),
        ("randomized_delay_seconds", "RandomizedDelayUSec", "weekly.timer"),
        ("last_trigger_seconds", "LastTriggerUSec", "both.timer"),
    ] {
        let value = page.value(&format!("systemd_timer_{family}"), &[("name", name)]);
        let micros = number(machine, name, property);
        assert_eq!(value, micros.map(|micros| micros / 1e6), "{name} {property}");
    }
    let value = |family| page.value(family, &[("name", "weekly.timer")]);
    assert_eq!(value("systemd_timer_accuracy_seconds"), Some(5.0));
    assert_eq!(value("systemd_timer_randomized_delay_seconds"), Some(30.0));
}

#[test]
fn every_timer_trigger_is_counted() {
    let (machine, exporter) = prepared();
    let triggers = || {
        let value =
            exporter.samples().value("systemd_timer_triggers_total", &[("name", "thrice.timer")]);
        value.unwrap_or(0.0)
    };
    let before = triggers();
    machine.ok(&["systemctl", "start", "thrice.timer"]);
    // each run logs a line
    let runs = || machine.ok(&["journalctl", "--output=cat", "_SYSTEMD_UNIT=thrice.service"]);
    eventually("three runs", || (runs().lines().count() >= 3).then_some(()));
    machine.ok(&["systemctl", "stop", "thrice.timer"]);
    machine.ok(&["journalctl", "--sync"]);
    let ran = runs().lines().filter(|line| *line == "ran").count() as f64;
    eventually("all are counted", || (triggers() - before == ran).then_some(()));
}

#[test]
fn socket_units_export_service_and_connection_counts() {
    let (machine, exporter) = prepared();
    machine.ok(&["systemctl", "start", "echo.socket", "lazy.socket"]);
    let info = |name: &str| {
        let page = exporter.samples();
        let labels = [("name", name)];
        let found = page.all("systemd_socket_info", &labels).next()?;
        Some([found.label("triggers").to_owned(), found.label("accept").to_owned()])
    };
    for (name, service, accept) in
        [("echo.socket", "echo@.service", "yes"), ("lazy.socket", "weekly.service", "no")]
    {
        assert_eq!(eventually("the socket unit", || info(name)), [service, accept]);
        assert_eq!(machine.ok(&["systemctl", "show", "-P", "Accept", name]).trim(), accept);
    }
    // MaxConnections=2: the third is refused
    let connect = || machine.tcp(7007).expect("a connection");
    let open = [connect(), connect()];
    eventually("both are accepted", || {
        (number(machine, "echo.socket", "NConnections") == Some(2.0)).then_some(())
    });
    let _third = connect();
    let counts = |page: &Samples| {
        let names =
            ["accepted_connections_total", "current_connections", "refused_connections_total"];
        names.map(|name| page.value(&format!("systemd_socket_{name}"), &[("name", "echo.socket")]))
    };
    let properties = ["NAccepted", "NConnections", "NRefused"];
    let shown = || properties.map(|property| number(machine, "echo.socket", property));
    eventually("one is refused", || (shown()[2] == Some(1.0)).then_some(()));
    let begun = Instant::now();
    while counts(&exporter.samples()) != shown() {
        // systemd sends no signal for a refusal; the property is read once a minute
        assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", counts(&exporter.samples()));
        thread::sleep(Duration::from_millis(200));
    }
    eprintln!("{:?} after {:?}", shown(), begun.elapsed());
    drop(open);
}

/// The next elapse of a timer, from `systemctl list-timers`.
fn next(machine: &Machine, timer: &str) -> Option<f64> {
    let text = machine.ok(&["systemctl", "list-timers", "--all", "--output=json", timer]);
    let rows: Value = serde_json::from_str(&text).expect("JSON");
    Some(rows[0]["next"].as_f64()? / 1e6)
}
