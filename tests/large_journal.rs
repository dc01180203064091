//! The cost of the first start after a boot with a journal of 4 GiB: `cargo test --test large_journal -- --ignored --nocapture`.

#![allow(clippy::unwrap_used)]

mod support;
mod truth;

use std::time::{Duration, Instant};
use std::{env, fs, thread};

use support::{Machine, cpu};
use truth::{Truth, disable_journal_rate_limit};

#[test]
#[ignore = "writes a journal of 4 GiB, which takes minutes"]
fn crashes_since_boot_are_found_in_a_large_journal() {
    let machine = &Machine::options().boot();
    disable_journal_rate_limit(machine);
    let all = "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSystemMaxUse=8G\nSystemKeepFree=1M\n";
    machine.write("etc/systemd/journald.conf.d/all.conf", all);
    // on a disk: the machine's own file system is in memory
    machine.ok(&["mkdir", "--parents", "/run/host/journal", "/var/log/journal"]);
    machine.ok(&["mount", "--bind", "/run/host/journal", "/var/log/journal"]);
    machine.ok(&["systemctl", "restart", "systemd-journald"]);
    machine.unit(
        "crashes.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=2s\nExecStart=/bin/sh -c 'exit 3'\n",
    );
    machine.ok(&["systemctl", "start", "--no-block", "crashes"]);
    machine.write("opt/fill.py", FILL);
    machine.ok(&["systemd-run", "--unit=fill", "/usr/bin/python3", "/opt/fill.py"]);
    let size = || -> u64 {
        let usage = machine.ok(&["du", "--bytes", "--summarize", "/var/log/journal"]);
        usage.split_whitespace().next().unwrap().parse().unwrap()
    };
    let begun = Instant::now();
    let mib = env::var("JOURNAL_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(4096);
    while size() < mib << 20 {
        assert!(begun.elapsed() < Duration::from_secs(1500), "{} bytes", size());
        thread::sleep(Duration::from_secs(1));
    }
    machine.ok(&["systemctl", "stop", "fill", "crashes"]);
    let crashes = Truth::of(machine).failures("crashes.service");

    machine.ok(&["mkdir", "--mode=700", "/run/large"]);
    let begun = Instant::now();
    let exporter = machine.exporter(&["--state.directory=/run/large"]);
    let ready = begun.elapsed();
    let scrape = Instant::now();
    exporter.scrape();
    let (scrape, first_cpu) = (scrape.elapsed(), cpu(exporter.pid()));
    let counted = || {
        let labels = [("name", "crashes.service")];
        exporter.samples().value("systemd_service_failures_total", &labels)
    };
    support::in_time(|| (counted() == Some(crashes)).then_some(()));
    assert_eq!(counted(), Some(crashes), "{}", exporter.log());
    println!(
        "{} MiB, {} files, {crashes} crashes: ready after {ready:?}, first scrape {scrape:?}, counted after {:?}; \
         CPU {first_cpu:?} at the first scrape, {:?} now; {}",
        size() >> 20,
        machine.ok(&["sh", "-c", "ls /var/log/journal/*/* | wc -l"]).trim(),
        begun.elapsed(),
        cpu(exporter.pid()),
        high_water_mark(exporter.pid()),
    );
}

/// The most memory that the process has had.
fn high_water_mark(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned()
}

/// Two kinds of messages: many short ones, and long ones that hardly compress.
const FILL: &str = r#"
import os, socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("/run/systemd/journal/socket")
number = 0
while True:
    number += 1
    length = 24000 if number % 2 else 40
    text = os.urandom(length // 2).hex()
    log.send(f"PRIORITY=6\nMESSAGE={number} {text}\nNUMBER={number}\n".encode())
"#;
