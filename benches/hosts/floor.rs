//! The lower bound: reads the same files from open descriptors, dumps the listeners once and copies the response, at the
//! same interval as the exporters, so that caches are as cold.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use unit_exporter::source::sockets::{ListenerInput, Listeners, SocketOptions};

use crate::cost::millis;
use crate::support::{Machine, Samples};

/// The files that the exporter reads for a scrape, and its response.
pub(crate) struct Floor {
    /// Control group files.
    groups: FileSample,
    /// stat of processes.
    stats: FileSample,
    /// fd directories of processes, for fstat.
    descriptors: FileSample,
    page: String,
    costs: Vec<[Duration; 4]>,
}

impl Floor {
    pub(crate) fn open(machine: &Machine, page: String) -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        assert!(
            limit.maximum.is_none_or(|limit| limit > 16_000),
            "raise ulimit -Hn to 16000 or more"
        );
        let names: Vec<PathBuf> = groups(machine, &page)
            .iter()
            .flat_map(|group| FILES.map(|name| group.join(name)))
            .collect();
        let lists = names.iter().filter(|name| name.ends_with(PROCESSES));
        let lists = lists.map(|list| fs::read_to_string(list).unwrap_or_default());
        let pids: Vec<String> =
            lists.flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let of_process =
            |file| pids.iter().map(move |pid| format!("/proc/{pid}/{file}").into()).collect();
        Self {
            descriptors: FileSample::open(of_process("fd"), OFlags::PATH),
            stats: FileSample::open(of_process("stat"), OFlags::RDONLY),
            groups: FileSample::open(names, OFlags::RDONLY),
            page,
            costs: Vec::new(),
        }
    }

    /// Reads everything once, as a scrape does.
    pub(crate) fn scrape(&mut self) {
        let cost = [
            self.groups.each(read),
            self.descriptors.each(stat) + self.stats.each(read),
            of(|| {
                let mut listeners = Listeners::new(SocketOptions::default());
                let deadline = Instant::now() + Duration::from_secs(5);
                black_box(listeners.read(&ListenerInput::default(), deadline).unwrap());
            }),
            of(|| {
                black_box(self.page.clone());
            }),
        ];
        self.costs.push(cost);
    }

    /// Median of the sum.
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
            "{} ms: {} files of control groups {}, {} of processes {}, listeners {}, copying the response {}",
            millis(self.total()),
            self.groups.all,
            millis(self.median(|cost| cost[0])),
            2 * self.stats.all,
            millis(self.median(|cost| cost[1])),
            millis(self.median(|cost| cost[2])),
            millis(self.median(|cost| cost[3])),
        )
    }
}

/// An evenly spread sample of as many files as may be open; costs are scaled up to all files.
struct FileSample {
    files: Vec<File>,
    all: usize,
}

impl FileSample {
    fn open(names: Vec<PathBuf>, flags: OFlags) -> Self {
        let step = names.len().div_ceil(MAX_OPEN_FILES).max(1);
        let open = |name: &PathBuf| match openat(CWD, name, flags | OFlags::CLOEXEC, Mode::empty())
        {
            Ok(file) => Some(File::from(file)),
            Err(Errno::NOENT) => None,
            Err(error) => panic!("{}: {error}", name.display()),
        };
        Self { files: names.iter().step_by(step).filter_map(open).collect(), all: names.len() }
    }

    fn each(&self, mut cost: impl FnMut(&File)) -> Duration {
        let took = of(|| self.files.iter().for_each(&mut cost));
        took.mul_f64(self.all as f64 / self.files.len() as f64)
    }
}

// errors of files removed meanwhile are ignored

fn read(file: &File) {
    let _ = black_box(file.read_at(&mut [0; 4096], 0));
}

fn stat(directory: &File) {
    let _ = black_box(fstat(directory));
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

/// The control groups of the units with CPU time in the response.
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

/// Of one kind.
const MAX_OPEN_FILES: usize = 5000;
const PROCESSES: &str = "cgroup.procs";
const FILES: [&str; 5] = ["cpu.stat", "cpu.pressure", "memory.pressure", "io.pressure", PROCESSES];
