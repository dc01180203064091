//! The managers of users that linger, each with a mirror of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{Instrument, info, info_span};

use crate::source::dbus_daemons::{DaemonClient, logind};
use crate::systemd::follow::{FollowOptions, ManagerAddress, Thread, follow};
use crate::systemd::ledger::{Ledger, Retention};
use crate::systemd::mirror::Mirror;
use crate::systemd::state::Shared;
use crate::systemd::unit::properties::Extras;
use crate::unit_filter::Selection;

/// The users whose managers are followed.
#[derive(Clone, Debug, Default)]
pub struct Users(Arc<Mutex<Found>>);

/// One of them.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: Arc<str>,
    /// Its number.
    pub uid: u32,
    /// What is known of its manager.
    pub shared: Shared,
}

/// How managers are followed that are found.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Which of their units are exported.
    pub selection: Selection,
    /// What is kept of the past.
    pub keep: Retention,
    /// How often a mirror is compared with its manager.
    pub resync: Duration,
    /// What else is asked of their units.
    pub extras: Extras,
    /// Where all that is done.
    pub thread: Thread,
    /// The system bus, on which systemd-logind is asked for names.
    pub dbus_address: String,
}

#[derive(Debug, Default)]
struct Found {
    users: BTreeMap<u32, (User, JoinSet<()>)>,
    trouble: Option<String>,
}

impl Users {
    /// Looks for users that linger, again and again, and follows the managers of those found.
    #[must_use]
    pub fn watch(terms: Terms) -> Self {
        let users = Self::default();
        terms.thread.clone().spawn(watch(users.clone(), terms));
        users
    }

    /// Those found, by their number.
    #[must_use]
    pub fn all(&self) -> Vec<User> {
        self.lock().users.values().map(|(user, _)| user.clone()).collect()
    }

    /// Why users may be missing; `None` if all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(users: Users, terms: Terms) -> Infallible {
    let daemons = Arc::new(DaemonClient::new(terms.dbus_address.clone()));
    let mut known: Option<(BTreeSet<u32>, Instant)> = None;
    loop {
        let there = directories();
        let is_known =
            known.as_ref().is_some_and(|(before, asked)| *before == there && asked.elapsed() < ASK);
        if !is_known {
            let lingering = logind::lingering(daemons.clone()).await;
            let mut found = users.lock();
            match lingering {
                Ok(lingering) => {
                    let have = lingering.into_iter().filter(|(uid, _)| there.contains(uid));
                    found.replace(have.collect(), &terms);
                    known = Some((there, Instant::now()));
                }
                Err(error) => found.trouble = Some(error.to_string()),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The numbers of users that have a directory at run time: a manager runs for each.
fn directories() -> BTreeSet<u32> {
    // where there is no directory at all, there is no such user
    let entries = std::fs::read_dir(RUN_USER).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

impl Found {
    /// Follows those that are new, and no longer those that are gone.
    fn replace(&mut self, mut lingering: BTreeMap<u32, String>, terms: &Terms) {
        self.trouble = None;
        if lingering.len() > MOST {
            self.trouble =
                Some(format!("{} users linger: the first {MOST} are followed", lingering.len()));
            lingering = lingering.into_iter().take(MOST).collect();
        }
        self.users.retain(|uid, (user, _)| {
            let stays = lingering.get(uid).is_some_and(|name| **name == *user.name);
            if !stays {
                info!(user = &*user.name, "the user's manager is followed no longer");
            }
            stays
        });
        for (uid, name) in lingering {
            self.users.entry(uid).or_insert_with(|| follow_user(uid, &name, terms));
        }
    }
}

fn follow_user(uid: u32, name: &str, terms: &Terms) -> (User, JoinSet<()>) {
    let shared = Shared::new(Mirror::new(terms.selection.clone()), Ledger::new(terms.keep));
    let socket = Path::new(RUN_USER).join(uid.to_string()).join("bus");
    let manager = ManagerAddress::UserBus { uid, socket };
    let options = FollowOptions { manager, resync: terms.resync, extras: terms.extras };
    let span = info_span!("user", user = name);
    // ends with the set
    let mut following = JoinSet::new();
    following.spawn(follow(shared.clone(), options).instrument(span));
    (User { name: name.into(), uid, shared }, following)
}

const RUN_USER: &str = "/run/user";

/// How often users are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// How often systemd-logind is asked though no user came or went: one may begin to linger.
const ASK: Duration = Duration::from_secs(30);

/// Users whose managers are followed at most.
const MOST: usize = 64;
