//! Reading what units use: each one's control group, and the processes in it.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::{Host, Read};
use crate::scrape::blocking_source::Kept;
use crate::source::cgroup::{self, Cgroups, UnitGroup};
use crate::source::process::{self, Processes};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;

/// Where the selected units' processes are, as far as the mirror knows.
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

/// Reads their control groups.
pub(super) async fn cgroups(
    kept: &Kept<Cgroups>,
    host: &Host,
    units: Vec<UnitGroup>,
    deadline: Instant,
) -> Read<cgroup::Readings> {
    let root = host.cgroup.clone();
    let open = move || {
        let cgroups = Cgroups::open(&root, DESCRIPTORS)?;
        info!(layout = %cgroups.layout(), "control groups found");
        Ok(cgroups)
    };
    kept.read(open, move |cgroups| Ok(cgroups.read(&units, deadline))).await
}

/// Reads their processes.
pub(super) async fn processes(
    kept: &Kept<Processes>,
    host: &Host,
    mut units: Vec<UnitGroup>,
    deadline: Instant,
) -> Read<process::Readings> {
    let (proc, root) = (host.proc.clone(), host.cgroup.clone());
    // a slice has its units' processes
    units.retain(|unit| UnitKind::of(&unit.unit) != Some(UnitKind::Slice));
    let open = move || Processes::open(&proc, &root, DESCRIPTORS);
    kept.read(open, move |processes| processes.read(&units, deadline)).await
}

/// How many files stay open between scrapes: all that `LimitNOFILE=` leaves room for. Each costs the kernel
/// up to 4.6 KiB; see benches/cgroup.rs for what it saves.
const DESCRIPTORS: usize = usize::MAX;
