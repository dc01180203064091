//! Other daemons on the system bus, read at each scrape: names, sessions, machines, links …
//!
//! Each takes one call or a few, on one shared connection that is opened at the first. No call
//! activates a daemon.

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
use crate::bus::BusAddress;
use crate::bus::wakeup_coalescing::Coalescing;

/// A client of the daemons on the system bus.
#[derive(Debug)]
pub struct DaemonClient {
    address: BusAddress,
    connection: Mutex<Option<Connection>>,
}

/// A daemon on the bus, and the texts of its errors.
#[derive(Clone, Copy, Debug)]
struct Daemon {
    /// The well-known name on the bus.
    name: &'static str,
    /// The name in error messages.
    title: &'static str,
    /// The remedy if the daemon does not run.
    remedy: &'static str,
    /// The remedy if the daemon denies access.
    permission: &'static str,
}

/// A running daemon.
struct Peer {
    daemon: Daemon,
    connection: Connection,
    /// The unique name: replies of other senders are not trusted.
    owner: OwnedUniqueName,
}

/// Properties of an object, by name.
type Properties = HashMap<String, OwnedVariant>;

impl DaemonClient {
    /// A client of the bus at `address`. Does not connect yet.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self { address: BusAddress::Bus(address), connection: Mutex::default() }
    }

    /// Finds the daemon, if it runs.
    async fn find(&self, daemon: Daemon) -> Result<Peer, Error> {
        let driver = self.driver().await?;
        let owner = driver.send(DRIVER_PATH, DRIVER, "GetNameOwner", &daemon.name).await;
        let owner = match owner {
            Ok(reply) => driver.read(&reply)?,
            Err(error) if matches!(standard(&error), Some(fdo::Error::NameHasNoOwner(_))) => {
                let Daemon { title, remedy, .. } = daemon;
                return Err(Error::Unavailable(format!("{title} does not run; {remedy}")));
            }
            Err(error) => return Err(driver.error("GetNameOwner", error)),
        };
        Ok(Peer { daemon, connection: driver.connection, owner })
    }

    /// Whether the bus could activate the daemon, which no call here does.
    async fn is_activatable(&self, daemon: Daemon) -> Result<bool, Error> {
        let driver = self.driver().await?;
        let names: Vec<String> =
            driver.call(DRIVER_PATH, DRIVER, "ListActivatableNames", &()).await?;
        Ok(names.iter().any(|name| name == daemon.name))
    }

    /// The bus itself.
    async fn driver(&self) -> Result<Peer, Error> {
        let connection = self.connect().await?;
        let owner = DRIVER.try_into().map_err(|error| BUS.unavailable(&error))?;
        Ok(Peer { daemon: BUS, connection, owner })
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        *current = None;
        let builder = self.address.builder(&Coalescing::disabled()).await;
        let builder = builder.map_err(|error| BUS.unavailable(&error))?;
        let connection = builder.method_timeout(TIMEOUT).build();
        let connection = match tokio::time::timeout(TIMEOUT, connection).await {
            Ok(connection) => connection.map_err(|error| BUS.unavailable(&error))?,
            Err(_) => return Err(Error::Late),
        };
        *current = Some(connection.clone());
        Ok(connection)
    }
}

impl Peer {
    /// Calls a method, and decodes its reply.
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

    /// All properties of one interface of an object; `None` if the object no longer exists.
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
            let text = format!("reply of {title} is from another sender; not trusted");
            return Err(Error::Unavailable(text));
        }
        let body = reply.body();
        body.deserialize().map_err(|error| self.daemon.unavailable(&error))
    }

    fn error(&self, member: &str, error: zbus::Error) -> Error {
        let Daemon { title, permission, .. } = self.daemon;
        let text = match (&error, standard(&error)) {
            (_, Some(fdo::Error::AccessDenied(_))) => {
                format!("{title} denies access to this user; {permission}")
            }
            (zbus::Error::InputOutput(error), _) if error.kind() == ErrorKind::TimedOut => {
                format!("{title} did not reply within {TIMEOUT:?}")
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

/// The error, if D-Bus itself defines it.
fn standard(error: &zbus::Error) -> Option<&fdo::Error> {
    match error {
        zbus::Error::FDO(error) => Some(error),
        _ => None,
    }
}

/// A text property; `None` also where it is empty.
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
    permission: "by default only root may read its statistics; see docs/daemons.md",
};

const DRIVER: &str = "org.freedesktop.DBus";
const DRIVER_PATH: &str = "/org/freedesktop/DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// For each call, and for connecting: several fit into the time of a scrape.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Objects of one daemon whose properties are read.
const MAX_OBJECTS: usize = 256;
