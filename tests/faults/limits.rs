//! Too few descriptors, threads, memory: it gets by, says so, and recovers.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use crate::scrapes::{Scrape, Scrapes, TIMEOUT};
use crate::support::{Exporter, cpu, eventually, in_time, machine};

#[test]
fn out_of_descriptors_it_waits_and_recovers() {
    let machine = machine();
    let exporter = &machine.exporter_unit(&["LimitNOFILE=32"], &[]).ready();
    let works = in_time(|| Scrape::of(exporter).failed.is_empty().then_some(()));
    assert!(works.is_some(), "{:?}\n{}", Scrape::of(exporter), exporter.log());
    let clients: Vec<_> =
        (0..60).map(|_| machine.tcp(exporter.port()).expect("the kernel connects")).collect();
    thread::sleep(Duration::from_secs(1));
    let pid = exporter.pid();
    let before = cpu(pid);
    thread::sleep(Duration::from_secs(3));
    let used = cpu(pid) - before;
    eprintln!("60 idle clients at 32 descriptors: {used:?} of CPU in 3 s");
    // the journal is followed and PID 1 heard as before; spinning would take all of it
    assert!(used < Duration::from_millis(1000), "{used:?}");
    drop(clients);
    eventually("it answers", || machine.get(exporter.port(), "/-/healthy", &[]).ok());
    let works = in_time(|| Scrape::of(exporter).failed.is_empty().then_some(()));
    assert!(works.is_some(), "{:?}\n{}", Scrape::of(exporter), exporter.log());
    assert_eq!(exporter.pid(), pid);
    assert!(exporter.log().contains("accepting connections failed"), "{}", exporter.log());
}

#[test]
fn with_few_descriptors_files_stay_open_and_directories_do_not() {
    let machine = machine();
    let open = |limit: &str| {
        let exporter = &machine.exporter_unit(&[limit], &[]).ready();
        for _ in 0..4 {
            assert!(Scrape::of(exporter).failed.is_empty(), "{}", exporter.log());
        }
        let open = fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap();
        let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        Open(open.collect())
    };
    let all = open("LimitNOFILE=8192");
    assert_eq!(all.of("stat"), all.of("fd"), "{all:?}");
    // room for every file and a few that come meanwhile, for directories not: half of what is beyond
    // the reserve is left to connections
    let few = 64 + 2 * (all.kept_files() + 3);
    let short = open(&format!("LimitNOFILE={few}"));
    let counts = |open: &Open| (open.0.len(), open.kept_files(), open.of("stat"), open.of("fd"));
    eprintln!("open, files, of processes, their directories: {:?}", counts(&all));
    eprintln!("the same of at most {few}: {:?}", counts(&short));
    assert!(short.0.len() < few, "{short:?}");
    assert_eq!(short.of("fd"), 0, "{short:?}");
    assert!(short.of("stat") > 0, "{short:?}");
    assert!(short.of("cgroup.procs") > 0, "{short:?}");
    assert!(short.of("cpu.stat") > 0, "{short:?}");
}

/// What a process has open.
#[derive(Debug)]
struct Open(Vec<PathBuf>);

impl Open {
    fn of(&self, name: &str) -> usize {
        self.0.iter().filter(|path| path.ends_with(name)).count()
    }

    /// Files of units and of their processes: what is open beneath one of the two roots and neither
    /// one of them nor a directory, of which its file says that it is one.
    fn kept_files(&self) -> usize {
        let kept = self.0.iter().filter(|path| {
            let below = |root| path.starts_with(root) && *path != Path::new(root);
            (below("/proc") || below("/sys/fs/cgroup")) && !path.ends_with("fd")
        });
        kept.filter(|path| !self.0.contains(&path.join("cgroup.procs"))).count()
    }
}

