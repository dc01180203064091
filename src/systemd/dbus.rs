//! Connects to PID 1, encodes calls to it and decodes its messages.

use std::sync::Arc;
use std::time::Duration;

use zbus::message::Message;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, message};

use super::mirror::ListedUnit;
use super::unit::Unit;
use super::unit::name::{UNIT_PATH, UnitKind, is_valid, object_path};
use super::unit::properties::{Interface, Values};
use super::unit::value::intern;
use crate::bus::BusAddress;
use crate::bus::wakeup_coalescing::Coalescing;

/// A connection to a bus with PID 1 on it.
pub(super) struct ManagerConnection {
    pub(super) connection: Connection,
    /// The unique name of PID 1; messages of other senders are ignored.
    pub(super) owner: OwnedUniqueName,
}

/// Why PID 1 cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    /// No bus listens at the address.
    #[error(
        "cannot connect to the bus at {address}: {error}; is dbus-daemon or dbus-broker running?"
    )]
    Connect {
        /// The address of the bus.
        address: String,
        /// The cause.
        error: zbus::Error,
    },
    /// PID 1 is not on the bus.
    #[error("systemd is not on the bus: {0}; is this host booted with systemd?")]
    NoManager(zbus::Error),
    /// A user other than root (or than the owner of a user manager) owns systemd's name.
    #[error("org.freedesktop.systemd1 belongs to uid {0}: not trusted")]
    UntrustedOwner(u32),
    /// The bus refused a match rule.
    #[error("failed to subscribe to D-Bus signals: {0}")]
    AddMatch(zbus::Error),
    /// The stream of messages ended.
    #[error("the bus closed the connection: {0}")]
    Closed(String),
    /// systemd's name on the bus has another owner: PID 1 left the bus, or came back.
    #[error("systemd left the bus")]
    OwnerChanged,
    /// PID 1 or the bus refused to list units of a kind that is always there.
    #[error("systemd did not list its {kind} units: {error}{}", remedy(.error))]
    NotListed {
        /// The kind.
        kind: UnitKind,
        /// The error reply.
        error: String,
    },
    /// PID 1 replies, but its signals do not arrive.
    #[error(
        "systemd's D-Bus signals do not arrive; allow the exporter's user to receive signals of \
         org.freedesktop.systemd1: see the D-Bus policies in /etc/dbus-1/system.d, or AppArmor"
    )]
    NoSignals,
    /// A reply took too long.
    #[error("systemd has not answered for {0:?}")]
    NotResponding(Duration),
}

/// The remedy if the error denies access.
pub(super) fn remedy(error: &str) -> &'static str {
    if error.starts_with(ACCESS_DENIED) {
        "; allow the exporter's user to call org.freedesktop.systemd1: see the D-Bus policies in \
         /etc/dbus-1/system.d, SELinux or AppArmor"
    } else {
        ""
    }
}

impl ManagerConnection {
    /// Connects, finds PID 1 and subscribes to its signals.
    pub(super) async fn open(
        address: &BusAddress,
        coalescing: &Coalescing,
    ) -> Result<Self, FollowError> {
        let connect = |error| FollowError::Connect { address: address.to_string(), error };
        let builder = address.builder(coalescing).await.map_err(connect)?;
        let connection = builder.max_queued(MAX_QUEUED).method_timeout(TIMEOUT).build();
        let connection = match tokio::time::timeout(TIMEOUT, connection).await {
            Ok(connection) => connection.map_err(connect)?,
            Err(_) => return Err(FollowError::NotResponding(TIMEOUT)),
        };
        add_match(&connection, OWNER_CHANGES).await?;
        let owner = owner(&connection).await?;
        let uid = call_driver(&connection, "GetConnectionUnixUser", MANAGER).await;
        let uid = uid.map_err(FollowError::NoManager)?;
        if !address.trusts(uid) {
            return Err(FollowError::UntrustedOwner(uid));
        }
        for rule in match_rules(&owner) {
            add_match(&connection, &rule).await?;
        }
        Ok(Self { connection, owner })
    }
}

/// The owner of systemd's name; waits a moment for PID 1 to come back to a bus that was restarted.
/// Signals are not read meanwhile: until they are, zbus keeps none.
async fn owner(connection: &Connection) -> Result<OwnedUniqueName, FollowError> {
    let mut attempts = RETURN_TIMEOUT.as_millis() / RETURN_INTERVAL.as_millis();
    loop {
        match call_driver(connection, "GetNameOwner", MANAGER).await {
            Err(zbus::Error::FDO(_)) if attempts > 0 => {}
            owner => return owner.map_err(FollowError::NoManager),
        }
        attempts -= 1;
        tokio::time::sleep(RETURN_INTERVAL).await;
    }
}

/// The new owner of systemd's name, if the message is the signal that it changed; empty for none.
pub(super) fn new_owner(message: &Message) -> Option<String> {
    let header = message.header();
    let of_driver = header.sender().is_some_and(|sender| sender.as_str() == DRIVER)
        && header.member().is_some_and(|member| member.as_str() == "NameOwnerChanged");
    let body = message.body();
    let (name, _, owner): (&str, &str, &str) = body.deserialize().ok().filter(|_| of_driver)?;
    (name == MANAGER).then(|| owner.to_owned())
}

async fn add_match(connection: &Connection, rule: &str) -> Result<(), FollowError> {
    call_driver(connection, "AddMatch", rule).await.map_err(FollowError::AddMatch)
}

