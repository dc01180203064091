//! Reading the cgroup and the processes of each unit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{Receiver, Sender};
use tokio::time::timeout;
use tracing::info;

use super::{Read, ScrapeConfig};
use crate::scrape::blocking_source::BlockingSource;
use crate::source::cgroup::{Cgroup, Cgroups, Layout};
use crate::source::cgroup_tree::UnitGroup;
use crate::source::process::{Processes, UnitProcesses};
use crate::source::{Activity, UnitReadings};
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;

/// The cgroups of the selected units.
pub(super) fn groups(state: &State) -> Vec<UnitGroup> {
    let group = |unit: &Arc<Unit>| {
        let main_pid = unit.service().and_then(|service| service.main_pid);
        let group = UnitGroup::new(unit.name.clone(), unit.control_group.clone()?, main_pid);
        Some(UnitGroup { properties: Some(unit.clone()), ..group })
    };
    state.mirror.units_by_priority().filter(|unit| unit.selected).filter_map(group).collect()
}

/// Reads the cgroup of each unit, and sends the activity of each to [`processes`].
pub(super) async fn cgroups<K: Clone + Send + 'static>(
    source: &BlockingSource<Cgroups>,
    config: &ScrapeConfig,
    mut units: Vec<UnitGroup<K>>,
    activities: Sender<Vec<Option<Activity>>>,
    deadline: Instant,
) -> Read<(Layout, UnitReadings<Cgroup, K>)> {
    let root = config.cgroup.clone();
    let open = move || {
        let cgroups = Cgroups::open(&root, DESCRIPTORS)?;
        info!(layout = %cgroups.layout(), "control groups found");
        Ok(cgroups)
    };
    let read = move |cgroups: &mut Cgroups| {
        let readings = cgroups.read(&mut units, deadline);
        let checked = cgroups.check_tree(&units, &readings);
        // an error if processes are not read
        let _ = activities.send(units.into_iter().map(|unit| unit.activity).collect());
        checked.map(|()| (cgroups.layout(), readings))
    };
    source.read(open, read).await
}

/// Reads the processes of each unit but slices, once it is known which units are idle.
pub(super) async fn processes<K: AsRef<str> + Clone + Send + 'static>(
    source: &BlockingSource<Processes>,
    config: &ScrapeConfig,
    mut units: Vec<UnitGroup<K>>,
    activities: Receiver<Vec<Option<Activity>>>,
    deadline: Instant,
) -> Read<UnitReadings<UnitProcesses, K>> {
    let activities = timeout(ACTIVITY_TIMEOUT, activities).await.ok().and_then(Result::ok);
    for (unit, activity) in units.iter_mut().zip(activities.unwrap_or_default()) {
        unit.activity = activity;
    }
    let (proc, root) = (config.proc.clone(), config.cgroup.clone());
    // the processes of a slice are those of its units
    units.retain(|unit| UnitKind::of(unit.unit.as_ref()) != Some(UnitKind::Slice));
    let open = move || Processes::open(&proc, &root, DESCRIPTORS);
    source.read(open, move |processes| processes.read(&units, deadline)).await
}

/// How long processes wait for the activity of units: cgroups that hang must not fail processes, too.
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(1);

/// Files that may stay open between scrapes: as many as `LimitNOFILE=` leaves room for. Each takes up
/// to 4.6 KiB of kernel memory; benches/cgroup.rs measures the CPU time that they save.
const DESCRIPTORS: usize = usize::MAX;
