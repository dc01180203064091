//! The properties of a unit that are mirrored, their sources, and the fields that they set.

use zbus::Variant;

use super::dependencies::Relation;
use super::files::ServiceFiles;
use super::name::UnitKind;
use super::results::Mount;
use super::value::{as_command_exits, as_interned, as_strings};
use super::{Detail, Path, Service, Socket, Unit};
pub use crate::systemd::unit::decode::Values;
use crate::systemd::unit::property_tables::{CGROUP, SERVICE, SOCKET, TIMER, UNIT};

/// A property that the mirror keeps.
pub struct Property<T: 'static> {
    /// Its name on D-Bus.
    pub name: &'static str,
    /// The source of its value.
    pub source: Source,
    set: fn(&mut T, &Variant<'_>),
}

/// The source of a property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Get once; signals carry it from then on.
    Signal,
    /// Get when the unit is fetched: it changes only with the unit's configuration.
    GetOnce,
    /// Get when the unit is fetched, and when [`settings`] may have changed: set-property changes it
    /// without a signal.
    Setting,
    /// Get after related signals and every minute: it changes without a signal.
    PollEveryMinute,
    /// The same every 15 s: it is of use only while it is new.
    PollOften,
    /// The list of units; signals carry it from then on.
    UnitList,
    /// Get of some units only, or rarely: see [`afterwards`], `Refetch` and `BootBlame`.
    OnDemand,
}

/// One of a unit object's two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interface {
    /// `org.freedesktop.systemd1.Unit`
    Unit,
    /// The interface of the unit's kind.
    Kind,
}

/// Properties that are read only if they are exported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// Whether the unit's conditions were met.
    pub conditions: bool,
    /// Whether the unit's file is enabled.
    pub files: bool,
    /// How many of the unit's processes the OOM killer killed: systemd 259.
    pub oom_kills: bool,
    /// Whether the unit is frozen, again and again: before systemd 256 no signal carries it alone.
    pub freezer: bool,
}

impl Unit {
    /// Sets one property; those that the mirror does not keep are ignored.
    pub fn set(&mut self, interface: Interface, name: &str, value: &Variant<'_>) {
        if interface == Interface::Unit {
            match (&mut self.detail, name) {
                (
                    Detail::Socket(Socket { triggers, .. }) | Detail::Path(Path { triggers, .. }),
                    TRIGGERS,
                ) => {
                    *triggers = as_strings(value);
                }
                (Detail::Service(service), _) => {
                    service.dependencies.set(name, value);
                    service.files.set(name, value);
                }
                (Detail::Target(dependencies), _) => dependencies.set(name, value),
                _ => {}
            }
            return set(UNIT, self, name, value);
        }
        if self.kind.has_cgroup() {
            set(CGROUP, self, name, value);
        }
        match &mut self.detail {
            Detail::Service(service) if name == EXEC_START => {
                let exits = as_command_exits(value);
                service.commands = Some(if exits.len() > 1 { exits } else { Box::default() });
                service.files.set(name, value);
            }
            Detail::Service(service) => {
                set(SERVICE, service, name, value);
                service.sandbox.set(name, value);
                service.files.set(name, value);
            }
            Detail::Timer(timer) => set(TIMER, timer, name, value),
            Detail::Socket(socket) => set(SOCKET, socket, name, value),
            Detail::Mount(mount) if name == "Type" => mount.file_system = as_interned(value),
            Detail::Mount(Mount { result, .. })
            | Detail::Path(Path { result, .. })
            | Detail::Other(result)
                if name == RESULT =>
            {
                *result = as_interned(value);
            }
            Detail::Mount(_) | Detail::Target(_) | Detail::Path(_) => {}
            Detail::Other(_) | Detail::None => {}
        }
    }
}

