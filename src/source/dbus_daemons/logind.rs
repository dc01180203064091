//! Who is logged in, as systemd-logind has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use zbus::wire::OwnedObjectPath;

use super::{Daemon, Daemons, MOST, Properties, text};
use crate::source::Error;
use crate::systemd::unit::value::{Word, as_bool, as_number, word};

/// Sessions, users and inhibitors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logins {
    /// Sessions, counted by what they are.
    pub sessions: BTreeMap<Session, u64>,
    /// Users by state: active, online, closing, lingering.
    pub users: BTreeMap<Word, u64>,
    /// Inhibitors held now; `None` where this systemd-logind does not tell.
    pub inhibitors: Option<u64>,
    /// Sessions and users that were not asked, there being so many.
    pub left_out: usize,
}

/// What a session is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// `Class`: user, greeter, lock-screen, background, manager …
    pub class: Word,
    /// `Type`: tty, x11, wayland, unspecified …
    pub kind: Word,
    /// `State`: active, online, closing.
    pub state: Word,
    /// `Remote`: whether it comes from another host.
    pub remote: bool,
}

/// Asks systemd-logind.
pub async fn read(daemons: Arc<Daemons>) -> Result<Logins, Error> {
    let peer = daemons.find(LOGIND).await?;
    let mut logins = Logins::default();
    let listed: Vec<SessionRow> = peer.call(PATH, MANAGER, "ListSessions", &()).await?;
    logins.left_out += listed.len().saturating_sub(MOST);
    for (.., path) in listed.iter().take(MOST) {
        let properties = peer.properties(path, SESSION).await?;
        logins.session(&properties.unwrap_or_default());
    }
    let listed: Vec<UserRow> = peer.call(PATH, MANAGER, "ListUsers", &()).await?;
    logins.left_out += listed.len().saturating_sub(MOST);
    for (.., path) in listed.iter().take(MOST) {
        let properties = peer.properties(path, USER).await?;
        logins.user(&properties.unwrap_or_default());
    }
    // not there before systemd 248
    let inhibitors = peer.property(PATH, MANAGER, "NCurrentInhibitors").await.ok();
    logins.inhibitors = inhibitors.and_then(|value| as_number(&value));
    Ok(logins)
}

/// Users that have a manager whether they are logged in or not, by their number.
pub async fn lingering(daemons: Arc<Daemons>) -> Result<BTreeMap<u32, String>, Error> {
    let peer = daemons.find(LOGIND).await?;
    let mut lingering = BTreeMap::new();
    let listed: Vec<UserRow> = peer.call(PATH, MANAGER, "ListUsers", &()).await?;
    for (uid, name, path) in listed.into_iter().take(MOST) {
        let properties = peer.properties(&path, USER).await?.unwrap_or_default();
        if properties.get("Linger").and_then(|value| as_bool(value)) == Some(true) {
            lingering.insert(uid, name);
        }
    }
    Ok(lingering)
}

impl Logins {
    /// Counts a session; not one that has gone, which has no properties.
    pub(super) fn session(&mut self, properties: &Properties) {
        if let Some(session) = session(properties) {
            *self.sessions.entry(session).or_default() += 1;
        }
    }

    /// Counts a user; not one that has gone.
    pub(super) fn user(&mut self, properties: &Properties) {
        if let Some(state) = text(properties, "State") {
            *self.users.entry(word(state)).or_default() += 1;
        }
    }
}

fn session(properties: &Properties) -> Option<Session> {
    Some(Session {
        class: word(text(properties, "Class")?),
        kind: word(text(properties, "Type")?),
        state: word(text(properties, "State")?),
        remote: as_bool(properties.get("Remote")?)?,
    })
}

/// A session as it is listed: its id, user and seat, and the object that tells more.
pub(super) type SessionRow = (String, u32, String, String, OwnedObjectPath);

/// A user as it is listed.
pub(super) type UserRow = (u32, String, OwnedObjectPath);

const LOGIND: Daemon = Daemon {
    name: "org.freedesktop.login1",
    title: "systemd-logind",
    remedy: "start systemd-logind.service, or leave out --collector.logind",
    permission: "run the exporter as root, or leave out --collector.logind",
};

const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const USER: &str = "org.freedesktop.login1.User";
