//! Cgroups: the fixture host, layouts made of files, hostile content.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::source::Limit;
use crate::source::kernel_file::integer;

#[test]
fn unit_with_every_controller_has_every_value() {
    let nginx = &fixture(&["/system.slice/nginx.service"]).units[0].1;
    assert_eq!(
        *nginx,
        Cgroup {
            cpu: Cpu {
                usage: Some(Duration::from_micros(91_750_000)),
                user: Some(Duration::from_micros(61_500_000)),
                system: Some(Duration::from_micros(30_250_000)),
                nr_periods: Some(1200),
                nr_throttled: Some(340),
                throttled: Some(Duration::from_micros(45_600_000)),
                max: Some(CpuMax::Quota {
                    quota: Duration::from_millis(150),
                    period: Duration::from_millis(100),
                }),
            },
            memory: Memory {
                current: Some(268_435_456),
                peak: Some(402_653_184),
                max: Some(Limit::At(536_870_912)),
                high: Some(Limit::At(402_653_184)),
                swap_current: Some(8_388_608),
                swap_max: Some(Limit::At(1_073_741_824)),
                stat_anon: Some(201_326_592),
                stat_file: Some(58_720_256),
                stat_kernel: Some(8_388_608),
                events_high: Some(12),
                events_max: Some(7),
                events_oom: Some(3),
                events_oom_kill: Some(2),
            },
            io: Some(Io { rbytes: 105_906_176, wbytes: 52_428_800, rios: 3216, wios: 1600 }),
            pids: Pids { current: Some(12), max: Some(Limit::At(4915)), events_max: Some(4) },
            pressure: Pressures {
                cpu: Some(pressure(500_000, 0)),
                memory: Some(pressure(5000, 500)),
                io: Some(pressure(100_000, 75_000)),
            },
        }
    );
}

#[test]
fn values_without_kernel_support_are_absent() {
    let readings = fixture(&[
        "/",
        "/system.slice/cron.service",
        "/system.slice/quiet.service",
        "/system.slice/backup.service",
        "/system.slice/docker.service",
        r"/system.slice/dev-disk-by\x2duuid-1.swap",
    ]);
    assert_eq!(
        (readings.failures.count, readings.truncated),
        (0, 0),
        "{:?}",
        readings.failures.first
    );
    let [root, cron, quiet, backup, docker, swap] = &readings.units[..] else {
        panic!("{} units", readings.units.len())
    };
    assert_eq!(root.1.memory.current, None, "the root has no memory.current");
    assert_eq!(root.1.memory.stat_anon, Some(402_653_184));
    assert_eq!(cron.1.memory, Memory::default());
    assert_eq!(cron.1.pids, Pids::default());
    assert_eq!((cron.1.io, cron.1.cpu.max), (None, None));
    assert_eq!(quiet.1.pressure, Pressures::default());
    assert_eq!(quiet.1.io, Some(Io::default()), "no traffic is a zero");
    assert_eq!(backup.1.io, None, "io.stat was cut off at a page");
    assert_eq!(backup.1.memory.current, Some(2_097_152), "the rest stays");
    assert_eq!(docker.1.cpu.max, Some(CpuMax::Unlimited));
    assert_eq!(docker.1.memory.max, Some(Limit::Unlimited));
    assert_eq!(swap.1.memory.current, Some(4096));
}

#[test]
fn skips_units_without_cgroup() {
    let readings = fixture(&["/system.slice/gone.service", "", "/system.slice/nginx.service"]);
    assert_eq!(readings.units.len(), 1);
    assert_eq!(readings.failures.count, 0);
}

#[test]
fn check_fails_in_the_tree_of_a_container() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "cgroup.controllers", "memory");
    write(tree.path(), "memory.current", "4096\n");
    write(tree.path(), "cpu.stat", "user_usec 5\nsystem_usec 6\n");
    let check = |paths: [&str; 2]| {
        let mut cgroups = Cgroups::open(tree.path(), 0).unwrap();
        let mut units = paths.map(unit);
        let readings = cgroups.read(&mut units, Instant::now() + Duration::from_secs(60));
        cgroups.check_tree(&units, &readings).map(|()| readings.units.len())
    };
    let error = check(["/", "/system.slice/nginx.service"]).unwrap_err().to_string();
    assert!(error.contains("has no unit's cgroup: resources of units are absent"), "{error}");
    write(tree.path(), "init.scope/memory.current", "4096\n");
    write(tree.path(), "init.scope/cpu.stat", "user_usec 5\nsystem_usec 6\n");
    assert_eq!(check(["/", "/init.scope"]).unwrap(), 2);
    assert!(check(["/", ""]).is_ok(), "no unit below the root has processes");
    assert!(check(["/gone.service", ""]).is_ok(), "the root is not selected");
}

