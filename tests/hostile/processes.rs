//! T7, T9 and T10: control groups and processes beyond number, and processes that hold up whoever reads of them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::{Machine, eventually, machine};
use crate::{SLEEP, assert_active, megabytes, python, resident};

#[test]
fn five_thousand_groups_a_hundred_deep_are_read_as_far_as_there_is_room() {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.ok(&["systemctl", "start", "honest"]);
    let exporter = machine.exporter(&[]);
    exporter.scrape();
    let (before, _) = resident(exporter.pid());
    python(&machine, "groups", GROUPS, &["Delegate=yes"], &["5000", "100"]);
    eventually("its processes are known", || {
        let known = exporter.samples();
        known.value("systemd_unit_threads", &[("name", "groups.service")])
    });
    let told = |_| {
        let asked = Instant::now();
        let page = exporter.samples();
        assert!(asked.elapsed() < Duration::from_secs(10));
        let of = |metric: &str, name: &str| page.value(metric, &[("name", name)]);
        assert_eq!(of("systemd_unit_threads", "honest.service"), Some(1.0));
        assert!(of("systemd_unit_threads", "groups.service") >= Some(1.0));
        let truncated = of("systemd_unit_processes_truncated", "groups.service");
        assert!(truncated > Some(1000.0), "{truncated:?}");
        for collector in ["process", "cgroup"] {
            let labels = [("collector", collector)];
            let success = page.value("systemd_exporter_collector_success", &labels);
            assert_eq!(success, Some(1.0), "{collector}\n{}", exporter.log());
        }
        truncated
    };
    let pages: Vec<_> = (0..5).map(told).collect();
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]), "the same is kept: {pages:?}");
    let (_, most) = resident(exporter.pid());
    assert!(most < before + (32 << 20), "{} → {}", megabytes(before), megabytes(most));
    machine.ok(&["systemctl", "stop", "groups"]);
}

#[test]
fn what_a_process_could_stall_is_not_even_opened() {
    let machine = Machine::options().boot();
    machine.unit("stalling.service", SLEEP);
    machine.ok(&["systemctl", "start", "stalling"]);
    let pid = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", "stalling"]);
    let pid = pid.trim();
    // who opens a pipe that nobody writes to waits for ever
    machine.ok(&["mkfifo", "/opt/pipe"]);
    for file in
        ["cmdline", "environ", "maps", "smaps", "smaps_rollup", "wchan", "stack", "mem", "exe"]
    {
        machine.exec(&["mount", "--bind", "/opt/pipe", &format!("/proc/{pid}/{file}")]);
    }
    for file in ["cmdline", "environ", "smaps_rollup"] {
        let read = machine.exec(&["timeout", "1", "cat", &format!("/proc/{pid}/{file}")]);
        assert_eq!(read.status.code(), Some(124), "{file}");
    }
    // root could read all of it
    let exporter = machine.exporter(&["--profile=full", "--collector.listeners.namespaces"]);
    for _scrape in 0..3 {
        let asked = Instant::now();
        let page = exporter.samples();
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        let threads = page.value("systemd_unit_threads", &[("name", "stalling.service")]);
        assert_eq!(threads, Some(1.0));
        assert_eq!(exporter.get("/unit/stalling.service", &[]).status, 200);
    }
    let own = format!("/proc/{}", exporter.pid());
    let waits = |task: &fs::DirEntry| {
        let where_to = fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        where_to.contains("fifo") || where_to.contains("pipe")
    };
    let tasks = fs::read_dir(format!("{own}/task")).expect("threads").flatten();
    assert_eq!(tasks.filter(waits).count(), 0, "a thread waits for the pipe");
}

#[test]
fn files_that_a_process_can_stall_or_fill_with_secrets_are_named_nowhere_in_the_source() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files
                .extend(fs::read_dir(&path).expect("a folder").flatten().map(|entry| entry.path()));
            continue;
        }
        read += 1;
        let text = fs::read_to_string(&path).expect("a source");
        // /proc/PID/… as a literal; and procfs's functions, which read such files whole
        for word in ["cmdline", "environ", "maps", "smaps", "smaps_rollup", "wchan", "stack", "mem"]
        {
            for literal in [format!("\"{word}\""), format!("/{word}\""), format!(".{word}()")] {
                assert!(!text.contains(&literal), "{}: {literal}", path.display());
            }
        }
    }
    assert!(read > 100, "{read} sources");
}

