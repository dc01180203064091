//! The service managers of users: their units, and the resource usage of these.

pub mod follow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Read, Scraper, cgroups_and_processes, group_sums};
use crate::scrape::user_managers::follow::UserManager;
use crate::snapshot::{Attempt, Snapshot, UserSnapshot};
use crate::source::cgroup_tree::UnitGroup;
use crate::source::{Error, UnitReadings};
use crate::systemd::snapshot::SystemdSnapshot;

impl Scraper {
    /// Reads the service manager of each user.
    pub(super) async fn users(
        &self,
        wants: impl Fn(&'static str) -> bool,
        deadline: Instant,
    ) -> (Vec<UserSnapshot>, Option<Attempt>) {
        let reading = self.read_users(&wants, deadline);
        match self
            .collectors
            .attempt_in_part("user-managers", wants("user-managers"), reading)
            .await
        {
            Some((users, attempt)) => (users.unwrap_or_default(), Some(attempt)),
            None => (Vec::new(), None),
        }
    }

    async fn read_users(
        &self,
        wants: impl Fn(&'static str) -> bool,
        deadline: Instant,
    ) -> Read<(Vec<UserSnapshot>, Option<String>)> {
        let found = self.config.users.all();
        join_all(found.iter().map(|user| user.shared.coalescing.catch_up())).await;
        let mut trouble = self.config.users.trouble();
        let groups: Vec<UnitGroup<UserUnit>> = found.iter().flat_map(groups).collect();
        let (sender, activities) = oneshot::channel();
        let (cgroups, processes) = tokio::join!(
            async {
                let groups = if wants("cgroup") { groups.clone() } else { Vec::new() };
                cgroups_and_processes::cgroups(
                    &self.user_cgroups,
                    &self.config,
                    groups,
                    sender,
                    deadline,
                )
                .await
            },
            async {
                let groups = if wants("process") { groups.clone() } else { Vec::new() };
                cgroups_and_processes::processes(
                    &self.user_processes,
                    &self.config,
                    groups,
                    activities,
                    deadline,
                )
                .await
            },
        );
        let mut keep = |error: Error| trouble = Some(error.to_string());
        let cgroups = cgroups?.map_err(&mut keep).ok().map(|(_, read)| read.units);
        let processes = processes?.map_err(&mut keep).ok().map(|read| read.units);
        let mut cgroups = by_user(cgroups.unwrap_or_default());
        let mut processes = by_user(processes.unwrap_or_default());
        let users = found.into_iter().map(|UserManager { name, uid, shared }| {
            let state = shared.lock();
            let groups = group_sums::groups(&state);
            let mut units = cgroups.remove(&uid).unwrap_or_default();
            self.group_sums().replace(Some(uid), &mut units, &groups);
            let cgroups = UnitReadings { units, ..UnitReadings::default() };
            let mut units = processes.remove(&uid).unwrap_or_default();
            group_sums::replace_processes(&mut units, &groups);
            let processes = UnitReadings { units, ..UnitReadings::default() };
            let status = state.status.now();
            if let Some(why) = &status.trouble {
                trouble.get_or_insert(format!("{name}: {why}"));
            }
            if let Some(limit) = state.mirror.exceeded_limit() {
                trouble.get_or_insert(format!("{name}: only {limit} units are followed"));
            }
            let systemd =
                status.filled.then(|| SystemdSnapshot::copy(&state, self.config.not_found));
            let last_seen = status.last_seen();
            let snapshot = Snapshot {
                systemd,
                last_seen,
                status,
                cgroups: Some(cgroups),
                processes: Some(processes),
                ..Snapshot::default()
            };
            UserSnapshot { name, snapshot }
        });
        let users: Vec<UserSnapshot> = users.collect();
        Ok(Ok((users, trouble)))
    }
}

/// A unit of a user's service manager.
#[derive(Clone)]
struct UserUnit {
    uid: u32,
    name: Arc<str>,
}

impl AsRef<str> for UserUnit {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// The cgroups of the units of a user's manager. The user controls the manager, so only cgroups below
/// the manager's own are accepted.
fn groups(user: &UserManager) -> Vec<UnitGroup<UserUnit>> {
    let uid = user.uid;
    let own = format!("/user-{uid}.slice/user@{uid}.service/");
    let groups = cgroups_and_processes::groups(&user.shared.lock()).into_iter();
    let own_groups = groups.filter(|group| group.control_group.contains(&own));
    let with_uid = |UnitGroup { unit: name, control_group, main_pid, properties, activity }| {
        let unit = UserUnit { uid, name };
        UnitGroup { unit, control_group, main_pid, properties, activity }
    };
    own_groups.map(with_uid).collect()
}

fn by_user<T>(read: Vec<(UserUnit, T)>) -> BTreeMap<u32, Vec<(Arc<str>, T)>> {
    let mut by_user: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (UserUnit { uid, name }, value) in read {
        by_user.entry(uid).or_default().push((name, value));
    }
    by_user
}
