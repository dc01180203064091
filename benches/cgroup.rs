//! Reading control groups: per unit, per file, and the lower bound with open descriptors.
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
use unit_exporter::source::cgroup::Cgroups;

fn main() {
    divan::main();
}

/// v2 only: CPU time, pressure and the other v2 controllers of this machine.
#[divan::bench(args = [(150, 0), (150, 4096), (1000, 0), (1000, 4096)], sample_count = 20)]
fn v2(bencher: Bencher, (count, descriptors): (usize, usize)) {
    let mounts = mounts("cgroup2");
    let mut units = Units::new(count, &mounts);
    read(bencher, &mut units, Path::new(&mounts[0]), descriptors);
}

/// Every hierarchy of this machine, including v1.
#[divan::bench(args = [(150, 0), (150, 4096), (1000, 0), (1000, 4096)], sample_count = 20)]
fn every_hierarchy(bencher: Bencher, (count, descriptors): (usize, usize)) {
    let mut units = Units::new(count, &[mounts("cgroup2"), controllers()].concat());
    read(bencher, &mut units, Path::new("/sys/fs/cgroup"), descriptors);
}

/// The lower bound for v2: the same four files of each unit, kept open.
#[divan::bench(args = [150, 1000], sample_count = 20)]
fn v2_open_descriptors(bencher: Bencher, count: usize) {
    let units = Units::new(count, &mounts("cgroup2"));
    let names = ["cpu.stat", "cpu.pressure", "memory.pressure", "io.pressure"];
    let open = |directory: &Path| names.map(|name| File::open(directory.join(name)).unwrap());
    let files: Vec<_> = units.directories().flat_map(open).collect();
    let mut buffer = [0; 4096];
    bencher.bench_local(|| {
        for file in &files {
            black_box(file.read_at(&mut buffer, 0).unwrap());
        }
    });
}

/// One file, opened, read and closed by the standard library.
#[divan::bench(args = ["cpu.stat", "cpu.pressure", "memory.pressure", "io.pressure"])]
fn one_file_through_std(bencher: Bencher, name: &str) {
    let path = Path::new(&mounts("cgroup2")[0]).join(name);
    bencher.bench_local(|| std::fs::read(&path).unwrap());
}

fn read(bencher: Bencher, units: &mut Units, root: &Path, descriptors: usize) {
    let mut cgroups = Cgroups::open(root, descriptors).unwrap();
    bencher.bench_local(|| {
        let deadline = Instant::now() + Duration::from_secs(60);
        let readings = cgroups.read(&mut units.groups, deadline);
        assert_eq!((readings.units.len(), readings.failures.count), (units.groups.len(), 0));
        readings
    });
}

fn controllers() -> Vec<String> {
    let read = ["cpu", "cpuacct", "memory", "pids", "blkio"];
    mounts("cgroup").into_iter().filter(|path| read.iter().any(|end| path.ends_with(end))).collect()
}
