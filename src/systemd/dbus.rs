//! The calls that are made to PID 1, and what its messages hold.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use zbus::message::Message;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, MessageStream, message};

use super::manager_address::Place;
use super::mirror::Listed;
use super::unit::name::{Kind, is_valid, object_path};
use super::unit::properties::{Interface, Values};
use super::unit::value::word;
use super::wakeup_coalescing::Coalescing;

/// A connection to a bus on which PID 1 was found.
pub(super) struct Bus {
    pub(super) connection: Connection,
    /// The unique name of PID 1: what comes from anybody else does not count.
    pub(super) owner: OwnedUniqueName,
}

/// Why PID 1 cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody listens at the address.
    #[error(
        "cannot connect to the bus at {address}: {error}; is dbus-daemon or dbus-broker running?"
    )]
    Connect {
        /// The address of the bus.
        address: String,
        /// What went wrong.
        error: zbus::Error,
    },
    /// There is a bus, but PID 1 is not on it.
    #[error("systemd is not on the bus: {0}; is this host booted with systemd?")]
    NoManager(zbus::Error),
    /// Somebody else has taken systemd's name.
    #[error("org.freedesktop.systemd1 belongs to uid {0}: not trusted")]
    Impostor(u32),
    /// A call failed that nothing goes without.
    #[error("{what}: {error}")]
    Call {
        /// What was asked.
        what: &'static str,
        /// What went wrong.
        error: zbus::Error,
    },
    /// The stream of messages ended.
    #[error("the bus closed the connection: {0}")]
    Closed(String),
    /// systemd's name on the bus has gone to somebody else: PID 1 left the bus, or came back.
    #[error("systemd left the bus")]
    OwnerChanged,
    /// PID 1 took too long for an answer.
    #[error("systemd has not answered for {0:?}")]
    Silent(Duration),
}

impl Bus {
    /// Connects, finds PID 1 and asks the bus for its signals.
    pub(super) async fn connect(place: &Place, coalescing: &Coalescing) -> Result<Self, Error> {
        let connect = |error| Error::Connect { address: place.to_string(), error };
        let builder = place.builder(coalescing).await.map_err(connect)?;
        let connection = builder.max_queued(QUEUE).method_timeout(TIMEOUT).build();
        let connection = match tokio::time::timeout(TIMEOUT, connection).await {
            Ok(connection) => connection.map_err(connect)?,
            Err(_) => return Err(Error::Silent(TIMEOUT)),
        };
        watch(&connection, OWNER_CHANGES).await?;
        let owner = owner(&connection).await?;
        let uid: u32 = ask(&connection, "GetConnectionUnixUser").await.map_err(Error::NoManager)?;
        if !place.trusts(uid) {
            return Err(Error::Impostor(uid));
        }
        for rule in signals(&owner) {
            watch(&connection, &rule).await?;
        }
        Ok(Self { connection, owner })
    }
}

/// The owner of systemd's name; waits a moment for PID 1 to come back to a bus that was restarted.
async fn owner(connection: &Connection) -> Result<OwnedUniqueName, Error> {
    let mut messages = MessageStream::from(connection);
    let error = match ask(connection, "GetNameOwner").await {
        Ok(owner) => return Ok(owner),
        Err(error) => error,
    };
    let comes = async {
        while let Some(Ok(message)) = messages.next().await {
            if let Some(owner) = new_owner(&message) {
                return Some(owner);
            }
        }
        None
    };
    let owner = tokio::time::timeout(RETURN, comes).await.ok().flatten();
    owner.and_then(|owner| owner.try_into().ok()).ok_or(Error::NoManager(error))
}

/// Who has systemd's name now, where a message tells that this changed; empty for nobody.
pub(super) fn new_owner(message: &Message) -> Option<String> {
    let header = message.header();
    let of_driver = header.sender().is_some_and(|sender| sender.as_str() == DRIVER)
        && header.member().is_some_and(|member| member.as_str() == "NameOwnerChanged");
    let body = message.body();
    let (name, _, owner): (&str, &str, &str) = body.deserialize().ok().filter(|_| of_driver)?;
    (name == MANAGER).then(|| owner.to_owned())
}

async fn ask<T>(connection: &Connection, member: &str) -> zbus::Result<T>
where
    T: for<'m> serde::Deserialize<'m> + zbus::wire::Type,
{
    let reply =
        connection.call_method(Some(DRIVER), DRIVER_PATH, Some(DRIVER), member, &MANAGER).await?;
    reply.body().deserialize()
}

async fn watch(connection: &Connection, rule: &str) -> Result<(), Error> {
    connection
        .call_method(Some(DRIVER), DRIVER_PATH, Some(DRIVER), "AddMatch", &rule)
        .await
        .map(|_| ())
        .map_err(|error| Error::Call { what: "asking the bus for signals", error })
}

/// Something asked of PID 1.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Ask it to send signals about units and jobs.
    Subscribe,
    /// All units.
    List,
    /// All units of one kind.
    ListKind(Kind),
    /// Those of the named units that are loaded.
    ListNames(Vec<String>),
    /// All jobs.
    ListJobs,
    /// Properties of a unit.
    Unit(Get),
    /// One property of the manager.
    Manager(String),
}