async fn call_driver<T>(connection: &Connection, member: &str, argument: &str) -> zbus::Result<T>
where
    T: for<'m> serde::Deserialize<'m> + zbus::wire::Type,
{
    let reply =
        connection.call_method(Some(DRIVER), DRIVER_PATH, Some(DRIVER), member, &argument).await?;
    reply.body().deserialize()
}

/// A call to PID 1.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Makes it send signals of units and jobs.
    Subscribe,
    /// All units.
    List,
    /// All units of one kind.
    ListKind(UnitKind),
    /// Units of one kind that match one of the patterns.
    ListPart(UnitKind, Vec<String>),
    /// The names of all units.
    Names,
    /// Those of the named units that are loaded.
    ListNames(Vec<String>),
    /// All jobs.
    ListJobs,
    /// Properties of a unit.
    Unit(Get),
    /// One property of the manager.
    Manager(String),
    /// A property of a unit that does not exist: PID 1 replies, and sends a signal.
    SignalCheck,
}

/// A call that reads one property of a unit, or all of one interface.
#[derive(Clone, Debug)]
pub(super) struct Get {
    pub(super) name: Arc<str>,
    pub(super) kind: UnitKind,
    pub(super) interface: Interface,
    /// `None` for all of the interface.
    pub(super) property: Option<&'static str>,
    pub(super) purpose: Purpose,
}

/// Why a property is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The fetch of a unit with this number.
    Fetch(u32),
    /// That property alone.
    Single,
    /// How long units took to start at boot.
    BootTimes,
}

impl Get {
    /// Reads one property alone.
    pub(super) fn single(unit: &Unit, interface: Interface, property: &'static str) -> Self {
        let (name, kind, property) = (unit.name.clone(), unit.kind, Some(property));
        Self { name, kind, interface, property, purpose: Purpose::Single }
    }
}

impl Call {
    /// The label `call` of the exporter's own metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::List => "list_units",
            Self::Names => "introspect",
            Self::ListKind(_) | Self::ListPart(..) | Self::ListNames(_) => "list_units_by_patterns",
            Self::ListJobs => "list_jobs",
            Self::Unit(Get { property: None, .. }) => "get_all_unit",
            Self::Unit(..) | Self::SignalCheck => "get_unit",
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
            Self::ListNames(patterns) | Self::ListPart(_, patterns) => {
                // a name matches itself: a backslash escapes nothing here (FNM_NOESCAPE)
                manager("ListUnitsByPatterns").build(&(none, patterns))
            }
            Self::Names => {
                let path = UNIT_PATH.trim_end_matches('/');
                method(to, path, INTROSPECTABLE_INTERFACE, "Introspect").build(&())
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
            Self::SignalCheck => {
                property_of(to, &object_path(UNKNOWN_UNIT), UNIT_INTERFACE, "LoadState")
            }
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

/// Decodes the reply to a call that lists units; rows with an invalid name are dropped.
pub(super) fn listed_units(reply: &Message) -> zbus::Result<Vec<ListedUnit>> {
    let body = reply.body();
    let rows: Vec<UnitRow<'_>> = body.deserialize()?;
    Ok(rows.into_iter().filter(|(name, ..)| is_valid(name)).map(ListedUnit::from).collect())
}

impl From<UnitRow<'_>> for ListedUnit {
    fn from((name, _, load_state, active_state, sub_state, ..): UnitRow<'_>) -> Self {
        Self {
            name: name.to_owned(),
            load_state: intern(load_state),
            active_state: intern(active_state),
            sub_state: intern(sub_state),
        }
    }
}

/// Decodes the reply to `ListJobs`: ids and units.
pub(super) fn listed_jobs(reply: &Message) -> zbus::Result<Vec<(u32, String)>> {
    let body = reply.body();
    let rows: Vec<JobRow<'_>> = body.deserialize()?;
    Ok(rows.into_iter().map(|(id, unit, ..)| (id, unit.to_owned())).collect())
}

/// One row of a list of units.
pub(super) type UnitRow<'m> = (
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

/// One row of the list of jobs.
pub(super) type JobRow<'m> =
    (u32, &'m str, &'m str, &'m str, zbus::ObjectPath<'m>, zbus::ObjectPath<'m>);

/// The interface, the properties with their values, and those without, of a PropertiesChanged.
pub(super) type Changed<'m> = (&'m str, Values<'m>, Vec<&'m str>);

/// The match rules for signals: of units, and the manager's own. PropertiesChanged of the manager
/// is sent at every failure, that of jobs at every job; both are redundant. The sender is the
/// unique name: a well-known name matches its present owner only. The follower checks each sender
/// as well.
fn match_rules(owner: &OwnedUniqueName) -> [String; 2] {
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
const INTROSPECTABLE_INTERFACE: &str = "org.freedesktop.DBus.Introspectable";
const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";

/// The name of an error reply.
pub(super) const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

/// A unit that no host has.
const UNKNOWN_UNIT: &str = "unit-exporter-signal-check.service";

/// For connecting, and for the few calls that are awaited.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long PID 1 may take to come back to a bus that was restarted.
const RETURN_TIMEOUT: Duration = Duration::from_secs(3);

/// How often PID 1 is looked for in that time.
const RETURN_INTERVAL: Duration = Duration::from_millis(100);

/// Messages that wait for the follower; with more, zbus stops reading and the bus buffers.
const MAX_QUEUED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(8192).expect("not 0");
