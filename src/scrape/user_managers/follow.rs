//! Follows the service managers of users with lingering enabled, each in its own mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{Instrument, info, info_span};

use crate::bus::BusAddress;
use crate::source::dbus_daemons::{DaemonClient, logind};
use crate::systemd::follow::{FollowOptions, Thread, follow};
use crate::systemd::ledger::{Ledger, Retention};
use crate::systemd::mirror::Mirror;
use crate::systemd::state::Shared;
use crate::systemd::unit::properties::Extras;
use crate::unit_filter::Selection;

/// The service managers that are followed.
#[derive(Clone, Debug, Default)]
pub struct UserManagers(Arc<Mutex<FollowedManagers>>);

/// The service manager of one user.
#[derive(Clone, Debug)]
pub struct UserManager {
    /// The name of the user.
    pub name: Arc<str>,
    /// The user ID.
    pub uid: u32,
    /// The state of the manager.
    pub shared: Shared,
}

/// How the managers are followed.
#[derive(Clone, Debug)]
pub struct UserManagerConfig {
    /// Which of their units are exported.
    pub selection: Selection,
    /// How long events and counts of unloaded units are kept.
    pub keep: Retention,
    /// How often a mirror is compared with its manager.
    pub resync: Duration,
    /// Additional properties that are read of their units.
    pub extras: Extras,
    /// The thread on which managers are followed.
    pub thread: Thread,
    /// The address of the system bus, for systemd-logind.
    pub dbus_address: String,
}

#[derive(Debug, Default)]
struct FollowedManagers {
    users: BTreeMap<u32, (UserManager, JoinSet<()>)>,
    trouble: Option<String>,
}

impl UserManagers {
    /// Polls for users with lingering enabled, and follows their managers.
    #[must_use]
    pub fn watch(config: UserManagerConfig) -> Self {
        let users = Self::default();
        config.thread.clone().spawn(watch(users.clone(), config));
        users
    }

    /// The managers, ordered by user ID.
    #[must_use]
    pub fn all(&self) -> Vec<UserManager> {
        self.lock().users.values().map(|(user, _)| user.clone()).collect()
    }

    /// Why managers may be missing; `None` if all are followed.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    fn lock(&self) -> MutexGuard<'_, FollowedManagers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(users: UserManagers, config: UserManagerConfig) -> Infallible {
    let daemons = Arc::new(DaemonClient::new(config.dbus_address.clone()));
    let mut known: Option<(BTreeSet<u32>, Instant)> = None;
    loop {
        let there = directories();
        let is_known = known.as_ref().is_some_and(|(before, asked)| {
            *before == there && asked.elapsed() < LINGER_POLL_INTERVAL
        });
        if !is_known {
            let lingering = logind::lingering(daemons.clone()).await;
            let mut found = users.lock();
            match lingering {
                Ok(lingering) => {
                    let have = lingering.into_iter().filter(|(uid, _)| there.contains(uid));
                    found.replace(have.collect(), &config);
                    known = Some((there, Instant::now()));
                }
                Err(error) => found.trouble = Some(error.to_string()),
            }
        }
        tokio::time::sleep(USER_POLL_INTERVAL).await;
    }
}

/// The IDs of users with a directory below /run/user: a manager runs for each.
fn directories() -> BTreeSet<u32> {
    // without the directory there are no such users
    let entries = std::fs::read_dir(RUN_USER).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

impl FollowedManagers {
    /// Starts to follow new managers, and stops for users that no longer linger.
    fn replace(&mut self, mut lingering: BTreeMap<u32, String>, config: &UserManagerConfig) {
        self.trouble = None;
        if lingering.len() > MAX_USERS {
            self.trouble = Some(format!(
                "{} users have lingering enabled; only the first {MAX_USERS} are followed",
                lingering.len()
            ));
            lingering = lingering.into_iter().take(MAX_USERS).collect();
        }
        self.users.retain(|uid, (user, _)| {
            let stays = lingering.get(uid).is_some_and(|name| **name == *user.name);
            if !stays {
                info!(user = &*user.name, "stopped monitoring user manager");
            }
            stays
        });
        for (uid, name) in lingering {
            self.users.entry(uid).or_insert_with(|| follow_user(uid, &name, config));
        }
    }
}

fn follow_user(uid: u32, name: &str, config: &UserManagerConfig) -> (UserManager, JoinSet<()>) {
    let mirror = Mirror::new(config.selection.clone()).with_limit(MAX_UNITS, 0);
    let shared = Shared::new(mirror, Ledger::new(config.keep));
    let socket = Path::new(RUN_USER).join(uid.to_string()).join("bus");
    let manager = BusAddress::UserBus { uid, socket };
    let options = FollowOptions {
        manager,
        resync: config.resync,
        control_directories: Vec::new(),
        unit_directories: Vec::new(),
        extras: config.extras,
    };
    let span = info_span!("user", user = name);
    // aborted when the set is dropped
    let mut following = JoinSet::new();
    following.spawn(follow(shared.clone(), options).instrument(span));
    (UserManager { name: name.into(), uid, shared }, following)
}

const RUN_USER: &str = "/run/user";

/// How often /run/user is read.
const USER_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How often the list of lingering users is requested from systemd-logind although /run/user did not
/// change: lingering may be enabled for a user who is logged in.
const LINGER_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// UserManagers whose managers are followed at most.
const MAX_USERS: usize = 64;

/// Units of one manager; a desktop has 300.
const MAX_UNITS: usize = 2000;
