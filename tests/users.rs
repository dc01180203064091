//! User managers: the exported states of their units match each user's systemctl.

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use support::{Exporter, Machine, Samples, eventually, in_time};

#[test]
fn units_of_lingering_user_match_its_systemctl() {
    let machine = Machine::options().boot();
    let app = User::lingers(&machine, "app", 1500);
    app.unit("queue.service", SLEEP);
    app.unit("broken.service", "[Service]\nExecStart=/bin/sh -c 'exit 3'\n");
    app.unit("flaps.service", FLAPS);
    app.ok(&["start", "queue.service", "flaps.service"]);
    // a unit of the same name in the system manager
    machine.unit("queue.service", SLEEP);
    machine.ok(&["systemctl", "start", "queue.service"]);
    // systemctl lists each unit, also those whose states are summed by default
    let flags = ["--collector.user-managers", "--systemd.collector.short-lived"];
    let exporter = machine.exporter_unit(&sandbox(), &flags).ready();
    wait_for_up(&exporter, "app", 1.0);
    app.exec(&["start", "broken.service"]);
    eventually("every state matches systemctl", || {
        (app.states() == exported(&exporter.samples())).then_some(())
    });

    let flaps = [("manager_user", "app"), ("name", "flaps.service")];
    eventually("every restart is counted", || {
        let before = exporter.samples().value("systemd_service_restart_total", &flaps)?;
        let actual: f64 = app.show("flaps.service", "NRestarts").parse().ok()?;
        let after = exporter.samples().value("systemd_service_restart_total", &flaps)?;
        // the exporter subscribed at the second or third restart
        (before > 3.0 && before <= actual && actual <= after + 3.0).then_some(())
    });
    let page = exporter.samples();
    let broken = [("manager_user", "app"), ("name", "broken.service")];
    assert_eq!(page.value("systemd_service_failures_total", &broken), Some(1.0));
    let exit = [&broken[..], &[("code", "exited"), ("status", "3")]].concat();
    assert_eq!(page.value("systemd_service_main_process_exits_total", &exit), Some(1.0));

    let queue = [("manager_user", "app"), ("name", "queue.service")];
    let group = app.show("queue.service", "ControlGroup");
    assert!(group.contains("/user@1500.service/"), "{group}");
    let processes = [&queue[..], &[("state", "sleeping")]].concat();
    assert_eq!(page.value("systemd_unit_processes", &processes), Some(1.0));
    let usage = std::fs::read_to_string(machine.path(&format!("sys/fs/cgroup{group}/cpu.stat")));
    let usage = usage.expect("a control group");
    let user = usage.lines().find_map(|line| line.strip_prefix("user_usec ")).expect("a line");
    let seconds = user.parse::<f64>().expect("a number") / 1e6;
    let mode = [&queue[..], &[("mode", "user")]].concat();
    let exported = page.value("systemd_unit_cpu_seconds_total", &mode).expect("a control group");
    assert!((exported - seconds).abs() < 0.1, "{exported} {seconds}");
    let state = app.exec(&["is-system-running"]).stdout;
    let state = String::from_utf8(state).expect("a state");
    let state = [("manager_user", "app"), ("state", state.trim())];
    assert_eq!(page.value("systemd_user_manager_state", &state), Some(1.0), "{state:?}");

    let system: Vec<_> = page
        .all("systemd_unit_state", &[("name", "queue.service"), ("state", "active")])
        .filter(|sample| !sample.labels.contains_key("manager_user"))
        .collect();
    assert_eq!(system.len(), 1, "{system:?}");
    assert_eq!(system[0].value, 1.0);
    let plain = exporter.get("/metrics?exclude[]=user-managers", &[]);
    let plain = Samples::parse(plain.text());
    let mut labelled = plain.0.iter().filter(|sample| sample.labels.contains_key("manager_user"));
    // its label user is the setting User=
    assert!(labelled.all(|sample| sample.name == "systemd_service_info"));
}

