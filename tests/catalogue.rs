//! What the page says of services, timers, socket units and the manager is what systemctl, busctl and
//! systemd-analyze say.

mod support;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Exporter, Machine, Samples, eventually, machine};
use unit_exporter::systemd::name::{Kind, object_path};

#[test]
fn services_are_set_up_as_systemctl_shows() {
    let (machine, exporter) = prepared();
    let page = exporter.samples();
    let infos: Vec<_> = page.all("systemd_service_info", &[]).collect();
    assert!(infos.len() > 20, "{} services", infos.len());
    let shown = show(machine, "*.service", "Id,Type,Restart,User,Slice");
    for info in infos {
        let unit = &shown[info.label("name")];
        let user = if unit["User"].is_empty() { "root" } else { &unit["User"] };
        let labels = ["service_type", "restart", "user", "slice"].map(|label| info.label(label));
        assert_eq!(labels, [&unit["Type"], &unit["Restart"], user, &unit["Slice"]], "{info:?}");
    }
    let settings = |page: &Samples, name: &str| {
        let names = [
            "restart_delay_seconds",
            "start_limit_burst",
            "start_limit_interval_seconds",
            "watchdog_timeout_seconds",
            "fd_store_max",
        ];
        names.map(|family| page.value(&format!("systemd_service_{family}"), &[("name", name)]))
    };
    let micros = |property| number(machine, "all-set.service", property).map(|value| value / 1e6);
    let wanted = [
        micros("RestartUSec"),
        number(machine, "all-set.service", "StartLimitBurst"),
        micros("StartLimitIntervalUSec"),
        micros("WatchdogUSec"),
        number(machine, "all-set.service", "FileDescriptorStoreMax"),
    ];
    assert_eq!(wanted, [Some(7.5), Some(4.0), Some(90.0), Some(20.0), Some(3.0)]);
    assert_eq!(settings(&page, "all-set.service"), wanted);
    assert_eq!(settings(&page, "redis-server.service"), [None; 5]);
}

#[test]
fn what_a_service_tells_of_itself_is_passed_on() {
    let (machine, exporter) = prepared();
    let name = [("name", "all-set.service")];
    let value =
        |family: &str| exporter.samples().value(&format!("systemd_service_{family}"), &name);
    machine.ok(&["systemctl", "restart", "all-set.service"]);
    // systemd counts the descriptors now, asked at the start and then once a minute
    eventually("a ping, an error and two descriptors", || {
        let told = ["status_errno", "fd_store_entries"].map(value);
        (told == [Some(5.0), Some(2.0)]).then_some(())
    });
    assert_eq!(number(machine, "all-set.service", "StatusErrno"), Some(5.0));
    assert_eq!(number(machine, "all-set.service", "NFileDescriptorStore"), Some(2.0));
    let ping = || value("watchdog_last_ping_time_seconds");
    let last = || number(machine, "all-set.service", "WatchdogTimestamp").map(|at| at / 1e6);
    let first = eventually("a ping", ping);
    eventually("a later ping, as new as systemd's but for the 15 s between two questions", || {
        let (later, last) = (ping()?, last()?);
        assert!(later <= last && last - later < 20.0, "{later}, {last}");
        (later > first).then_some(())
    });
    // the reload that cannot be
    assert!(!machine.exec(&["systemctl", "reload", "all-set.service"]).status.success());
    let labels = [name[0], ("result", "exit-code")];
    eventually("the failed reload", || {
        exporter.samples().value("systemd_service_reload_result", &labels)
    });
    machine.ok(&["systemctl", "stop", "all-set.service"]);
    eventually("no ping of a service that does not run", || ping().is_none().then_some(()));
}

