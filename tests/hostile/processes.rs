//! T7, T9 and T10: floods of control groups and processes, reused pids, files in /proc that block their reader.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::{Machine, Samples, eventually, machine};
use crate::{SLEEP, assert_active, megabytes, resident, run_script};

#[test]
fn cgroups_beyond_count_and_depth_limits_are_truncated() {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.ok(&["systemctl", "start", "honest"]);
    let exporter = machine.exporter(&[]);
    exporter.scrape();
    let (before, _) = resident(exporter.pid());
    run_script(&machine, "groups", GROUPS, &["Delegate=yes"], &["5000", "100"]);
    eventually("the unit's processes are exported", || {
        let samples = exporter.samples();
        samples.value("systemd_unit_threads", &[("name", "groups.service")])
    });
    let scrape = |_| {
        let sent = Instant::now();
        let samples = exporter.samples();
        assert!(sent.elapsed() < Duration::from_secs(10));
        let of = |metric: &str, name: &str| samples.value(metric, &[("name", name)]);
        assert_eq!(of("systemd_unit_threads", "honest.service"), Some(1.0));
        assert!(of("systemd_unit_threads", "groups.service") >= Some(1.0));
        let truncated = samples.value("unit_exporter_truncated_processes_total", &[]);
        for collector in ["process", "cgroup"] {
            let labels = [("collector", collector)];
            let success = samples.value("unit_exporter_collector_success", &labels);
            assert_eq!(success, Some(1.0), "{collector}\n{}", exporter.log());
        }
        truncated.expect("a total")
    };
    let totals: Vec<f64> = (0..6).map(scrape).collect();
    let truncated: Vec<f64> = totals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(truncated[0] > 1000.0, "{truncated:?}");
    assert!(truncated.windows(2).all(|pair| pair[0] == pair[1]), "not stable: {truncated:?}");
    let (_, peak) = resident(exporter.pid());
    assert!(peak < before + (32 << 20), "{} → {}", megabytes(before), megabytes(peak));
    machine.ok(&["systemctl", "stop", "groups"]);
}

#[test]
fn proc_files_that_can_block_are_never_opened() {
    let machine = Machine::options().boot();
    machine.unit("stalling.service", SLEEP);
    machine.ok(&["systemctl", "start", "stalling"]);
    let pid = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", "stalling"]);
    let pid = pid.trim();
    // opening a FIFO without a writer blocks
    machine.ok(&["mkfifo", "/opt/fifo"]);
    for file in
        ["cmdline", "environ", "maps", "smaps", "smaps_rollup", "wchan", "stack", "mem", "exe"]
    {
        machine.exec(&["mount", "--bind", "/opt/fifo", &format!("/proc/{pid}/{file}")]);
    }
    for file in ["cmdline", "environ", "smaps_rollup"] {
        let read = machine.exec(&["timeout", "1", "cat", &format!("/proc/{pid}/{file}")]);
        assert_eq!(read.status.code(), Some(124), "{file}");
    }
    // runs as root, with permission to read all of the files
    let exporter = machine.exporter(&["--profile=full", "--collector.listeners.namespaces"]);
    for _scrape in 0..3 {
        let sent = Instant::now();
        let samples = exporter.samples();
        let took = sent.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        let threads = samples.value("systemd_unit_threads", &[("name", "stalling.service")]);
        assert_eq!(threads, Some(1.0));
        assert_eq!(exporter.get("/unit/stalling.service", &[]).status, 200);
    }
    let own = format!("/proc/{}", exporter.pid());
    let blocks = |task: &fs::DirEntry| {
        let wchan = fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        wchan.contains("fifo") || wchan.contains("pipe")
    };
    let tasks = fs::read_dir(format!("{own}/task")).expect("threads").flatten();
    assert_eq!(tasks.filter(blocks).count(), 0, "a thread is blocked on the FIFO");
}

