//! The floor: the same files read with kept descriptors, one dump of listeners, a copy of the page.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use unit_exporter::source::listener::{Input, Listeners, Options};

use crate::cost::millis;
use crate::support::{Machine, Samples};

/// The least that a scrape can cost, each part the median of several runs.
pub(crate) struct Floor {
    cgroups: Duration,
    processes: Duration,
    listeners: Duration,
    copy: Duration,
    files: usize,
}

impl Floor {
    pub(crate) fn total(&self) -> Duration {
        self.cgroups + self.processes + self.listeners + self.copy
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ms: {} files of control groups and processes {} + {}, listeners {}, copying the page {}",
            millis(self.total()),
            self.files,
            millis(self.cgroups),
            millis(self.processes),
            millis(self.listeners),
            millis(self.copy),
        )
    }
}

pub(crate) fn measure(machine: &Machine, page: &str, runs: usize) -> Floor {
    // what a process may have open is not enough for thousands of units: in parts
    let groups: Vec<PathBuf> = groups(machine, page);
    let wanted = ["cpu.stat", "cpu.pressure", "memory.pressure", "io.pressure", "cgroup.procs"];
    let names: Vec<PathBuf> =
        groups.iter().flat_map(|group| wanted.map(|name| group.join(name))).collect();
    let pids = groups.iter().flat_map(|group| {
        let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        procs.lines().map(|pid| PathBuf::from(format!("/proc/{pid}/stat"))).collect::<Vec<_>>()
    });
    let pids: Vec<PathBuf> = pids.collect();
    Floor {
        files: names.len() + pids.len(),
        cgroups: median(runs, &names),
        processes: median(runs, &pids),
        listeners: of(runs, || {
            let mut listeners = Listeners::new(Options::default());
            black_box(
                listeners.read(&Input::default(), Instant::now() + Duration::from_secs(5)).unwrap(),
            );
        }),
        copy: of(runs, || {
            black_box(page.to_owned());
        }),
    }
}

/// Reads all of the files, in parts that fit into the limit of descriptors.
fn median(runs: usize, names: &[PathBuf]) -> Duration {
    let mut buffer = [0; 4096];
    names
        .chunks(4096)
        .map(|part| {
            let files: Vec<File> = part.iter().filter_map(|name| File::open(name).ok()).collect();
            of(runs, || {
                for file in &files {
                    // gone meanwhile: costs nothing and is nothing
                    let _ = black_box(file.read_at(&mut buffer, 0));
                }
            })
        })
        .sum()
}

fn of(runs: usize, mut run: impl FnMut()) -> Duration {
    let mut took: Vec<Duration> = (0..runs)
        .map(|_| {
            let begun = clock();
            run();
            clock() - begun
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
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