#[test]
fn counts_truncated_units_after_the_deadline() {
    let mut cgroups = Cgroups::open(Path::new(FIXTURE), 0).unwrap();
    let mut asked = [unit("/system.slice/nginx.service"), unit("/init.scope")];
    let readings = cgroups.read(&mut asked, Instant::now());
    assert_eq!((readings.units.len(), readings.truncated), (0, 2));
}

#[test]
fn malformed_file_omits_only_its_value() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "cgroup.controllers", "memory pids");
    write(tree.path(), "a.service/cpu.stat", "user_usec many\n");
    write(tree.path(), "a.service/pids.current", "\n");
    write(tree.path(), "a.service/memory.current", "18446744073709551616\n");
    write(tree.path(), "a.service/cpu.pressure", "some total=7\n");
    fs::create_dir(tree.path().join("a.service/memory.stat")).unwrap();
    let readings = read(tree.path(), &["/a.service"]);
    let cgroup = &readings.units[0].1;
    assert_eq!(cgroup.cpu, Cpu::default());
    assert_eq!(cgroup.memory, Memory::default());
    assert_eq!(cgroup.pids, Pids::default());
    assert_eq!(cgroup.pressure.cpu, Some(Pressure { some: Duration::from_micros(7), full: None }));
    assert_eq!(readings.failures.count, 4);
    let failure = readings.failures.first.unwrap().to_string();
    assert!(failure.contains("a.service/cpu.stat: unexpected content"), "{failure}");
}

#[test]
fn hybrid_host_has_v2_time_and_v1_controllers() {
    let tree = v1_tree();
    write(tree.path(), "unified/cgroup.controllers", "");
    write(tree.path(), "unified/a.service/cpu.stat", "user_usec 5\nsystem_usec 6\n");
    write(tree.path(), "unified/a.service/memory.current", "not read: no controller\n");
    let cgroups = Cgroups::open(tree.path(), 0).unwrap();
    assert_eq!(cgroups.layout(), Layout::Hybrid);
    let readings = read(tree.path(), &["/a.service"]);
    assert_eq!(readings.failures.count, 0, "{:?}", readings.failures.first);
    let cgroup = &readings.units[0].1;
    assert_eq!(cgroup.cpu.user, Some(Duration::from_micros(5)));
    assert_eq!(cgroup.cpu.throttled, Some(Duration::from_nanos(700)));
    assert_eq!(cgroup.memory.current, Some(1000));
}

#[test]
fn v1_host_has_values_of_its_controllers() {
    let tree = v1_tree();
    assert_eq!(Cgroups::open(tree.path(), 0).unwrap().layout(), Layout::V1);
    let readings = read(tree.path(), &["/a.service", "/b.service"]);
    assert_eq!(readings.failures.count, 0, "{:?}", readings.failures.first);
    assert_eq!(
        readings.units[0].1,
        Cgroup {
            cpu: Cpu {
                usage: None,
                user: Some(Duration::from_millis(1230)),
                system: Some(Duration::from_millis(450)),
                nr_periods: Some(20),
                nr_throttled: Some(3),
                throttled: Some(Duration::from_nanos(700)),
                max: Some(CpuMax::Quota {
                    quota: Duration::from_millis(50),
                    period: Duration::from_millis(100),
                }),
            },
            memory: Memory {
                current: Some(1000),
                peak: Some(2000),
                max: Some(Limit::Unlimited),
                swap_current: Some(13),
                stat_anon: Some(11),
                stat_file: Some(12),
                events_oom_kill: Some(1),
                ..Memory::default()
            },
            io: Some(Io { rbytes: 40960, wbytes: 20480, rios: 10, wios: 5 }),
            pids: Pids { current: Some(4), max: Some(Limit::Unlimited), events_max: Some(2) },
            pressure: Pressures::default(),
        }
    );
    let other = &readings.units[1].1;
    assert_eq!(other.memory, Memory::default(), "b.service has no memory controller");
    assert_eq!(other.cpu.max, Some(CpuMax::Unlimited));
}

