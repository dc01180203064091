//! Processes: the fixture host, and real processes with hostile names.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
#[expect(clippy::disallowed_types, reason = "hostile processes are real ones")]
use std::process::Command;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use rustix::fs::{AtFlags, statat};

use super::parse::Stat;
use super::*;
use crate::source::Limit;

#[test]
fn fixture_host_has_its_processes() {
    let readings = fixture(&[
        ("/system.slice/nginx.service", Some(101)),
        ("/system.slice/docker.service", Some(201)),
        (r"/system.slice/dev-disk-by\x2duuid-1.swap", None),
        ("/system.slice/backup.service", None),
    ]);
    assert_eq!(
        (readings.failures.count, readings.truncated),
        (0, 0),
        "{:?}",
        readings.failures.first
    );
    let [nginx, docker, backup] = &readings.units[..] else {
        panic!("a unit without processes has no entry: {:?}", readings.units)
    };
    assert_eq!(
        nginx.1.states,
        ProcessStates { running: 1, sleeping: 1, ..ProcessStates::default() }
    );
    assert_eq!((nginx.1.threads, nginx.1.open_fds), (Some(10), Some(13)));
    assert_eq!(nginx.1.resident_bytes, Some(4000 * rustix::param::page_size() as u64));
    assert_eq!(nginx.1.max_fds_ratio, Some(0.5));
    assert_eq!(nginx.1.oldest_start_time, Some(Duration::from_secs(1_700_000_003)));
    assert_eq!(
        nginx.1.main,
        Some(MainProcess {
            cpu: Duration::from_secs(20),
            resident_bytes: 1500 * rustix::param::page_size() as u64,
            virtual_bytes: 60_000_000,
            virtual_max_bytes: Some(Limit::At(1_073_741_824)),
            open_fds: Some(5),
            max_fds: Some(Limit::At(1024)),
            threads: 1,
            start_time: Some(Duration::from_secs(1_700_000_003)),
        })
    );
    assert_eq!(docker.1.truncated, 1, "one process is in a namespace that is not ours");
    assert_eq!(docker.1.threads, Some(18), "the delegated tree belongs to its unit");
    assert_eq!(
        docker.1.states,
        ProcessStates { sleeping: 1, disk_sleep: 1, ..ProcessStates::default() }
    );
    assert_eq!(docker.1.max_fds_ratio, Some(4.0 / 1024.0), "one of the two has no limit");
    assert_eq!(
        backup.1.states,
        ProcessStates { sleeping: 1, zombie: 1, ..ProcessStates::default() }
    );
    assert_eq!(backup.1.open_fds, None, "one of the two could not be counted");
    assert_eq!(backup.1.main, None);
}

