//! Which properties of a unit are mirrored, how each one is learnt, and where it goes.

use zbus::Variant;

use super::dependencies::Relation;
use super::name::Kind;
use super::value::{as_strings, as_word};
use super::{Detail, Service, Unit};
pub use crate::systemd::unit::decode::Values;
use crate::systemd::unit::property_tables::{CGROUP, SERVICE, SOCKET, TIMER, UNIT};

/// A property that the mirror keeps.
pub struct Property<T: 'static> {
    /// Its name on D-Bus.
    pub name: &'static str,
    /// How its value is learnt.
    pub learnt: Learnt,
    set: fn(&mut T, &Variant<'_>),
}

/// How a property's value is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// Once by Get; from then on signals carry it.
    Signalled,
    /// By Get alone, when a unit is fetched: it changes with its configuration.
    Fetched,
    /// By Get alone, but it changes while the unit lives: asked again on hints and now and then.
    Polled,
    /// The same, and it is of use only while it is new: asked again often.
    Watched,
    /// With the list of units; from then on signals carry it.
    Listed,
    /// By Get alone, of some units or seldom: see [`afterwards`] and who else asks.
    Apart,
}

/// One of a unit object's two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interface {
    /// `org.freedesktop.systemd1.Unit`
    Unit,
    /// The interface of the unit's kind.
    Kind,
}

/// What is asked of units beyond what always is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// Whether their conditions failed.
    pub conditions: bool,
    /// Whether their files are enabled.
    pub files: bool,
    /// How many of their processes were killed for want of memory: systemd 259.
    pub oom_kills: bool,
}

impl Unit {
    /// Takes one property; one that the mirror does not keep is passed over.
    pub fn set(&mut self, interface: Interface, name: &str, value: &Variant<'_>) {
        if interface == Interface::Unit {
            if let (Detail::Socket(socket), TRIGGERS) = (&mut self.detail, name) {
                socket.triggers = as_strings(value);
            }
            if let Detail::Service(service) = &mut self.detail {
                service.dependencies.set(name, value);
            }
            return set(UNIT, self, name, value);
        }
        if self.kind.has_cgroup() {
            set(CGROUP, self, name, value);
        }
        match &mut self.detail {
            Detail::Service(service) => {
                set(SERVICE, service, name, value);
                service.sandbox.set(name, value);
            }
            Detail::Timer(timer) => set(TIMER, timer, name, value),
            Detail::Socket(socket) => set(SOCKET, socket, name, value),
            Detail::Mount(fs) if name == "Type" => *fs = as_word(value),
            Detail::Mount(_) | Detail::None => {}
        }
    }
}

/// What is asked of a unit of this kind to know all of it, less what the list of units tells.
/// Without a name, all that the interface has is asked at once.
///
/// Of services so much is wanted that one GetAll is cheaper than the Gets that it saves: 1,000
/// services took 0.32 s of PID 1 and 0.41 s of the bus, against 0.44 s and 0.81 s. GetAll of the
/// Unit interface is out of the question: it reads UnitFileState, 3 to 6 ms a unit after a reload.
pub fn wanted(
    kind: Kind,
    extras: Extras,
) -> impl Iterator<Item = (Interface, Option<&'static str>)> {
    let own: Vec<_> = match kind {
        Kind::Service => vec![None],
        Kind::Timer => asked(TIMER),
        Kind::Socket => asked(SOCKET),
        Kind::Mount => vec![Some("Type")],
        _ => vec![],
    };
    let is_in_all = kind == Kind::Service || !kind.has_cgroup();
    let cgroup = asked(CGROUP)
        .into_iter()
        .filter(move |name| !is_in_all && (*name == Some(CONTROL_GROUP) || extras.oom_kills));
    let own = own.into_iter().chain(cgroup).map(|name| (Interface::Kind, name));
    let related: &[_] = match kind {
        Kind::Service => &Relation::PROPERTIES,
        Kind::Socket => &[TRIGGERS],
        _ => &[],
    };
    let unit = asked(UNIT).into_iter().chain(related.iter().map(|name| Some(*name)));
    unit.map(|name| (Interface::Unit, name)).chain(own)
}

/// What is worth asking of a unit once all else is known.
pub fn afterwards(unit: &Unit, extras: Extras) -> impl Iterator<Item = &'static str> {
    let limits = unit.service().is_some_and(Service::is_restarted);
    let limits = limits.then_some(["StartLimitBurst", "StartLimitIntervalUSec"]);
    let conditions = extras.conditions.then_some(["ConditionResult", CONDITION_TIME]);
    limits.into_iter().chain(conditions).flatten()
}

/// Whether signals carry this property, so that they overrule what was fetched meanwhile.
#[must_use]
pub fn is_signalled(kind: Kind, interface: Interface, name: &str) -> bool {
    fn signalled<T>(table: &[Property<T>], name: &str) -> bool {
        table.iter().any(|property| {
            property.name == name && matches!(property.learnt, Learnt::Signalled | Learnt::Listed)
        })
    }
    match (interface, kind) {
        (Interface::Unit, _) => signalled(UNIT, name),
        (Interface::Kind, Kind::Service) => signalled(SERVICE, name),
        (Interface::Kind, Kind::Timer) => signalled(TIMER, name),
        (Interface::Kind, Kind::Socket) => signalled(SOCKET, name),
        _ => false,
    }
}

/// What PID 1 changes of this unit without a signal: only what is watched, or all of it.
#[must_use]
pub fn polled(unit: &Unit, extras: Extras, all: bool) -> Vec<&'static str> {
    fn polled<T>(table: &[Property<T>], all: bool) -> impl Iterator<Item = &'static str> {
        let is_polled = move |property: &&Property<T>| match property.learnt {
            Learnt::Polled => all,
            Learnt::Watched => true,
            _ => false,
        };
        table.iter().filter(is_polled).map(|property| property.name)
    }
    let own: Vec<_> = match &unit.detail {
        Detail::Socket(_) => polled(SOCKET, all).collect(),
        Detail::Service(service) => polled(SERVICE, all)
            .filter(|name| match *name {
                "WatchdogTimestamp" => service.watchdog.is_some(),
                "NFileDescriptorStore" => service.fd_store_max.is_some_and(|max| max > 0),
                _ => service.ip_accounting == Some(true),
            })
            .collect(),
        _ => vec![],
    };
    let kills = polled(CGROUP, all).filter(|_| unit.kind.has_cgroup() && extras.oom_kills);
    own.into_iter().chain(kills).collect()
}

/// Of every kind with a cgroup, on its own interface.
pub const CONTROL_GROUP: &str = "ControlGroup";

/// When a unit's conditions were last checked, if ever; no signal carries it.
pub const CONDITION_TIME: &str = "ConditionTimestamp";

/// Of a socket unit the services it starts; a property of units, but of no use for others.
pub(super) const TRIGGERS: &str = "Triggers";

fn set<T>(table: &[Property<T>], target: &mut T, name: &str, value: &Variant<'_>) {
    if let Some(property) = table.iter().find(|property| property.name == name) {
        (property.set)(target, value);
    }
}

fn asked<T>(table: &[Property<T>]) -> Vec<Option<&'static str>> {
    table
        .iter()
        .filter(|property| !matches!(property.learnt, Learnt::Listed | Learnt::Apart))
        .map(|property| Some(property.name))
        .collect()
}

pub(super) const fn property<T>(
    name: &'static str,
    learnt: Learnt,
    set: fn(&mut T, &Variant<'_>),
) -> Property<T> {
    Property { name, learnt, set }
}
