//! The unit cache is correct: every exported unit state matches systemctl after any operation.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::{Exporter, Machine, Random, eventually, machine};

/// Exports every unit, also those without a unit file.
const ALL: [&str; 3] = [
    "--systemd.collector.unit-exclude=",
    "--systemd.collector.not-found",
    "--systemd.collector.short-lived",
];

/// Restarts at once, and keeps its limit in the unit file.
const LIMITED: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\nTasksMax=100\n\
    Restart=always\nRestartSec=0\n";

#[test]
fn states_match_systemctl_after_operations_and_restarts() {
    let machine = machine();
    machine.units(&three_hundred());
    machine.ok(&["systemctl", "start", "--no-block", "many.target"]);
    wait_for_jobs(machine);
    let exporter = machine.exporter(&ALL);
    assert_same(machine, &exporter, "after the initial fill");

    let mut random = Random(20_261_123);
    for _ in 0..200 {
        let unit = random.of(&OPERATED);
        let operation = random.of(&OPERATIONS);
        // some fail as intended: a masked unit cannot be started
        machine.exec(&["systemctl", "--quiet", operation, unit]);
    }
    wait_for_jobs(machine);
    assert_same(machine, &exporter, "after 200 random operations");

    for _ in 0..3 {
        machine.ok(&["systemctl", "daemon-reload"]);
    }
    assert_same(machine, &exporter, "after three reloads");

    machine.ok(&["systemctl", "daemon-reexec"]);
    assert_same(machine, &exporter, "after daemon-reexec");

    machine.ok(&["systemctl", "restart", "dbus.service"]);
    machine.exec(&["systemctl", "--quiet", "restart", "simple-3.service"]);
    assert_same(machine, &exporter, "after a restart of the bus");

    machine.exec(&["rm", "/etc/systemd/system/simple-5.service"]);
    machine
        .units(&[("added.service", SLEEP), ("dev-disk-by\\x2duuid-1.swap", "[Swap]\nWhat=/x\n")]);
    machine.ok(&["systemctl", "start", "added.service"]);
    machine.ok(&["systemd-run", "--unit=transient", "true"]);
    assert_same(machine, &exporter, "after units were added and removed");

    let page = exporter.samples();
    assert_eq!(page.value("unit_exporter_cache_inconsistencies_total", &[]), Some(0.0));
    assert_eq!(page.value("unit_exporter_dbus_errors_total", &[("kind", "decode")]), Some(0.0));
}

#[test]
fn scrape_right_after_a_change_shows_the_new_state() {
    let machine = machine();
    let quick = format!("[Unit]\nStartLimitIntervalSec=0\n{SLEEP}");
    // a unit wanted by another one stays loaded when stopped
    machine.units(&[("quick.service", &quick), ("keeper.target", "[Unit]\nWants=quick.service\n")]);
    machine.ok(&["systemctl", "start", "keeper.target"]);
    let exporter = machine.exporter(&[]);
    let time_until = |expected: &'static str| {
        let begun = Instant::now();
        let labels = [("name", "quick.service"), ("state", expected)];
        while exporter.samples().value("systemd_unit_state", &labels) != Some(1.0) {
            assert!(begun.elapsed() < Duration::from_secs(5), "{expected} is not exported");
        }
        begun.elapsed()
    };
    let mut took = Vec::new();
    for _ in 0..10 {
        machine.ok(&["systemctl", "start", "quick.service"]);
        took.push(time_until("active"));
        machine.ok(&["systemctl", "stop", "quick.service"]);
        took.push(time_until("inactive"));
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!(
        "from the end of systemctl to a response with the new state: median {median:?}, longest {longest:?}"
    );
    // single scrapes may be slower on a busy machine, so only the median counts
    assert!(median < Duration::from_secs(1), "{took:?}");
}

#[test]
fn scrapes_add_no_load_on_systemd_and_bus() {
    let machine = machine();
    let exporter = machine.exporter(&ALL);
    wait_for_jobs(machine);
    thread::sleep(Duration::from_secs(2));
    let costs = |scrape: bool| {
        let (systemd, bus) = (machine.pid1_cpu(), machine.dbus_cpu());
        for _ in 0..100 {
            if scrape {
                exporter.scrape();
            }
            thread::sleep(Duration::from_millis(50));
        }
        (machine.pid1_cpu() - systemd, machine.dbus_cpu() - bus)
    };
    let calls = |name| exporter.samples().all(name, &[]).map(|sample| sample.value).sum::<f64>();
    let before = calls("unit_exporter_dbus_calls_total");
    let (idle, scraped) = (costs(false), costs(true));
    let made = calls("unit_exporter_dbus_calls_total") - before;
    eprintln!("idle (systemd, bus): {idle:?}; with 100 scrapes: {scraped:?}; calls: {made}");
    // one keepalive call every 15 s, and the properties polled every minute
    assert!(made < 60.0, "{made} calls in 10 s");
    // one ListUnits call per scrape would take 300 ms and more
    let slack = Duration::from_millis(50);
    assert!(scraped.0 <= idle.0 * 2 + slack, "systemd: {idle:?} idle, {scraped:?} scraped");
    assert!(scraped.1 <= idle.1 * 2 + slack, "the bus: {idle:?} idle, {scraped:?} scraped");
}

