//! Floods of sockets, processes, units and forged signals, all at once. Run by `make test-scale`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use unit_exporter::source::cgroup_tree::UnitGroup;
use unit_exporter::source::process::Processes;

use crate::bus::{BUS, CRASHING, forged, runtime};
use crate::listeners::LISTEN;
use crate::processes::GROUPS;
use crate::rogue_bus::{NOBODY, connect, connection_of};
use crate::support::{Exporter, Machine, Samples, cpu, eventually, in_time};
use crate::{SLEEP, assert_active, megabytes, resident, run_script};

/// Measures each flood on top of those before it; prints a table.
#[test]
#[ignore = "takes minutes: make test-scale"]
fn floods_displace_no_series_of_other_units() {
    let machine = Machine::options().boot();
    machine.units(&[
        ("honest.service", SLEEP),
        ("listening.service", LISTENING),
        ("flood@.target", "[Unit]\nDescription=one of many\n"),
        ("crashing.service", CRASHING),
    ]);
    machine.ok(&["systemctl", "start", "honest", "listening"]);
    let exporter = machine.exporter_unit(&["MemoryMax=256M"], &[]).ready();
    let series_of_others = |samples: &Samples| -> Vec<_> {
        let is_of_others = |sample: &&crate::support::Sample| {
            ["honest.service", "listening.service"].contains(&sample.label("name"))
        };
        let mut series: Vec<_> = samples
            .0
            .iter()
            .filter(is_of_others)
            .map(|sample| (sample.name.clone(), sample.labels.clone()))
            .collect();
        series.sort();
        series
    };
    thread::sleep(Duration::from_secs(2));
    let expected = series_of_others(&exporter.samples());
    assert!(expected.len() > 40, "{}", expected.len());
    println!(
        "| | scrape, median | maximum | response | samples | resident | peak | exporter's CPU per scrape |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let step = |load: &str| {
        let samples = measure(&exporter, load);
        let missing: Vec<_> =
            expected.iter().filter(|series| !series_of_others(&samples).contains(series)).collect();
        assert!(missing.is_empty(), "{load}: displaced: {missing:?}");
        for sample in samples.all("unit_exporter_collector_success", &[]) {
            assert_eq!(sample.value, 1.0, "{load}: {sample:?}\n{}", exporter.log());
        }
        samples
    };
    step("an idle host");

    let properties = ["Delegate=yes", "LimitNOFILE=300000", "TasksMax=infinity"];
    run_script(&machine, "sockets", LISTEN, &properties, &["0", "100000"]);
    let samples = step("100,000 listening sockets of one unit");
    let truncated = samples.value("unit_exporter_truncated_listeners_total", &[]);
    // in each of ten scrapes
    assert!(truncated > Some(980_000.0), "{truncated:?}");

    let processes: u32 = free_pids().min(20_000);
    let forking = format!(
        "import os, subprocess, time\nfor _ in range({processes}):\n    if os.fork() == 0:\n        time.sleep(100000)\nsubprocess.run(['systemd-notify', '--ready'])\ntime.sleep(100000)\n"
    );
    run_script(&machine, "forks", &forking, &["TasksMax=infinity"], &[]);
    let samples = step(&format!("and {processes} processes of one unit"));
    let counted = samples.value("systemd_unit_threads", &[("name", "forks.service")]);
    assert_eq!(counted, Some(f64::from(processes.min(20_000))));

    machine.ok(&[
        "bash",
        "-c",
        "for n in {0..9}; do eval systemctl start flood@{${n}000..${n}999}.target; done",
    ]);
    let complete = in_time(|| {
        let samples = exporter.samples();
        let flood = samples.all("systemd_unit_state", &[("state", "active")]);
        (flood.filter(|sample| sample.label("name").starts_with("flood@")).count() > 9000)
            .then_some(())
    });
    let samples = step("and 10,000 units");
    let dropped =
        samples.value("unit_exporter_series_dropped_total", &[("family", "systemd_unit_state")]);
    println!("(all units exported: {complete:?}; state series dropped so far: {dropped:?})");

    let to = connection_of(&machine, &exporter);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            runtime().block_on(async {
                let connection = connect(&machine, BUS, NOBODY).await;
                let mut tick = tokio::time::interval(Duration::from_millis(10));
                while !stop.load(Ordering::Relaxed) {
                    tick.tick().await;
                    for n in 0..10 {
                        let member = if n % 2 == 0 { "UnitNew" } else { "UnitRemoved" };
                        let unit = if n % 2 == 0 { "forged.service" } else { "honest.service" };
                        let to = (n < 5).then_some(&*to);
                        connection.send(&forged(member, unit, to)).await.expect("sending a signal");
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        let start = Instant::now();
        let before = sent.load(Ordering::Relaxed);
        let samples = step("and 1,000 forged signals a second");
        let rate = (sent.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        assert_eq!(samples.all("systemd_unit_state", &[("name", "forged.service")]).count(), 0);
        for _crash in 0..5 {
            machine.exec(&["systemctl", "start", "crashing"]);
        }
        eventually("five crashes are counted", || {
            let samples = exporter.samples();
            let failures = samples
                .all("systemd_service_failures_by_result_total", &[("name", "crashing.service")]);
            (failures.map(|sample| sample.value).sum::<f64>() == 5.0).then_some(())
        });
        let foreign = exporter.samples().value("unit_exporter_dbus_untrusted_messages_total", &[]);
        println!(
            "({rate:.0} signals a second sent, {foreign:?} of them unicast; 5 of 5 crashes counted)"
        );
        stop.store(true, Ordering::Relaxed);
    });

    machine.ok(&["systemctl", "stop", "forks"]);
    let start = Instant::now();
    run_script(&machine, "groups", GROUPS, &["Delegate=yes"], &["100000", "100"]);
    println!("(100,000 control groups made in {:?})", start.elapsed());
    let samples = step("and 100,000 control groups, 100 deep");
    assert_active(&samples, "honest.service");
    let truncated = samples.value("unit_exporter_truncated_processes_total", &[]);
    assert!(truncated > Some(10_000.0), "{truncated:?}");
    machine.ok(&["systemctl", "stop", "groups"]);
}

/// Scrapes ten times, prints time and memory, and returns the last samples.
fn measure(exporter: &Exporter, load: &str) -> Samples {
    let pid = exporter.pid();
    let before = cpu(pid);
    let mut times: Vec<Duration> = Vec::new();
    let mut response = String::new();
    for _scrape in 0..10 {
        let sent = Instant::now();
        response = exporter.scrape();
        times.push(sent.elapsed());
        thread::sleep(Duration::from_millis(200));
    }
    let used = (cpu(pid) - before) / 10;
    times.sort_unstable();
    let (now, peak) = resident(pid);
    let samples = Samples::parse(&response);
    println!(
        "| {load} | {:.0} ms | {:.0} ms | {} | {} | {} | {} | {:.0} ms |",
        times[5].as_secs_f64() * 1e3,
        times[9].as_secs_f64() * 1e3,
        megabytes(response.len() as u64),
        samples.0.len(),
        megabytes(now),
        megabytes(peak),
        used.as_secs_f64() * 1e3,
    );
    assert!(times[9] < Duration::from_secs(10), "{load}: beyond the scrape timeout of Prometheus");
    assert!(peak < 256 << 20, "{load}: {}", megabytes(peak));
    samples
}

/// The number of free pids, less a reserve of 4,000.
fn free_pids() -> u32 {
    let max = fs::read_to_string("/proc/sys/kernel/pid_max").expect("pid_max");
    let max: u32 = max.trim().parse().expect("a number");
    let now = fs::read_to_string("/proc/loadavg").expect("loadavg");
    let now: u32 = now.split(['/', ' ']).nth(4).and_then(|all| all.parse().ok()).expect("a number");
    max.saturating_sub(now + 4000)
}

const LISTENING: &str = "[Service]\nExecStart=/usr/bin/python3 -c 'import socket, time; \
                         s = socket.create_server((\"127.0.0.1\", 7777)); time.sleep(100000)'\n";

/// 50,000 processes as a file tree, more than this machine has pids for: 30,000 of one unit, 999 of each of twenty.
#[test]
#[ignore = "slow: make test-scale"]
fn fifty_thousand_processes_do_not_starve_small_units() {
    let host = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let (proc, cgroup) = (host.path().join("proc"), host.path().join("cgroup"));
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    write(proc.join("stat"), "btime 1763900000\n");
    write(cgroup.join("cgroup.controllers"), "cpu memory pids\n");
    write(cgroup.join("cgroup.procs"), "");
    let mut pids = 1..;
    let mut unit = |name: &str, processes: usize| -> UnitGroup {
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
            fs::create_dir(proc.join(format!("{pid}/fd"))).expect("a directory");
        }
        let listed: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        write(cgroup.join(format!("system.slice/{name}/cgroup.procs")), &listed);
        let control_group = format!("/system.slice/{name}").into();
        UnitGroup::new(name.into(), control_group, pids.first().copied())
    };
    let mut units = vec![unit("many.service", 30_000)];
    units.extend((0..20).map(|n| unit(&format!("busy-{n}.service"), 999)));
    units.extend((0..20).map(|n| unit(&format!("small-{n}.service"), 1)));
    let mut processes = Processes::open(&proc, &cgroup, 0).expect("a host");
    let (before, _) = resident(std::process::id());
    for pass in 0..3 {
        let start = Instant::now();
        let readings = processes.read(&units, start + Duration::from_secs(60)).expect("a reading");
        let took = start.elapsed();
        let of = |name: &str| {
            let (_, found) =
                readings.units.iter().find(|(unit, _)| **unit == *name).expect("a unit");
            (found.threads, found.truncated)
        };
        for n in 0..20 {
            assert_eq!(of(&format!("small-{n}.service")), (Some(1), 0));
            assert_eq!(of(&format!("busy-{n}.service")), (Some(999), 0));
        }
        assert_eq!(of("many.service"), (Some(20_000), 10_000));
        assert_eq!(
            (readings.truncated, readings.failures.count),
            (0, 0),
            "{:?}",
            readings.failures.first
        );
        let (now, _) = resident(std::process::id());
        println!(
            "pass {pass}: 50,000 processes in {took:?}, {} more resident",
            megabytes(now.saturating_sub(before))
        );
    }
    // before a short deadline, units with few processes are read first
    let deadline = Instant::now() + Duration::from_millis(150);
    let readings = processes.read(&units, deadline).expect("a reading");
    let complete: Vec<_> =
        readings.units.iter().filter(|(_, found)| found.truncated == 0).collect();
    println!("in 150 ms: {} of 41 units complete", complete.len());
    let small = complete.iter().filter(|(unit, _)| unit.starts_with("small-")).count();
    assert!(small == 20 || small == complete.len(), "{small} of {}", complete.len());
}
