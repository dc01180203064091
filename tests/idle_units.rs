//! Values that are kept from the previous pass while no process of a unit runs, on real control groups:
//! equal to those of a full read, and of each value that can change meanwhile, how late it is.
#![allow(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "starts processes to read; a failure ends the test"
)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use unit_exporter::source::cgroup::{Cgroup, Cgroups};
use unit_exporter::source::cgroup_tree::UnitGroup;
use unit_exporter::source::process::{Processes, UnitProcesses};
use unit_exporter::systemd::unit::Unit;
use unit_exporter::systemd::unit::name::UnitKind;

#[test]
fn values_of_busy_host_equal_those_of_full_reads() {
    let mut host = Host::new("busy");
    for index in 0..40 {
        host.start(
            &format!("worker-{index}.service"),
            &["python3", "-c", WORKER, &index.to_string()],
        );
    }
    thread::sleep(Duration::from_secs(1));
    let (mut first, mut last) = (Reader::open(), Reader::open());
    let mut pruned = Reader::open();
    let mut late: HashMap<(String, bool), u32> = HashMap::new();
    let units = host.units(true);
    let (mut equal, mut compared) = (0, 0);
    for _pass in 0..PASSES {
        // some of these are young: a tick of the kernel's clock may not have counted their CPU time
        thread::sleep(Duration::from_millis(15));
        let before = first.read(&host.units(false));
        let values = pruned.read(&units);
        let after = last.read(&host.units(false));
        for (unit, (cgroup, processes)) in &values {
            let surrounding = [&before[unit], &after[unit]];
            if surrounding[0] != surrounding[1] {
                continue;
            }
            compared += 1;
            let is_memory_equal = surrounding[0].0.memory == cgroup.memory;
            // memory is reclaimed without a process of the unit
            let memory = surrounding[0].0.memory.clone();
            let is_rest_equal =
                *surrounding[0] == (Cgroup { memory, ..cgroup.clone() }, processes.clone());
            equal += u32::from(is_memory_equal && is_rest_equal);
            for (is_memory, is_equal, limit) in
                [(true, is_memory_equal, 9), (false, is_rest_equal, 2)]
            {
                let late = late.entry((unit.clone(), is_memory)).or_default();
                *late = if is_equal { 0 } else { *late + 1 };
                assert!(*late < limit, "{unit}: {:#?} is not {:#?}", values[unit], surrounding[0]);
            }
        }
    }
    eprintln!("{compared} of {} readings compared, {equal} equal", PASSES * 40);
    assert!(compared > PASSES * 10, "hardly a unit was idle: {compared}");
    assert!(f64::from(equal) > 0.99 * f64::from(compared), "{equal} of {compared}");
}

#[test]
fn process_that_is_moved_into_idle_unit_is_found() {
    let mut host = Host::new("moved");
    host.start("sleeper.service", &["sleep", "1000"]);
    let (mut reader, units) = (Reader::open(), host.units(true));
    reader.settle(&units);
    let stranger = Stranger::start();
    stranger.move_to(&host.directories("sleeper.service"));
    let count = |values: Values| values["sleeper.service"].1.as_ref().unwrap().states.sleeping;
    let found: Vec<u64> = (0..8).map(|_| count(reader.read(&units))).collect();
    assert_eq!(found[7], 2, "{found:?}");
    // with the pids controller at once, as the number of tasks differs
    let has_tasks = reader.read(&units)["sleeper.service"].0.pids.current.is_some();
    assert!(found[0] == 2 || !has_tasks, "{found:?}");
    drop(stranger);
    assert_eq!(count(reader.read(&units)), 1, "it ran to exit");
}

