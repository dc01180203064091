//! Too few file descriptors, threads, or too little memory: the exporter keeps serving or restarts, logs it, and
//! recovers.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use crate::scrapes::{Scrape, Scrapes, TIMEOUT};
use crate::support::{Exporter, cpu, eventually, in_time, machine};

#[test]
fn waits_without_spinning_when_out_of_descriptors() {
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
    // Reading the journal and D-Bus signals continues; a busy loop would use all 3 s.
    assert!(used < Duration::from_millis(1000), "{used:?}");
    drop(clients);
    eventually("a response", || machine.get(exporter.port(), "/-/healthy", &[]).ok());
    let works = in_time(|| Scrape::of(exporter).failed.is_empty().then_some(()));
    assert!(works.is_some(), "{:?}\n{}", Scrape::of(exporter), exporter.log());
    assert_eq!(exporter.pid(), pid);
    assert!(exporter.log().contains("failed to accept connections"), "{}", exporter.log());
}

#[test]
fn low_descriptor_limit_keeps_files_but_not_directories_open() {
    let machine = machine();
    let open = |limit: &str| {
        let exporter = &machine.exporter_unit(&[limit], &[]).ready();
        for _ in 0..4 {
            assert!(Scrape::of(exporter).failed.is_empty(), "{}", exporter.log());
        }
        let open = fs::read_dir(format!("/proc/{}/fd", exporter.pid())).unwrap();
        let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        OpenFiles(open.collect())
    };
    let all = open("LimitNOFILE=8192");
    assert_eq!(all.of("stat"), all.of("fd"), "{all:?}");
    // Room for every file and three that appear meanwhile, but not for directories: half of the descriptors
    // beyond the reserve are left to connections.
    let limit = 64 + 2 * (all.cached_files() + 3);
    let few = open(&format!("LimitNOFILE={limit}"));
    let counts =
        |open: &OpenFiles| (open.0.len(), open.cached_files(), open.of("stat"), open.of("fd"));
    eprintln!("open, cached files, process stat files, process fd directories: {:?}", counts(&all));
    eprintln!("the same with LimitNOFILE={limit}: {:?}", counts(&few));
    assert!(few.0.len() < limit, "{few:?}");
    assert_eq!(few.of("fd"), 0, "{few:?}");
    assert!(few.of("stat") > 0, "{few:?}");
    assert!(few.of("cgroup.procs") > 0, "{few:?}");
    assert!(few.of("cpu.stat") > 0, "{few:?}");
}

/// Paths behind the open descriptors of a process.
#[derive(Debug)]
struct OpenFiles(Vec<PathBuf>);

impl OpenFiles {
    fn of(&self, name: &str) -> usize {
        self.0.iter().filter(|path| path.ends_with(name)).count()
    }

    /// Files of units and of their processes: paths below one of the two roots, without directories. A cgroup's
    /// directory is recognized by its open `cgroup.procs`.
    fn cached_files(&self) -> usize {
        let cached = self.0.iter().filter(|path| {
            let below = |root| path.starts_with(root) && *path != Path::new(root);
            (below("/proc") || below("/sys/fs/cgroup")) && !path.ends_with("fd")
        });
        cached.filter(|path| !self.0.contains(&path.join("cgroup.procs"))).count()
    }
}

#[test]
fn scrapes_continue_when_no_thread_can_be_started() {
    let machine = machine();
    machine.exec(&["useradd", "--system", "alone"]);
    let limited = ["User=alone", "SupplementaryGroups=systemd-journal"];
    // reading the journal every second keeps a blocking thread alive; without it all may have exited
    for (flags, how) in [(&[][..], "with the journal"), (&["--no-collector.journal"], "without")] {
        let exporter = &machine.exporter_unit(&limited, flags).ready();
        assert!(Scrape::of(exporter).failed.is_empty(), "{}", exporter.log());
        // longer than idle threads live by default
        thread::sleep(Duration::from_secs(12));
        let pid = machine.ok(&["systemctl", "show", "-P", "MainPID", exporter.unit()]);
        // below the current number: no more threads can be started
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
fn uses_at_most_24_threads_with_40_scrapers() {
    let machine = machine();
    // a request ends after its response has been read: with 40 scrapers, more than 40 can be open
    let exporter = &machine.exporter(&["--web.max-requests=80"]);
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
fn aborts_and_is_restarted_when_out_of_memory() {
    let machine = machine();
    machine.write("etc/systemd/system/more@.target", "[Unit]\nDescription=One more\n");
    machine.ok(&["systemctl", "daemon-reload"]);
    let exporter = &machine.exporter_unit(&["Restart=always", "RestartSec=0"], &[]).ready();
    let before = exporter.pid();
    let pid = machine.ok(&["systemctl", "show", "-P", "MainPID", exporter.unit()]);
    // below the current size: a larger scrape response cannot be allocated
    machine.ok(&["prlimit", "--data=1048576", "--pid", pid.trim()]);
    let more: Vec<_> = (0..500).map(|number| format!("more@{number}.target")).collect();
    let start = ["systemctl", "start"].into_iter().chain(more.iter().map(String::as_str));
    machine.ok(&start.collect::<Vec<_>>());
    let restarts = || machine.ok(&["systemctl", "show", "-P", "NRestarts", exporter.unit()]);
    eventually("the exporter is restarted", || {
        let _ = machine.get(exporter.port(), "/metrics", &[]);
        (restarts().trim() == "1").then_some(())
    });
    assert!(exporter.log().contains("memory allocation of "), "{}", exporter.log());
    eventually("the new process exports all units", || {
        let page = machine.get(exporter.port(), "/metrics", &[]).ok()?;
        String::from_utf8_lossy(&page.body).contains("more@499.target").then_some(())
    });
    assert_ne!(exporter.pid(), before);
    machine.ok(&["systemctl", "stop", "more@*.target"]);
    assert_eq!(restarts().trim(), "1");
}

#[test]
fn sighup_reloads_and_never_terminates() {
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
