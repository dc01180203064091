//! The files of a v2 cgroup.

use super::files::GroupFiles;
use super::layout::Controllers;
use super::parse;
use super::values::{Cgroup, Memory, Pids};
use crate::source::kernel_file::integer;

/// Fills in the values of v2: CPU time and pressure always, the rest if the controller is on for the
/// unit.
pub(super) fn read(group: &mut GroupFiles<'_>, on: &Controllers, cgroup: &mut Cgroup) {
    if let Some(cpu) = group.value(c"cpu.stat", parse::cpu_stat) {
        cgroup.cpu = cpu;
    } else if group.is_removed() {
        return;
    }
    if on.cpu && cgroup.cpu.nr_periods.is_some() {
        cgroup.cpu.max = group.value(c"cpu.max", parse::cpu_max);
    }
    if on.memory {
        cgroup.memory = memory(group);
    }
    if on.io {
        cgroup.io = group.value(c"io.stat", parse::io_stat).flatten();
    }
    if on.pids {
        cgroup.pids = pids(group);
    }
    cgroup.pressure.cpu = group.value(c"cpu.pressure", parse::pressure);
    if cgroup.pressure.cpu.is_some() {
        cgroup.pressure.memory = group.value(c"memory.pressure", parse::pressure);
        cgroup.pressure.io = group.value(c"io.pressure", parse::pressure);
    }
}

fn memory(group: &mut GroupFiles<'_>) -> Memory {
    let mut memory = Memory::default();
    // The root has only memory.stat.
    group.value(c"memory.stat", |content| parse::memory_stat(content, &mut memory));
    memory.current = group.value(c"memory.current", integer);
    if memory.current.is_none() {
        return memory;
    }
    group.value(c"memory.events", |content| parse::memory_events(content, &mut memory));
    memory.peak = group.value(c"memory.peak", integer);
    memory.max = group.value(c"memory.max", parse::limit);
    memory.high = group.value(c"memory.high", parse::limit);
    memory.swap_current = group.value(c"memory.swap.current", integer);
    if memory.swap_current.is_some() {
        memory.swap_max = group.value(c"memory.swap.max", parse::limit);
    }
    memory
}

/// Tasks; v1 has the same files.
pub(super) fn pids(group: &mut GroupFiles<'_>) -> Pids {
    let current = group.value(c"pids.current", integer);
    if current.is_none() {
        return Pids::default();
    }
    Pids {
        current,
        max: group.value(c"pids.max", parse::limit),
        events_max: group.value(c"pids.events", parse::pids_events),
    }
}
