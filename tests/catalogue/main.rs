//! Metrics of services, timers, socket units and the manager, compared with systemctl, busctl and systemd-analyze.

mod details;
mod manager;
mod profiles;
mod services;
mod states;
mod stuck;
#[path = "../support/mod.rs"]
mod support;
mod timers;
mod units;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;
use support::{Exporter, Machine, machine};
use unit_exporter::systemd::unit::name::{UnitKind, object_path};

/// A machine with the shared units, and an exporter in it.
fn prepared() -> (&'static Machine, &'static Exporter<'static>) {
    static EXPORTER: OnceLock<Exporter<'static>> = OnceLock::new();
    let exporter = EXPORTER.get_or_init(|| {
        let machine = machine();
        machine.write("/opt/all-set.py", units::ALL_SET_SCRIPT);
        machine.write("/opt/talks.py", units::TALKS_SCRIPT);
        let units = units::all();
        machine.units(&units.iter().map(|(name, text)| (*name, &**text)).collect::<Vec<_>>());
        machine.ok(&["systemctl", "enable", "redis-server.service"]);
        machine.ok(&["systemctl", "start", "redis", "laravel-queue", "bound-queue", "all.target"]);
        machine.exporter(&[])
    });
    (machine(), exporter)
}

/// Properties by unit, from `systemctl show`; times in UTC.
fn show(
    machine: &Machine,
    pattern: &str,
    properties: &str,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = machine.ok(&[
        "systemctl",
        "show",
        "--all",
        "--timestamp=utc",
        "--property",
        properties,
        pattern,
    ]);
    text.split("\n\n")
        .map(|unit| {
            let pairs = unit.lines().filter_map(|line| line.split_once('='));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        })
        .map(|unit: BTreeMap<String, String>| (unit["Id"].clone(), unit))
        .collect()
}

/// A numeric property of a unit, from busctl; `None` for "not set".
#[track_caller]
fn number(machine: &Machine, unit: &str, property: &str) -> Option<f64> {
    let own = UnitKind::of(unit).expect("a unit").interface();
    let path = object_path(unit);
    let get = |interface: &str| {
        let manager = "org.freedesktop.systemd1";
        let command =
            ["busctl", "--json=short", "get-property", manager, &path, interface, property];
        let output = machine.exec(&command);
        output.status.success().then_some(output.stdout)
    };
    let output = get(own).or_else(|| get("org.freedesktop.systemd1.Unit")).expect("a property");
    let output: Value = serde_json::from_slice(&output).expect("JSON");
    output["data"].as_f64().filter(|number| *number < 1.8e19)
}
