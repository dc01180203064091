//! Reading processes: per unit, per file, and the lower bound with open descriptors.
//!
//! Needs root to create control groups. One iteration reads every unit once: divide by their number.

#![allow(clippy::unwrap_used, reason = "a failure ends the measurement")]

mod support;

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use divan::Bencher;
use support::{Units, mounts};
use unit_exporter::source::process::Processes;

fn main() {
    divan::main();
}

/// One main process per unit, too young for its limits to be cached.
#[divan::bench(args = [150, 1000], sample_count = 20)]
fn units(bencher: Bencher, count: usize) {
    let mounts = mounts("cgroup2");
    let units = Units::new(count, &mounts);
    let mut processes = Processes::open(Path::new("/proc"), Path::new(&mounts[0]), 4096).unwrap();
    bencher.bench_local(|| {
        let deadline = Instant::now() + Duration::from_secs(60);
        let readings = processes.read(&units.groups, deadline).unwrap();
        assert_eq!((readings.units.len(), readings.failures.count), (count, 0));
        readings
    });
}

/// The same after a minute, when limits are cached.
#[divan::bench(args = [150, 1000], sample_count = 20)]
fn settled_units(bencher: Bencher, count: usize) {
    let mounts = mounts("cgroup2");
    let units = Units::new(count, &mounts);
    let mut processes = Processes::open(Path::new("/proc"), Path::new(&mounts[0]), 4096).unwrap();
    std::thread::sleep(Duration::from_secs(62));
    bencher.bench_local(|| {
        let deadline = Instant::now() + Duration::from_secs(60);
        let readings = processes.read(&units.groups, deadline).unwrap();
        assert_eq!((readings.units.len(), readings.failures.count), (count, 0));
        readings
    });
}

/// The lower bound: only stat, kept open.
#[divan::bench(args = [150, 1000], sample_count = 20)]
fn open_descriptors(bencher: Bencher, count: usize) {
    let units = Units::new(count, &mounts("cgroup2"));
    let pids = units.groups.iter().filter_map(|group| group.main_pid);
    let files: Vec<_> = pids.map(|pid| File::open(format!("/proc/{pid}/stat")).unwrap()).collect();
    let mut buffer = [0; 4096];
    bencher.bench_local(|| {
        for file in &files {
            black_box(file.read_at(&mut buffer, 0).unwrap());
        }
    });
}

/// One file of one process, opened, read and closed by the standard library.
#[divan::bench(args = ["stat", "statm", "limits"])]
fn one_file_through_std(bencher: Bencher, name: &str) {
    let path = format!("/proc/self/{name}");
    bencher.bench_local(|| std::fs::read(&path).unwrap());
}

/// The same stat with the procfs crate.
#[divan::bench]
fn stat_through_procfs(bencher: Bencher) {
    let process = procfs::process::Process::myself().unwrap();
    bencher.bench_local(|| process.stat().unwrap());
}

/// The limits with the procfs crate.
#[divan::bench]
fn limits_through_procfs(bencher: Bencher) {
    let process = procfs::process::Process::myself().unwrap();
    bencher.bench_local(|| process.limits().unwrap());
}