#[test]
fn limit_of_idle_unit_is_read_after_a_signal_or_eight_passes() {
    let mut host = Host::new("limit");
    host.start("sleeper.service", &["sleep", "1000"]);
    let (mut reader, units) = (Reader::open(), host.units(true));
    let file = host.file("sleeper.service", "pids.max");
    let limit = |values: Values| values["sleeper.service"].0.pids.max.unwrap().number();
    reader.settle(&units);
    fs::write(&file, "100").unwrap();
    let read: Vec<_> = (0..8).map(|_| limit(reader.read(&units))).collect();
    let (kept, new) = read.split_at(read.iter().position(|read| *read == Some(100)).unwrap());
    assert!(
        kept.iter().all(Option::is_none) && new.iter().all(|read| *read == Some(100)),
        "{read:?}"
    );
    assert!(!kept.is_empty(), "the values of an idle unit are read in each pass");

    reader.settle(&units);
    fs::write(&file, "200").unwrap();
    assert_eq!(
        limit(reader.read(&host.units(true))),
        Some(200),
        "systemd reported other properties"
    );
}

#[test]
fn starved_unit_has_its_cpu_pressure_although_it_does_not_run() {
    let mut host = Host::new("starved");
    for cpu in 0..thread::available_parallelism().unwrap().get() * 2 {
        host.start(&format!("hog-{cpu}.service"), &["sh", "-c", "while :; do :; done"]);
    }
    host.start("starved.service", &["chrt", "--idle", "0", "sh", "-c", "while :; do :; done"]);
    thread::sleep(Duration::from_millis(500));
    let units = host.units(true);
    let (mut reader, mut whole) = (Reader::open(), Reader::open());
    let waited = |values: &Values| values["starved.service"].0.pressure.cpu.unwrap().some;
    let mut before = waited(&reader.read(&units));
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        let read = waited(&reader.read(&units));
        assert!(read > before, "{read:?} after {before:?}");
        before = read;
    }
    assert!(waited(&whole.read(&host.units(false))) >= before);
}

/// Control groups of this test, each with one process; ended and removed on drop.
struct Host {
    slice: String,
    children: BTreeMap<String, Child>,
}

impl Host {
    fn new(name: &str) -> Self {
        let slice = format!("idle-{name}-{}.slice", std::process::id());
        for root in roots() {
            fs::create_dir(root.join(&slice)).expect("making control groups needs root");
        }
        Self { slice, children: BTreeMap::new() }
    }

    fn start(&mut self, unit: &str, command: &[&str]) {
        let mut process = Command::new(command[0]);
        let child = process.args(&command[1..]).stdin(Stdio::null()).spawn().expect(command[0]);
        for root in roots() {
            let directory = root.join(&self.slice).join(unit);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        self.children.insert(unit.to_owned(), child);
    }

    /// The unit's directory in each hierarchy.
    fn directories(&self, unit: &str) -> Vec<PathBuf> {
        roots().iter().map(|root| root.join(&self.slice).join(unit)).collect()
    }

    /// The path of a file that only one of the hierarchies has.
    fn file(&self, unit: &str, name: &str) -> PathBuf {
        let mut files = self.directories(unit).into_iter().map(|directory| directory.join(name));
        files
            .find(|file| file.exists())
            .unwrap_or_else(|| panic!("no {name}: is the controller on?"))
    }

    /// All units, with properties as if systemd had just reported them, or without: read whole.
    fn units(&self, with_properties: bool) -> Vec<UnitGroup> {
        let unit = |(name, child): (&String, &Child)| {
            let control_group = format!("/{}/{name}", self.slice);
            let unit = UnitGroup::new(name.as_str().into(), control_group.into(), Some(child.id()));
            let properties = || Arc::new(Unit::new(name.as_str().into(), UnitKind::Service, true));
            UnitGroup { properties: with_properties.then(properties), ..unit }
        };
        self.children.iter().map(unit).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for (name, child) in &mut self.children {
            let _ = child.kill().and_then(|()| child.wait());
            // the children of the child, too
            while let Ok(pids) =
                fs::read_to_string(roots()[0].join(&self.slice).join(name).join("cgroup.procs"))
            {
                if pids.is_empty() {
                    break;
                }
                for pid in pids.lines() {
                    let _ = Command::new("kill").args(["-KILL", pid]).status();
                }
                thread::sleep(Duration::from_millis(10));
            }
            for root in roots() {
                let _ = fs::remove_dir(root.join(&self.slice).join(name));
            }
        }
        for root in roots() {
            let _ = fs::remove_dir(root.join(&self.slice));
        }
    }
}

/// A process outside of the control groups.
struct Stranger(Child);

impl Stranger {
    fn start() -> Self {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        thread::sleep(Duration::from_millis(50));
        Self(child)
    }