#[test]
fn source_names_no_blocking_or_secret_proc_files() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()),
            );
            continue;
        }
        read += 1;
        let text = fs::read_to_string(&path).expect("a source");
        // /proc/PID/… as a literal, and the functions of procfs that read these files
        for word in ["cmdline", "environ", "maps", "smaps", "smaps_rollup", "wchan", "stack", "mem"]
        {
            // read by one thread apart from scrapes: a process that blocks it delays the next check
            if word == "maps" && path.ends_with("source/restart_due.rs") {
                continue;
            }
            for literal in [format!("\"{word}\""), format!("/{word}\""), format!(".{word}()")] {
                assert!(!text.contains(&literal), "{}: {literal}", path.display());
            }
        }
    }
    assert!(read > 100, "{read} sources");
}

#[test]
fn fork_bomb_hides_no_process_and_changes_no_value() {
    // hybrid, where the host mounts the controllers as v1: TasksMax= needs one
    let machine =
        Machine::options().cgroup_v1().try_boot().unwrap_or_else(|_| Machine::options().boot());
    machine.ok(&["useradd", "--uid", "1502", "bomber"]);
    machine.write("/srv/bomb.py", BOMB);
    machine.units(&[
        ("steady.service", "[Service]\nExecStart=/bin/sh -c 'for n in 1 2 3 4 5 6 7; do sleep 100000 & done; wait'\n"),
        // the second limit protects the host of the test
        ("bomb.service", "[Service]\nUser=bomber\nTasksMax=300\nLimitNPROC=1000\nNice=19\nExecStart=/usr/bin/python3 /srv/bomb.py\n"),
    ]);
    machine.ok(&["systemctl", "start", "steady"]);
    let properties = ["User=nobody", "SupplementaryGroups=systemd-journal"];
    let exporter = machine.exporter_unit(&properties, &[]).ready();
    machine.ok(&["systemctl", "start", "bomb"]);
    let of = |samples: &Samples, metric: &str, name: &str| samples.value(metric, &[("name", name)]);
    eventually("the bomb hits its limit", || {
        let hits = of(&exporter.samples(), "systemd_unit_tasks_limit_hits_total", "bomb.service");
        (hits > Some(100.0)).then_some(())
    });
    let (mut slowest, mut threads) = (Duration::ZERO, Vec::new());
    for _scrape in 0..20 {
        let sent = Instant::now();
        let samples = exporter.samples();
        slowest = slowest.max(sent.elapsed());
        // on a busy host, PID 1 itself may not answer in time
        for collector in ["process", "cgroup"] {
            let labels = [("collector", collector)];
            let success = samples.value("unit_exporter_collector_success", &labels);
            assert_eq!(success, Some(1.0), "{collector}\n{}", exporter.log());
        }
        let failed = samples.value("unit_exporter_failed_reads_total", &[("collector", "process")]);
        assert_eq!(failed, Some(0.0), "{}", exporter.log());
        let steady = of(&samples, "systemd_unit_threads", "steady.service");
        assert_eq!(steady, Some(8.0));
        assert_eq!(of(&samples, "systemd_unit_tasks_current", "steady.service"), Some(8.0));
        assert_eq!(of(&samples, "systemd_unit_tasks_max", "bomb.service"), Some(300.0));
        assert!(of(&samples, "systemd_unit_tasks_current", "bomb.service") <= Some(300.0));
        threads.push(of(&samples, "systemd_unit_threads", "bomb.service").expect("the bomb"));
    }
    machine.ok(&["systemctl", "kill", "--signal=KILL", "bomb"]);
    machine.ok(&["systemctl", "stop", "bomb", "steady"]);
    let most = threads.iter().copied().fold(0.0, f64::max);
    eprintln!("scrapes took at most {slowest:?}; {most} threads of the bomb at most");
    assert!(most > 50.0 && most <= 300.0, "{threads:?}");
    assert!(slowest < Duration::from_secs(10));
    assert!(!exporter.log().contains("hidepid"), "{}", exporter.log());
}

