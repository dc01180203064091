//! Sums over units with short-lived names: of their cgroups and their processes.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;
use std::sync::Arc;

use crate::source::cgroup::Cgroup;
use crate::source::process::UnitProcesses;
use crate::systemd::state::State;

/// The names under which units are summed, by the name of the unit.
pub(super) type Groups = HashMap<Arc<str>, Arc<str>>;

/// The groups of the units in the mirror.
pub(super) fn groups(state: &State) -> Groups {
    let units = state.mirror.units().filter(|unit| unit.selected);
    units.filter_map(|unit| Some((unit.name.clone(), unit.group.clone()?))).collect()
}

/// The counters of cgroups by user and group; those of removed cgroups are kept, so that a sum does
/// not fall when a container ends.
#[derive(Debug, Default)]
pub(super) struct GroupSums(BTreeMap<(Option<u32>, Arc<str>), GroupCounters>);

#[derive(Debug, Default)]
struct GroupCounters {
    /// Of units that are unloaded, as last read.
    unloaded: Cgroup,
    /// Of the others, by unit.
    last: HashMap<Arc<str>, Cgroup>,
}

impl GroupSums {
    /// Replaces the cgroups of units in groups by their sums. `user` has the manager of the units,
    /// `None` for the system's.
    pub(super) fn replace(
        &mut self,
        user: Option<u32>,
        units: &mut Vec<(Arc<str>, Cgroup)>,
        groups: &Groups,
    ) {
        let mut sums: BTreeMap<Arc<str>, Cgroup> = BTreeMap::new();
        for (name, cgroup) in units.extract_if(.., |(name, _)| groups.contains_key(name)) {
            let group = &groups[&name];
            add_usage(sums.entry(group.clone()).or_default(), &cgroup);
            let key = (user, group.clone());
            if self.0.len() >= MAX_GROUPS && !self.0.contains_key(&key) {
                continue;
            }
            let GroupCounters { unloaded, last } = self.0.entry(key).or_default();
            if let Some(before) = last.insert(name, cgroup.clone())
                && cgroup.cpu.user < before.cpu.user
            {
                // another cgroup has the name
                add_counters(unloaded, &before);
            }
        }
        for ((_, group), counters) in self.0.iter_mut().filter(|((of, _), _)| *of == user) {
            let GroupCounters { unloaded, last } = counters;
            for (_, cgroup) in last.extract_if(|name, _| !groups.contains_key(name)) {
                add_counters(unloaded, &cgroup);
            }
            let sum = sums.entry(group.clone()).or_default();
            [&*unloaded].into_iter().chain(last.values()).for_each(|part| add_counters(sum, part));
        }
        units.extend(sums);
    }
}

/// Replaces the processes of units in groups by their sums.
pub(super) fn replace_processes(units: &mut Vec<(Arc<str>, UnitProcesses)>, groups: &Groups) {
    let mut sums: BTreeMap<Arc<str>, UnitProcesses> = BTreeMap::new();
    for (name, processes) in units.extract_if(.., |(name, _)| groups.contains_key(name)) {
        match sums.get_mut(&groups[&name]) {
            Some(sum) => add_processes(sum, processes),
            None => {
                let first = UnitProcesses { main: None, ..processes };
                sums.insert(groups[&name].clone(), first);
            }
        }
    }
    units.extend(sums);
}

/// Adds what a cgroup uses now. Limits, peaks and pressure have no sum.
fn add_usage(sum: &mut Cgroup, part: &Cgroup) {
    add(&mut sum.memory.current, part.memory.current);
    add(&mut sum.memory.swap_current, part.memory.swap_current);
    add(&mut sum.memory.stat_anon, part.memory.stat_anon);
    add(&mut sum.memory.stat_file, part.memory.stat_file);
    add(&mut sum.memory.stat_kernel, part.memory.stat_kernel);
    add(&mut sum.pids.current, part.pids.current);
}

