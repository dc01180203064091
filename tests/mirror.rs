//! The mirror is true: every unit's state on the page is what systemctl says, whatever happened.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::{Exporter, Machine, Random, eventually, machine};

/// Exports every unit, those without a file too.
const ALL: [&str; 2] = ["--systemd.collector.unit-exclude=", "--systemd.collector.not-found"];

#[test]
fn states_match_systemctl_after_operations_and_restarts() {
    let machine = machine();
    machine.units(&three_hundred());
    machine.ok(&["systemctl", "start", "--no-block", "many.target"]);
    settle(machine);
    let exporter = machine.exporter(&ALL);
    assert_same(machine, &exporter, "after the first filling");

    let mut random = Random(20_261_123);
    for _ in 0..200 {
        let unit = random.of(&OPERATED);
        let operation = random.of(&OPERATIONS);
        // some fail, as they do for anybody: a masked unit cannot be started
        machine.exec(&["systemctl", "--quiet", operation, unit]);
    }
    settle(machine);
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
    assert_eq!(page.value("systemd_exporter_mirror_drift_total", &[]), Some(0.0));
    assert_eq!(page.value("systemd_exporter_dbus_errors_total", &[("kind", "decode")]), Some(0.0));
}

#[test]
fn scrape_right_after_a_change_shows_the_new_state() {
    let machine = machine();
    let quick = format!("[Unit]\nStartLimitIntervalSec=0\n{SLEEP}");
    // wanted by something, it stays loaded when it is stopped
    machine.units(&[("quick.service", &quick), ("keeper.target", "[Unit]\nWants=quick.service\n")]);
    machine.ok(&["systemctl", "start", "keeper.target"]);
    let exporter = machine.exporter(&[]);
    let state = |wanted: &'static str| {
        let begun = Instant::now();
        let labels = [("name", "quick.service"), ("state", wanted)];
        while exporter.samples().value("systemd_unit_state", &labels) != Some(1.0) {
            assert!(begun.elapsed() < Duration::from_secs(5), "{wanted} does not show");
        }
        begun.elapsed()
    };
    let mut took = Vec::new();
    for _ in 0..10 {
        machine.ok(&["systemctl", "start", "quick.service"]);
        took.push(state("active"));
        machine.ok(&["systemctl", "stop", "quick.service"]);
        took.push(state("inactive"));
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!("from the end of systemctl to a page that shows it: {median:?}, at most {longest:?}");
    // the machine may be busy with something else for a moment, but not mostly
    assert!(median < Duration::from_secs(1), "{took:?}");
}

#[test]
fn scrapes_add_no_load_on_systemd_and_bus() {
    let machine = machine();
    let exporter = machine.exporter(&ALL);
    settle(machine);
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
    let before = calls("systemd_exporter_dbus_calls_total");
    let (idle, scraped) = (costs(false), costs(true));
    let made = calls("systemd_exporter_dbus_calls_total") - before;
    eprintln!("idle (systemd, bus): {idle:?}; with 100 scrapes: {scraped:?}; calls: {made}");
    // one sign of life every 15 s, and what is asked every minute
    assert!(made < 60.0, "{made} calls in 10 s");
    // asking for all units once a scrape would be 300 ms and more
    let slack = Duration::from_millis(50);
    assert!(scraped.0 <= idle.0 * 2 + slack, "systemd: {idle:?} idle, {scraped:?} scraped");
    assert!(scraped.1 <= idle.1 * 2 + slack, "the bus: {idle:?} idle, {scraped:?} scraped");
}

#[test]
fn expected_units_are_missing_until_they_have_a_file() {
    let machine = machine();
    let exporter =
        machine.exporter(&["--expect-unit=wanted.service", "--expect-unit=dbus.service"]);
    let missing = |name| exporter.samples().value("systemd_unit_missing", &[("name", name)]);
    assert_eq!(missing("dbus.service"), Some(0.0));
    assert_eq!(missing("wanted.service"), Some(1.0));
    machine.unit("wanted.service", SLEEP);
    machine.ok(&["systemctl", "start", "wanted.service"]);
    eventually("it is not missing any more", || {
        (missing("wanted.service") == Some(0.0)).then_some(())
    });
}

/// Retries while units change: two equal lists around a page prove the page.
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
                .map(|(name, state)| format!("{name}: {state:?}, page {:?}", page.get(name)))
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
        .map(|unit| (unit["unit"].clone(), (unit["active"].clone(), unit["sub"].clone())))
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

fn settle(machine: &Machine) {
    eventually("no job is left", || {
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

/// Three hundred units of every kind that can be made here.
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
    // the tests of one binary live as long as it does
    units.into_iter().map(|(name, text)| (&*name.leak(), &*text.leak())).collect()
}
