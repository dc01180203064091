//! The messages of PID 1: its signals, and its replies to the exporter's calls.

use std::collections::BTreeMap;

use serde::Serialize;
use zbus::message::{Builder, Message};
use zbus::{DynamicType, ObjectPath, Variant};

use super::history::Version;
use super::pid1::{Dual, Pid1};
use super::service::{Kind, Process, Service, UnitFile};
use crate::systemd::unit::name::{from_object_path, object_path};

/// The unique name of PID 1.
pub(crate) const PID1: &str = ":1.1";

type Properties<'a> = BTreeMap<&'static str, Variant<'a>>;

pub(super) fn unit_new(name: &str) -> Message {
    manager_signal("UnitNew", &(name, unit_path(name)))
}

pub(super) fn unit_removed(name: &str) -> Message {
    manager_signal("UnitRemoved", &(name, unit_path(name)))
}

pub(super) fn job_new(id: u32, name: &str) -> Message {
    manager_signal("JobNew", &(id, job_path(id), name))
}

pub(super) fn job_removed(id: u32, name: &str, result: &str) -> Message {
    manager_signal("JobRemoved", &(id, job_path(id), name, result))
}

pub(super) fn reloading(active: bool) -> Message {
    manager_signal("Reloading", &active)
}

/// bus_unit_send_change_signal(): the properties of the kind, then those of every unit.
pub(super) fn properties_changed(name: &str, service: &Service) -> [Message; 2] {
    let of_unit = unit_properties(service);
    [(SERVICE, service_properties(service)), (UNIT, of_unit)].map(|(interface, properties)| {
        let signal = Message::signal(unit_path(name), PROPERTIES, "PropertiesChanged");
        let invalidated: &[&str] = &[];
        build(signal, &(interface, properties, invalidated))
    })
}

/// PID 1 handles a call, which may load a unit.
pub(super) fn reply(pid1: &mut Pid1, call: &Message) {
    let header = call.header();
    let member = header.member().map(|member| member.as_str()).unwrap_or_default();
    let path = header.path().map(|path| path.as_str()).unwrap_or_default();
    let to = || Message::method_return(&header);
    let body = call.body();
    let message = match member {
        "Subscribe" => {
            pid1.is_subscribed = true;
            build(to(), &())
        }
        "ListUnits" => build(to(), &rows(pid1, |_| true)),
        "ListUnitsByPatterns" => {
            let (_, names): (Vec<&str>, Vec<&str>) = body.deserialize().expect("patterns");
            build(to(), &rows(pid1, |name| names.contains(&name)))
        }
        "ListJobs" => {
            let jobs: Vec<_> = pid1.jobs.iter().map(|(id, job)| (*id, job.unit)).collect();
            let row = |(id, unit): (u32, usize)| {
                let name = pid1.files[unit].name;
                (id, name, "start", "waiting", job_path(id), unit_path(name))
            };
            build(to(), &jobs.into_iter().map(row).collect::<Vec<_>>())
        }
        "Get" => {
            let (_, property): (&str, &str) = body.deserialize().expect("a property");
            let value = match path {
                MANAGER_PATH => manager_property(pid1, property),
                _ => property_of_unit(pid1, path, property),
            };
            match value {
                Some(value) => build(to(), &value),
                None => build(Message::error(&header, UNKNOWN_PROPERTY), &"unknown property"),
            }
        }
        "GetAll" => match loaded(pid1, path) {
            Some(unit) => {
                let file = pid1.files[unit];
                let service = pid1.units[unit].as_ref().expect("a loaded unit");
                let mut all = service_properties(service);
                all.extend(settings(&file));
                all.insert("ExecStart", commands(service));
                build(to(), &all)
            }
            None => build(Message::error(&header, UNKNOWN_PROPERTY), &"no such unit"),
        },
        _ => build(Message::error(&header, UNKNOWN_PROPERTY), &member),
    };
    pid1.sent.push_back(message);
    pid1.end_dispatch();
    if path.contains("signal_2dcheck") {
        // loaded by the call, and unloaded
        let name = "unit-exporter-signal-check.service";
        pid1.sent.extend([unit_new(name), unit_removed(name)]);
    }
}

/// The unit of an object path, which the call loads.
fn loaded(pid1: &mut Pid1, path: &str) -> Option<usize> {
    let name = from_object_path(path)?;
    let unit = pid1.files.iter().position(|file| file.name == name)?;
    pid1.load(unit);
    Some(unit)
}

fn property_of_unit(pid1: &mut Pid1, path: &str, property: &str) -> Option<Variant<'static>> {
    let unit = loaded(pid1, path)?;
    let file = pid1.files[unit];
    let service = pid1.units[unit].as_ref()?;
    let (_, condition) = service.condition;
    Some(match property {
        "LoadState" => "loaded".into(),
        "Names" => vec![file.name].into(),
        "ConditionTimestamp" => condition.wall.into(),
        "NeedDaemonReload" => false.into(),
        "FreezerState" => "running".into(),
        "StartLimitBurst" => u32::try_from(file.start_limit).unwrap_or_default().into(),
        "StartLimitIntervalUSec" => file.start_interval.into(),
        "ExecStart" => commands(service),
        _ => {
            let mut all = unit_properties(service);
            all.extend(service_properties(service));
            all.extend(settings(&file));
            all.remove(property)?
        }
    })
}