#[test]
fn short_lived_processes_cause_no_error_or_misattribution() {
    let machine = machine();
    machine.units(&[
        ("steady.service", "[Service]\nExecStart=/bin/sh -c 'for n in 1 2 3 4 5 6 7; do sleep 100000 & done; wait'\n"),
        // forks so often that pids wrap around and are reused
        ("storm.service", "[Service]\nTasksMax=200\nExecStart=/bin/bash -c 'while :; do for n in {1..50}; do /bin/true & done; wait; done'\n"),
    ]);
    machine.ok(&["systemctl", "start", "steady", "storm"]);
    let exporter = machine.exporter(&[]);
    eventually("all processes are running", || {
        let threads =
            exporter.samples().value("systemd_unit_threads", &[("name", "steady.service")]);
        (threads == Some(8.0)).then_some(())
    });
    let mut last = 0;
    let mut wraps = 0;
    for _scrape in 0..40 {
        let samples = exporter.samples();
        let threads = samples.value("systemd_unit_threads", &[("name", "steady.service")]);
        assert_eq!(threads, Some(8.0));
        let storm = samples.value("systemd_unit_threads", &[("name", "storm.service")]);
        assert!(storm <= Some(201.0), "{storm:?}");
        let failed = [("collector", "process")];
        let failed = samples.value("unit_exporter_failed_reads_total", &failed);
        assert_eq!(failed, Some(0.0), "{}", exporter.log());
        assert_active(&samples, "storm.service");
        let pid = machine.ok(&["sh", "-c", "echo $$"]).trim().parse::<u32>().expect("a pid");
        wraps += u32::from(pid < last);
        last = pid;
        thread::sleep(Duration::from_millis(100));
    }
    eprintln!("pids wrapped around {wraps} times");
    machine.ok(&["systemctl", "stop", "steady", "storm"]);
}

#[test]
fn reused_pid_counts_only_for_its_current_unit() {
    let machine = Machine::options().boot();
    let forking = "import os, subprocess, time\nfor _ in range(1000):\n    if os.fork() == 0:\n        time.sleep(100000)\n\
                   subprocess.run(['systemd-notify', '--ready'])\ntime.sleep(100000)\n";
    run_script(&machine, "first", forking, &["TasksMax=infinity", "Delegate=yes"], &[]);
    machine.unit("second.service", SLEEP);
    machine.ok(&["systemctl", "start", "second"]);
    let exporter = machine.exporter(&[]);
    machine.write("/opt/pid_reuse.py", include_str!("pid_reuse.py"));
    let group = |unit: &str| format!("/sys/fs/cgroup/system.slice/{unit}.service");
    let reuse = machine
        .command("/usr/bin/python3")
        .args(["/opt/pid_reuse.py", &group("first"), &group("second"), "30000", "9"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    let start = Instant::now();
    let (mut scrapes, mut running) = (0, [0_u32; 2]);
    while start.elapsed() < Duration::from_secs(8) {
        let samples = exporter.samples();
        let stopped = |name: &str| {
            let labels = [("name", name), ("state", "stopped")];
            samples.value("systemd_unit_processes", &labels).unwrap_or(0.0)
        };
        assert_eq!(stopped("first.service"), 0.0, "a process of second.service is counted");
        let threads = samples.value("systemd_unit_threads", &[("name", "first.service")]);
        assert!((Some(1001.0)..=Some(1002.0)).contains(&threads), "{threads:?}");
        let failed = [("collector", "process")];
        let failed = samples.value("unit_exporter_failed_reads_total", &failed);
        assert_eq!(failed, Some(0.0), "{}", exporter.log());
        running[0] += u32::from(threads == Some(1002.0));
        running[1] += u32::from(stopped("second.service") == 1.0);
        scrapes += 1;
    }
    let output = reuse.wait_with_output().expect("an end");
    let count = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    eprintln!(
        "{count} processes with one pid, {scrapes} scrapes; counted in each unit {running:?} times"
    );
    assert!(output.status.success() && running[1] > 0);
}

/// Creates control groups; arguments: number of siblings, depth of a tree.
pub(crate) const GROUPS: &str = include_str!("many_cgroups.py");

/// Forks without end; its processes end after a moment, but for the first.
const BOMB: &str = r"
import os, random, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
end = None
while True:
    try:
        if os.fork() == 0:
            end = time.monotonic() + random.random() / 5
    except OSError:
        time.sleep(0.005)
    if end and time.monotonic() > end:
        os._exit(0)
";
