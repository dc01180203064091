//! Sessions, users and inhibitors of systemd-logind.

use std::collections::BTreeMap;
use std::sync::Arc;

use zbus::wire::OwnedObjectPath;

use super::{Daemon, DaemonClient, MAX_OBJECTS, Properties, text};
use crate::source::Error;
use crate::systemd::unit::value::{InternedStr, as_bool, as_number, intern};

/// Sessions, users and inhibitors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logins {
    /// The number of sessions by their properties.
    pub sessions: BTreeMap<LoginSession, u64>,
    /// The number of users by state: active, online, closing, lingering.
    pub users: BTreeMap<InternedStr, u64>,
    /// Inhibitors held now; `None` before systemd 248.
    pub inhibitors: Option<u64>,
    /// Sessions and users beyond the limit, which were not read.
    pub left_out: usize,
}

/// The properties of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginSession {
    /// `Class`: user, greeter, lock-screen, background, manager …
    pub class: InternedStr,
    /// `Type`: tty, x11, wayland, unspecified …
    pub kind: InternedStr,
    /// `State`: active, online, closing.
    pub state: InternedStr,
    /// `Remote`: whether the session is from another host.
    pub remote: bool,
}

/// Reads sessions, users and inhibitors.
pub async fn read(client: Arc<DaemonClient>) -> Result<Logins, Error> {
    let peer = client.find(LOGIND).await?;
    let mut logins = Logins::default();
    let listed: Vec<SessionRow> = peer.call(PATH, MANAGER, "ListSessions", &()).await?;
    logins.left_out += listed.len().saturating_sub(MAX_OBJECTS);
    for (.., path) in listed.iter().take(MAX_OBJECTS) {
        let properties = peer.properties(path, SESSION).await?;
        logins.session(&properties.unwrap_or_default());
    }
    let listed: Vec<UserRow> = peer.call(PATH, MANAGER, "ListUsers", &()).await?;
    logins.left_out += listed.len().saturating_sub(MAX_OBJECTS);
    for (.., path) in listed.iter().take(MAX_OBJECTS) {
        let properties = peer.properties(path, USER).await?;
        logins.user(&properties.unwrap_or_default());
    }
    // not there before systemd 248
    let inhibitors = peer.property(PATH, MANAGER, "NCurrentInhibitors").await.ok();
    logins.inhibitors = inhibitors.and_then(|value| as_number(&value));
    Ok(logins)
}

/// Users with lingering enabled, by uid: their managers run without a session.
pub async fn lingering(client: Arc<DaemonClient>) -> Result<BTreeMap<u32, String>, Error> {
    let peer = client.find(LOGIND_FOR_USERS).await?;
    let mut lingering = BTreeMap::new();
    let listed: Vec<UserRow> = peer.call(PATH, MANAGER, "ListUsers", &()).await?;
    for (uid, name, path) in listed.into_iter().take(MAX_OBJECTS) {
        let properties = peer.properties(&path, USER).await?.unwrap_or_default();
        if properties.get("Linger").and_then(|value| as_bool(value)) == Some(true) {
            lingering.insert(uid, name);
        }
    }
    Ok(lingering)
}

impl Logins {
    /// Counts a session. A session that no longer exists has no properties and is not counted.
    pub(super) fn session(&mut self, properties: &Properties) {
        if let Some(session) = session(properties) {
            *self.sessions.entry(session).or_default() += 1;
        }
    }

    /// Counts a user, as long as the user exists.
    pub(super) fn user(&mut self, properties: &Properties) {
        if let Some(state) = text(properties, "State") {
            *self.users.entry(intern(state)).or_default() += 1;
        }
    }
}

fn session(properties: &Properties) -> Option<LoginSession> {
    Some(LoginSession {
        class: intern(text(properties, "Class")?),
        kind: intern(text(properties, "Type")?),
        state: intern(text(properties, "State")?),
        remote: as_bool(properties.get("Remote")?)?,
    })
}

/// A session in `ListSessions`: id, uid, user, seat, object path.
pub(super) type SessionRow = (String, u32, String, String, OwnedObjectPath);

/// A user in `ListUsers`: uid, name, object path.
pub(super) type UserRow = (u32, String, OwnedObjectPath);

const LOGIND: Daemon = Daemon {
    name: "org.freedesktop.login1",
    title: "systemd-logind",
    remedy: "start systemd-logind.service, or remove --collector.logind",
    permission: "run the exporter as root, or remove --collector.logind",
};

/// The same daemon, for the collector of user managers.
const LOGIND_FOR_USERS: Daemon = Daemon {
    remedy: "start systemd-logind.service, or remove --collector.user-managers",
    permission: "run the exporter as root, or remove --collector.user-managers",
    ..LOGIND
};

const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const USER: &str = "org.freedesktop.login1.User";
