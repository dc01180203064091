//! The managers of users: their mirrors, and what their units use.

pub mod follow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use super::{Read, Scraper, cgroups_and_processes};
use crate::snapshot::{Attempt, Snapshot, User};
use crate::source::cgroup::UnitGroup;
use crate::source::{Error, cgroup, process};
use crate::systemd::snapshot::SystemdSnapshot;

impl Scraper {
    /// What is known of each user's manager, and how reading that went.
    pub(super) async fn users(
        &self,
        wants: impl Fn(&'static str) -> bool,
        deadline: Instant,
    ) -> (Vec<User>, Option<Attempt>) {
        let reading = self.read_users(&wants, deadline);
        match self.attempt_in_part("user-managers", wants("user-managers"), reading).await {
            Some((users, attempt)) => (users.unwrap_or_default(), Some(attempt)),
            None => (Vec::new(), None),
        }
    }

    async fn read_users(
        &self,
        wants: impl Fn(&'static str) -> bool,
        deadline: Instant,
    ) -> Read<(Vec<User>, Option<String>)> {
        let found = self.host.users.all();
        join_all(found.iter().map(|user| user.shared.coalescing.catch_up())).await;
        let mut trouble = self.host.users.trouble();
        let groups: Vec<UnitGroup> = found.iter().flat_map(groups).collect();
        let (cgroups, processes) = tokio::join!(
            async {
                let groups = if wants("cgroup") { groups.clone() } else { Vec::new() };
                cgroups_and_processes::cgroups(&self.user_cgroups, &self.host, groups, deadline)
                    .await
            },
            async {
                let groups = if wants("process") { groups.clone() } else { Vec::new() };
                cgroups_and_processes::processes(&self.user_processes, &self.host, groups, deadline)
                    .await
            },
        );
        let mut keep = |error: Error| trouble = Some(error.to_string());
        let cgroups = cgroups?.map_err(&mut keep).ok().map(|read| read.units);
        let processes = processes?.map_err(&mut keep).ok().map(|read| read.units);
        let mut cgroups = by_user(cgroups.unwrap_or_default());
        let mut processes = by_user(processes.unwrap_or_default());
        let users = found.into_iter().map(|follow::User { name, uid, shared }| {
            let units = cgroups.remove(&uid).unwrap_or_default();
            let cgroups = cgroup::Readings { units, ..cgroup::Readings::default() };
            let units = processes.remove(&uid).unwrap_or_default();
            let processes = process::Readings { units, ..process::Readings::default() };
            let state = shared.lock();
            let status = state.status.clone();
            if let Some(why) = &status.trouble {
                trouble.get_or_insert(format!("{name}: {why}"));
            }
            let systemd = status.filled.then(|| SystemdSnapshot::copy(&state, self.host.not_found));
            let last_seen = status.last_seen();
            let snapshot = Snapshot {
                systemd,
                last_seen,
                status,
                cgroups: Some(cgroups),
                processes: Some(processes),
                ..Snapshot::default()
            };
            User { name, snapshot }
        });
        let users: Vec<User> = users.collect();
        Ok(Ok((users, trouble)))
    }
}

/// Where the processes of a user's units are. What a user's manager says is taken only as far as
/// it is about that user's own control group. No unit has a `/` in its name.
fn groups(user: &follow::User) -> Vec<UnitGroup> {
    let uid = user.uid;
    let own = format!("/user-{uid}.slice/user@{uid}.service/");
    let mut groups = cgroups_and_processes::groups(&user.shared.lock());
    groups.retain(|group| group.control_group.contains(&own));
    for group in &mut groups {
        group.unit = format!("{uid}/{}", group.unit).into();
    }
    groups
}

/// Undoes what [`groups`] did to the names.
fn by_user<T>(read: Vec<(Arc<str>, T)>) -> BTreeMap<u32, Vec<(Arc<str>, T)>> {
    let mut by_user: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (key, value) in read {
        let Some((uid, name)) = key.split_once('/') else { continue };
        let Ok(uid) = uid.parse() else { continue };
        by_user.entry(uid).or_default().push((name.into(), value));
    }
    by_user
}
