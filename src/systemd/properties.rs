//! Which properties of a unit are mirrored, how each one is learnt, and where it goes.

use zbus::Variant;

use super::name::Kind;
use super::unit::{Detail, Service, Socket, Timer, Unit};
use super::value::{as_bool, as_duration, as_invocation_id, as_number, as_str, as_time, as_word};

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
    /// With the list of units; from then on signals carry it.
    Listed,
}

/// One of a unit object's two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// `org.freedesktop.systemd1.Unit`
    Unit,
    /// The interface of the unit's kind.
    Kind,
}

impl Unit {
    /// Takes one property; one that the mirror does not keep is passed over.
    pub fn set(&mut self, interface: Interface, name: &str, value: &Variant<'_>) {
        if interface == Interface::Unit {
            if let (Detail::Socket(socket), TRIGGERS) = (&mut self.detail, name) {
                let units: Option<Vec<String>> =
                    value.try_clone().ok().and_then(|value| value.try_into().ok());
                socket.triggers = units.unwrap_or_default().into_iter().map(Into::into).collect();
            }
            return set(UNIT, self, name, value);
        }
        if name == CONTROL_GROUP {
            // empty while nothing runs: the last path stays, its files are absent then
            if let Some(path) = as_str(value).filter(|path| !path.is_empty()) {
                self.control_group = Some(path.into());
            }
            return;
        }
        match &mut self.detail {
            Detail::Service(service) => set(SERVICE, service, name, value),
            Detail::Timer(timer) => set(TIMER, timer, name, value),
            Detail::Socket(socket) => set(SOCKET, socket, name, value),
            Detail::Mount(fs) if name == "Type" => *fs = as_word(value),
            Detail::Mount(_) | Detail::None => {}
        }
    }
}

/// What is asked of a unit of this kind to know all of it, less what the list of units tells.
pub fn wanted(kind: Kind) -> impl Iterator<Item = (Interface, &'static str)> {
    let own: Vec<_> = match kind {
        Kind::Service => asked(SERVICE),
        Kind::Timer => asked(TIMER),
        Kind::Socket => asked(SOCKET),
        Kind::Mount => vec!["Type"],
        _ => vec![],
    };
    let cgroup = kind.has_cgroup().then_some((Interface::Kind, CONTROL_GROUP));
    let triggers = (kind == Kind::Socket).then_some((Interface::Unit, TRIGGERS));
    let own = own.into_iter().map(|name| (Interface::Kind, name));
    let unit = asked(UNIT).into_iter().map(|name| (Interface::Unit, name));
    unit.chain(own).chain(cgroup).chain(triggers)
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

/// What PID 1 changes without a signal, by kind.
#[must_use]
pub fn polled(kind: Kind) -> Vec<&'static str> {
    let all = if kind == Kind::Socket { SOCKET } else { &[] };
    all.iter()
        .filter(|property| property.learnt == Learnt::Polled)
        .map(|property| property.name)
        .collect()
}

/// The one property that every kind with a cgroup has on its own interface.
pub const CONTROL_GROUP: &str = "ControlGroup";

/// Of a socket unit the services it starts; a property of units, but of no use for others.
const TRIGGERS: &str = "Triggers";

fn set<T>(table: &[Property<T>], target: &mut T, name: &str, value: &Variant<'_>) {
    if let Some(property) = table.iter().find(|property| property.name == name) {
        (property.set)(target, value);
    }
}

fn asked<T>(table: &[Property<T>]) -> Vec<&'static str> {
    table
        .iter()
        .filter(|property| property.learnt != Learnt::Listed)
        .map(|property| property.name)
        .collect()
}

