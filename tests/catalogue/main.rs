//! What the page says of services, timers, socket units and the manager is what systemctl, busctl and
//! systemd-analyze say.

mod details;
mod manager;
mod profiles;
mod services;
#[path = "../support/mod.rs"]
mod support;
mod timers;
mod told;
mod units;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;
use support::{Exporter, Machine, machine};
use unit_exporter::systemd::unit::name::{Kind, object_path};

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

/// Properties of units as systemctl shows them, by unit; times in UTC.
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

/// A number among a unit's properties, as busctl has it; `None` for "not set".
#[track_caller]
fn number(machine: &Machine, unit: &str, property: &str) -> Option<f64> {
    let own = Kind::of(unit).expect("a unit").interface();
    let path = object_path(unit);
    let get = |interface: &str| {
        let manager = "org.freedesktop.systemd1";
        let command =
            ["busctl", "--json=short", "get-property", manager, &path, interface, property];
        let output = machine.exec(&command);
        output.status.success().then_some(output.stdout)
    };
    let answer = get(own).or_else(|| get("org.freedesktop.systemd1.Unit")).expect("a property");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    answer["data"].as_f64().filter(|number| *number < 1.8e19)
}
