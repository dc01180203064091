//! The files of a v1 cgroup: one hierarchy per controller.

use super::files::GroupFiles;
use super::layout::Controllers;
use super::parse;
use super::v2::pids;
use super::values::{Cgroup, CpuMax, Io, Memory};
use crate::source::kernel_file::{Limit, integer};

/// The v1 controllers that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Cpu,
    Cpuacct,
    Memory,
    Pids,
    Blkio,
}

impl Controller {
    pub(super) const ALL: [Self; 5] =
        [Self::Cpu, Self::Cpuacct, Self::Memory, Self::Pids, Self::Blkio];

    /// Where systemd mounts the controller; controllers mounted together have one link per name.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Blkio => "blkio",
        }
    }

    /// Whether v2 has the counterpart; v2 always counts what cpuacct counts.
    pub(super) fn is_on(self, v2: &Controllers) -> bool {
        match self {
            Self::Cpu => v2.cpu,
            Self::Cpuacct => true,
            Self::Memory => v2.memory,
            Self::Pids => v2.pids,
            Self::Blkio => v2.io,
        }
    }
}

/// Fills in the values of one controller; of an idle unit as on v2.
pub(super) fn read(
    controller: Controller,
    group: &mut GroupFiles<'_>,
    cgroup: &mut Cgroup,
    idle: Option<&Cgroup>,
) {
    match controller {
        Controller::Cpu => cpu(group, cgroup),
        Controller::Cpuacct => cpuacct(group, cgroup),
        Controller::Memory => cgroup.memory = memory(group, idle.map(|last| &last.memory)),
        Controller::Pids => cgroup.pids = pids(group, idle.map(|last| &last.pids)),
        Controller::Blkio => cgroup.io = io(group),
    }
}

fn cpu(group: &mut GroupFiles<'_>, cgroup: &mut Cgroup) {
    let cpu = &mut cgroup.cpu;
    if let Some(stat) = group.value(c"cpu.stat", parse::cpu_stat) {
        (cpu.nr_periods, cpu.nr_throttled) = (stat.nr_periods, stat.nr_throttled);
        cpu.throttled = stat.throttled;
    }
    let quota = group.value(c"cpu.cfs_quota_us", parse::cfs_quota);
    cpu.max = match quota {
        Some(Some(quota)) => group
            .value(c"cpu.cfs_period_us", parse::microseconds)
            .map(|period| CpuMax::Quota { quota, period }),
        Some(None) => Some(CpuMax::Unlimited),
        None => None,
    };
}

fn cpuacct(group: &mut GroupFiles<'_>, cgroup: &mut Cgroup) {
    if let Some((user, system)) = group.value(c"cpuacct.stat", parse::cpuacct_stat) {
        (cgroup.cpu.user, cgroup.cpu.system) = (Some(user), Some(system));
    }
}

fn memory(group: &mut GroupFiles<'_>, last: Option<&Memory>) -> Memory {
    let current = group.value(c"memory.usage_in_bytes", integer);
    if let Some(last) = last
        && last.current == current
    {
        return last.clone();
    }
    let mut memory = Memory { current, ..Memory::default() };
    if memory.current.is_none() {
        return memory;
    }
    group.value(c"memory.stat", |content| parse::memory_stat_v1(content, &mut memory));
    memory.peak = group.value(c"memory.max_usage_in_bytes", integer);
    memory.max = group.value(c"memory.limit_in_bytes", integer).map(limit);
    memory.events_oom_kill = group.value(c"memory.oom_control", parse::oom_control).flatten();
    memory
}

/// v1 writes "no limit" as the largest page-aligned number.
fn limit(bytes: u64) -> Limit {
    if bytes >= 1 << 62 { Limit::Unlimited } else { Limit::At(bytes) }
}

fn io(group: &mut GroupFiles<'_>) -> Option<Io> {
    let bytes =
        group.value(c"blkio.throttle.io_service_bytes_recursive", parse::blkio).flatten()?;
    let operations =
        group.value(c"blkio.throttle.io_serviced_recursive", parse::blkio).flatten()?;
    let ((rbytes, wbytes), (rios, wios)) = (bytes, operations);
    Some(Io { rbytes, wbytes, rios, wios })
}