    fn move_to(&self, directories: &[PathBuf]) {
        for directory in directories {
            fs::write(directory.join("cgroup.procs"), self.0.id().to_string()).unwrap();
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).unwrap();
    }
}

/// Reads cgroups, then processes, as a scrape does.
struct Reader {
    cgroups: Cgroups,
    processes: Processes,
}

type Values = BTreeMap<String, (Cgroup, Option<UnitProcesses>)>;

impl Reader {
    fn open() -> Self {
        let (proc, root) = (Path::new("/proc"), Path::new("/sys/fs/cgroup"));
        Self {
            cgroups: Cgroups::open(root, 4096).unwrap(),
            processes: Processes::open(proc, root, 4096).unwrap(),
        }
    }

    /// Reads until the values of idle units are kept.
    fn settle(&mut self, units: &[UnitGroup]) {
        // the programs have been loaded
        thread::sleep(Duration::from_secs(1));
        self.read(units);
        thread::sleep(SETTLE_TIME);
        self.read(units);
    }

    fn read(&mut self, units: &[UnitGroup]) -> Values {
        let mut units = units.to_vec();
        let deadline = Instant::now() + Duration::from_secs(60);
        let cgroups = self.cgroups.read(&mut units, deadline);
        let processes = self.processes.read(&units, deadline).unwrap();
        let mut processes: HashMap<Arc<str>, UnitProcesses> = processes.units.into_iter().collect();
        let values = cgroups.units.into_iter();
        values
            .map(|(unit, cgroup)| {
                let processes = processes.remove(&unit);
                (unit.to_string(), (cgroup, processes))
            })
            .collect()
    }
}

/// The v2 hierarchy, and those of v1 that have counters of units.
fn roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mounted: Vec<_> =
        fields.map(|fields| (fields[2].to_owned(), fields[1].to_owned())).collect();
    let v2 =
        mounted.iter().find(|(kind, path)| kind == "cgroup2" && path.starts_with("/sys/fs/cgroup"));
    let v2 = v2.expect("a cgroup v2 hierarchy below /sys/fs/cgroup");
    let v1 = |(kind, path): &&(String, String)| {
        kind == "cgroup" && ["memory", "pids"].iter().any(|name| path.ends_with(name))
    };
    let v1 = mounted.iter().filter(v1);
    [v2].into_iter().chain(v1).map(|(_, path)| path.into()).collect()
}

const PASSES: u32 = 300;

/// How long after it ran a unit is read whole, and more.
const SETTLE_TIME: Duration = Duration::from_secs(6);

/// Sleeps, uses CPU time and memory, opens files, forks, and starts threads.
const WORKER: &str = "
import os, random, sys, threading, time
choose = random.Random(int(sys.argv[1]))
kept = []
while True:
    time.sleep(choose.choice([0.01, 0.1, 1, 20]))
    action = choose.randrange(6)
    if action == 0:
        end = time.monotonic() + 0.002
        while time.monotonic() < end: pass
    elif action == 1: kept.append(bytearray(1 << 20))
    elif action == 2: kept.clear()
    elif action == 3: kept.append(open('/dev/null'))
    elif action == 4: threading.Thread(target=time.sleep, args=[0.3]).start()
    else:
        if os.fork() == 0:
            time.sleep(0.2)
            os._exit(0)
        if choose.random() < 0.5: os.wait()
";