#[test]
fn a_stopped_redis_is_an_unmet_dependency_of_the_queue_until_it_is_started() {
    let (machine, exporter) = prepared();
    let unmet = |unit: &str, relation: &str| {
        let labels = [("name", unit), ("type", "service"), ("relation", relation)];
        exporter.samples().value("systemd_unit_unmet_dependencies", &labels)
    };
    let queue = || ["requires", "binds_to", "wants"].map(|of| unmet("laravel-queue.service", of));
    machine.ok(&["systemctl", "start", "laravel-queue.service", "bound-queue.service"]);
    eventually("nothing is unmet", || (queue() == [None; 3]).then_some(()));
    assert_eq!(unmet("bound-queue.service", "binds_to"), None);
    machine.ok(&["systemctl", "stop", "redis.service"]);
    eventually("redis is", || (queue() == [None, None, Some(1.0)]).then_some(()));
    assert_eq!(unmet("bound-queue.service", "binds_to"), Some(1.0));
    assert_eq!(unmet("strict-queue.service", "requisite"), Some(1.0));
    let running = [("name", "laravel-queue.service"), ("state", "active")];
    assert_eq!(exporter.samples().value("systemd_unit_state", &running), Some(1.0));
    machine.ok(&["systemctl", "start", "redis.service"]);
    eventually("nothing is unmet again", || (queue() == [None; 3]).then_some(()));
}

#[test]
fn unmet_dependencies_of_every_service_are_those_that_systemctl_shows_inactive() {
    let (machine, exporter) = prepared();
    let properties = "Id,ActiveState,LoadState,Type,Result,InactiveEnterTimestampMonotonic,\
                      Requires,BindsTo,Requisite,Wants";
    // the other tests start and stop units meanwhile: two equal looks around a page prove it
    eventually("the page and systemctl agree", || {
        let before = unmet(&show(machine, "*", properties));
        let page = exporter.samples();
        let shown: BTreeMap<_, _> = page
            .all("systemd_unit_unmet_dependencies", &[])
            .map(|sample| {
                let key = (sample.label("name").to_owned(), sample.label("relation").to_owned());
                (key, sample.value)
            })
            .collect();
        if before != unmet(&show(machine, "*", properties)) {
            return None;
        }
        assert!(!before.is_empty());
        (before == shown).then_some(())
    });
}

#[test]
fn a_changed_unit_file_needs_a_reload_until_it_is_reloaded() {
    let machine = Machine::options().boot();
    machine.unit("edited.service", SLEEP);
    machine.ok(&["systemctl", "start", "edited.service"]);
    let exporter = machine.exporter(&[]);
    let needs = || {
        let page = exporter.samples();
        let unit = page.value("systemd_unit_need_daemon_reload", &[("name", "edited.service")]);
        (unit, page.value("systemd_units_need_daemon_reload", &[]))
    };
    assert_eq!(needs(), (None, Some(0.0)));
    // mtimes have to differ
    thread::sleep(Duration::from_millis(50));
    machine.write("/etc/systemd/system/edited.service", format!("{SLEEP}Nice=1\n"));
    let shown = ["systemctl", "show", "-P", "NeedDaemonReload", "edited.service"];
    assert_eq!(machine.ok(&shown).trim(), "yes");
    let (begun, mut seen) = (Instant::now(), needs());
    while seen != (Some(1.0), Some(1.0)) {
        assert!(begun.elapsed() < Duration::from_secs(240), "{seen:?}");
        thread::sleep(Duration::from_millis(200));
        seen = needs();
    }
    eprintln!("a changed file shows after {:?}", begun.elapsed());
    machine.ok(&["systemctl", "daemon-reload"]);
    eventually("none is due", || (needs() == (None, Some(0.0))).then_some(()));
}

