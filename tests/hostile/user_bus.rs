//! A user whose own bus is a program of the user's: whatever it sends, only that user's metrics are missing.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Exporter, Machine, Samples, eventually, in_time};
use crate::{SLEEP, megabytes, resident, run_script};

#[test]
fn user_bus_with_slow_descriptor_affects_only_user_managers() {
    attack("descriptor");
}

#[test]
fn user_bus_that_announces_long_message_affects_only_that_user() {
    attack("announces");
}

#[test]
fn user_bus_with_endless_handshake_affects_only_that_user() {
    attack("endless-line");
    attack("line-feed");
}

#[test]
fn user_bus_that_floods_signals_affects_only_that_user() {
    attack("large-signals");
}

#[test]
fn user_bus_with_millions_of_units_affects_only_that_user() {
    attack("many-units");
}

#[test]
fn user_bus_that_answers_nothing_affects_only_that_user() {
    attack("silent");
    attack("silent-manager");
}

#[test]
fn user_bus_that_answers_byte_by_byte_affects_only_that_user() {
    attack("slow-handshake");
    attack("slow-replies");
}

/// Follows a user whose bus is `fake_user_bus.py`, and an honest one, under the memory limit of the
/// packaged service.
#[track_caller]
fn attack(mode: &str) {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.write("/etc/systemd/user/steady.service", SLEEP);
    for (name, uid) in [("mallory", "1500"), ("alice", "1501")] {
        machine.ok(&["useradd", "--create-home", "--uid", uid, name]);
        machine.ok(&["loginctl", "enable-linger", name]);
        eventually("the user's manager runs", || {
            machine.path(&format!("/run/user/{uid}/bus")).exists().then_some(())
        });
    }
    let systemctl = |uid: u32, command: &str| {
        let (user, group) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        let command = format!("XDG_RUNTIME_DIR=/run/user/{uid} systemctl --user {command}");
        machine.ok(&["setpriv", &user, &group, "--clear-groups", "sh", "-c", &command]);
    };
    systemctl(1500, "stop dbus.socket");
    let run = ["User=mallory"];
    run_script(&machine, "fake-bus", FAKE_BUS, &run, &["/run/user/1500/bus", mode]);
    let limits = ["MemoryMax=256M", "MemorySwapMax=0", "WatchdogSec=20s", "Restart=always"];
    let exporter = machine.exporter_unit(&limits, &["--collector.user-managers"]).ready();
    let pid = exporter.pid();
    let connected = in_time(|| {
        let log = machine.ok(&["journalctl", "--no-pager", "--output=cat", "--unit=fake-bus"]);
        log.contains("connected").then_some(())
    });
    assert!(connected.is_some(), "{mode}: the exporter does not connect\n{}", exporter.log());
    let begun = Instant::now();
    let (mut slowest, mut is_active) = (Duration::ZERO, false);
    while begun.elapsed() < Duration::from_secs(25) {
        is_active = !is_active;
        let toggle = if is_active { "start" } else { "stop" };
        machine.ok(&["systemctl", toggle, "honest.service"]);
        let sent = Instant::now();
        let samples = samples(&exporter, mode);
        slowest = slowest.max(sent.elapsed());
        let units = [("collector", "units")];
        let success = samples.value("unit_exporter_collector_success", &units);
        assert_eq!(success, Some(1.0), "{mode}: {}", exporter.log());
        // closing mallory's descriptor stops the thread of all user managers
        let units = match mode {
            "descriptor" => &[("honest.service", "")][..],
            _ => &[("honest.service", ""), ("steady.service", "alice")],
        };
        if units.len() > 1 {
            systemctl(1501, &format!("{toggle} steady.service"));
        }
        for (unit, user) in units {
            eventually("the unit's state is current", || {
                // a stopped unit is unloaded
                let samples = self::samples(&exporter, mode);
                let labels = [("name", *unit), ("state", "active")];
                let mut states = samples.all("systemd_unit_state", &labels);
                let state = states.find(|sample| sample.label("manager_user") == *user);
                (state.is_some_and(|state| state.value == 1.0) == is_active).then_some(())
            });
        }
        thread::sleep(Duration::from_millis(500));
    }
    let (now, peak) = resident(exporter.pid());
    eprintln!(
        "{mode}: scrapes took at most {slowest:?}; resident {}, peak {}",
        megabytes(now),
        megabytes(peak)
    );
    assert_eq!(exporter.pid(), pid, "{mode}: the exporter was restarted\n{}", exporter.log());
    assert!(peak < 128 << 20, "{mode}: {}", megabytes(peak));
    let samples = samples(&exporter, mode);
    if mode != "many-units" {
        let up = samples.value("systemd_user_manager_up", &[("manager_user", "mallory")]);
        assert_eq!(up, Some(0.0), "{mode}");
    }
    let collector = [("collector", "user-managers")];
    assert_eq!(samples.value("unit_exporter_collector_success", &collector), Some(0.0), "{mode}");
    let log = exporter.log();
    assert!(log.len() < 200_000, "{mode}: the log is flooded");
    machine.exec(&["systemctl", "kill", "--signal=KILL", exporter.unit()]);
}

#[track_caller]
fn samples(exporter: &Exporter, mode: &str) -> Samples {
    let sent = Instant::now();
    let samples = exporter.samples();
    assert!(sent.elapsed() < Duration::from_secs(10), "{mode}");
    samples
}

const FAKE_BUS: &str = include_str!("fake_user_bus.py");
