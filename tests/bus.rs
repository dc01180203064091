//! The exporter under faults and hostile clients of the system bus.

mod support;

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use support::{Machine, Samples, eventually, machine};

const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

#[test]
fn forged_signals_from_unprivileged_user_are_ignored() {
    let machine = machine();
    machine.unit("honest.service", SLEEP);
    machine.ok(&["systemctl", "start", "honest.service"]);
    let exporter = machine.exporter(&[]);
    let name = machine.ok(&["busctl", "--system", "--json=short", "list", "--unique"]);
    let names: Vec<String> = serde_json::from_str::<Vec<serde_json::Value>>(&name)
        .expect("JSON")
        .iter()
        .filter(|row| row["unit"] == exporter.unit())
        .filter_map(|row| Some(row["name"].as_str()?.to_owned()))
        .collect();
    assert_eq!(names.len(), 1, "the exporter has one connection");
    let forged = |to: &[&str]| {
        let command = [
            &[
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "dbus-send",
                "--system",
            ],
            to,
            &["--type=signal", "/org/freedesktop/systemd1"],
        ]
        .concat();
        let new = [
            &command[..],
            &["org.freedesktop.systemd1.Manager.UnitNew", "string:forged.service"],
            &["objpath:/org/freedesktop/systemd1/unit/forged_2eservice"],
        ];
        machine.ok(&new.concat());
        let removed = [
            &command[..],
            &["org.freedesktop.systemd1.Manager.UnitRemoved", "string:honest.service"],
            &["objpath:/org/freedesktop/systemd1/unit/honest_2eservice"],
        ];
        machine.ok(&removed.concat());
    };
    forged(&[]);
    let to = format!("--dest={}", names[0]);
    forged(&[&to]);
    eventually("signals sent to the exporter alone are counted as foreign", || {
        let seen = exporter.samples().value("unit_exporter_dbus_untrusted_messages_total", &[]);
        (seen >= Some(2.0)).then_some(())
    });
    let page = exporter.samples();
    assert_eq!(page.all("systemd_unit_state", &[("name", "forged.service")]).count(), 0);
    let honest = [("name", "honest.service"), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &honest), Some(1.0));
}

#[test]
fn non_utf8_mount_path_affects_only_mount_units() {
    let machine = Machine::options().boot();
    let script = r"mkdir -p $'/srv/\xff' && mount -t tmpfs tmpfs $'/srv/\xff'";
    machine.ok(&["bash", "-c", script]);
    machine.unit("good.service", SLEEP);
    machine.ok(&["systemctl", "start", "good.service"]);
    // on systemd 247 a ListUnits call with such a mount makes PID 1 lose its bus connection
    let lists = machine.since(252, "ListUnits with a non-UTF-8 mount path");
    let fails = !lists || !machine.exec(&["systemctl", "list-units"]).status.success();
    let exporter = machine.exporter(&[]);
    let page = exporter.samples();
    let good = [("name", "good.service"), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &good), Some(1.0));
    let success = |kind| page.value("unit_exporter_unit_type_success", &[("type", kind)]);
    assert_eq!(success("service"), Some(1.0));
    assert_eq!(success("timer"), Some(1.0));
    assert_eq!(success_of_mounts(&page), Some(if fails { 0.0 } else { 1.0 }));
    eprintln!("systemctl list-units failed: {fails}");
    machine.ok(&["systemctl", "stop", "good.service"]);
    let gone = [("name", "good.service"), ("state", "active")];
    eventually("the stop is exported", || {
        (exporter.samples().value("systemd_unit_state", &gone) != Some(1.0)).then_some(())
    });
    // such a mount while subscribed, and a resync
    machine.ok(&["bash", "-c", r"mkdir -p $'/srv/\xfe' && mount -t tmpfs tmpfs $'/srv/\xfe'"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "start", "good.service"]);
    eventually("the start is exported", || {
        (exporter.samples().value("systemd_unit_state", &good) == Some(1.0)).then_some(())
    });
    let page = exporter.samples();
    assert_eq!(page.value("unit_exporter_dbus_disconnects_total", &[]), Some(0.0));
    assert_eq!(success_of_mounts(&page), Some(if fails { 0.0 } else { 1.0 }));
    assert_eq!(exporter.log().contains("kind=mount"), fails, "{}", exporter.log());
}

fn success_of_mounts(page: &Samples) -> Option<f64> {
    page.value("unit_exporter_unit_type_success", &[("type", "mount")])
}