#[test]
fn open_fails_without_hierarchies() {
    let empty = tempfile::tempdir().unwrap();
    let error = Cgroups::open(empty.path(), 0).unwrap_err().to_string();
    assert!(error.contains("no cgroup hierarchy is mounted at"), "{error}");
    let error = Cgroups::open(Path::new("/nowhere"), 0).unwrap_err().to_string();
    assert!(error.contains("/nowhere"), "{error}");
}

#[test]
fn parses_formats_of_old_kernels() {
    assert_eq!(parse::pressure(b"some avg10=0.00 total=3\n").unwrap().full, None);
    assert_eq!(parse::oom_control(b"oom_kill_disable 0\nunder_oom 0\n"), Some(None));
    assert_eq!(parse::cpu_max(b"max 100000\n"), Some(CpuMax::Unlimited));
    assert_eq!(parse::io_stat(b""), Some(Some(Io::default())));
    assert_eq!(parse::io_stat(b"8:0 rbytes=1 wby"), Some(None));
    assert_eq!(parse::blkio(b"Total 0\n"), Some(None));
    assert_eq!(integer(b"-1"), None);
}

proptest! {
    #[test]
    fn parsers_do_not_panic_on_any_content(content in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut memory = Memory::default();
        let _ = parse::cpu_stat(&content);
        let _ = parse::cpu_max(&content);
        let _ = parse::cfs_quota(&content);
        let _ = parse::cpuacct_stat(&content);
        let _ = parse::memory_stat(&content, &mut memory);
        let _ = parse::memory_stat_v1(&content, &mut memory);
        let _ = parse::memory_events(&content, &mut memory);
        let _ = parse::oom_control(&content);
        let _ = parse::pids_events(&content);
        let _ = parse::io_stat(&content);
        let _ = parse::blkio(&content);
        let _ = parse::pressure(&content);
    }

    #[test]
    fn integers_parse_as_in_the_standard_library(number in any::<u64>()) {
        prop_assert_eq!(integer(format!("{number}\n").as_bytes()), Some(number));
    }
}

fn fixture(paths: &[&str]) -> UnitReadings<Cgroup> {
    read(Path::new(FIXTURE), paths)
}

/// Reads units, and checks that readings with and without open descriptors are equal.
fn read(root: &Path, paths: &[&str]) -> UnitReadings<Cgroup> {
    let mut units: Vec<_> = paths.iter().map(|path| unit(path)).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    let readings = Cgroups::open(root, 0).unwrap().read(&mut units, deadline);
    for descriptors in [3, 100] {
        let mut cgroups = Cgroups::open(root, descriptors).unwrap();
        for _pass in 0..3 {
            let kept = cgroups.read(&mut units, deadline);
            assert_eq!(
                (&kept.units, kept.failures.count),
                (&readings.units, readings.failures.count)
            );
        }
    }
    readings
}

fn unit(path: &str) -> UnitGroup {
    UnitGroup::new(path.into(), path.into(), None)
}

fn pressure(some: u64, full: u64) -> Pressure {
    Pressure { some: Duration::from_micros(some), full: Some(Duration::from_micros(full)) }
}

fn v1_tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (file, content) in [
        ("cpu/a.service/cpu.stat", "nr_periods 20\nnr_throttled 3\nthrottled_time 700\n"),
        ("cpu/a.service/cpu.cfs_quota_us", "50000\n"),
        ("cpu/a.service/cpu.cfs_period_us", "100000\n"),
        ("cpu/b.service/cpu.cfs_quota_us", "-1\n"),
        ("cpuacct/a.service/cpuacct.stat", "user 123\nsystem 45\n"),
        ("memory/a.service/memory.usage_in_bytes", "1000\n"),
        ("memory/a.service/memory.max_usage_in_bytes", "2000\n"),
        ("memory/a.service/memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory/a.service/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        (
            "memory/a.service/memory.stat",
            "cache 1\nrss 2\ntotal_cache 12\ntotal_rss 11\ntotal_swap 13\n",
        ),
        ("pids/a.service/pids.current", "4\n"),
        ("pids/a.service/pids.max", "max\n"),
        ("pids/a.service/pids.events", "max 2\n"),
        (
            "blkio/a.service/blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 40960\n8:0 Write 4096\n8:0 Total 45056\n8:16 Write 16384\nTotal 61440\n",
        ),
        (
            "blkio/a.service/blkio.throttle.io_serviced_recursive",
            "8:0 Read 10\n8:0 Write 1\n8:16 Write 4\nTotal 15\n",
        ),
    ] {
        write(tree.path(), file, content);
    }
    tree
}

fn write(root: &Path, file: &str, content: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/host/cgroup");
