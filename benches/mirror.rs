//! The cost of a signal: decoding, applying to the unit cache, counting.

use std::collections::HashMap;
use std::fs;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use unit_exporter::state_file::{Boot, SavedState, StateFile};
use unit_exporter::systemd::ledger::Ledger;
use unit_exporter::systemd::mirror::{ListedUnit, Mirror};
use unit_exporter::systemd::saved::SavedSystemd;
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::unit::properties::Interface;
use unit_exporter::systemd::unit::value::intern;
use unit_exporter::unit_filter::Selection;
use zbus::Variant;
use zbus::message::Message;

fn main() {
    divan::main();
}

/// A PropertiesChanged of a service, from the body's bytes to its values.
#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let values: HashMap<&str, Variant<'_>> = exit(1).into_iter().collect();
    let invalidated: Vec<&str> = Vec::new();
    let message = Message::signal(PATH, PROPERTIES, "PropertiesChanged")
        .build(&("org.freedesktop.systemd1.Service", values, invalidated))
        .expect("a message");
    bencher.bench_local(|| {
        let body = message.body();
        let (_, values, _): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) =
            body.deserialize().expect("the body built above");
        values.len()
    });
}

/// One signal of one of many units, applied to the unit cache and the counters.
#[divan::bench(args = [100, 5000])]
fn apply(bencher: Bencher<'_, '_>, units: u64) {
    let (mut mirror, mut ledger) = host(units);
    let mut number = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        number += 1;
        let name = format!("bench-{}.service", number % units);
        let change = mirror.change(&name, |unit| {
            for (property, value) in exit(number) {
                unit.set(Interface::Kind, property, &value);
            }
        });
        ledger.observe(&change.expect("a unit of this host"), None, None);
    });
}

/// A save of the state of the exporter, with units that have failed: copying it, and writing the file.
#[divan::bench(args = [200, 1000, 5000])]
fn save(bencher: Bencher<'_, '_>, units: u64) {
    let (mut mirror, mut ledger) = host(units);
    for number in 0..units * 3 {
        let name = format!("bench-{}.service", number % units);
        let change = mirror.change(&name, |unit| {
            unit.set(Interface::Kind, "Result", &Variant::from("success"));
            for (property, value) in exit(number) {
                unit.set(Interface::Kind, property, &value);
            }
        });
        ledger.observe(&change.expect("a unit of this host"), None, None);
    }
    let shared = Shared::new(mirror, ledger);
    let directory = tempfile::tempdir().expect("a directory");
    let boot = Boot { id: "bench".to_owned(), pid1_start: 1 };
    let file = StateFile::new(directory.path(), boot);
    let copy = || SavedState { systemd: SavedSystemd::of(&shared.lock()), journal: None };
    file.save(&copy());
    let saved = fs::read_dir(directory.path()).expect("the directory").next();
    let size = saved.expect("a file").expect("a file").metadata().expect("metadata").len();
    bencher.counter(BytesCount::new(size)).bench_local(|| file.save(&copy()));
}

fn host(units: u64) -> (Mirror, Ledger) {
    let (mut mirror, mut ledger) = (Mirror::new(Selection::default()), Ledger::default());
    for number in 0..units {
        let name = format!("bench-{number}.service");
        let (load_state, active_state) = (intern("loaded"), intern("active"));
        mirror.list(&ListedUnit { name, load_state, active_state, sub_state: intern("running") });
    }
    for unit in mirror.units() {
        ledger.open(unit);
    }
    (mirror, ledger)
}

/// The properties that systemd sends when the main process of a service exits.
fn exit(number: u64) -> [(&'static str, Variant<'static>); 7] {
    [
        ("MainPID", Variant::U32(0)),
        ("Result", Variant::from("exit-code")),
        ("NRestarts", Variant::U32(3)),
        ("ExecMainCode", Variant::I32(1)),
        ("ExecMainStatus", Variant::I32(1)),
        ("ExecMainExitTimestamp", Variant::U64(1_763_900_000_000_000 + number)),
        ("ExecMainExitTimestampMonotonic", Variant::U64(100_000_000 + number)),
    ]
}

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

const PATH: &str = "/org/freedesktop/systemd1/unit/a";