/// Adds the counters of a cgroup.
fn add_counters(sum: &mut Cgroup, part: &Cgroup) {
    add(&mut sum.cpu.user, part.cpu.user);
    add(&mut sum.cpu.system, part.cpu.system);
    add(&mut sum.cpu.nr_periods, part.cpu.nr_periods);
    add(&mut sum.cpu.nr_throttled, part.cpu.nr_throttled);
    add(&mut sum.cpu.throttled, part.cpu.throttled);
    add(&mut sum.memory.events_high, part.memory.events_high);
    add(&mut sum.memory.events_max, part.memory.events_max);
    add(&mut sum.memory.events_oom, part.memory.events_oom);
    add(&mut sum.memory.events_oom_kill, part.memory.events_oom_kill);
    add(&mut sum.pids.events_max, part.pids.events_max);
    if let Some(part) = part.io {
        let io = sum.io.get_or_insert_default();
        io.rbytes += part.rbytes;
        io.wbytes += part.wbytes;
        io.rios += part.rios;
        io.wios += part.wios;
    }
}

fn add_processes(sum: &mut UnitProcesses, part: UnitProcesses) {
    sum.states.running += part.states.running;
    sum.states.sleeping += part.states.sleeping;
    sum.states.disk_sleep += part.states.disk_sleep;
    sum.states.stopped += part.states.stopped;
    sum.states.zombie += part.states.zombie;
    sum.states.other += part.states.other;
    add(&mut sum.threads, part.threads);
    add(&mut sum.resident_bytes, part.resident_bytes);
    // a part is absent where one of its processes could not be counted
    sum.open_fds = sum.open_fds.zip(part.open_fds).map(|(a, b)| a + b);
    sum.max_fds_ratio = match (sum.max_fds_ratio, part.max_fds_ratio) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    sum.oldest_start_time = match (sum.oldest_start_time, part.oldest_start_time) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    sum.truncated += part.truncated;
}

fn add<T: AddAssign + Default>(sum: &mut Option<T>, part: Option<T>) {
    if let Some(part) = part {
        *sum.get_or_insert_default() += part;
    }
}

/// Groups whose counters are kept.
const MAX_GROUPS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counters_of_a_group_do_not_fall_when_units_end() {
        let mut sums = GroupSums::default();
        let mut read = |cpu: &[(&str, u64)]| {
            let units = cpu.iter().map(|(name, seconds)| {
                let mut cgroup = Cgroup::default();
                cgroup.cpu.user = Some(Duration::from_secs(*seconds));
                cgroup.memory.current = Some(10);
                ((*name).into(), cgroup)
            });
            let mut units: Vec<(Arc<str>, Cgroup)> = units.collect();
            let grouped = cpu.iter().filter(|(name, _)| name.starts_with("docker-"));
            let groups = grouped.map(|(name, _)| ((*name).into(), "docker-.scope".into()));
            sums.replace(None, &mut units, &groups.collect());
            let find = |name: &str| units.iter().find(|(unit, _)| **unit == *name);
            let (_, sum) = find("docker-.scope").expect("a sum");
            assert_eq!(
                find("a.service").is_some(),
                cpu.iter().any(|(name, _)| *name == "a.service")
            );
            (sum.cpu.user.unwrap_or_default().as_secs(), sum.memory.current)
        };
        assert_eq!(
            read(&[("a.service", 9), ("docker-1.scope", 1), ("docker-2.scope", 2)]),
            (3, Some(20))
        );
        assert_eq!(read(&[("docker-2.scope", 3), ("docker-3.scope", 0)]), (4, Some(20)));
        assert_eq!(read(&[("docker-3.scope", 5)]), (9, Some(10)));
        assert_eq!(read(&[("docker-3.scope", 1)]), (10, Some(10)), "another cgroup of that name");
        assert_eq!(read(&[]), (10, None));
    }

    #[test]
    fn processes_of_a_group_are_summed() {
        let unit = |threads, fds, ratio| UnitProcesses {
            threads: Some(threads),
            open_fds: fds,
            max_fds_ratio: Some(ratio),
            ..UnitProcesses::default()
        };
        let mut units: Vec<(Arc<str>, _)> = vec![
            ("a.scope".into(), unit(1, Some(2), 0.5)),
            ("b.service".into(), unit(7, None, 0.1)),
            ("c.scope".into(), unit(3, Some(4), 0.25)),
        ];
        let groups = ["a.scope", "c.scope"].map(|name| (name.into(), ".scope".into()));
        replace_processes(&mut units, &groups.into());
        let sum = unit(4, Some(6), 0.5);
        assert_eq!(units, [("b.service".into(), unit(7, None, 0.1)), (".scope".into(), sum)]);
    }
}