#[test]
fn user_managers_are_followed_as_they_start_and_stop() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&["--collector.user-managers"]);
    assert_eq!(exporter.samples().all("systemd_user_manager_up", &[]).count(), 0);
    assert_eq!(success(&exporter.samples()), Some(1.0));
    let one = User::lingers(&machine, "one", 1501);
    let two = User::lingers(&machine, "two", 1502);
    for (user, unit) in [(&one, "a.service"), (&two, "b.service")] {
        wait_for_up(&exporter, user.name, 1.0);
        user.unit(unit, SLEEP);
        user.ok(&["start", unit]);
        let labels = [("manager_user", user.name), ("name", unit), ("state", "active")];
        eventually("the unit is active", || {
            (exporter.samples().value("systemd_unit_state", &labels) == Some(1.0)).then_some(())
        });
    }
    let a = [("manager_user", "two"), ("name", "a.service")];
    assert_eq!(exporter.samples().all("systemd_unit_state", &a).count(), 0);

    machine.ok(&["systemctl", "restart", "user@1501.service"]);
    one.ok(&["start", "a.service"]);
    let labels = [("manager_user", "one"), ("name", "a.service"), ("state", "active")];
    eventually("the restarted manager is followed", || {
        let page = exporter.samples();
        let up = page.value("systemd_user_manager_up", &[("manager_user", "one")]) == Some(1.0);
        (up && page.value("systemd_unit_state", &labels) == Some(1.0)).then_some(())
    });

    machine.ok(&["loginctl", "disable-linger", "two"]);
    eventually("the user's series are gone", || {
        let page = exporter.samples();
        (page.all("systemd_unit_state", &[("manager_user", "two")]).count() == 0).then_some(())
    });
    assert_eq!(success(&exporter.samples()), Some(1.0), "{}", exporter.log());
    wait_for_up(&exporter, "one", 1.0);
}

#[test]
fn frozen_user_manager_is_reported_and_affects_no_other() {
    let machine = Machine::options().boot();
    let _one = User::lingers(&machine, "one", 1501);
    let _two = User::lingers(&machine, "two", 1502);
    let exporter = machine.exporter(&["--collector.user-managers"]);
    wait_for_up(&exporter, "one", 1.0);
    wait_for_up(&exporter, "two", 1.0);
    let signal_manager = |signal: &str| {
        let signal = format!("--signal={signal}");
        machine.ok(&["systemctl", "kill", "--kill-who=main", &signal, "user@1501.service"]);
    };
    signal_manager("STOP");
    let begun = Instant::now();
    let one = [("manager_user", "one")];
    while exporter.samples().value("systemd_user_manager_up", &one) == Some(1.0) {
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "the frozen manager is still reported as up"
        );
        thread::sleep(Duration::from_millis(200));
    }
    eprintln!("reported after {:?}", begun.elapsed());
    let page = exporter.samples();
    assert_eq!(page.value("systemd_user_manager_up", &[("manager_user", "two")]), Some(1.0));
    assert_eq!(success(&page), Some(0.0));
    assert_eq!(page.value("unit_exporter_dbus_subscribed", &[]), Some(1.0));
    assert!(exporter.log().contains("one: systemd has not answered"), "{}", exporter.log());
    signal_manager("CONT");
    wait_for_up(&exporter, "one", 1.0);
    assert_eq!(success(&exporter.samples()), Some(1.0));
}

#[test]
fn logs_reason_without_cap_setuid() {
    let machine = Machine::options().boot();
    let _app = User::lingers(&machine, "app", 1500);
    let exporter = machine.exporter_unit(&["User=nobody"], &["--collector.user-managers"]).ready();
    wait_for_up(&exporter, "app", 0.0);
    let page = exporter.samples();
    assert_eq!(success(&page), Some(0.0));
    assert_eq!(page.value("unit_exporter_dbus_subscribed", &[]), Some(1.0));
    assert!(exporter.log().contains("CAP_SETUID"), "{}", exporter.log());
}

#[test]
fn system_bus_posing_as_user_bus_is_rejected() {
    let machine = Machine::options().boot();
    let app = User::lingers(&machine, "app", 1500);
    app.ok(&["stop", "dbus.socket"]);
    machine.ok(&["ln", "-sf", "/run/dbus/system_bus_socket", "/run/user/1500/bus"]);
    let exporter = machine.exporter(&["--collector.user-managers"]);
    wait_for_up(&exporter, "app", 0.0);
    let logged = in_time(|| exporter.log().contains("not trusted").then_some(()));
    assert!(logged.is_some(), "{}", exporter.log());
    assert_eq!(exporter.samples().all("systemd_unit_state", &[("manager_user", "app")]).count(), 0);
}

#[test]
fn exporter_of_user_reports_own_units_without_user_label() {
    let machine = Machine::options().boot();
    let app = User::lingers(&machine, "app", 1500);
    app.unit("queue.service", SLEEP);
    app.ok(&["start", "queue.service"]);
    let exporter = machine.exporter_unit(&["User=app"], &["--systemd.collector.user"]).ready();
    let page = exporter.samples();
    let active = [("name", "queue.service"), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &active), Some(1.0));
    assert!(page.all("systemd_unit_state", &[("name", "dbus.service")]).count() > 0);
    assert!(
        page.all("systemd_unit_state", &[])
            .all(|sample| !sample.labels.contains_key("manager_user"))
    );
    let count = page.all("systemd_unit_state", &[("name", "systemd-journald.service")]).count();
    assert_eq!(count, 0, "a unit of the system manager");
    assert_eq!(page.value("systemd_unit_processes", &[("name", "queue.service")]), Some(1.0));
}