#[test]
fn only_unit_states_are_stale_while_systemd_is_frozen() {
    let machine = Machine::options().boot();
    machine.unit("thawed.service", SLEEP);
    let exporter = machine.exporter(&[]);
    let frozen = machine.freeze();
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let stale = loop {
        let sent = Instant::now();
        let page = exporter.samples();
        longest = longest.max(sent.elapsed());
        assert!(page.value("systemd_pid1_resident_memory_bytes", &[]).is_some());
        let success = [("collector", "units")];
        if page.value("unit_exporter_collector_success", &success) == Some(0.0) {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "staleness is not reported");
        thread::sleep(Duration::from_millis(500));
    };
    drop(frozen);
    let thawed = Instant::now();
    machine.ok(&["systemctl", "start", "thawed.service"]);
    let labels = [("name", "thawed.service"), ("state", "active")];
    eventually("unit states are current again", || {
        let page = exporter.samples();
        let success = page.value("unit_exporter_collector_success", &[("collector", "units")]);
        (page.value("systemd_unit_state", &labels) == Some(1.0) && success == Some(1.0))
            .then_some(())
    });
    let recovered = thawed.elapsed();
    eprintln!(
        "reported after {stale:?}, longest scrape {longest:?}, current again after {recovered:?}"
    );
    assert!(longest < Duration::from_secs(10), "longer than a scrape timeout");
    assert!(recovered < Duration::from_secs(15));
}

#[test]
fn property_reads_do_not_trigger_endless_unit_loads() {
    let machine = machine();
    let exporter = machine.exporter(&[]);
    // systemd loads names without a unit file and collects them at once: a UnitNew and a UnitRemoved each
    for n in 0..50 {
        machine.exec(&["systemctl", "show", "-P", "ActiveState", &format!("absent-{n}.service")]);
    }
    for _ in 0..5 {
        machine.ok(&["systemd-run", "--quiet", "--wait", "--unit=again", "true"]);
    }
    thread::sleep(Duration::from_secs(4));
    let loads = || {
        exporter
            .samples()
            .value("unit_exporter_dbus_signals_total", &[("signal", "UnitNew")])
            .unwrap_or(0.0)
    };
    let before = loads();
    thread::sleep(Duration::from_secs(6));
    assert_eq!(loads(), before, "units are still being loaded");
    let starts = [("name", "again.service")];
    let page = exporter.samples();
    assert_eq!(page.value("systemd_unit_starts_total", &starts), Some(5.0));
}

/// The calls of docs/internals/performance.md: those at intervals, and those of one resync.
#[test]
#[ignore = "2 minutes: cargo test --test bus -- --ignored --nocapture"]
fn dbus_calls_at_rest_are_few() {
    let machine = Machine::options().boot();
    let at_rest = machine.exporter(&["--systemd.resync-interval=1h"]);
    let resyncing = machine.exporter(&["--systemd.resync-interval=30s"]);
    thread::sleep(Duration::from_secs(20));
    let calls = |page: &Samples| -> std::collections::BTreeMap<String, f64> {
        let all = page.all("unit_exporter_dbus_calls_total", &[]);
        all.map(|sample| (sample.label("kind").to_owned(), sample.value)).collect()
    };
    let (rest, resyncs) = (at_rest.samples(), resyncing.samples());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        // a scrape makes no call
        at_rest.scrape();
        thread::sleep(Duration::from_secs(5));
    }
    let (rest_after, resyncs_after) = (at_rest.samples(), resyncing.samples());
    let scheduled = |page: &Samples| {
        page.value("unit_exporter_cache_resyncs_total", &[("reason", "schedule")]).unwrap_or(0.0)
    };
    let count = scheduled(&resyncs_after) - scheduled(&resyncs);
    let (rest, rest_after) = (calls(&rest), calls(&rest_after));
    let (resyncs, resyncs_after) = (calls(&resyncs), calls(&resyncs_after));
    let difference = |before: &std::collections::BTreeMap<String, f64>, after: &str, value: f64| {
        value - before.get(after).copied().unwrap_or(0.0)
    };
    let mut total = 0.0;
    for (kind, value) in &rest_after {
        let calls = difference(&rest, kind, *value);
        total += calls;
        let more =
            difference(&resyncs, kind, resyncs_after.get(kind).copied().unwrap_or(0.0)) - calls;
        println!("{kind}: {calls} in 60 s, {:.1} in each of {count} resyncs", more / count);
    }
    assert!(count >= 1.0 && total > 0.0);
    // SystemState every 15 s, four properties of the manager every minute, and units with a watchdog
    assert!(total < 60.0, "{total} calls in 60 s");
}

