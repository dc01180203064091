//! Reading the cgroup and the processes of each unit.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::{Read, ScrapeConfig};
use crate::scrape::blocking_source::BlockingSource;
use crate::source::UnitReadings;
use crate::source::cgroup::{Cgroup, Cgroups, Layout};
use crate::source::cgroup_tree::UnitGroup;
use crate::source::process::{Processes, UnitProcesses};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;

/// The cgroups of the selected units.
pub(super) fn groups(state: &State) -> Vec<UnitGroup> {
    let group = |unit: &Arc<Unit>| {
        Some(UnitGroup {
            unit: unit.name.clone(),
            control_group: unit.control_group.clone()?,
            main_pid: unit.service().and_then(|service| service.main_pid),
        })
    };
    state.mirror.units_by_priority().filter(|unit| unit.selected).filter_map(group).collect()
}

/// Reads the cgroup of each unit.
pub(super) async fn cgroups<K: Clone + Send + 'static>(
    source: &BlockingSource<Cgroups>,
    config: &ScrapeConfig,
    units: Vec<UnitGroup<K>>,
    deadline: Instant,
) -> Read<(Layout, UnitReadings<Cgroup, K>)> {
    let root = config.cgroup.clone();
    let open = move || {
        let cgroups = Cgroups::open(&root, DESCRIPTORS)?;
        info!(layout = %cgroups.layout(), "control groups found");
        Ok(cgroups)
    };
    source.read(open, move |cgroups| Ok((cgroups.layout(), cgroups.read(&units, deadline)))).await
}

/// Reads the processes of each unit but slices.
pub(super) async fn processes<K: AsRef<str> + Clone + Send + 'static>(
    source: &BlockingSource<Processes>,
    config: &ScrapeConfig,
    mut units: Vec<UnitGroup<K>>,
    deadline: Instant,
) -> Read<UnitReadings<UnitProcesses, K>> {
    let (proc, root) = (config.proc.clone(), config.cgroup.clone());
    // the processes of a slice are those of its units
    units.retain(|unit| UnitKind::of(unit.unit.as_ref()) != Some(UnitKind::Slice));
    let open = move || Processes::open(&proc, &root, DESCRIPTORS);
    source.read(open, move |processes| processes.read(&units, deadline)).await
}

/// Files that may stay open between scrapes: as many as `LimitNOFILE=` leaves room for. Each takes up
/// to 4.6 KiB of kernel memory; benches/cgroup.rs measures the CPU time that they save.
const DESCRIPTORS: usize = usize::MAX;