#[test]
fn reload_fetches_only_units_that_may_have_changed() {
    let machine = machine();
    let names: Vec<String> = (0..60).map(|number| format!("kept-{number}.service")).collect();
    let units: Vec<_> = names.iter().map(|name| (name.as_str(), LIMITED)).collect();
    machine.units(&units);
    machine.units(&[("edited.service", LIMITED), ("crashing.service", LIMITED)]);
    let all: Vec<_> = names.iter().map(String::as_str).chain(["edited", "crashing"]).collect();
    machine.ok(&[&["systemctl", "start"], &all[..]].concat());
    let exporter = machine.exporter(&[]);
    let reloads =
        || exporter.samples().value("unit_exporter_cache_resyncs_total", &[("reason", "reload")]);
    let fetched =
        || exporter.samples().value("unit_exporter_dbus_calls_total", &[("kind", "get_all_unit")]);
    let reload = || {
        let before = reloads().unwrap();
        machine.ok(&["systemctl", "daemon-reload"]);
        eventually("the units are listed after the reload", || {
            (reloads() > Some(before)).then_some(())
        });
        // a fetch of all units takes much less
        thread::sleep(Duration::from_secs(1));
    };
    // the first reload may have been before some of the files were written
    reload();
    let before = fetched().unwrap();
    reload();
    let unchanged = fetched().unwrap() - before;
    let knows_loads = machine.since(250, "UnitsLoadTimestamp");
    assert!(
        !knows_loads || unchanged < 20.0,
        "{unchanged} of 62 services were fetched, and no file had changed"
    );

    let limit_is = |unit: &str, limit: f64, when: &str| {
        eventually(when, || {
            let page = exporter.samples();
            (page.value("systemd_unit_tasks_max", &[("name", unit)]) == Some(limit)).then_some(())
        });
    };
    limit_is("edited.service", 100.0, "its drop-in does not exist yet");
    machine.write("etc/systemd/system/edited.service.d/limit.conf", "[Service]\nTasksMax=200\n");
    reload();
    limit_is("edited.service", 200.0, "its drop-in is new");
    machine.write("etc/systemd/system/edited.service.d/limit.conf", "[Service]\nTasksMax=300\n");
    reload();
    limit_is("edited.service", 300.0, "its drop-in has changed");
    machine.exec(&["rm", "/etc/systemd/system/edited.service.d/limit.conf"]);
    reload();
    limit_is("edited.service", 100.0, "its drop-in is gone");
    machine.write(
        "etc/systemd/system/service.d/limit.conf",
        "[Service]\nOOMScoreAdjust=1\nTasksMax=400\n",
    );
    reload();
    limit_is("kept-7.service", 400.0, "a drop-in of all services is new");
    machine.exec(&["rm", "-r", "/etc/systemd/system/service.d"]);
    reload();
    limit_is("kept-7.service", 100.0, "the drop-in of all services is gone");

    let failures = || {
        exporter.samples().value("systemd_service_failures_total", &[("name", "crashing.service")])
    };
    for count in 1..=5 {
        machine.ok(&[
            "sh",
            "-c",
            "systemctl kill --signal=SEGV crashing & systemctl daemon-reload; wait",
        ]);
        eventually("each crash during a reload is counted", || {
            (failures() == Some(f64::from(count))).then_some(())
        });
    }
}

#[test]
fn expected_units_are_missing_until_they_have_a_file() {
    let machine = machine();
    let exporter =
        machine.exporter(&["--expect-unit=expected.service", "--expect-unit=dbus.service"]);
    let missing = |name| exporter.samples().value("systemd_unit_missing", &[("name", name)]);
    assert_eq!(missing("dbus.service"), Some(0.0));
    assert_eq!(missing("expected.service"), Some(1.0));
    machine.unit("expected.service", SLEEP);
    machine.ok(&["systemctl", "start", "expected.service"]);
    eventually("the unit is no longer missing", || {
        (missing("expected.service") == Some(0.0)).then_some(())
    });
}

