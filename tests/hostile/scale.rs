//! All of it at once: sockets, processes, units and forged signals in numbers. `make test-scale` runs it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use unit_exporter::source::cgroup::UnitGroup;
use unit_exporter::source::process::Processes;

use crate::bus::{BUS, CRASHING, forged, runtime};
use crate::intruder::{NOBODY, connect, connection_of};
use crate::listeners::SQUATTING;
use crate::processes::GROUPS;
use crate::support::{Exporter, Machine, Samples, cpu, eventually, in_time};
use crate::{SLEEP, assert_active, megabytes, python, resident};

/// Prints what each number costs, alone and then all together.
#[test]
#[ignore = "a measurement, of minutes: make test-scale"]
fn nothing_honest_is_displaced_by_numbers() {
    let machine = Machine::options().boot();
    machine.units(&[
        ("honest.service", SLEEP),
        ("listening.service", LISTENING),
        ("flood@.target", "[Unit]\nDescription=one of many\n"),
        ("crashing.service", CRASHING),
    ]);
    machine.ok(&["systemctl", "start", "honest", "listening"]);
    let exporter = machine.exporter_unit(&["MemoryMax=256M"], &[]).ready();
    let honest = |page: &Samples| -> Vec<_> {
        let of = |sample: &&crate::support::Sample| {
            ["honest.service", "listening.service"].contains(&sample.label("name"))
        };
        let mut series: Vec<_> = page
            .0
            .iter()
            .filter(of)
            .map(|sample| (sample.name.clone(), sample.labels.clone()))
            .collect();
        series.sort();
        series
    };
    thread::sleep(Duration::from_secs(2));
    let expected = honest(&exporter.samples());
    assert!(expected.len() > 40, "{}", expected.len());
    println!(
        "| | scrape, median | most | page | samples | resident | at most | exporter's CPU a scrape |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let step = |what: &str| {
        let page = measure(&exporter, what);
        let missing: Vec<_> =
            expected.iter().filter(|series| !honest(&page).contains(series)).collect();
        assert!(missing.is_empty(), "{what}: displaced: {missing:?}");
        for sample in page.all("systemd_exporter_collector_success", &[]) {
            assert_eq!(sample.value, 1.0, "{what}: {sample:?}\n{}", exporter.log());
        }
        page
    };
    step("an idle host");

    let properties = ["Delegate=yes", "LimitNOFILE=300000", "TasksMax=infinity"];
    python(&machine, "sockets", SQUATTING, &properties, &["0", "100000"]);
    let page = step("100,000 listening sockets of one unit");
    let truncated = page.value("systemd_listeners_truncated", &[]);
    assert!(truncated > Some(98_000.0), "{truncated:?}");

    let processes: u32 = free_pids().min(20_000);
    let forking = format!(
        "import os, subprocess, time\nfor _ in range({processes}):\n    if os.fork() == 0:\n        time.sleep(100000)\nsubprocess.run(['systemd-notify', '--ready'])\ntime.sleep(100000)\n"
    );
    python(&machine, "forks", &forking, &["TasksMax=infinity"], &[]);
    let page = step(&format!("and {processes} processes of one unit"));
    let counted = page.value("systemd_unit_threads", &[("name", "forks.service")]);
    assert_eq!(counted, Some(f64::from(processes.min(20_000))));

    machine.ok(&[
        "bash",
        "-c",
        "for n in {0..9}; do eval systemctl start flood@{${n}000..${n}999}.target; done",
    ]);
    let there = in_time(|| {
        let page = exporter.samples();
        let flood = page.all("systemd_unit_state", &[("state", "active")]);
        (flood.filter(|sample| sample.label("name").starts_with("flood@")).count() > 9000)
            .then_some(())
    });
    let page = step("and 10,000 units");
    let dropped =
        page.value("systemd_exporter_series_dropped_total", &[("family", "systemd_unit_state")]);
    println!("(all units are there: {there:?}; series of states left out so far: {dropped:?})");

    let to = connection_of(&machine, &exporter);
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            runtime().block_on(async {
                let connection = connect(&machine, BUS, NOBODY).await;
                let mut tick = tokio::time::interval(Duration::from_millis(10));
                while !over.load(Ordering::Relaxed) {
                    tick.tick().await;
                    for n in 0..10 {
                        let member = if n % 2 == 0 { "UnitNew" } else { "UnitRemoved" };
                        let unit = if n % 2 == 0 { "forged.service" } else { "honest.service" };
                        let to = (n < 5).then_some(&*to);
                        connection.send(&forged(member, unit, to)).await.expect("room");
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        let begun = Instant::now();
        let before = sent.load(Ordering::Relaxed);
        let page = step("and 1,000 forged signals a second");
        let rate = (sent.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        assert_eq!(page.all("systemd_unit_state", &[("name", "forged.service")]).count(), 0);
        for _crash in 0..5 {
            machine.exec(&["systemctl", "start", "crashing"]);
        }
        eventually("five crashes are counted", || {
            let page = exporter.samples();
            let failures = page
                .all("systemd_service_failures_by_result_total", &[("name", "crashing.service")]);
            (failures.map(|sample| sample.value).sum::<f64>() == 5.0).then_some(())
        });
        let foreign = exporter.samples().value("systemd_exporter_foreign_messages_total", &[]);
        println!(
            "({rate:.0} signals a second sent, {foreign:?} of them to it alone; 5 of 5 crashes counted)"
        );
        over.store(true, Ordering::Relaxed);
    });

    machine.ok(&["systemctl", "stop", "forks"]);
    let begun = Instant::now();
    python(&machine, "groups", GROUPS, &["Delegate=yes"], &["100000", "100"]);
    println!("(100,000 control groups made in {:?})", begun.elapsed());
    let page = step("and 100,000 control groups, 100 deep");
    assert_active(&page, "honest.service");
    let truncated = page.value("systemd_unit_processes_truncated", &[("name", "groups.service")]);
    assert!(truncated > Some(1000.0), "{truncated:?}");
    machine.ok(&["systemctl", "stop", "groups"]);
}

/// Scrapes ten times; prints what that took, and returns the last page.
fn measure(exporter: &Exporter, what: &str) -> Samples {
    let pid = exporter.pid();
    let before = cpu(pid);
    let mut times: Vec<Duration> = Vec::new();
    let mut page = String::new();
    for _scrape in 0..10 {
        let asked = Instant::now();
        page = exporter.scrape();
        times.push(asked.elapsed());
        thread::sleep(Duration::from_millis(200));
    }
    let used = (cpu(pid) - before) / 10;
    times.sort_unstable();
    let (now, most) = resident(pid);
    let samples = Samples::parse(&page);
    println!(
        "| {what} | {:.0} ms | {:.0} ms | {} | {} | {} | {} | {:.0} ms |",
        times[5].as_secs_f64() * 1e3,
        times[9].as_secs_f64() * 1e3,
        megabytes(page.len() as u64),
        samples.0.len(),
        megabytes(now),
        megabytes(most),
        used.as_secs_f64() * 1e3,
    );
    assert!(times[9] < Duration::from_secs(10), "{what}: beyond Prometheus's timeout");
    assert!(most < 256 << 20, "{what}: {}", megabytes(most));
    samples
}

/// How many processes there is room for, with some left for everybody else.
fn free_pids() -> u32 {
    let most = fs::read_to_string("/proc/sys/kernel/pid_max").expect("pid_max");
    let most: u32 = most.trim().parse().expect("a number");
    let now = fs::read_to_string("/proc/loadavg").expect("loadavg");
    let now: u32 = now.split(['/', ' ']).nth(4).and_then(|all| all.parse().ok()).expect("a number");
    most.saturating_sub(now + 4000)
}

const LISTENING: &str = "[Service]\nExecStart=/usr/bin/python3 -c 'import socket, time; \
                         s = socket.create_server((\"127.0.0.1\", 7777)); time.sleep(100000)'\n";

/// More processes than this machine has numbers for: 50,000 as files. One unit has 30,000 of them, twenty have 999 each.
#[test]
#[ignore = "a measurement: make test-scale"]
fn fifty_thousand_processes_keep_no_unit_from_being_read() {
    let host = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let (proc, cgroup) = (host.path().join("proc"), host.path().join("cgroup"));
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write(proc.join("stat"), "btime 1763900000\n");
    write(cgroup.join("cgroup.controllers"), "cpu memory pids\n");
    write(cgroup.join("cgroup.procs"), "");
    let mut pids = 1..;
    let mut unit = |name: &str, processes: usize| {
        let pids: Vec<u32> = pids.by_ref().take(processes).collect();
        for pid in &pids {
            let rest = "S 1 1 1 0 -1 4194304 100 0 0 0 50 25 0 0 20 0 1 0 100 8192000 700 18446744073709551615";
            write(
                proc.join(format!("{pid}/stat")),
                &format!("{pid} (a) R 1 (b) {rest} 1 1 0 0 0\n"),
            );
            write(
                proc.join(format!("{pid}/limits")),
                "Max open files            1024                 524288               files     \n",
            );
            fs::create_dir(proc.join(format!("{pid}/fd"))).expect("a folder");
        }
        let listed: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        write(cgroup.join(format!("system.slice/{name}/cgroup.procs")), &listed);
        let control_group = format!("/system.slice/{name}").into();
        UnitGroup { unit: name.into(), control_group, main_pid: pids.first().copied() }
    };
    let mut units = vec![unit("crowd.service", 30_000)];
    units.extend((0..20).map(|n| unit(&format!("busy-{n}.service"), 999)));
    units.extend((0..20).map(|n| unit(&format!("honest-{n}.service"), 1)));
    let mut processes = Processes::open(&proc, &cgroup, 0).expect("a host");
    let (before, _) = resident(std::process::id());
    for pass in 0..3 {
        let begun = Instant::now();
        let readings = processes.read(&units, begun + Duration::from_secs(60)).expect("a reading");
        let took = begun.elapsed();
        let of = |name: &str| {
            let (_, found) =
                readings.units.iter().find(|(unit, _)| **unit == *name).expect("a unit");
            (found.threads, found.truncated)
        };
        for n in 0..20 {
            assert_eq!(of(&format!("honest-{n}.service")), (Some(1), 0));
            assert_eq!(of(&format!("busy-{n}.service")), (Some(999), 0));
        }
        assert_eq!(of("crowd.service"), (Some(20_000), 10_000));
        assert_eq!((readings.truncated, readings.failed), (0, 0), "{:?}", readings.failure);
        let (now, _) = resident(std::process::id());
        println!(
            "pass {pass}: 50,000 processes in {took:?}, {} more resident",
            megabytes(now.saturating_sub(before))
        );
    }
    // where there is no time for all, those that have few come first
    let soon = Instant::now() + Duration::from_millis(150);
    let readings = processes.read(&units, soon).expect("a reading");
    let whole: Vec<_> = readings.units.iter().filter(|(_, found)| found.truncated == 0).collect();
    println!("in 150 ms: {} of 41 units whole", whole.len());
    let honest = whole.iter().filter(|(unit, _)| unit.starts_with("honest-")).count();
    assert!(honest == 20 || honest == whole.len(), "{honest} of {}", whole.len());
}
