//! Fuzzing: the files of a cgroup, and the path to it.

use std::path::{Component, Path};

use super::{Cgroup, Cpu, Memory, Pids, Pressures, UnitReadings, parse};
use crate::fuzzing::page;
use crate::snapshot::Snapshot;
use crate::source::cgroup_tree::relative;
use crate::source::kernel_file::integer;

/// One content for every file: parsed values can be exported.
pub(crate) fn files(data: &[u8]) {
    path(&String::from_utf8_lossy(data));
    any_integer(data);
    page(with(v2(data)));
    page(with(v1(data)));
}

fn v2(data: &[u8]) -> Cgroup {
    let mut memory = Memory::default();
    // values before the malformed line stay, as in the reader
    let _ = parse::memory_stat(data, &mut memory);
    let _ = parse::memory_events(data, &mut memory);
    (memory.current, memory.peak) = (integer(data), integer(data));
    (memory.max, memory.high) = (parse::limit(data), parse::limit(data));
    let pressure = parse::pressure(data);
    Cgroup {
        cpu: Cpu { max: parse::cpu_max(data), ..parse::cpu_stat(data).unwrap_or_default() },
        memory,
        io: parse::io_stat(data).flatten(),
        pids: Pids {
            current: integer(data),
            max: parse::limit(data),
            events_max: parse::pids_events(data),
        },
        pressure: Pressures { cpu: pressure, memory: pressure, io: pressure },
    }
}

fn v1(data: &[u8]) -> Cgroup {
    let mut cgroup = Cgroup::default();
    let _ = parse::memory_stat_v1(data, &mut cgroup.memory);
    cgroup.memory.events_oom_kill = parse::oom_control(data).flatten();
    if let Some((user, system)) = parse::cpuacct_stat(data) {
        (cgroup.cpu.user, cgroup.cpu.system) = (Some(user), Some(system));
    }
    let _ = parse::cfs_quota(data);
    if let Some((rbytes, wbytes)) = parse::blkio(data).flatten() {
        cgroup.io = Some(super::Io { rbytes, wbytes, rios: rbytes, wios: wbytes });
    }
    cgroup
}

fn with(cgroup: Cgroup) -> Snapshot {
    let units = vec![("a.service".into(), cgroup.clone()), ("b.service".into(), cgroup)];
    let readings = UnitReadings { units, ..UnitReadings::default() };
    Snapshot { cgroups: Some(readings), ..Snapshot::default() }
}

/// A number is one as Rust reads it, without a sign.
fn any_integer(data: &[u8]) {
    let text = std::str::from_utf8(data.trim_ascii()).ok();
    let digits = text.filter(|text| !text.starts_with('+'));
    assert_eq!(integer(data), digits.and_then(|digits| digits.parse().ok()));
}

/// No path leads out of the mount.
fn path(control_group: &str) {
    if let Some(path) = relative(control_group) {
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        assert!(Path::new(path).components().all(plain), "{path:?}");
    }
}
