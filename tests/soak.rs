//! 30 minutes of constant change: the unit cache has no drift and memory does not grow.
//! `make soak` runs it; CI does not.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use support::{Exporter, Machine, Random, eventually};

#[test]
#[ignore = "takes 30 minutes: make soak"]
fn no_drift_or_memory_growth_in_30_minutes_of_changes() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
    let length = Duration::from_secs(60 * minutes.unwrap_or(30));
    let machine = Machine::options().boot();
    machine.units(&units().iter().map(|(name, text)| (&**name, &**text)).collect::<Vec<_>>());
    machine.ok(&["systemctl", "start", "--no-block", "busy.target"]);
    // each connection is a unit with a new name; filling the default of 1,000 kept units takes too long
    let keep = "--systemd.keep-unloaded-max=100";
    let exporter = machine.exporter(&["--systemd.resync-interval=20s", keep]);
    let pid = exporter.pid();

    let (mut random, begun) = (Random(20_261_125), Instant::now());
    let mut operations = BTreeMap::<&str, u32>::new();
    let mut memory = Vec::new();
    let mut samples = 0;
    let (mut scraped, mut latencies) = (begun, Vec::new());
    let first = (open_files(pid), threads(pid));
    while begun.elapsed() < length {
        let operation = random.of(&OPERATIONS);
        *operations.entry(operation).or_default() += 1;
        operate(&machine, operation, &mut random);
        thread::sleep(Duration::from_millis(u64::try_from(random.below(60)).expect("small")));
        if scraped.elapsed() > SCRAPE_INTERVAL {
            scraped = Instant::now();
            exporter.scrape();
            latencies.push(scraped.elapsed());
        }
        if begun.elapsed() > SAMPLE_INTERVAL * (samples + 1) {
            samples += 1;
            memory.push(resident(pid));
            let drift = exporter.samples().value("unit_exporter_cache_inconsistencies_total", &[]);
            latencies.sort_unstable();
            let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
            eprintln!(
                "{:?}: {} KiB, {} descriptors, {} threads, drift {drift:?}, scrapes {:?} median, {:?} 99 %",
                SAMPLE_INTERVAL * samples,
                resident(pid) / 1024,
                open_files(pid),
                threads(pid),
                at(50),
                at(99),
            );
            latencies.clear();
        }
    }
    // units may still change: two equal lists before and after a scrape prove its states
    eventually("every state matches systemctl", || {
        let before = listed(&machine);
        let page = shown(&exporter);
        (before == listed(&machine) && page == before).then_some(())
    });
    let page = exporter.samples();
    let sum = |family: &str| page.all(family, &[]).map(|sample| sample.value).sum::<f64>();
    eprintln!("{operations:?}");
    eprintln!(
        "{} signals, {} calls, {} resyncs, {} errors, {} losses, drift {}",
        sum("unit_exporter_dbus_signals_total"),
        sum("unit_exporter_dbus_calls_total"),
        sum("unit_exporter_cache_resyncs_total"),
        sum("unit_exporter_dbus_errors_total"),
        sum("unit_exporter_events_lost_total"),
        sum("unit_exporter_cache_inconsistencies_total"),
    );
    assert_eq!(sum("unit_exporter_cache_inconsistencies_total"), 0.0);
    assert_eq!(page.value("unit_exporter_dbus_errors_total", &[("kind", "decode")]), Some(0.0));
    // the first third fills the allocator's caches and the counters of unloaded units
    let third = memory.len() / 3;
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2]
    };
    let (early, late) = (median(&memory[third..2 * third]), median(&memory[2 * third..]));
    eprintln!("resident in the second third {early}, in the last {late} bytes");
    assert!(late < early + early / 10, "memory grows: {memory:?}");
    let last = (open_files(pid), threads(pid));
    eprintln!("descriptors and threads: {first:?} at the start, {last:?} at the end");
    assert!(
        last.0 < first.0 + 300 && last.1 < first.1 + 12,
        "descriptors, threads: {first:?} at the start, {last:?} at the end"
    );
}