/// One property of a unit or all of one interface, asked with others or alone.
#[derive(Clone, Debug)]
pub(super) struct Get {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
    pub(super) interface: Interface,
    /// `None` for all that the interface has.
    pub(super) property: Option<&'static str>,
    /// The fetch that it is part of; 0 for none.
    pub(super) generation: u32,
}

impl Call {
    /// What it asks, for the exporter's own metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::List => "list_units",
            Self::ListKind(_) | Self::ListNames(_) => "list_units_by_patterns",
            Self::ListJobs => "list_jobs",
            Self::Unit(Get { property: None, .. }) => "get_all_unit",
            Self::Unit(..) => "get_unit",
            Self::Manager(_) => "get_manager",
        }
    }

    /// The message to send.
    pub(super) fn message(&self, to: &OwnedUniqueName) -> zbus::Result<Message> {
        let manager = |member| method(to, MANAGER_PATH, MANAGER_INTERFACE, member);
        let none: &[&str] = &[];
        match self {
            Self::Subscribe => manager("Subscribe").build(&()),
            Self::List => manager("ListUnits").build(&()),
            Self::ListJobs => manager("ListJobs").build(&()),
            Self::ListKind(kind) => {
                manager("ListUnitsByPatterns").build(&(none, &[format!("*.{kind}")][..]))
            }
            Self::ListNames(names) => {
                // a name is its own pattern: a backslash escapes nothing here (FNM_NOESCAPE)
                manager("ListUnitsByPatterns").build(&(none, names))
            }
            Self::Unit(Get { name, kind, interface, property, .. }) => {
                let interface = match interface {
                    Interface::Unit => UNIT_INTERFACE,
                    Interface::Kind => kind.interface(),
                };
                match property {
                    Some(property) => property_of(to, &object_path(name), interface, property),
                    None => method(to, &object_path(name), PROPERTIES_INTERFACE, "GetAll")
                        .build(&interface),
                }
            }
            Self::Manager(property) => property_of(to, MANAGER_PATH, MANAGER_INTERFACE, property),
        }
    }
}

fn property_of(
    to: &OwnedUniqueName,
    path: &str,
    interface: &str,
    property: &str,
) -> zbus::Result<Message> {
    method(to, path, PROPERTIES_INTERFACE, "Get").build(&(interface, property))
}

fn method<'m>(
    to: &'m OwnedUniqueName,
    path: &'m str,
    interface: &'m str,
    member: &'m str,
) -> message::Builder<'m> {
    Message::method_call(path, member).destination(to).interface(interface)
}

/// The answer to a call that lists units, less what cannot be the name of one.
pub(super) fn listed(reply: &Message) -> zbus::Result<Vec<Listed>> {
    let body = reply.body();
    let rows: Vec<Row<'_>> = body.deserialize()?;
    Ok(rows.into_iter().filter(|(name, ..)| is_valid(name)).map(Listed::from).collect())
}

impl From<Row<'_>> for Listed {
    fn from((name, _, load_state, active_state, sub_state, ..): Row<'_>) -> Self {
        Self {
            name: name.to_owned(),
            load_state: word(load_state),
            active_state: word(active_state),
            sub_state: word(sub_state),
        }
    }
}

/// The answer to `ListJobs`: ids and units.
pub(super) fn listed_jobs(reply: &Message) -> zbus::Result<Vec<(u32, String)>> {
    let body = reply.body();
    let rows: Vec<JobRow<'_>> = body.deserialize()?;
    Ok(rows.into_iter().map(|(id, unit, ..)| (id, unit.to_owned())).collect())
}

/// One line of a list of units.
pub(super) type Row<'m> = (
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    zbus::ObjectPath<'m>,
    u32,
    &'m str,
    zbus::ObjectPath<'m>,
);

/// One line of the list of jobs.
pub(super) type JobRow<'m> =
    (u32, &'m str, &'m str, &'m str, zbus::ObjectPath<'m>, zbus::ObjectPath<'m>);

/// The interface, the properties with their values, and those without, of a PropertiesChanged.
pub(super) type Changed<'m> = (&'m str, Values<'m>, Vec<&'m str>);

/// The rules for signals: of units, and the manager's own. Its properties change with every failure,
/// those of jobs with every job, and tell nothing that these do not. The bus matches a well-known name as sender with its present owner only,
/// a unique name is more to the point still; the follower looks at each sender all the same.
fn signals(owner: &OwnedUniqueName) -> [String; 2] {
    let from = format!("type='signal',sender='{owner}'");
    [
        format!("{from},path_namespace='{UNITS_PATH}'"),
        format!("{from},path='{MANAGER_PATH}',interface='{MANAGER_INTERFACE}'"),
    ]
}

const OWNER_CHANGES: &str = "type='signal',sender='org.freedesktop.DBus',\
    member='NameOwnerChanged',arg0='org.freedesktop.systemd1'";

pub(super) const DRIVER: &str = "org.freedesktop.DBus";
const DRIVER_PATH: &str = "/org/freedesktop/DBus";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const UNITS_PATH: &str = "/org/freedesktop/systemd1/unit";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
pub(super) const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";

/// For the few calls that are awaited, and for connecting.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long PID 1 may take to come back to a bus that was restarted.
const RETURN: Duration = Duration::from_secs(3);

/// Messages that wait for the follower; beyond it, zbus stops reading and the bus buffers.
const QUEUE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(8192).expect("not 0");