#[test]
fn when_no_thread_can_be_started_scrapes_go_on() {
    let machine = machine();
    machine.exec(&["useradd", "--system", "alone"]);
    let limited = ["User=alone", "SupplementaryGroups=systemd-journal"];
    // the journal, followed every second, keeps a thread at work; without it all may have ended
    for (flags, how) in [(&[][..], "with the journal"), (&["--no-collector.journal"], "without")] {
        let exporter = &machine.exporter_unit(&limited, flags).ready();
        assert!(Scrape::of(exporter).failed.is_empty(), "{}", exporter.log());
        // longer than threads without work are kept by default
        thread::sleep(Duration::from_secs(12));
        let pid = machine.ok(&["systemctl", "show", "-P", "MainPID", exporter.unit()]);
        // fewer than it has: no other is started from now on
        let user = ["setpriv", "--reuid=alone", "--regid=alone", "--clear-groups"];
        machine.ok(&[&user[..], &["prlimit", "--nproc=1", "--pid", pid.trim()]].concat());
        let (scrapes, ()) = Scrapes::during(exporter, Duration::from_millis(100), || {
            thread::sleep(Duration::from_secs(3));
        });
        let threads = exporter.samples().value("process_threads", &[]).unwrap();
        let (count, longest) = (scrapes.0.len(), scrapes.longest());
        eprintln!("{how}: {count} scrapes at {threads} threads, at most {longest:?}");
        assert!(longest < TIMEOUT, "{longest:?}");
        assert!(scrapes.failed_but(&[]).is_empty(), "{:#?}\n{}", scrapes.0, exporter.log());
    }
}

#[test]
fn sixty_four_tasks_are_more_than_enough() {
    let machine = machine();
    let exporter = &machine.exporter(&[]);
    let most = thread::scope(|scope| {
        let scrapers: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| (0..5).map(|_| threads(exporter)).fold(0.0, f64::max)))
            .collect();
        scrapers.into_iter().map(|scraper| scraper.join().unwrap()).fold(0.0, f64::max)
    });
    eprintln!("at most {most} threads with 40 scrapers");
    assert!(most <= 24.0, "{most}");
}

#[test]
fn out_of_memory_it_dies_and_is_back_at_once() {
    let machine = machine();
    machine.write("etc/systemd/system/more@.target", "[Unit]\nDescription=One more\n");
    machine.ok(&["systemctl", "daemon-reload"]);
    let exporter = &machine.exporter_unit(&["Restart=always", "RestartSec=0"], &[]).ready();
    let before = exporter.pid();
    let pid = machine.ok(&["systemctl", "show", "-P", "MainPID", exporter.unit()]);
    // less than it has: no page that is larger than those before
    machine.ok(&["prlimit", "--data=1048576", "--pid", pid.trim()]);
    let more: Vec<_> = (0..500).map(|number| format!("more@{number}.target")).collect();
    let start = ["systemctl", "start"].into_iter().chain(more.iter().map(String::as_str));
    machine.ok(&start.collect::<Vec<_>>());
    let restarts = || machine.ok(&["systemctl", "show", "-P", "NRestarts", exporter.unit()]);
    eventually("it dies", || {
        let _ = machine.get(exporter.port(), "/metrics", &[]);
        (restarts().trim() == "1").then_some(())
    });
    assert!(exporter.log().contains("memory allocation of "), "{}", exporter.log());
    eventually("the one started anew knows all", || {
        let page = machine.get(exporter.port(), "/metrics", &[]).ok()?;
        String::from_utf8_lossy(&page.body).contains("more@499.target").then_some(())
    });
    assert_ne!(exporter.pid(), before);
    machine.ok(&["systemctl", "stop", "more@*.target"]);
    assert_eq!(restarts().trim(), "1");
}

#[test]
fn sighup_reloads_and_never_ends_it() {
    let machine = machine();
    let exporter = &machine.exporter(&[]);
    let pid = exporter.pid();
    for _ in 0..50 {
        machine.ok(&["systemctl", "kill", "--signal=HUP", exporter.unit()]);
        Scrape::of(exporter);
    }
    assert_eq!(exporter.pid(), pid);
    assert!(exporter.log().contains("SIGHUP: reloaded"), "{}", exporter.log());
}

fn threads(exporter: &Exporter<'_>) -> f64 {
    exporter.samples().value("process_threads", &[]).unwrap()
}
