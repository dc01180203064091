//! Lists of units beyond the bus's limit of a message: PID 1 would lose its connection by sending one.

use std::time::Instant;

use crate::support::{Machine, in_time};
use crate::{megabytes, resident};

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
