//! Resources of each unit, from its cgroup: v2, v1, or a mix of both.
//!
//! Kernel reference: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod layout;
mod parse;
mod v1;
mod v2;
mod values;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub use layout::Layout;
pub use values::{Cgroup, Cpu, CpuMax, Io, Memory, Pids, Pressure, Pressures};

use super::cgroup_tree::UnitGroup;
use super::{Error, Failures, UnitReadings};
use crate::source::cgroup::files::Files;
use crate::source::cgroup::layout::Hierarchies;
use crate::source::cgroup::v1::Controller;

/// The cgroups of this host, kept between scrapes.
#[derive(Debug)]
pub struct Cgroups {
    hierarchies: Hierarchies,
    files: Files,
}

impl Cgroups {
    /// Finds the hierarchies mounted at `sys_fs_cgroup`, usually `/sys/fs/cgroup`.
    ///
    /// Up to `descriptors` of their files stay open between scrapes, as far as the limit of this
    /// process leaves enough for everything else.
    ///
    /// # Errors
    /// The directory cannot be opened, or no cgroup hierarchy is mounted there.
    pub fn open(sys_fs_cgroup: &Path, descriptors: usize) -> Result<Self, Error> {
        let hierarchies = Hierarchies::open(sys_fs_cgroup)?;
        Ok(Self { files: Files::new(descriptors), hierarchies })
    }

    /// Which cgroup versions this host has mounted.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.hierarchies.layout
    }

    /// Reads the cgroup of every unit. A file that cannot be read makes only its own values absent.
    #[must_use]
    pub fn read<K: Clone>(
        &mut self,
        units: &[UnitGroup<K>],
        deadline: Instant,
    ) -> UnitReadings<Cgroup, K> {
        let mut readings = UnitReadings::default();
        self.files.start_pass();
        for (index, unit) in units.iter().enumerate() {
            if Instant::now() >= deadline {
                readings.truncated = (units.len() - index) as u64;
                break;
            }
            if let Some(cgroup) = self.read_unit(&unit.control_group, &mut readings.failures) {
                readings.units.push((unit.unit.clone(), cgroup));
            }
        }
        self.files.finish_pass(readings.truncated > 0);
        readings
    }

    fn read_unit(&mut self, path: &Arc<str>, failures: &mut Failures) -> Option<Cgroup> {
        let mut cgroup = Cgroup::default();
        if let Some(v2) = &self.hierarchies.v2 {
            self.files.group(&v2.hierarchy, path, failures, |group| {
                v2::read(group, &v2.controllers, &mut cgroup);
            });
        }
        for (controller, hierarchy) in &self.hierarchies.v1 {
            self.files.group(hierarchy, path, failures, |group| {
                v1::read(*controller, group, &mut cgroup);
            });
        }
        (cgroup != Cgroup::default()).then_some(cgroup)
    }
}

/// Whether memory is limited by cgroup v1 on this host: then systemd does not notice OOM kills.
#[must_use]
pub fn limits_memory_by_v1(sys_fs_cgroup: &Path) -> bool {
    Hierarchies::open(sys_fs_cgroup)
        .is_ok_and(|found| found.v1.iter().any(|(controller, _)| *controller == Controller::Memory))
}

#[cfg(test)]
mod tests;