#[test]
fn any_process_name_is_parsed() {
    // printf escapes, as the shell below understands them.
    for name in [
        "a) R 1 (b",
        r"two\nlines",
        r"\377\376\200",
        ") Z 0 0 0 0 0 0",
        "(((((((((",
        ")))))))))",
        r"a\tb \r\n) D 1",
    ] {
        let mut child = named(name);
        let tree = Tree::new();
        tree.unit("plain.service", &[std::process::id()]);
        tree.unit("hostile.service", &[child.id()]);
        let readings =
            tree.read(&[("/plain.service", None), ("/hostile.service", Some(child.id()))]);
        let readings = readings.unwrap();
        assert_eq!(readings.failures.count, 0, "{name}: {:?}", readings.failures.first);
        assert_eq!(readings.units.len(), 2, "{name}");
        let hostile = &readings.units[1].1;
        assert_eq!(hostile.threads, Some(1), "{name}");
        let running = hostile.states.running + hostile.states.sleeping;
        assert_eq!(running, 1, "{name}: {:?}", hostile.states);
        let main = hostile.main.as_ref().unwrap();
        let age = since_epoch().abs_diff(main.start_time.unwrap());
        assert!(age < Duration::from_secs(60), "{name}: {age:?}");
        assert!(main.resident_bytes > 0 && main.virtual_bytes >= main.resident_bytes, "{name}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn own_process_has_all_values() {
    let open: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let tree = Tree::new();
    tree.unit("own.service", &[std::process::id()]);
    let readings = tree.read(&[("/own.service", Some(std::process::id()))]).unwrap();
    let main = readings.units[0].1.main.clone().unwrap();
    assert!(main.open_fds.unwrap() >= 53, "{:?}", main.open_fds);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    assert_eq!(main.max_fds, Some(limit.map_or(Limit::Unlimited, Limit::At)));
    let space = rustix::process::getrlimit(rustix::process::Resource::As).current;
    assert_eq!(main.virtual_max_bytes, Some(space.map_or(Limit::Unlimited, Limit::At)));
    assert!(main.threads >= 1);
    drop(open);
}

#[test]
fn both_ways_of_counting_descriptors_agree() {
    let mut child = named("counted");
    let proc = open_root(Path::new("/proc")).unwrap();
    let directory = format!("{}/fd", child.id());
    let stat = statat(&proc, &directory, AtFlags::empty()).unwrap();
    let (size, entries) = (size(stat), entries(&proc, &directory));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(entries.is_some_and(|count| count >= 3), "{entries:?}");
    if Counting::detect(&proc) == Counting::Size {
        assert_eq!(size, entries);
    } else {
        assert_eq!(size, Some(0), "before Linux 6.2 the directory has no size");
    }
}

#[test]
fn ignores_later_process_with_the_listed_pid() {
    let mut child = named("reused");
    let tree = Tree::new();
    let mut processes = tree.open();
    let mut failures = Failures::default();
    let mut read = |listed_at: u64| {
        processes.process(child.id(), listed_at, &HashMap::new(), &mut failures).unwrap()
    };
    assert!(read(0).is_none(), "it started after the listing");
    assert!(read(u64::MAX).is_some());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn fails_when_proc_hides_a_listed_process() {
    let mut child = named("ended");
    child.kill().unwrap();
    child.wait().unwrap();
    let tree = Tree::new();
    // This listing goes on naming it, as the kernel's would if /proc hid it.
    tree.unit("hidden.service", &[child.id()]);
    let readings = tree.read(&[("/hidden.service", None)]).unwrap();
    assert!(readings.units.is_empty(), "PID 1 is visible, so nothing is hidden: it has exited");
    let empty = tempfile::tempdir().unwrap();
    let mut processes = Processes::open(empty.path(), tree.0.path(), 64).unwrap();
    let groups = groups(&[("/hidden.service", None)]);
    let error = processes.read(&groups, Instant::now() + MINUTE).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("CAP_SYS_PTRACE"), "{error}");
}

#[test]
fn descriptors_are_absent_once_the_first_thread_has_ended() {
    // the first thread ends, a second one keeps the descriptors
    let script = "import ctypes, os, threading, time\n\
        threading.Thread(target=time.sleep, args=(60,)).start()\n\
        print('ready', flush=True)\n\
        ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)";
    #[expect(clippy::disallowed_types, reason = "hostile processes are real ones")]
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let tree = Tree::new();
    tree.unit("leaderless.service", &[child.id()]);
    let stop = Instant::now() + MINUTE;
    let unit = loop {
        let mut readings = tree.read(&[("/leaderless.service", None)]).unwrap();
        let unit = readings.units.pop().unwrap().1;
        if unit.states.zombie == 1 {
            break unit;
        }
        assert!(Instant::now() < stop, "{unit:?}");
    };
    assert_eq!((unit.threads, unit.open_fds), (Some(2), None));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn counts_processes_of_other_pid_namespaces_as_truncated() {
    let tree = Tree::new();
    tree.unit("container.service", &[0, std::process::id(), 0]);
    let readings = tree.read(&[("/container.service", None)]).unwrap();
    assert_eq!(readings.units[0].1.truncated, 2);
    assert_eq!(readings.units[0].1.states.running + readings.units[0].1.states.sleeping, 1);
}

#[test]
fn truncates_a_tree_past_its_depth_or_width_limit() {
    let tree = Tree::new();
    let deep = format!("deep.service{}", "/d".repeat(100));
    tree.unit(&deep, &[1]);
    for width in 0..1100 {
        tree.unit(&format!("wide.service/{width}"), &[]);
    }
    tree.unit("own.service", &[std::process::id()]);
    let units = [("/deep.service", None), ("/wide.service", None), ("/own.service", None)];
    let readings = tree.read(&units).unwrap();
    let [deep, wide, own] = &readings.units[..] else { panic!("{:?}", readings.units) };
    assert_eq!(deep.1.truncated, 1);
    assert_eq!(wide.1.truncated, 101);
    assert_eq!(own.1.truncated, 0);
    assert!(own.1.threads.is_some());
    assert_eq!((wide.1.threads, wide.1.open_fds), (None, None), "nothing was read of it");
}

#[test]
fn counts_truncated_units_after_the_deadline() {
    let tree = Tree::new();
    tree.unit("own.service", &[std::process::id()]);
    let units = [group("/own.service", None)];
    let readings = tree.open().read(&units, Instant::now()).unwrap();
    assert_eq!((readings.units.len(), readings.truncated), (0, 1));
}

#[test]
fn start_times_do_not_jitter() {
    let tree = Tree::new();
    tree.unit("own.service", &[std::process::id()]);
    let units = [group("/own.service", Some(std::process::id()))];
    let mut processes = tree.open();
    let mut start = |_| {
        let readings = processes.read(&units, Instant::now() + MINUTE).unwrap();
        readings.units[0].1.main.clone().unwrap().start_time
    };
    let first = start(0);
    assert!(first.is_some());
    assert!((1..200).all(|round| start(round) == first));
}

proptest! {
    #[test]
    fn process_name_does_not_change_other_fields(name in proptest::collection::vec(any::<u8>(), 0..64)) {
        let rest = ") S 1 7 7 0 -1 4194560 9 0 0 0 21 34 0 0 20 0 3 0 4242 8192 5 18446744073709551615 1\n";
        let content = [b"7 (".as_slice(), &name, rest.as_bytes()].concat();
        let expected = Stat {
            state: b'S',
            user_ticks: 21,
            system_ticks: 34,
            threads: 3,
            start_ticks: 4242,
            virtual_bytes: 8192,
            resident_pages: 5,
        };
        prop_assert_eq!(parse::stat(&content), Some(expected));
    }

    #[test]
    fn parsers_do_not_panic_on_any_content(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse::stat(&content);
        let _ = parse::limits(&content);
        let _ = parse::boot_time(&content);
        let _ = parse::pids(&content).count();
    }
}

#[test]
fn open_files_of_exited_process_are_not_reused() {
    let (mut first, mut second) = (named("first"), named("second"));
    let tree = Tree::new();
    let mut processes = tree.open();
    let main = first.id();
    let mut read = |pids: &[u32]| {
        tree.unit("some.service", pids);
        let units = groups(&[("/some.service", Some(main))]);
        let readings = processes.read(&units, Instant::now() + MINUTE).unwrap();
        assert_eq!(readings.failures.count, 0, "{:?}", readings.failures.first);
        readings.units[0].1.clone()
    };
    for _ in 0..3 {
        let both = read(&[first.id(), second.id()]);
        assert_eq!((both.threads, both.main.is_some()), (Some(2), true));
    }
    first.kill().and_then(|()| first.wait()).unwrap();
    for _ in 0..2 {
        let one = read(&[second.id()]);
        assert_eq!((one.threads, one.main.is_some()), (Some(1), false));
    }
    second.kill().and_then(|()| second.wait()).unwrap();
}

/// A tree of cgroups made of plain files, with real processes.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("cgroup.controllers"), "").unwrap();
        Self(directory)
    }

    fn unit(&self, path: &str, pids: &[u32]) {
        let directory = self.0.path().join(path);
        fs::create_dir_all(&directory).unwrap();
        let lines: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        fs::write(directory.join("cgroup.procs"), lines).unwrap();
    }

    fn open(&self) -> Processes {
        Processes::open(Path::new("/proc"), self.0.path(), 64).unwrap()
    }

    fn read(&self, units: &[(&str, Option<u32>)]) -> Result<UnitReadings<UnitProcesses>, Error> {
        self.open().read(&groups(units), Instant::now() + MINUTE)
    }
}

fn fixture(units: &[(&str, Option<u32>)]) -> UnitReadings<UnitProcesses> {
    let host = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/host"));
    let mut processes = Processes::open(&host.join("proc"), &host.join("cgroup"), 0).unwrap();
    processes.read(&groups(units), Instant::now() + MINUTE).unwrap()
}

fn groups(units: &[(&str, Option<u32>)]) -> Vec<UnitGroup> {
    units.iter().map(|&(path, main)| group(path, main)).collect()
}

fn group(path: &str, main_pid: Option<u32>) -> UnitGroup {
    UnitGroup::new(path.into(), path.into(), main_pid)
}

/// A process that has given itself a name and now waits to be killed.
#[expect(clippy::disallowed_types, reason = "hostile processes are real ones")]
fn named(escaped: &str) -> Child {
    let script = r#"printf "$1" > /proc/self/comm; echo ready; read -r _"#;
    let mut child = Command::new("sh")
        .args(["-c", script, "sh", escaped])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);