/// Counts unmet dependencies of services the way the reference describes it.
fn unmet(units: &BTreeMap<String, BTreeMap<String, String>>) -> BTreeMap<(String, String), f64> {
    let is_there = |name: &str, relation: &str| {
        let unit = &units[name];
        let done = unit.get("Type").is_some_and(|kind| kind == "oneshot")
            && unit["Result"] == "success"
            && unit["ActiveState"] == "inactive"
            && unit["InactiveEnterTimestampMonotonic"] != "0";
        let absent = ["not-found", "masked"].contains(&&*unit["LoadState"]);
        unit["ActiveState"] == "active" || done || (absent && relation == "wants")
    };
    let mut counts = BTreeMap::new();
    for (name, unit) in units.iter().filter(|(name, _)| name.ends_with(".service")) {
        let exported = !name.starts_with("user@") && unit["LoadState"] != "not-found";
        for (property, relation) in [
            ("Requires", "requires"),
            ("BindsTo", "binds_to"),
            ("Requisite", "requisite"),
            ("Wants", "wants"),
        ] {
            let names = unit.get(property).map(String::as_str).unwrap_or_default();
            let count =
                names.split(' ').filter(|n| !n.is_empty() && !is_there(n, relation)).count();
            if exported && count > 0 {
                counts.insert((name.clone(), relation.to_owned()), count as f64);
            }
        }
    }
    counts
}

/// A machine with the units below, and an exporter in it; shared by the tests.
fn prepared() -> (&'static Machine, &'static Exporter<'static>) {
    static EXPORTER: OnceLock<Exporter<'static>> = OnceLock::new();
    let exporter = EXPORTER.get_or_init(|| {
        let machine = machine();
        machine.write("/opt/all-set.py", ALL_SET_SCRIPT);
        machine.units(&[
            ("all-set.service", ALL_SET),
            ("redis-server.service", &format!("{SLEEP}[Install]\nAlias=redis.service\n")),
            ("laravel-queue.service", &format!("[Unit]\nWants=redis.service\n{SLEEP}")),
            ("bound-queue.service", &format!("[Unit]\nBindsTo=redis.service\n{SLEEP}")),
            ("strict-queue.service", &format!("[Unit]\nRequisite=redis.service\n{SLEEP}")),
            (
                "all.target",
                "[Unit]\nWants=strict-queue.service bound-queue.service all-set.service\n",
            ),
        ]);
        machine.ok(&["systemctl", "enable", "redis-server.service"]);
        machine.ok(&["systemctl", "start", "redis", "laravel-queue", "bound-queue", "all.target"]);
        machine.exporter(&[])
    });
    (machine(), exporter)
}

/// Properties of units as systemctl shows them, by unit.
fn show(
    machine: &Machine,
    pattern: &str,
    properties: &str,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = machine.ok(&["systemctl", "show", "--all", "--property", properties, pattern]);
    text.split("\n\n")
        .map(|unit| {
            let pairs = unit.lines().filter_map(|line| line.split_once('='));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        })
        .map(|unit: BTreeMap<String, String>| (unit["Id"].clone(), unit))
        .collect()
}

/// A number among a unit's properties, as busctl has it; `None` for "not set".
#[track_caller]
fn number(machine: &Machine, unit: &str, property: &str) -> Option<f64> {
    let own = Kind::of(unit).expect("a unit").interface();
    let path = object_path(unit);
    let get = |interface: &str| {
        let manager = "org.freedesktop.systemd1";
        let command =
            ["busctl", "--json=short", "get-property", manager, &path, interface, property];
        let output = machine.exec(&command);
        output.status.success().then_some(output.stdout)
    };
    let answer = get(own).or_else(|| get("org.freedesktop.systemd1.Unit")).expect("a property");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    answer["data"].as_f64().filter(|number| *number < 1.8e19)
}

const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

const ALL_SET: &str = "[Unit]
StartLimitBurst=4
StartLimitIntervalSec=90
[Service]
Type=notify
ExecStart=/usr/bin/python3 /opt/all-set.py
ExecReload=/bin/false
Restart=on-failure
RestartSec=7.5
User=nobody
Slice=odd.slice
WatchdogSec=20
FileDescriptorStoreMax=3
NotifyAccess=all
";

/// Keeps two descriptors with systemd, tells an error, then goes on saying that it is well.
const ALL_SET_SCRIPT: &str = r#"
import array, os, socket, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
for _ in range(2):
    one, _other = os.pipe()
    keep = array.array("i", [one])
    notify.sendmsg([b"FDSTORE=1\nFDNAME=kept"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, keep)])
notify.send(b"READY=1\nERRNO=5")
while True:
    notify.send(b"WATCHDOG=1")
    time.sleep(1)
"#;
