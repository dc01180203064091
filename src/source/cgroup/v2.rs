//! The files of a v2 cgroup.

use super::files::GroupFiles;
use super::layout::Controllers;
use super::parse;
use super::system_pressure::HasGrown;
use super::values::{Cgroup, Memory, Pids};
use crate::source::kernel_file::integer;

/// Fills in the CPU time; false if the cgroup has been removed.
pub(super) fn read_cpu(group: &mut GroupFiles<'_>, cgroup: &mut Cgroup) -> bool {
    let cpu = group.value(c"cpu.stat", parse::cpu_stat);
    let is_removed = cpu.is_none() && group.is_removed();
    cgroup.cpu = cpu.unwrap_or_default();
    !is_removed
}

/// Fills in the other values of v2: pressure always, the rest if the controller is on for the unit. An
/// idle unit has its values of the previous pass, but for those that can change without it.
pub(super) fn read(
    group: &mut GroupFiles<'_>,
    on: &Controllers,
    cgroup: &mut Cgroup,
    idle: Option<(&Cgroup, HasGrown)>,
) {
    let (last, has_grown) = idle.unzip();
    if on.cpu && cgroup.cpu.nr_periods.is_some() {
        cgroup.cpu.max = match last {
            Some(last) => last.cpu.max,
            None => group.value(c"cpu.max", parse::cpu_max),
        };
    }
    if on.memory {
        cgroup.memory = memory(group, last.map(|last| &last.memory));
    }
    if on.io {
        cgroup.io = group.value(c"io.stat", parse::io_stat).flatten();
    }
    if on.pids {
        cgroup.pids = pids(group, last.map(|last| &last.pids));
    }
    let (new, last) = (&mut cgroup.pressure, last.map(|last| &last.pressure));
    let mut pressure = |last, has_grown: Option<bool>, name| match last {
        Some(last) if has_grown == Some(false) => last,
        _ => group.value(name, parse::pressure),
    };
    new.cpu = pressure(last.map(|last| last.cpu), has_grown.map(|by| by.cpu), c"cpu.pressure");
    if new.cpu.is_some() {
        let (memory, io) = (has_grown.map(|by| by.memory), has_grown.map(|by| by.io));
        new.memory = pressure(last.map(|last| last.memory), memory, c"memory.pressure");
        new.io = pressure(last.map(|last| last.io), io, c"io.pressure");
    }
}

fn memory(group: &mut GroupFiles<'_>, last: Option<&Memory>) -> Memory {
    let mut memory =
        Memory { current: group.value(c"memory.current", integer), ..Memory::default() };
    if let Some(last) = last
        && last.current == memory.current
    {
        return last.clone();
    }
    // the root has only this file
    group.value(c"memory.stat", |content| parse::memory_stat(content, &mut memory));
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
pub(super) fn pids(group: &mut GroupFiles<'_>, last: Option<&Pids>) -> Pids {
    let current = group.value(c"pids.current", integer);
    match last {
        _ if current.is_none() => return Pids::default(),
        Some(last) => return Pids { current, ..last.clone() },
        None => {}
    }
    Pids {
        current,
        max: group.value(c"pids.max", parse::limit),
        events_max: group.value(c"pids.events", parse::pids_events),
    }
}
