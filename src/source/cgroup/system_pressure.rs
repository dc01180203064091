//! The pressure of the whole system: where it has not grown, that of no unit has.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::parse;
use crate::source::cgroup_tree::Hierarchy;
use crate::source::kernel_file::{Buffer, open};

/// The pressure of the root cgroup, and whether it has grown since the previous pass.
#[derive(Debug)]
pub(super) struct SystemPressure {
    cpu: Resource,
    memory: Resource,
    io: Resource,
    read_at: Instant,
    pub(super) has_grown: HasGrown,
}

/// Whether the pressure of a unit may have grown, though none of its processes has run.
#[derive(Clone, Copy, Debug)]
pub(super) struct HasGrown {
    /// By more than a hundredth of the time: with less, no task waits long without running.
    pub(super) cpu: bool,
    pub(super) memory: bool,
    pub(super) io: bool,
}

#[derive(Debug)]
struct Resource {
    file: Option<OwnedFd>,
    /// Time in which at least one task waited.
    some: Option<Duration>,
}

impl SystemPressure {
    pub(super) fn open(v2: &Hierarchy) -> Self {
        let resource =
            |name: &CStr| Resource { file: open(&v2.fd, name).ok().flatten(), some: None };
        Self {
            cpu: resource(c"cpu.pressure"),
            memory: resource(c"memory.pressure"),
            io: resource(c"io.pressure"),
            read_at: Instant::now(),
            has_grown: HasGrown { cpu: true, memory: true, io: true },
        }
    }

    /// Reads the pressure of the system, before that of any unit.
    pub(super) fn read(&mut self, buffer: &mut Buffer) {
        let elapsed = self.read_at.elapsed();
        self.read_at = Instant::now();
        self.has_grown = HasGrown {
            cpu: self.cpu.growth(buffer).is_none_or(|growth| growth > elapsed / 100),
            memory: self.memory.growth(buffer) != Some(Duration::ZERO),
            io: self.io.growth(buffer) != Some(Duration::ZERO),
        };
    }
}

impl Resource {
    /// How much it has grown since the previous call; `None` if that cannot be known.
    fn growth(&mut self, buffer: &mut Buffer) -> Option<Duration> {
        let length = self.file.as_ref().and_then(|file| buffer.fill(file).ok().flatten());
        let read = length.and_then(|length| parse::pressure(buffer.content(length)));
        let some = read.map(|pressure| pressure.some);
        let before = std::mem::replace(&mut self.some, some);
        some?.checked_sub(before?)
    }
}