const fn property<T>(
    name: &'static str,
    learnt: Learnt,
    set: fn(&mut T, &Variant<'_>),
) -> Property<T> {
    Property { name, learnt, set }
}

const UNIT: &[Property<Unit>] = &[
    property("LoadState", Learnt::Listed, |unit, value| unit.load_state = as_word(value)),
    property("ActiveState", Learnt::Listed, |unit, value| unit.active_state = as_word(value)),
    property("SubState", Learnt::Listed, |unit, value| unit.sub_state = as_word(value)),
    property("ActiveEnterTimestamp", Learnt::Signalled, |unit, value| {
        unit.active_enter = as_time(value);
    }),
    property("ActiveExitTimestamp", Learnt::Signalled, |unit, value| {
        unit.active_exit = as_time(value);
    }),
    property("InactiveEnterTimestamp", Learnt::Signalled, |unit, value| {
        unit.inactive_enter = as_time(value);
    }),
    property("InactiveExitTimestamp", Learnt::Signalled, |unit, value| {
        unit.inactive_exit = as_time(value);
    }),
    property("InvocationID", Learnt::Signalled, |unit, value| {
        unit.invocation_id = as_invocation_id(value);
    }),
];

const SERVICE: &[Property<Service>] = &[
    property("Type", Learnt::Fetched, |service, value| service.service_type = as_word(value)),
    property("Restart", Learnt::Fetched, |service, value| service.restart = as_word(value)),
    property("TasksMax", Learnt::Fetched, |service, value| service.tasks_max = as_number(value)),
    property("Result", Learnt::Signalled, |service, value| service.result = as_word(value)),
    property("NRestarts", Learnt::Signalled, |service, value| service.restarts = as_number(value)),
    property("MainPID", Learnt::Signalled, |service, value| {
        let pid = as_number(value).and_then(|pid| u32::try_from(pid).ok());
        service.main_pid = pid.filter(|pid| *pid != 0);
    }),
    property("ExecMainCode", Learnt::Signalled, |service, value| {
        service.exit_code = as_number(value);
    }),
    property("ExecMainStatus", Learnt::Signalled, |service, value| {
        service.exit_status = as_number(value);
    }),
    property("ExecMainStartTimestamp", Learnt::Signalled, |service, value| {
        service.main_start = as_time(value);
    }),
    property("ExecMainExitTimestamp", Learnt::Signalled, |service, value| {
        service.main_exit = as_time(value);
    }),
    property("ExecMainExitTimestampMonotonic", Learnt::Signalled, |service, value| {
        service.main_exit_monotonic = as_time(value);
    }),
];

const TIMER: &[Property<Timer>] = &[
    property("Unit", Learnt::Fetched, |timer, value| timer.unit = as_str(value).map(Into::into)),
    property("AccuracyUSec", Learnt::Fetched, |timer, value| timer.accuracy = as_duration(value)),
    property("RandomizedDelayUSec", Learnt::Fetched, |timer, value| {
        timer.randomized_delay = as_duration(value);
    }),
    property("LastTriggerUSec", Learnt::Signalled, |timer, value| {
        timer.last_trigger = as_time(value);
    }),
    property("NextElapseUSecRealtime", Learnt::Signalled, |timer, value| {
        timer.next_realtime = as_time(value);
    }),
    property("NextElapseUSecMonotonic", Learnt::Signalled, |timer, value| {
        timer.next_monotonic = as_time(value);
    }),
    property("Result", Learnt::Signalled, |timer, value| timer.result = as_word(value)),
];

const SOCKET: &[Property<Socket>] = &[
    property("Listen", Learnt::Fetched, |socket, value| {
        socket.listen = value.try_clone().ok().and_then(|v| v.try_into().ok()).unwrap_or_default();
    }),
    property("Accept", Learnt::Fetched, |socket, value| socket.accept = as_bool(value)),
    property("NAccepted", Learnt::Polled, |socket, value| socket.accepted = as_number(value)),
    property("NConnections", Learnt::Polled, |socket, value| {
        socket.connections = as_number(value);
    }),
    property("NRefused", Learnt::Polled, |socket, value| socket.refused = as_number(value)),
    property("Result", Learnt::Signalled, |socket, value| socket.result = as_word(value)),
];
