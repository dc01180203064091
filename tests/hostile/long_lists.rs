//! Lists of units beyond the bus's limit of a message: PID 1 would lose its connection by sending one.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::support::{Machine, eventually, in_time};
use crate::{SLEEP, megabytes, resident};

#[test]
fn units_with_1_mb_descriptions_do_not_disconnect_pid1() {
    let machine = Machine::options().boot();
    let description = "x".repeat(1_000_000);
    let text = format!("[Unit]\nDescription={description}\n[Service]\nExecStart=/bin/sleep 1h\n");
    let names = |prefix: &str| (0..36).map(|n| format!("{prefix}-{n}.service")).collect::<Vec<_>>();
    let (first, late) = (names("long"), names("late"));
    let files: Vec<_> = first.iter().chain(&late).map(|name| (name.as_str(), &*text)).collect();
    machine.units(&files);
    let start = |names: &[String]| {
        let command = ["systemctl", "start"].into_iter().chain(names.iter().map(String::as_str));
        machine.ok(&command.collect::<Vec<_>>());
    };
    start(&first);
    let connection = || machine.ok(&["busctl", "status", "org.freedesktop.systemd1"]);
    let unique_name = |status: String| {
        status.lines().find_map(|line| line.strip_prefix("UniqueName=").map(str::to_owned))
    };
    let before = unique_name(connection());
    assert!(before.is_some());
    let limits = ["MemoryMax=256M", "MemorySwapMax=0"];
    let begun = Instant::now();
    let exporter = machine.exporter_unit(&limits, &["--log.level=debug"]).ready();
    eprintln!("ready after {:?}", begun.elapsed());
    let are_active = |names: &[String]| {
        let samples = exporter.samples();
        let is_active = |name: &String| {
            let labels = [("name", &**name), ("state", "active")];
            samples.value("systemd_unit_state", &labels) == Some(1.0)
        };
        names.iter().all(is_active).then_some(())
    };
    assert!(in_time(|| are_active(&first)).is_some(), "{}", exporter.log());
    // loaded while the exporter follows systemd, and listed again after a reload
    start(&late);
    assert!(in_time(|| are_active(&late)).is_some(), "{}", exporter.log());
    machine.ok(&["systemctl", "daemon-reload"]);
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(in_time(|| are_active(&late)).is_some(), "{}", exporter.log());
    assert_eq!(unique_name(connection()), before, "PID 1 lost its connection");
    let samples = exporter.samples();
    assert_eq!(samples.value("unit_exporter_dbus_disconnects_total", &[]), Some(0.0));
    assert_eq!(samples.value("unit_exporter_cache_inconsistencies_total", &[]), Some(0.0));
    let (now, peak) = resident(exporter.pid());
    eprintln!("72 MB of descriptions: resident {}, peak {}", megabytes(now), megabytes(peak));
}

/// The list of all units has 47 MB, and the names alone have 20 MB.
#[test]
#[ignore = "takes minutes: make test-scale"]
fn hundred_thousand_units_do_not_disconnect_pid1() {
    let machine = Machine::options().boot();
    let long = "x".repeat(120);
    let mut all = "[Unit]\n".to_owned();
    for n in 0..100_000 {
        writeln!(all, "After=many@{long}{n}.target").expect("a string");
    }
    machine.units(&[
        ("many@.target", "[Unit]\nDescription=One of many units with a long name, %i\n"),
        ("all.target", &all),
        ("honest.service", SLEEP),
        ("crashing.service", "[Service]\nExecStart=/bin/false\n"),
    ]);
    let begun = Instant::now();
    machine.ok(&["systemctl", "start", "all.target", "honest"]);
    eprintln!("loaded after {:?}", begun.elapsed());
    let unique_name = || {
        let status = machine.ok(&["busctl", "status", "org.freedesktop.systemd1"]);
        status.lines().find_map(|line| line.strip_prefix("UniqueName=").map(str::to_owned))
    };
    let before = unique_name();
    assert!(before.is_some());
    let begun = Instant::now();
    let cpu = machine.pid1_cpu();
    let limits = ["MemoryMax=256M", "MemorySwapMax=0"];
    let exporter = machine.exporter_unit(&limits, &[]);
    let pid = exporter.pid();
    // places for 20,000 units, and for 5,000 more services, sockets and timers
    let is_filled = || {
        let samples = exporter.samples();
        let units = samples.value("unit_exporter_cached_units", &[])?;
        assert!(units <= 20_000.0, "{units} units are followed");
        (units == 20_000.0).then_some(samples)
    };
    let samples = loop {
        if let Some(samples) = is_filled() {
            break samples;
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "{}", exporter.log());
        std::thread::sleep(Duration::from_secs(1));
    };
    eprintln!("ready after {:?}; {:?} of PID 1", begun.elapsed(), machine.pid1_cpu() - cpu);
    let honest = [("name", "honest.service"), ("state", "active")];
    assert_eq!(samples.value("systemd_unit_state", &honest), Some(1.0));
    machine.exec(&["systemctl", "start", "crashing"]);
    eventually("the crash is counted", || {
        let failures = [("name", "crashing.service")];
        let failures = exporter.samples().value("systemd_service_failures_total", &failures);
        (failures == Some(1.0)).then_some(())
    });
    let mut slowest = Duration::ZERO;
    for _scrape in 0..5 {
        let sent = Instant::now();
        exporter.scrape();
        slowest = slowest.max(sent.elapsed());
    }
    assert_eq!(unique_name(), before, "PID 1 lost its connection");
    let samples = exporter.samples();
    assert_eq!(samples.value("unit_exporter_dbus_disconnects_total", &[]), Some(0.0));
    // reported by a metric and in the log
    let success = samples.value("unit_exporter_collector_success", &[("collector", "units")]);
    assert_eq!(success, Some(0.0));
    assert!(exporter.log().contains("more than 25000 units"), "{}", exporter.log());
    assert_eq!(exporter.pid(), pid, "the exporter was restarted");
    let (now, peak) = resident(pid);
    eprintln!(
        "scrapes took at most {slowest:?}; resident {}, peak {}",
        megabytes(now),
        megabytes(peak)
    );
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}