#[test]
fn scrape_right_after_the_start_waits_for_the_units() {
    let machine = machine();
    // of the users, it is asked for
    machine.ok(&["systemctl", "start", "systemd-logind"]);
    let mut in_time = 0;
    for _ in 0..5 {
        let exporter = machine.exporter_unit(&[], &["--collector.user-managers"]);
        let page = exporter.samples();
        let start = page.value("process_start_time_seconds", &[]).expect("a start time");
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(start);
        // a scrape waits until 3 s after the start
        if start.elapsed().is_ok_and(|age| age > Duration::from_millis(2900)) {
            eprintln!("the machine is busy: the units were not read in time");
            continue;
        }
        in_time += 1;
        let boot = [("name", "basic.target"), ("state", "active")];
        assert_eq!(page.value("systemd_unit_state", &boot), Some(1.0), "{}", exporter.log());
        for sample in page.all("unit_exporter_collector_success", &[]) {
            assert_eq!(sample.value, 1.0, "{sample:?}\n{}", exporter.log());
        }
        assert!(!exporter.log().contains("collector failed"), "{}", exporter.log());
    }
    assert!(in_time > 0, "the machine is busy");
    // without a bus there is nothing to wait for
    let nowhere = "--dbus.address=unix:path=/run/none";
    let exporter = machine.exporter_unit(&[], &[nowhere]);
    let begun = Instant::now();
    exporter.scrape();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn serves_and_reports_why_until_the_bus_appears() {
    let machine = machine();
    let nowhere = "--dbus.address=unix:path=/run/nowhere";
    let exporter = machine.exporter_unit(&["User=nobody"], &[nowhere]);
    eventually("readiness names the address", || {
        let ready = exporter.get("/-/ready", &[]);
        assert_eq!(ready.status, 503);
        ready.text().contains("/run/nowhere").then_some(())
    });
    let page = exporter.samples();
    assert_eq!(page.value("unit_exporter_dbus_subscribed", &[]), Some(0.0));
    let units = [("collector", "units")];
    assert_eq!(page.value("unit_exporter_collector_success", &units), Some(0.0));
    assert!(page.value("systemd_pid1_resident_memory_bytes", &[]).is_some());
    assert_eq!(page.all("systemd_unit_state", &[]).count(), 0);
    // the bus appears
    machine.ok(&["ln", "-s", "/run/dbus/system_bus_socket", "/run/nowhere"]);
    let _ready = exporter.ready();
}

#[test]
fn counts_reload_that_happens_while_bus_is_down() {
    let machine = machine();
    if !machine.since(250, "UnitsLoadTimestamp") {
        return;
    }
    let exporter = machine.exporter(&[]);
    let reloads = || {
        let page = exporter.samples();
        let count = page.value("systemd_manager_reloads_total", &[]).unwrap();
        let active = page.value("unit_exporter_dbus_subscribed", &[]);
        (active == Some(1.0)).then_some(count)
    };
    let before = reloads().unwrap();
    for (reload, after) in [("", before), ("systemctl daemon-reload;", before + 1.0)] {
        let stop = "systemctl stop dbus.socket dbus.service;";
        let start = "systemctl start dbus.socket dbus.service";
        machine.ok(&["/bin/sh", "-ec", &format!("{stop} {reload} {start}")]);
        let reconnects = if reload.is_empty() { 1.0 } else { 2.0 };
        let counted = eventually("the exporter is subscribed again", || {
            let lost = exporter.samples().value("unit_exporter_dbus_disconnects_total", &[]);
            reloads().filter(|_| lost == Some(reconnects))
        });
        assert_eq!(counted, after, "{reload:?}");
    }
    machine.ok(&["systemctl", "daemon-reload"]);
    eventually("a reload with its signal counts once", || {
        (reloads() == Some(before + 2.0)).then_some(())
    });
}

#[test]
fn unprivileged_user_collects_everything() {
    let machine = machine();
    let properties = [
        "User=nobody",
        "SupplementaryGroups=systemd-journal",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
    ];
    let exporter = machine.exporter_unit(&properties, &[]).ready();
    let page = exporter.samples();
    for sample in page.all("unit_exporter_collector_success", &[]) {
        assert_eq!(sample.value, 1.0, "{sample:?}\n{}", exporter.log());
    }
    assert!(page.all("systemd_unit_state", &[]).count() > 100);
}