/// The properties that are fetched for a unit of this kind, besides those in the list of units.
/// `None` stands for all properties of the interface.
///
/// So many properties of services are kept that one GetAll is cheaper than the Gets that it saves:
/// 1,000 services took 0.32 s of PID 1 and 0.41 s of the bus, against 0.44 s and 0.81 s. GetAll of
/// the Unit interface is too expensive: it reads UnitFileState, 3 to 6 ms a unit after a reload.
pub fn wanted(
    kind: UnitKind,
    extras: Extras,
) -> impl Iterator<Item = (Interface, Option<&'static str>)> {
    let own: Vec<_> = match kind {
        UnitKind::Service => vec![None],
        UnitKind::Timer => fetched(TIMER),
        UnitKind::Socket => fetched(SOCKET),
        UnitKind::Mount => vec![Some("Type"), Some(RESULT)],
        UnitKind::Path => vec![Some(RESULT)],
        kind if kind.has_only_result() => vec![Some(RESULT)],
        _ => vec![],
    };
    let is_in_all = kind == UnitKind::Service || !kind.has_cgroup();
    let cgroup = fetched(CGROUP)
        .into_iter()
        .filter(move |name| !is_in_all && (*name == Some(CONTROL_GROUP) || extras.oom_kills));
    let own = own.into_iter().chain(cgroup).map(|name| (Interface::Kind, name));
    let related: &[_] = match kind {
        UnitKind::Service => &OF_SERVICES,
        UnitKind::Socket | UnitKind::Path => &[TRIGGERS],
        UnitKind::Target => &Relation::OF_TARGETS,
        _ => &[],
    };
    let unit = fetched(UNIT).into_iter().chain(related.iter().map(|name| Some(*name)));
    let unit = unit.filter(move |name| *name != Some(NAMES) || kind.can_have_aliases());
    unit.map(|name| (Interface::Unit, name)).chain(own)
}

/// Of services, on the interface of every unit.
const OF_SERVICES: [&str; 7] = {
    let [requires, binds_to, requisite, wants, upholds] = Relation::PROPERTIES;
    let [fragment, drop_ins] = ServiceFiles::OF_UNIT;
    [requires, binds_to, requisite, wants, upholds, fragment, drop_ins]
};

/// The properties of a unit of this kind that a reload of PID 1's configuration may change although
/// neither its files nor its states have changed: PID 1 plans the next run of a timer again.
pub fn checked(kind: UnitKind) -> impl Iterator<Item = (Interface, Option<&'static str>)> {
    let timer = ["NextElapseUSecRealtime", "NextElapseUSecMonotonic"];
    let timer = timer.into_iter().filter(move |_| kind == UnitKind::Timer);
    let own = timer.map(|name| (Interface::Kind, Some(name)));
    std::iter::once((Interface::Unit, Some("InvocationID"))).chain(own)
}

/// The properties to read once all others of the unit are known.
pub fn afterwards(unit: &Unit, extras: Extras) -> impl Iterator<Item = (Interface, &'static str)> {
    let limits = unit.service().is_some_and(Service::is_restarted);
    let limits = limits.then_some(["StartLimitBurst", "StartLimitIntervalUSec"]);
    let conditions = extras.conditions.then_some(["ConditionResult", CONDITION_TIME]);
    let is_failed_service = unit.service().is_some() && unit.is("failed");
    let state_change = is_failed_service.then_some(STATE_CHANGE_TIME);
    let is_oneshot = unit.service().is_some_and(Service::is_oneshot);
    let commands = is_oneshot.then_some((Interface::Kind, EXEC_START));
    let freezer = may_be_frozen(unit).then_some(FREEZER_STATE);
    let of_unit = limits.into_iter().chain(conditions).flatten().chain(state_change).chain(freezer);
    of_unit.map(|name| (Interface::Unit, name)).chain(commands)
}

/// Whether `systemctl freeze` may have stopped the unit's processes.
pub fn may_be_frozen(unit: &Unit) -> bool {
    unit.kind.can_be_frozen() && !unit.is("inactive") && !unit.is("failed")
}

