//! Resources of each unit, from its cgroup: v2, v1, or a mix of both.
//!
//! Kernel reference: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.

mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod layout;
mod parse;
mod system_pressure;
mod v1;
mod v2;
mod values;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use layout::Layout;
pub use values::{Cgroup, Cpu, CpuMax, Io, Memory, Pids, Pressure, Pressures};

use super::cgroup_tree::UnitGroup;
use super::idle_units::IdleUnits;
use super::{Activity, Error, Failures, UnitReadings};
use crate::source::cgroup::files::Files;
use crate::source::cgroup::layout::{Hierarchies, V2};
use crate::source::cgroup::system_pressure::SystemPressure;
use crate::source::cgroup::v1::Controller;

/// The cgroups of this host, kept between scrapes.
#[derive(Debug)]
pub struct Cgroups {
    root: PathBuf,
    hierarchies: Hierarchies,
    files: Files,
    idle: IdleUnits<Cgroup>,
    system: SystemPressure,
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
        Ok(Self {
            root: sys_fs_cgroup.to_owned(),
            files: Files::new(descriptors),
            idle: IdleUnits::default(),
            system: SystemPressure::default(),
            hierarchies,
        })
    }

    /// Which cgroup versions this host has mounted.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.hierarchies.layout
    }

    /// Reads the cgroup of every unit, and sets its activity. A file that cannot be read makes only its
    /// own values absent. Of a unit of which no process has run since the previous pass, values that
    /// cannot have changed without that are those of the previous pass.
    #[must_use]
    pub fn read<K: Clone>(
        &mut self,
        units: &mut [UnitGroup<K>],
        deadline: Instant,
    ) -> UnitReadings<Cgroup, K> {
        let mut readings = UnitReadings::default();
        self.files.start_pass();
        self.idle.start_pass();
        if let Some(v2) = &self.hierarchies.v2 {
            self.system.read(&v2.hierarchy, &mut self.files.buffer);
        }
        let count = units.len();
        for (index, unit) in units.iter_mut().enumerate() {
            if Instant::now() >= deadline {
                readings.truncated = (count - index) as u64;
                break;
            }
            if let Some(cgroup) = self.read_unit(unit, &mut readings.failures) {
                readings.units.push((unit.unit.clone(), cgroup));
            }
        }
        self.files.finish_pass(readings.truncated > 0);
        self.idle.finish_pass();
        readings
    }

    /// Checks that the tree is that of the units: `readings` are those of `units`.
    ///
    /// # Errors
    /// No unit but the root has a cgroup: this is the tree of a container, whose root is not `-.slice`.
    pub fn check_tree<K>(
        &self,
        units: &[UnitGroup<K>],
        readings: &UnitReadings<Cgroup, K>,
    ) -> Result<(), Error> {
        let roots = units.iter().filter(|unit| &*unit.control_group == "/").count();
        let has_units = units.iter().any(|unit| unit.control_group.len() > 1);
        if roots > 0 && has_units && readings.truncated == 0 && readings.units.len() <= roots {
            return Err(Error::without_units(&self.root, "resources of units are absent"));
        }
        Ok(())
    }

    fn read_unit<K>(&mut self, unit: &mut UnitGroup<K>, failures: &mut Failures) -> Option<Cgroup> {
        let mut cgroup = Cgroup::default();
        let mut idle = None;
        let failed = failures.count;
        if let Some(V2 { hierarchy, controllers }) = &self.hierarchies.v2 {
            self.files.group(hierarchy, &unit.control_group, failures, |group| {
                if v2::read_cpu(group, &mut cgroup) {
                    idle = self.idle.values(unit, cpu_activity(&cgroup));
                    v2::read(
                        group,
                        controllers,
                        &mut cgroup,
                        idle.map(|last| (last, self.system.has_grown)),
                    );
                }
            });
        }
        for (controller, hierarchy) in &self.hierarchies.v1 {
            self.files.group(hierarchy, &unit.control_group, failures, |group| {
                v1::read(*controller, group, &mut cgroup, idle);
            });
        }
        let cpu_activity = cpu_activity(&cgroup);
        unit.activity = cpu_activity.map(|cpu| Activity { tasks: cgroup.pids.current, ..cpu });
        if idle.is_some() {
            self.idle.keep(unit).into_iter().for_each(|last| last.clone_from(&cgroup));
        } else if failures.count == failed {
            self.idle.add(unit, cpu_activity, cgroup.clone());
        }
        (cgroup != Cgroup::default()).then_some(cgroup)
    }
}

/// The activity by CPU time alone: tasks are read in each pass, so no value depends on them.
fn cpu_activity(cgroup: &Cgroup) -> Option<Activity> {
    cgroup.cpu.usage.map(|usage| Activity { usage, tasks: None })
}

/// Whether memory is limited by cgroup v1 on this host: then systemd does not notice OOM kills.
#[must_use]
pub fn limits_memory_by_v1(sys_fs_cgroup: &Path) -> bool {
    Hierarchies::open(sys_fs_cgroup)
        .is_ok_and(|found| found.v1.iter().any(|(controller, _)| *controller == Controller::Memory))
}

#[cfg(test)]
mod tests;