fn manager_property(pid1: &Pid1, property: &str) -> Option<Variant<'static>> {
    Some(match property {
        "Version" => match pid1.version {
            Version::V252 => "252.38-1".into(),
            Version::V262 => "262".into(),
        },
        "NNames" => u32::try_from(pid1.units.iter().flatten().count()).unwrap_or_default().into(),
        "UnitsLoadTimestamp" => pid1.units_loaded.wall.into(),
        "SystemState" => "running".into(),
        _ => return None,
    })
}

fn unit_properties(service: &Service) -> Properties<'static> {
    let wall = |at: Dual| Variant::from(at.wall);
    let invocation = u128::from(service.invocation).to_be_bytes();
    let (is_met, _) = service.condition;
    BTreeMap::from([
        ("ActiveState", service.sub.active().into()),
        ("SubState", service.sub.name().into()),
        ("StateChangeTimestamp", wall(service.state_change)),
        ("ActiveEnterTimestamp", wall(service.active_enter)),
        ("ActiveExitTimestamp", wall(service.active_exit)),
        ("InactiveEnterTimestamp", wall(service.inactive_enter)),
        ("InactiveExitTimestamp", wall(service.inactive_exit)),
        ("InvocationID", Variant::from(invocation.to_vec())),
        ("ConditionResult", is_met.into()),
    ])
}

fn service_properties(service: &Service) -> Properties<'static> {
    let Process { pid, started, exited, exit } = service.main;
    let (code, status) = exit.map_or((0, 0), |exit| (exit.code, exit.status));
    BTreeMap::from([
        ("Result", service.result.into()),
        ("NRestarts", service.restarts.into()),
        ("MainPID", service.main_pid.into()),
        ("ExecMainPID", pid.into()),
        ("ExecMainCode", code.into()),
        ("ExecMainStatus", status.into()),
        ("ExecMainStartTimestamp", started.wall.into()),
        ("ExecMainExitTimestamp", exited.wall.into()),
        ("ExecMainExitTimestampMonotonic", exited.monotonic.into()),
    ])
}

fn settings(file: &UnitFile) -> Properties<'static> {
    let kind = match file.kind {
        Kind::Simple => "simple",
        Kind::Oneshot(_) => "oneshot",
        Kind::Forking => "forking",
        Kind::Notify => "notify",
    };
    BTreeMap::from([
        ("Type", kind.into()),
        ("Restart", file.restart.into()),
        ("RestartUSec", file.restart_delay.into()),
    ])
}

/// `ExecStart`.
fn commands(service: &Service) -> Variant<'static> {
    let command = |process: &Process| {
        let Process { pid, started, exited, exit } = *process;
        let (code, status) = exit.map_or((0, 0), |exit| (exit.code, exit.status));
        let times = (started.wall, started.monotonic, exited.wall, exited.monotonic);
        let (start, start_monotonic, end, end_monotonic) = times;
        let arguments = vec!["true"];
        (
            "/bin/true",
            arguments,
            false,
            start,
            start_monotonic,
            end,
            end_monotonic,
            pid,
            code,
            status,
        )
    };
    Variant::from(service.commands.iter().map(command).collect::<Vec<_>>())
}

type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    ObjectPath<'static>,
    u32,
    &'static str,
    ObjectPath<'static>,
);

fn rows(pid1: &Pid1, includes: impl Fn(&str) -> bool) -> Vec<Row> {
    let loaded = pid1.files.iter().zip(&pid1.units);
    let loaded = loaded.filter_map(|(file, unit)| Some((file.name, unit.as_ref()?)));
    let row = |(name, service): (&'static str, &Service)| {
        let (active, sub) = (service.sub.active(), service.sub.name());
        (name, "", "loaded", active, sub, "", unit_path(name), 0, "", root())
    };
    loaded.filter(|(name, _)| includes(name)).map(row).collect()
}

fn root() -> ObjectPath<'static> {
    ObjectPath::try_from("/").expect("a path")
}

fn unit_path(name: &str) -> ObjectPath<'static> {
    ObjectPath::try_from(object_path(name)).expect("a path")
}

fn job_path(id: u32) -> ObjectPath<'static> {
    ObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{id}")).expect("a path")
}

fn manager_signal(member: &'static str, body: &(impl Serialize + DynamicType)) -> Message {
    build(Message::signal(MANAGER_PATH, MANAGER, member), body)
}

fn build(message: Builder<'_>, body: &(impl Serialize + DynamicType)) -> Message {
    message.sender(PID1).build(body).expect("a message")
}

const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNKNOWN_PROPERTY: &str = "org.freedesktop.DBus.Error.UnknownProperty";
