//! Resources of each unit, from its control group: v2, v1, or a mix of both.
//!
//! Kernel reference: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod layout;
pub(crate) mod parse;
mod v1;
mod v2;
mod values;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use layout::Layout;
pub use values::{Cgroup, Cpu, CpuMax, Io, Limit, Memory, Pids, Pressure, Pressures};

pub(crate) use layout::Hierarchies;

use super::Error;
use crate::source::cgroup::files::Files;

/// A unit and where its processes are, as systemd says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitGroup {
    /// The unit's full name.
    pub unit: Arc<str>,
    /// `ControlGroup` of the unit, such as `/system.slice/nginx.service`; `/` is the root, an
    /// empty text a unit without processes.
    pub control_group: Arc<str>,
    /// `MainPID` of a service; absent when there is none.
    pub main_pid: Option<u32>,
}

/// The control groups of this host, kept between scrapes.
#[derive(Debug)]
pub struct Cgroups {
    hierarchies: Hierarchies,
    files: Files,
}

/// What one pass over the units found.
#[derive(Debug, Default)]
pub struct Readings {
    /// How this host arranges its control groups.
    pub layout: Option<Layout>,
    /// Each unit that has a control group now, in the order asked.
    pub units: Vec<(Arc<str>, Cgroup)>,
    /// Units that were not read because the deadline struck.
    pub truncated: u64,
    /// Files that could not be read or understood; their values are absent.
    pub failed: u64,
    /// The first of those failures.
    pub failure: Option<Error>,
}

impl Cgroups {
    /// Finds the hierarchies mounted at `sys_fs_cgroup`, usually `/sys/fs/cgroup`.
    ///
    /// Up to `descriptors` of their files stay open between scrapes, as far as the limit of this process
    /// leaves enough for everything else.
    ///
    /// # Errors
    /// When the directory cannot be opened, or no control group hierarchy is there.
    pub fn open(sys_fs_cgroup: &Path, descriptors: usize) -> Result<Self, Error> {
        let hierarchies = Hierarchies::open(sys_fs_cgroup)?;
        Ok(Self { files: Files::new(descriptors), hierarchies })
    }

    /// How this host arranges its control groups.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.hierarchies.layout
    }

    /// Reads every unit's control group. One that cannot be read costs only its own values.
    #[must_use]
    pub fn read(&mut self, units: &[UnitGroup], deadline: Instant) -> Readings {
        let mut readings = Readings { layout: Some(self.layout()), ..Readings::default() };
        self.files.start();
        for (index, unit) in units.iter().enumerate() {
            if Instant::now() >= deadline {
                readings.truncated = (units.len() - index) as u64;
                break;
            }
            if let Some(cgroup) = self.read_unit(&unit.control_group, &mut readings) {
                readings.units.push((Arc::clone(&unit.unit), cgroup));
            }
        }
        self.files.finish(readings.truncated > 0);
        readings
    }

    fn read_unit(&mut self, path: &Arc<str>, readings: &mut Readings) -> Option<Cgroup> {
        let mut cgroup = Cgroup::default();
        if let Some(v2) = &self.hierarchies.v2 {
            self.files.group(&v2.directory, path, readings, |group| {
                v2::read(group, &v2.controllers, &mut cgroup);
            });
        }
        for (controller, mount) in &self.hierarchies.v1 {
            self.files.group(mount, path, readings, |group| {
                v1::read(*controller, group, &mut cgroup);
            });
        }
        (cgroup != Cgroup::default()).then_some(cgroup)
    }
}

/// The path beneath a mount, `.` for its root; `None` if there is no control group, or if the
/// path could lead out of the mount.
pub(crate) fn relative(control_group: &str) -> Option<&str> {
    let path = control_group.strip_prefix('/')?;
    if path.is_empty() {
        return Some(".");
    }
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    path.split('/').all(plain).then_some(path)
}

/// A mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    pub(crate) fd: OwnedFd,
}

impl Readings {
    fn fail(&mut self, error: Error) {
        self.failed += 1;
        self.failure.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests;
