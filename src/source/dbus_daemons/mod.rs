//! Other daemons on the system bus, asked at a scrape: what they say of names, sessions, links …
//!
//! Each is one question or a few, on one connection that they share and that is opened at the first.
//! None is started by being asked.

pub mod bus;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod logind;
pub mod machined;
pub mod networkd;
pub mod resolved;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use zbus::message::Message;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, OwnedVariant, Variant, fdo};

use super::Error;

/// The system bus, as far as daemons are asked on it.
#[derive(Debug)]
pub struct Daemons {
    address: String,
    connection: Mutex<Option<Connection>>,
}

/// A daemon that can be asked.
#[derive(Clone, Copy, Debug)]
struct Daemon {
    /// Its well-known name on the bus.
    name: &'static str,
    /// What people call it.
    title: &'static str,
    /// What to do where it does not run.
    remedy: &'static str,
    /// What to do where it does not answer this user.
    permission: &'static str,
}

/// A daemon that was found on the bus.
struct Peer {
    daemon: Daemon,
    connection: Connection,
    /// Its unique name: what anybody else answers does not count.
    owner: OwnedUniqueName,
}

/// Properties of an object, by name.
type Properties = HashMap<String, OwnedVariant>;

impl Daemons {
    /// The daemons on the bus at `address`. Nothing is connected yet.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self { address, connection: Mutex::default() }
    }

    /// The daemon, if it runs.
    async fn find(&self, daemon: Daemon) -> Result<Peer, Error> {
        let driver = self.driver().await?;
        let owner = driver.send(DRIVER_PATH, DRIVER, "GetNameOwner", &daemon.name).await;
        let owner = match owner {
            Ok(reply) => driver.read(&reply)?,
            Err(error) if matches!(standard(&error), Some(fdo::Error::NameHasNoOwner(_))) => {
                let Daemon { title, remedy, .. } = daemon;
                return Err(Error::Unavailable(format!("{title} does not run: {remedy}")));
            }
            Err(error) => return Err(driver.error("GetNameOwner", error)),
        };
        Ok(Peer { daemon, connection: driver.connection, owner })
    }

    /// Whether the bus would start the daemon for whoever asks it; here, nobody does.
    async fn can_be_started(&self, daemon: Daemon) -> Result<bool, Error> {
        let driver = self.driver().await?;
        let names: Vec<String> =
            driver.call(DRIVER_PATH, DRIVER, "ListActivatableNames", &()).await?;
        Ok(names.iter().any(|name| name == daemon.name))
    }

    /// The bus itself.
    async fn driver(&self) -> Result<Peer, Error> {
        let connection = self.connected().await?;
        let owner = DRIVER.try_into().map_err(|error| BUS.unavailable(&error))?;
        Ok(Peer { daemon: BUS, connection, owner })
    }

    async fn connected(&self) -> Result<Connection, Error> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        *kept = None;
        let connection =
            zbus::connection::Builder::address(&*self.address).method_timeout(TIMEOUT).build();
        let connection = match tokio::time::timeout(TIMEOUT, connection).await {
            Ok(connection) => connection.map_err(|error| BUS.unavailable(&error))?,
            Err(_) => return Err(Error::Late),
        };
        *kept = Some(connection.clone());
        Ok(connection)
    }
}

impl Peer {
    /// What a method returns.
    async fn call<T>(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        arguments: &(impl serde::Serialize + zbus::wire::DynamicType),
    ) -> Result<T, Error>
    where
        T: DeserializeOwned + zbus::wire::Type,
    {
        let reply = self.send(path, interface, member, arguments).await;
        self.read(&reply.map_err(|error| self.error(member, error))?)
    }

    /// All properties of one interface of an object; `None` if the object has gone meanwhile.
    async fn properties(&self, path: &str, interface: &str) -> Result<Option<Properties>, Error> {
        match self.send(path, PROPERTIES, "GetAll", &interface).await {
            Ok(reply) => self.read(&reply).map(Some),
            Err(error) => match standard(&error) {
                Some(fdo::Error::UnknownObject(_) | fdo::Error::UnknownInterface(_)) => Ok(None),
                _ => Err(self.error("GetAll", error)),
            },
        }
    }

    /// One property.
    async fn property(
        &self,
        path: &str,
        interface: &str,
        property: &str,
    ) -> Result<OwnedVariant, Error> {
        self.call(path, PROPERTIES, "Get", &(interface, property)).await
    }

    async fn send(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        arguments: &(impl serde::Serialize + zbus::wire::DynamicType),
    ) -> zbus::Result<Message> {
        let (to, interface) = (Some(self.owner.as_str()), Some(interface));
        self.connection.call_method(to, path, interface, member, arguments).await
    }

    fn read<T>(&self, reply: &Message) -> Result<T, Error>
    where
        T: DeserializeOwned + zbus::wire::Type,
    {
        let title = self.daemon.title;
        if reply.header().sender().is_none_or(|sender| sender.as_str() != self.owner.as_str()) {
            let text = format!("somebody else answered for {title}: not trusted");
            return Err(Error::Unavailable(text));
        }
        let body = reply.body();
        body.deserialize().map_err(|error| self.daemon.unavailable(&error))
    }

    fn error(&self, member: &str, error: zbus::Error) -> Error {
        let Daemon { title, permission, .. } = self.daemon;
        let text = match (&error, standard(&error)) {
            (_, Some(fdo::Error::AccessDenied(_))) => {
                format!("{title} does not tell this user: {permission}")
            }
            (zbus::Error::InputOutput(error), _) if error.kind() == ErrorKind::TimedOut => {
                format!("{title} has not answered for {TIMEOUT:?}")
            }
            _ => format!("{title}, {member}: {error}"),
        };
        Error::Unavailable(text)
    }
}

impl Daemon {
    fn unavailable(&self, error: &impl std::fmt::Display) -> Error {
        Error::Unavailable(format!("{}: {error}", self.title))
    }
}

/// The error as one of those that D-Bus itself defines.
fn standard(error: &zbus::Error) -> Option<&fdo::Error> {
    match error {
        zbus::Error::FDO(error) => Some(error),
        _ => None,
    }
}

/// Text among properties; `None` where it is empty, too.
fn text<'p>(properties: &'p Properties, name: &str) -> Option<&'p str> {
    match &**properties.get(name)? {
        Variant::Str(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        _ => None,
    }
}

const BUS: Daemon = Daemon {
    name: DRIVER,
    title: "the system bus",
    remedy: "start dbus.service",
    permission: "as it comes, only root may ask for its statistics; see docs/daemons.md",
};

const DRIVER: &str = "org.freedesktop.DBus";
const DRIVER_PATH: &str = "/org/freedesktop/DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// For each call, and for connecting: some fit into a scrape's time.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Objects of one daemon that are asked one by one; there may be more.
const MOST: usize = 256;
