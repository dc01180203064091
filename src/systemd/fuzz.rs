//! Fuzzing: messages of PID 1 as bodies on the bus, and sequences of changes of its units.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime};

use serde::Deserialize;
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{Endian, Type};
use zbus::{ObjectPath, Variant};

use super::dbus::{Changed, JobRow, UnitRow};
use super::ledger::{Gap, Ledger};
use super::mirror::{ListedUnit, Mirror};
use super::state::{Shared, State};
use super::unit::Unit;
use super::unit::name::{from_object_path, is_valid, object_path};
use super::unit::properties::{Interface, Values};
use super::unit::value::intern;
use crate::fuzzing::{self, page};
use crate::snapshot::Snapshot;
use crate::systemd::snapshot::SystemdSnapshot;
use crate::unit_filter::Selection;

/// Names are valid or not; object paths round-trip.
pub(crate) fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = object_path(&text);
    assert!(text.is_empty() || ObjectPath::try_from(path.as_str()).is_ok(), "{path}");
    assert_eq!(from_object_path(&path).as_deref(), is_valid(&text).then_some(&*text));
    if let Some(name) = from_object_path(&text) {
        assert!(is_valid(&name));
    }
    let interned = intern(&text);
    assert!(text.starts_with(&*interned) && interned.len() <= 128);
    let _ = DEFAULT.includes(&text);
}

/// Bodies of messages: the kind of message and the unit in one byte.
pub(crate) fn bodies(data: &[u8]) {
    let mut host = Host::new();
    for (what, body) in fuzzing::bodies(data) {
        host.body(what & 15, UNITS[usize::from(what >> 4) % UNITS.len()], body);
    }
    host.end();
}

/// Changes of units, one a line of words: see [`Host::line`].
pub(crate) fn units(data: &[u8]) {
    let mut host = Host::new();
    for line in String::from_utf8_lossy(data).lines() {
        host.line(&line.split('\t').collect::<Vec<_>>());
    }
    host.end();
}

struct Host {
    shared: Shared,
    gap: Option<Gap>,
    /// The sum of all counters of each unit.
    counted: BTreeMap<Arc<str>, u64>,
}

impl Host {
    fn new() -> Self {
        let shared = Shared::new(Mirror::new(ALL.clone()), Ledger::default());
        Self { shared, gap: None, counted: BTreeMap::new() }
    }

