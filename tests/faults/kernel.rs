//! Kernel files vanish or hang while they are read.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::scrapes::{Scrape, Scrapes, TIMEOUT};
use crate::support::{eventually, machine};

#[test]
fn cgroups_removed_during_read_cause_no_error() {
    let machine = machine();
    machine.write("/opt/churn.py", CHURN);
    machine.units(&[
        ("churn.service", "[Service]\nDelegate=yes\nExecStart=/usr/bin/python3 /opt/churn.py\n"),
        (
            "fleeting.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=0\nExecStart=/bin/true\n",
        ),
    ]);
    let exporter = &machine.exporter(&[]);
    machine.ok(&["systemctl", "start", "churn.service", "fleeting.service"]);
    let failed_reads = || -> f64 {
        let page = exporter.samples();
        page.all("unit_exporter_failed_reads_total", &[]).map(|sample| sample.value).sum()
    };
    let mut failed = 0.0;
    let (scrapes, ()) = Scrapes::during(exporter, Duration::ZERO, || {
        for _ in 0..200 {
            failed += failed_reads();
        }
    });
    machine.exec(&["systemctl", "stop", "churn.service", "fleeting.service"]);
    eprintln!("{} scrapes, at most {:?}", scrapes.0.len(), scrapes.longest());
    assert!(scrapes.failed_but(&[]).is_empty(), "{}", exporter.log());
    assert_eq!(failed, 0.0, "{}", exporter.log());
    let log = exporter.log();
    assert!(!log.contains("level=WARN") && !log.contains("level=ERROR"), "{log}");
}

#[test]
fn hanging_file_blocks_only_its_collectors_and_their_threads() {
    let machine = machine();
    // a /proc where reads of two files never return, as on a hung lxcfs or other FUSE file system
    let proc = "mkdir -p /run/stuck/1 /run/stuck/sys/kernel/random && cp /proc/sys/kernel/random/boot_id \
                /run/stuck/sys/kernel/random && mkfifo /run/stuck/stat /run/stuck/1/stat";
    machine.ok(&["sh", "-c", proc]);
    let exporter = &machine.exporter_unit(&[], &["--path.procfs=/run/stuck"]).ready();
    let (scrapes, ()) = Scrapes::during(exporter, Duration::ZERO, || {
        // more scrapes than there are blocking threads
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..6).for_each(|_| drop(Scrape::of(exporter))));
            }
        });
    });
    let page = exporter.samples();
    let threads = page.value("process_threads", &[]).unwrap();
    let (count, longest) = (scrapes.0.len(), scrapes.longest());
    eprintln!("{count} scrapes while a file hangs, at most {longest:?}, {threads} threads");
    assert!(longest < TIMEOUT, "{longest:?}");
    // the collector of PID 1's usage, and those that need the list of processes
    let wrong = scrapes.failed_but(&["manager", "process", "listeners"]);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", exporter.log());
    let hung = |scrape: &Scrape| scrape.failed.contains("manager");
    assert!(scrapes.0.iter().all(hung), "the file did not hang: {:#?}", scrapes.0);
    assert!(threads < 20.0, "{threads}");
    let log = exporter.log();
    let logged = log.lines().filter(|line| line.contains("collector=manager")).count();
    assert_eq!(logged, 1, "{log}");

    // the reads return: the collectors recover
    let mut writers = Vec::new();
    for file in ["/run/stuck/1/stat", "/run/stuck/stat"] {
        let real = file.replace("/run/stuck", "/proc");
        let answer = format!("while :; do cat {real} > {file}; done");
        let mut writer = machine.command("timeout");
        let writer = writer.args(["60", "sh", "-c", &answer]).stderr(Stdio::null());
        writers.push(writer.spawn().unwrap());
    }
    eventually("PID 1's threads are exported", || {
        exporter.samples().value("systemd_pid1_resident_memory_bytes", &[]).map(|_| ())
    });
    for mut writer in writers {
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
}

/// Creates, populates and removes cgroups below its own.
const CHURN: &str = "import os
own = '/sys/fs/cgroup' + open('/proc/self/cgroup').read().strip().split('::')[1]
n = 0
while True:
    n = (n + 1) % 50
    os.mkdir(f'{own}/{n}')
    child = os.fork()
    if child == 0:
        try:
            open(f'{own}/{n}/cgroup.procs', 'w').write('0')
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.rmdir(f'{own}/{n}')
";
