//! The floor: the same files read with kept descriptors, one dump of listeners, a copy of the page; at the same
//! pace as the exporters, so that caches are as cold.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use unit_exporter::source::listener::{Input, Listeners, Options};

use crate::cost::millis;
use crate::support::{Machine, Samples};

/// What the exporter reads for a page, and the page.
pub(crate) struct Floor {
    /// Control group files.
    groups: Vec<File>,
    /// Stats of processes.
    stats: Vec<File>,
    /// Directories of descriptors, whose sizes are asked: as many as there is room for beside the files.
    descriptors: Vec<File>,
    page: String,
    costs: Vec<[Duration; 4]>,
}

impl Floor {
    pub(crate) fn open(machine: &Machine, page: String) -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        let names: Vec<PathBuf> = groups(machine, &page)
            .iter()
            .flat_map(|group| FILES.map(|name| group.join(name)))
            .collect();
        let lists = names.iter().filter(|name| name.ends_with(PROCESSES));
        let lists = lists.map(|list| fs::read_to_string(list).unwrap_or_default());
        let pids: Vec<String> =
            lists.flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let open = |name: PathBuf| match File::open(&name) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("{}: {error}: too few descriptors for the floor?", name.display()),
        };
        let path = OFlags::PATH | OFlags::CLOEXEC;
        let directories = pids
            .iter()
            .take(DIRECTORIES)
            .map(|pid| openat(CWD, format!("/proc/{pid}/fd"), path, Mode::empty()));
        Self {
            descriptors: directories.filter_map(Result::ok).map(File::from).collect(),
            stats: pids.iter().filter_map(|pid| open(format!("/proc/{pid}/stat").into())).collect(),
            groups: names.into_iter().filter_map(open).collect(),
            page,
            costs: Vec::new(),
        }
    }

    /// Does it once, as a scrape would.
    pub(crate) fn scrape(&mut self) {
        let cost = [
            of(|| read(&self.groups)),
            of(|| {
                for directory in self.descriptors.iter().cycle().take(self.stats.len()) {
                    // gone meanwhile: costs nothing and is nothing
                    let _ = black_box(fstat(directory));
                }
                read(&self.stats);
            }),
            of(|| {
                let mut listeners = Listeners::new(Options::default());
                let deadline = Instant::now() + Duration::from_secs(5);
                black_box(listeners.read(&Input::default(), deadline).unwrap());
            }),
            of(|| {
                black_box(self.page.clone());
            }),
        ];
        self.costs.push(cost);
    }

    /// The median of all.
    pub(crate) fn total(&self) -> Duration {
        self.median(|cost| cost.iter().sum())
    }

    fn median(&self, of: impl Fn(&[Duration; 4]) -> Duration) -> Duration {
        let mut values: Vec<Duration> = self.costs.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ms: {} files of control groups {}, {} of processes {}, listeners {}, copying the page {}",
            millis(self.total()),
            self.groups.len(),
            millis(self.median(|cost| cost[0])),
            2 * self.stats.len(),
            millis(self.median(|cost| cost[1])),
            millis(self.median(|cost| cost[2])),
            millis(self.median(|cost| cost[3])),
        )
    }
}

fn read(files: &[File]) {
    let mut buffer = [0; 4096];
    for file in files {
        let _ = black_box(file.read_at(&mut buffer, 0));
    }
}

fn of(run: impl FnOnce()) -> Duration {
    let begun = clock();
    run();
    clock() - begun
}

/// CPU time of this thread.
fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// The control groups of the units that the page tells the CPU time of.
fn groups(machine: &Machine, page: &str) -> Vec<PathBuf> {
    let samples = Samples::parse(page);
    let named: BTreeSet<&str> = samples
        .all("systemd_unit_cpu_seconds_total", &[])
        .map(|sample| sample.label("name"))
        .collect();
    let shown = machine.ok(&["systemctl", "show", "*", "--property=Id,ControlGroup"]);
    let units = shown.split("\n\n").filter_map(|unit| {
        let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key));
        Some((of("Id=")?, of("ControlGroup=").filter(|path| !path.is_empty())?))
    });
    let root = machine.path("sys/fs/cgroup");
    units.filter(|(id, _)| named.contains(id)).map(|(_, path)| root.join(&path[1..])).collect()
}

const DIRECTORIES: usize = 1000;
const PROCESSES: &str = "cgroup.procs";
const FILES: [&str; 5] = ["cpu.stat", "cpu.pressure", "memory.pressure", "io.pressure", PROCESSES];