    fn body(&mut self, what: u8, name: &str, body: &[u8]) {
        let shared = self.shared.clone();
        let state = &mut *shared.lock();
        let body = &Data::new(body, Context::new(Endian::Little, 0));
        match what {
            0 => {
                let rows: Vec<UnitRow<'_>> = read(body).unwrap_or_default();
                rows.into_iter().for_each(|row| self.list(state, &row.into()));
            }
            1 => {
                let Some((_, values, _)): Option<Changed<'_>> = read(body) else { return };
                for interface in [Interface::Unit, Interface::Kind] {
                    self.change(state, name, |unit| {
                        values.iter().for_each(|(name, value)| unit.set(interface, name, value));
                    });
                }
            }
            2 => {
                let Some(all): Option<Values<'_>> = read(body) else { return };
                self.change(state, name, |unit| {
                    all.iter().for_each(|(name, value)| unit.set(Interface::Kind, name, value));
                });
            }
            3 => {
                let Some((name, _)): Option<(&str, ObjectPath<'_>)> = read(body) else { return };
                self.load(state, name);
            }
            4 => {
                let Some((name, _)): Option<(&str, ObjectPath<'_>)> = read(body) else { return };
                self.unload(state, name);
            }
            5 => {
                let jobs: Vec<JobRow<'_>> = read(body).unwrap_or_default();
                let jobs: Vec<_> =
                    jobs.into_iter().map(|(id, unit, ..)| (id, unit.to_owned())).collect();
                state.mirror.jobs_listed(&jobs, SystemTime::now());
            }
            6 => {
                let Some((id, _, unit, result)): Option<(u32, ObjectPath<'_>, &str, &str)> =
                    read(body)
                else {
                    return;
                };
                state.mirror.job_removed(id);
                self.job(state, unit, result);
            }
            7 => {
                let properties: HashMap<&str, Variant<'_>> = read(body).unwrap_or_default();
                properties.iter().for_each(|(name, value)| state.manager.set(name, value));
            }
            _ => self.gap = [None, Some(Gap::Reload), Some(Gap::Drift)][usize::from(what) % 3],
        }
    }

    fn line(&mut self, words: &[&str]) {
        let shared = self.shared.clone();
        let state = &mut *shared.lock();
        match words {
            ["list", name, load_state, active_state, sub_state] => {
                let (load_state, active_state) = (intern(load_state), intern(active_state));
                let (name, sub_state) = ((*name).to_owned(), intern(sub_state));
                self.list(state, &ListedUnit { name, load_state, active_state, sub_state });
            }
            ["new", name] => self.load(state, name),
            ["gone", name] => self.unload(state, name),
            ["job", name, result] => self.job(state, name, result),
            ["gap", "reload"] => self.gap = Some(Gap::Reload),
            ["gap", "drift"] => self.gap = Some(Gap::Drift),
            ["gap"] => self.gap = None,
            ["manager", property, kind, text] => {
                value(kind, text).iter().for_each(|value| state.manager.set(property, value));
            }
            [interface @ ("unit" | "kind"), name, properties @ ..] => {
                let interface =
                    if *interface == "unit" { Interface::Unit } else { Interface::Kind };
                self.change(state, name, |unit| {
                    for property in properties.chunks_exact(3) {
                        let values = value(property[1], property[2]);
                        values.iter().for_each(|value| unit.set(interface, property[0], value));
                    }
                });
            }
            _ => {}
        }
    }

    fn list(&mut self, state: &mut State, listed: &ListedUnit) {
        if !is_valid(&listed.name) {
            return;
        }
        let change = state.mirror.list(listed);
        let unit = state.mirror.unit(&listed.name).cloned();
        state.ledger.open(&unit.expect("it was listed"));
        if let Some(change) = change {
            state.observe(&change, self.gap);
        }
        self.count(state);
    }

    fn load(&mut self, state: &mut State, name: &str) {
        if let Some(unit) = is_valid(name).then(|| state.mirror.load(name)).flatten() {
            state.ledger.open(&unit);
        }
    }

    fn unload(&mut self, state: &mut State, name: &str) {
        if let Some(unit) = state.mirror.unload(name) {
            state.ledger.unload(&unit.name, Instant::now());
        }
    }

    fn job(&mut self, state: &mut State, name: &str, result: &str) {
        let unit = state.mirror.unit(name).cloned();
        state.ledger.job_removed(name, unit.as_deref(), result);
        self.count(state);
    }

    fn change(&mut self, state: &mut State, name: &str, change: impl FnOnce(&mut Unit)) {
        if let Some(change) = state.mirror.change(name, change) {
            state.observe(&change, self.gap);
        }
        self.count(state);
    }

    /// No counter ever falls.
    fn count(&mut self, state: &State) {
        for (name, counters) in state.ledger.counters() {
            let failures: u64 =
                counters.failures_by_result.values().map(|counted| counted.total).sum();
            assert_eq!(failures, counters.failures.total, "{name}: failures by result");
            let counts = [counters.starts, counters.restarts, counters.triggers, failures];
            let sum = counts.into_iter().fold(counters.state_changes, u64::saturating_add);
            let before = self.counted.insert(name.clone(), sum).unwrap_or_default();
            assert!(before <= sum, "{name}: {before} fell to {sum}");
        }
        let known: Vec<_> = state.ledger.counters().map(|(name, _)| name.clone()).collect();
        self.counted.retain(|name, _| known.binary_search(name).is_ok());
    }

    fn end(self) {
        let state = self.shared.lock();
        let systemd = Some(SystemdSnapshot::copy(&state, true));
        page(Snapshot { systemd, status: state.status.clone(), ..Snapshot::default() });
    }
}

fn read<'d, T: Deserialize<'d> + Type>(body: &'d Data<'_, '_>) -> Option<T> {
    body.deserialize().ok().map(|(value, _)| value)
}

/// A value of a D-Bus type; elements of an array are separated by blanks.
fn value(kind: &str, text: &str) -> Option<Variant<'static>> {
    let words = || text.split(' ').map(str::to_owned);
    Some(match kind {
        "s" => Variant::from(text.to_owned()),
        "o" => Variant::from(ObjectPath::try_from(text.to_owned()).ok()?),
        "b" => Variant::Bool(text == "true"),
        "u" => Variant::U32(text.parse().ok()?),
        "i" => Variant::I32(text.parse().ok()?),
        "t" => Variant::U64(text.parse().ok()?),
        "x" => Variant::I64(text.parse().ok()?),
        "as" => Variant::from(words().collect::<Vec<_>>()),
        "ay" => Variant::from(words().filter_map(|byte| byte.parse().ok()).collect::<Vec<u8>>()),
        "a(ss)" => Variant::from(words().map(|word| (word.clone(), word)).collect::<Vec<_>>()),
        "(bas)" => Variant::from((text.starts_with('~'), words().collect::<Vec<_>>())),
        _ => return None,
    })
}

/// Made once: compiling the expression takes longer than an input.
static ALL: LazyLock<Selection> =
    LazyLock::new(|| Selection::new(".+", "").expect("an expression"));
static DEFAULT: LazyLock<Selection> = LazyLock::new(Selection::default);

/// The units of bodies that do not name one.
const UNITS: [&str; 6] =
    ["a.service", "b.service", "c.timer", "d.socket", "e.mount", "dev-a\\x2db.device"];