#[test]
fn a_storm_of_short_lived_processes_is_no_error_and_counts_for_its_own_unit_alone() {
    let machine = machine();
    machine.units(&[
        ("steady.service", "[Service]\nExecStart=/bin/sh -c 'for n in 1 2 3 4 5 6 7; do sleep 100000 & done; wait'\n"),
        // pids run through a window that is soon used up, so that they come again
        ("storm.service", "[Service]\nTasksMax=200\nExecStart=/bin/bash -c 'while :; do for n in {1..50}; do /bin/true & done; wait; done'\n"),
    ]);
    machine.ok(&["systemctl", "start", "steady", "storm"]);
    let exporter = machine.exporter(&[]);
    eventually("all are there", || {
        let threads =
            exporter.samples().value("systemd_unit_threads", &[("name", "steady.service")]);
        (threads == Some(8.0)).then_some(())
    });
    let mut last = 0;
    let mut wraps = 0;
    for _scrape in 0..40 {
        let page = exporter.samples();
        let threads = page.value("systemd_unit_threads", &[("name", "steady.service")]);
        assert_eq!(threads, Some(8.0));
        let storm = page.value("systemd_unit_threads", &[("name", "storm.service")]);
        assert!(storm <= Some(201.0), "{storm:?}");
        let failed = [("collector", "process")];
        let failed = page.value("systemd_exporter_collector_failed_reads", &failed);
        assert_eq!(failed, Some(0.0), "{}", exporter.log());
        assert_active(&page, "storm.service");
        let pid = machine.ok(&["sh", "-c", "echo $$"]).trim().parse::<u32>().expect("a pid");
        wraps += u32::from(pid < last);
        last = pid;
        thread::sleep(Duration::from_millis(100));
    }
    eprintln!("pids came again from the beginning {wraps} times");
    machine.ok(&["systemctl", "stop", "steady", "storm"]);
}

#[test]
fn a_pid_that_comes_again_in_another_unit_counts_for_that_one_alone() {
    let machine = Machine::options().boot();
    let forking = "import os, subprocess, time\nfor _ in range(1000):\n    if os.fork() == 0:\n        time.sleep(100000)\n\
                   subprocess.run(['systemd-notify', '--ready'])\ntime.sleep(100000)\n";
    python(&machine, "first", forking, &["TasksMax=infinity", "Delegate=yes"], &[]);
    machine.unit("second.service", SLEEP);
    machine.ok(&["systemctl", "start", "second"]);
    let exporter = machine.exporter(&[]);
    machine.write("/opt/reborn.py", include_str!("reborn.py"));
    let group = |unit: &str| format!("/sys/fs/cgroup/system.slice/{unit}.service");
    let reborn = machine
        .command("/usr/bin/python3")
        .args(["/opt/reborn.py", &group("first"), &group("second"), "30000", "9"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    let begun = Instant::now();
    let (mut scrapes, mut seen) = (0, [0_u32; 2]);
    while begun.elapsed() < Duration::from_secs(8) {
        let page = exporter.samples();
        let stopped = |name: &str| {
            let labels = [("name", name), ("state", "stopped")];
            page.value("systemd_unit_processes", &labels).unwrap_or(0.0)
        };
        assert_eq!(stopped("first.service"), 0.0, "the other unit's process counts for it");
        let threads = page.value("systemd_unit_threads", &[("name", "first.service")]);
        assert!((Some(1001.0)..=Some(1002.0)).contains(&threads), "{threads:?}");
        let failed = [("collector", "process")];
        let failed = page.value("systemd_exporter_collector_failed_reads", &failed);
        assert_eq!(failed, Some(0.0), "{}", exporter.log());
        seen[0] += u32::from(threads == Some(1002.0));
        seen[1] += u32::from(stopped("second.service") == 1.0);
        scrapes += 1;
    }
    let output = reborn.wait_with_output().expect("an end");
    let lives = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    eprintln!("{lives} lives of one pid, {scrapes} scrapes; seen in either unit {seen:?} times");
    assert!(output.status.success() && seen[1] > 0);
}

/// So many control groups beside each other, and a tree so deep.
pub(crate) const GROUPS: &str = include_str!("groups.py");