/// A user with a running manager.
struct User<'m> {
    machine: &'m Machine,
    name: &'static str,
    uid: String,
}

impl<'m> User<'m> {
    fn lingers(machine: &'m Machine, name: &'static str, uid: u32) -> Self {
        let uid = uid.to_string();
        machine.ok(&["useradd", "--create-home", "--uid", &uid, name]);
        machine.ok(&["loginctl", "enable-linger", name]);
        let user = Self { machine, name, uid };
        let running = in_time(|| {
            let output = user.exec(&["is-system-running"]);
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            matches!(&*state, "running" | "degraded").then_some(())
        });
        let manager = format!("user@{}", user.uid);
        let journal = || machine.ok(&["journalctl", "--no-pager", "-u", &manager]);
        assert!(running.is_some(), "no manager of {name}:\n{}", journal());
        user
    }

    fn unit(&self, name: &str, text: &str) {
        self.machine.write(&format!("home/{}/.config/systemd/user/{name}", self.name), text);
        self.ok(&["daemon-reload"]);
    }

    fn ok(&self, command: &[&str]) -> String {
        self.machine.ok(&self.systemctl(command))
    }

    fn exec(&self, command: &[&str]) -> std::process::Output {
        self.machine.exec(&self.systemctl(command))
    }

    fn show(&self, unit: &str, property: &str) -> String {
        self.ok(&["show", "--value", "--property", property, unit]).trim().to_owned()
    }

    fn systemctl(&self, command: &[&str]) -> Vec<String> {
        let Self { uid, .. } = self;
        let begin = [
            "setpriv".to_owned(),
            format!("--reuid={uid}"),
            format!("--regid={uid}"),
            "--clear-groups".to_owned(),
            "env".to_owned(),
            format!("XDG_RUNTIME_DIR=/run/user/{uid}"),
            "systemctl".to_owned(),
            "--user".to_owned(),
        ];
        begin.into_iter().chain(command.iter().map(|word| (*word).to_owned())).collect()
    }

    /// systemctl's states of all units that are exported.
    fn states(&self) -> BTreeMap<String, String> {
        let list = ["list-units", "--all", "--plain", "--no-legend", "--full"];
        let listed = self.ok(&list);
        let rows = listed.lines().filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (name, load, active) = (columns[0], columns[1], columns[2]);
            let absent = load == "not-found" && active == "inactive";
            (!absent && !name.ends_with(".device")).then(|| (name.to_owned(), active.to_owned()))
        });
        rows.collect()
    }
}

/// The exported states of all units of the user app.
fn exported(page: &Samples) -> BTreeMap<String, String> {
    let labels = [("manager_user", "app")];
    let samples = page.all("systemd_unit_state", &labels).filter(|sample| sample.value == 1.0);
    samples
        .map(|sample| (sample.label("name").to_owned(), sample.label("state").to_owned()))
        .collect()
}

fn wait_for_up(exporter: &Exporter, user: &str, expected: f64) {
    let labels = [("manager_user", user)];
    let is = in_time(|| {
        let up = exporter.samples().value("systemd_user_manager_up", &labels);
        (up == Some(expected)).then_some(())
    });
    assert!(
        is.is_some(),
        "systemd_user_manager_up of {user} is not {expected}:\n{}",
        exporter.log()
    );
}

fn success(page: &Samples) -> Option<f64> {
    page.value("unit_exporter_collector_success", &[("collector", "user-managers")])
}

/// The sandbox settings of the shipped service and of its drop-in for user managers.
fn sandbox() -> Vec<&'static str> {
    let service = include_str!("../systemd/system/unit-exporter.service");
    let drop_in = include_str!("../systemd/drop-ins/user-managers.conf");
    let matters = |line: &&str| {
        ["Capability", "Ambient", "NoNew", "Private", "Protect", "Restrict", "SystemCall", "Memory"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let mut settings = vec!["User=nobody"];
    settings.extend(service.lines().filter(matters));
    settings.extend(drop_in.lines().filter(matters));
    // systemd-run does not accept RestartPreventExitStatus= and the like
    settings.retain(|line| !line.starts_with("Restart="));
    settings
}

const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

const FLAPS: &str = "[Unit]\nStartLimitIntervalSec=0\n\
    [Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=500ms\n";
