//! The pressure of the whole system: where it has not grown, that of no unit has.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use super::parse;
use crate::source::cgroup_tree::Hierarchy;
use crate::source::kernel_file::Buffer;

/// The pressure of the root cgroup, and whether it has grown since the previous pass.
#[derive(Debug)]
pub(super) struct SystemPressure {
    read_at: Instant,
    /// Time in which at least one task waited for CPU, memory and I/O.
    waited: [Option<Duration>; 3],
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

impl Default for SystemPressure {
    fn default() -> Self {
        let has_grown = HasGrown { cpu: true, memory: true, io: true };
        Self { read_at: Instant::now(), waited: [None; 3], has_grown }
    }
}

impl SystemPressure {
    /// Reads the pressure of the system, before that of any unit.
    pub(super) fn read(&mut self, v2: &Hierarchy, buffer: &mut Buffer) {
        let elapsed = self.read_at.elapsed();
        self.read_at = Instant::now();
        let mut waited = |name: &CStr| {
            let content = buffer.read(&v2.fd, name).ok().flatten();
            content.and_then(parse::pressure).map(|pressure| pressure.some)
        };
        let new = [waited(c"cpu.pressure"), waited(c"memory.pressure"), waited(c"io.pressure")];
        let before = std::mem::replace(&mut self.waited, new);
        let growth = |index: usize| new[index]?.checked_sub(before[index]?);
        self.has_grown = HasGrown {
            cpu: growth(0).is_none_or(|growth| growth > elapsed / 100),
            memory: growth(1) != Some(Duration::ZERO),
            io: growth(2) != Some(Duration::ZERO),
        };
    }
}