/// Whether signals carry this property, so that they overrule a value fetched meanwhile.
#[must_use]
pub fn is_signalled(kind: UnitKind, interface: Interface, name: &str) -> bool {
    fn signalled<T>(table: &[Property<T>], name: &str) -> bool {
        table.iter().any(|property| {
            property.name == name && matches!(property.source, Source::Signal | Source::UnitList)
        })
    }
    match (interface, kind) {
        (Interface::Unit, _) => signalled(UNIT, name),
        (Interface::Kind, UnitKind::Service) => signalled(SERVICE, name),
        (Interface::Kind, UnitKind::Timer) => signalled(TIMER, name),
        (Interface::Kind, UnitKind::Socket) => signalled(SOCKET, name),
        (Interface::Kind, UnitKind::Mount | UnitKind::Path) => name == RESULT,
        (Interface::Kind, kind) => kind.has_only_result() && name == RESULT,
    }
}

/// The properties of this unit that PID 1 changes without a signal: those of [`Source::PollOften`],
/// or all.
#[must_use]
pub fn polled(unit: &Unit, extras: Extras, all: bool) -> Vec<&'static str> {
    fn polled<T>(table: &[Property<T>], all: bool) -> impl Iterator<Item = &'static str> {
        let is_polled = move |property: &&Property<T>| match property.source {
            Source::PollEveryMinute => all,
            Source::PollOften => true,
            _ => false,
        };
        table.iter().filter(is_polled).map(|property| property.name)
    }
    let own: Vec<_> = match &unit.detail {
        // systemd counts only connections that it accepts itself
        Detail::Socket(socket) if socket.accept == Some(false) => vec![],
        Detail::Socket(_) => polled(SOCKET, all).collect(),
        Detail::Service(service) => polled(SERVICE, all)
            .filter(|name| match *name {
                "WatchdogTimestamp" => service.watchdog.is_some(),
                WATCHDOG => service.may_notify(),
                "NFileDescriptorStore" => service.fd_store_max.is_some_and(|max| max > 0),
                _ => service.ip_accounting == Some(true),
            })
            .collect(),
        _ => vec![],
    };
    let kills = polled(CGROUP, all).filter(|_| unit.kind.has_cgroup() && extras.oom_kills);
    own.into_iter().chain(kills).collect()
}

/// The properties that set-property changes, of those that are kept: limits are read from cgroups.
pub fn settings(unit: &Unit) -> impl Iterator<Item = &'static str> {
    let settings = SERVICE.iter().filter(|property| property.source == Source::Setting);
    settings.map(|property| property.name).filter(|_| unit.service().is_some())
}

/// Whether a unit is frozen.
pub const FREEZER_STATE: &str = "FreezerState";

/// The watchdog timeout, which a service may change by sd_notify.
pub const WATCHDOG: &str = "WatchdogUSec";

/// The delay before the next restart, which grows with RestartSteps=; systemd 254.
pub const NEXT_DELAY: &str = "RestartUSecNext";

/// Of every kind with a cgroup, on its own interface.
pub const CONTROL_GROUP: &str = "ControlGroup";

/// All names of a unit, the primary one among them; no signal carries it.
pub const NAMES: &str = "Names";

/// When a unit's conditions were last checked, if ever; no signal carries it.
pub const CONDITION_TIME: &str = "ConditionTimestamp";

/// Of kinds without a table of properties.
const RESULT: &str = "Result";

/// When a unit's state or sub-state last changed.
pub const STATE_CHANGE_TIME: &str = "StateChangeTimestamp";

/// The commands of a service, with the last exit of each.
pub const EXEC_START: &str = "ExecStart";

/// The units that a socket or path unit starts; every unit has this property, but it is kept of no
/// others.
pub(super) const TRIGGERS: &str = "Triggers";

fn set<T>(table: &[Property<T>], target: &mut T, name: &str, value: &Variant<'_>) {
    if let Some(property) = table.iter().find(|property| property.name == name) {
        (property.set)(target, value);
    }
}

fn fetched<T>(table: &[Property<T>]) -> Vec<Option<&'static str>> {
    table
        .iter()
        .filter(|property| !matches!(property.source, Source::UnitList | Source::OnDemand))
        .map(|property| Some(property.name))
        .collect()
}

pub(super) const fn property<T>(
    name: &'static str,
    source: Source,
    set: fn(&mut T, &Variant<'_>),
) -> Property<T> {
    Property { name, source, set }
}