/// Runs one operation on the host; failures are ignored.
fn operate(machine: &Machine, operation: &str, random: &mut Random) {
    let unit = random.of(&OPERATED);
    match operation {
        "daemon-reload" | "daemon-reexec" => {
            machine.exec(&["systemctl", operation]);
        }
        "connect" => drop(machine.tcp(7007)),
        "transient" => {
            let unit = format!("--unit=passing-{}", random.below(40));
            machine.exec(&["systemd-run", "--quiet", "--collect", &unit, "true"]);
        }
        "edit" => {
            let nice = random.below(10);
            let path = "/etc/systemd/system/steady-1.service.d/nice.conf";
            machine.write(path, format!("[Service]\nNice={nice}\n"));
        }
        verb => {
            machine.exec(&["systemctl", "--quiet", "--no-block", verb, unit]);
        }
    }
}

type States = BTreeMap<String, String>;

fn listed(machine: &Machine) -> States {
    let text = machine.ok(&["systemctl", "list-units", "--all", "--output=json"]);
    let units: Vec<BTreeMap<String, String>> = serde_json::from_str(&text).expect("JSON");
    let own = |unit: &&BTreeMap<String, String>| OPERATED.contains(&&*unit["unit"]);
    units.iter().filter(own).map(|unit| (unit["unit"].clone(), unit["active"].clone())).collect()
}

fn shown(exporter: &Exporter<'_>) -> States {
    let page = exporter.samples();
    page.all("systemd_unit_state", &[])
        .filter(|sample| sample.value == 1.0 && OPERATED.contains(&sample.label("name")))
        .map(|sample| (sample.label("name").to_owned(), sample.label("state").to_owned()))
        .collect()
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running exporter");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a running exporter").count()
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).expect("a running exporter").count()
}

fn units() -> Vec<(String, String)> {
    let own = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let mut units = vec![
        own("once.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
        own("fails.service", "[Service]\nExecStart=/bin/false\n"),
        own(
            "loops.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=2\n",
        ),
        own(
            "every-second.timer",
            "[Timer]\nOnActiveSec=1\nOnUnitActiveSec=1\nAccuracySec=1us\nUnit=once.service\n",
        ),
        own("calendar.timer", "[Timer]\nOnCalendar=*:*:0/7\nAccuracySec=1us\nUnit=once.service\n"),
        own(
            "echo.socket",
            "[Socket]\nListenStream=7007\nAccept=yes\n[Unit]\nStartLimitIntervalSec=0\n",
        ),
        own(
            "echo@.service",
            "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n[Unit]\nCollectMode=inactive-or-failed\n",
        ),
        own("watch.path", "[Path]\nPathChanged=/run/watched\nUnit=once.service\n"),
        own("srv-soak.mount", "[Mount]\nWhat=tmpfs\nWhere=/srv/soak\nType=tmpfs\n"),
        own("goal.target", "[Unit]\nWants=steady-2.service\n"),
    ];
    for n in 1..=30 {
        let text = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n";
        units.push((format!("steady-{n}.service"), text.to_owned()));
    }
    let names: Vec<_> = OPERATED.iter().map(|name| format!("Wants={name}\n")).collect();
    units.push(("busy.target".to_owned(), format!("[Unit]\n{}", names.concat())));
    units
}

/// Between two readings of memory, descriptors, threads and drift.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

const OPERATIONS: [&str; 20] = [
    "start",
    "start",
    "start",
    "stop",
    "stop",
    "restart",
    "restart",
    "restart",
    "reload",
    "try-restart",
    "reset-failed",
    "kill",
    "kill",
    "connect",
    "connect",
    "connect",
    "transient",
    "transient",
    "edit",
    "daemon-reload",
];

const OPERATED: [&str; 14] = [
    "once.service",
    "fails.service",
    "loops.service",
    "every-second.timer",
    "calendar.timer",
    "echo.socket",
    "watch.path",
    "srv-soak.mount",
    "goal.target",
    "steady-1.service",
    "steady-2.service",
    "steady-3.service",
    "steady-4.service",
    "steady-5.service",
];
