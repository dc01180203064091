//! A user whose own bus is a program of the user's: whatever it sends, only that user's metrics are missing.

use std::time::{Duration, Instant};
use std::{iter, thread};

use crate::support::{Exporter, Machine, Samples, eventually, in_time};
use crate::{SLEEP, megabytes, resident, run_script};

#[test]
fn user_bus_with_slow_descriptor_affects_only_user_managers() {
    attack(&["descriptor"]);
}

#[test]
fn user_buses_of_every_other_kind_affect_only_their_users() {
    attack(&[
        // a message of 127 MiB that never comes
        "announces",
        "endless-line",
        "line-feed",
        "large-signals",
        "many-units",
        "silent",
        "silent-manager",
        "slow-handshake",
        "slow-replies",
    ]);
}

/// Follows one user for each mode of `fake_user_bus.py`, and an honest one, all at once, under the
/// memory limit of the packaged service.
#[track_caller]
fn attack(modes: &[&str]) {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.write("/etc/systemd/user/steady.service", SLEEP);
    let users = iter::once("alice").chain(modes.iter().copied());
    let users: Vec<_> = (1500..).zip(users).collect();
    for (uid, name) in &users {
        machine.ok(&["useradd", "--create-home", "--uid", &uid.to_string(), name]);
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
    for (uid, mode) in &users[1..] {
        systemctl(*uid, "stop dbus.socket");
        let (unit, user) = (format!("bus-{mode}"), format!("User={mode}"));
        run_script(&machine, &unit, FAKE_BUS, &[&user], &[&format!("/run/user/{uid}/bus"), mode]);
    }
    let limits = ["MemoryMax=256M", "MemorySwapMax=0", "WatchdogSec=20s", "Restart=always"];
    let exporter = machine.exporter_unit(&limits, &["--collector.user-managers"]).ready();
    let pid = exporter.pid();
    for mode in modes {
        let unit = format!("--unit=bus-{mode}");
        let connected = in_time(|| {
            let log = machine.ok(&["journalctl", "--no-pager", "--output=cat", &unit]);
            log.contains("connected").then_some(())
        });
        assert!(connected.is_some(), "{mode}: the exporter does not connect\n{}", exporter.log());
    }
    let begun = Instant::now();
    let (mut slowest, mut is_active) = (Duration::ZERO, false);
    while begun.elapsed() < Duration::from_secs(25) {
        is_active = !is_active;
        let toggle = if is_active { "start" } else { "stop" };
        machine.ok(&["systemctl", toggle, "honest.service"]);
        let sent = Instant::now();
        let samples = samples(&exporter);
        slowest = slowest.max(sent.elapsed());
        let units = [("collector", "units")];
        let success = samples.value("unit_exporter_collector_success", &units);
        assert_eq!(success, Some(1.0), "{}", exporter.log());
        // closing the descriptor stops the thread of all user managers
        let units = match modes {
            ["descriptor"] => &[("honest.service", "")][..],
            _ => &[("honest.service", ""), ("steady.service", "alice")],
        };
        if units.len() > 1 {
            systemctl(1500, &format!("{toggle} steady.service"));
        }
        for (unit, user) in units {
            eventually("the unit's state is current", || {
                // a stopped unit is unloaded
                let samples = self::samples(&exporter);
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
        "{modes:?}: scrapes took at most {slowest:?}; resident {}, peak {}",
        megabytes(now),
        megabytes(peak)
    );
    assert_eq!(exporter.pid(), pid, "the exporter was restarted\n{}", exporter.log());
    assert!(peak < 128 << 20, "{}", megabytes(peak));
    let samples = samples(&exporter);
    for mode in modes.iter().filter(|mode| **mode != "many-units") {
        let up = samples.value("systemd_user_manager_up", &[("manager_user", mode)]);
        assert_eq!(up, Some(0.0), "{mode}");
    }
    let collector = [("collector", "user-managers")];
    assert_eq!(samples.value("unit_exporter_collector_success", &collector), Some(0.0));
    let log = exporter.log();
    assert!(log.len() < 200_000, "the log is flooded: {} bytes", log.len());
    machine.exec(&["systemctl", "kill", "--signal=KILL", exporter.unit()]);
}

#[track_caller]
fn samples(exporter: &Exporter) -> Samples {
    let sent = Instant::now();
    let samples = exporter.samples();
    assert!(sent.elapsed() < Duration::from_secs(10));
    samples
}

const FAKE_BUS: &str = include_str!("fake_user_bus.py");