/// Retries while units change: two equal lists before and after a scrape prove its states.
#[track_caller]
fn assert_same(machine: &Machine, exporter: &Exporter<'_>, when: &str) {
    let begun = Instant::now();
    loop {
        let before = listed(machine);
        let page = shown(exporter);
        if before == listed(machine) && page == before {
            eprintln!("{when}: {} units, 0 differences", page.len());
            return;
        }
        if begun.elapsed() > Duration::from_secs(10) {
            let differences: Vec<_> = before
                .iter()
                .filter(|(name, state)| page.get(*name) != Some(state))
                .map(|(name, state)| format!("{name}: {state:?}, exported {:?}", page.get(name)))
                .chain(page.keys().filter(|name| !before.contains_key(*name)).cloned())
                .collect();
            panic!("{when}: {differences:#?}\n{}", exporter.log());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

type States = BTreeMap<String, (String, String)>;

fn listed(machine: &Machine) -> States {
    let text = machine.ok(&["systemctl", "list-units", "--all", "--output=json"]);
    let units: Vec<BTreeMap<String, String>> = serde_json::from_str(&text).expect("JSON");
    units
        .into_iter()
        .map(|unit| {
            // devices, slices and targets export a sub-state only when failed
            let kind = unit["unit"].rsplit('.').next().unwrap_or_default();
            let is_plain = ["device", "slice", "target"].contains(&kind);
            let sub = match is_plain && unit["active"] != "failed" {
                true => String::new(),
                false => unit["sub"].clone(),
            };
            (unit["unit"].clone(), (unit["active"].clone(), sub))
        })
        .collect()
}

fn shown(exporter: &Exporter<'_>) -> States {
    let page = exporter.samples();
    let sub: BTreeMap<_, _> = page
        .all("systemd_unit_sub_state", &[])
        .map(|sample| (sample.label("name").to_owned(), sample.label("sub_state").to_owned()))
        .collect();
    page.all("systemd_unit_state", &[])
        .filter(|sample| sample.value == 1.0)
        .map(|sample| {
            let name = sample.label("name").to_owned();
            let state = sample.label("state").to_owned();
            let sub = sub.get(&name).cloned().unwrap_or_default();
            (name, (state, sub))
        })
        .collect()
}

fn wait_for_jobs(machine: &Machine) {
    eventually("no systemd job is left", || {
        machine.ok(&["systemctl", "list-jobs"]).contains("No jobs").then_some(())
    });
}

const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n";

const OPERATIONS: [&str; 8] =
    ["start", "stop", "restart", "reload", "mask", "unmask", "start", "reset-failed"];

const OPERATED: [&str; 14] = [
    "simple-1.service",
    "simple-2.service",
    "simple-3.service",
    "simple-4.service",
    "once-1.service",
    "once-2.service",
    "stays-1.service",
    "fails-1.service",
    "loops-1.service",
    "tick-1.timer",
    "ear-1.socket",
    "eye-1.path",
    "goal-1.target",
    "srv-mnt1.mount",
];

/// 300 units of every type that a unit file can define here.
fn three_hundred() -> Vec<(&'static str, &'static str)> {
    let mut units: Vec<(String, String)> = Vec::new();
    let mut wants = String::from("[Unit]\n");
    let mut add = |name: String, text: String, start: bool| {
        if start {
            writeln!(wants, "Wants={name}").expect("a string");
        }
        units.push((name, text));
    };
    for n in 1..=90 {
        add(format!("simple-{n}.service"), SLEEP.to_owned(), n % 3 != 0);
    }
    for n in 1..=40 {
        let once = "[Service]\nType=oneshot\nExecStart=/bin/true\n";
        add(format!("once-{n}.service"), once.to_owned(), n % 2 == 0);
        add(format!("stays-{n}.service"), format!("{once}RemainAfterExit=yes\n"), n % 2 == 0);
    }
    for n in 1..=20 {
        add(format!("fails-{n}.service"), "[Service]\nExecStart=/bin/false\n".to_owned(), true);
        let text = format!("[Timer]\nOnCalendar=yearly\nUnit=simple-{n}.service\n");
        add(format!("tick-{n}.timer"), text, true);
        let text = format!("[Socket]\nListenStream=/run/ear-{n}\nService=simple-{n}.service\n");
        add(format!("ear-{n}.socket"), text, n % 2 == 0);
        let text = format!("[Path]\nPathExists=/nowhere/{n}\nUnit=simple-{n}.service\n");
        add(format!("eye-{n}.path"), text, true);
        add(format!("goal-{n}.target"), "[Unit]\nDescription=A goal\n".to_owned(), n % 2 == 0);
    }
    for n in 1..=15 {
        let text = format!("[Mount]\nWhat=tmpfs\nWhere=/srv/mnt{n}\nType=tmpfs\n");
        add(format!("srv-mnt{n}.mount"), text, n % 2 == 0);
        add(format!("part-{n}.slice"), "[Slice]\n".to_owned(), true);
    }
    let text = "[Unit]\nStartLimitBurst=3\n[Service]\nExecStart=/bin/false\nRestart=always\n";
    add("loops-1.service".to_owned(), text.to_owned(), true);
    units.push(("many.target".to_owned(), wants));
    // leaked for 'static: used once per test process
    units.into_iter().map(|(name, text)| (&*name.leak(), &*text.leak())).collect()
}
