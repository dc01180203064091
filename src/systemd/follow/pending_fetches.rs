//! Properties of units that are being fetched, held back until all of a unit's have been received.
//!
//! An exit is reported by several properties that belong together. So fetched properties are
//! applied at once, as one change; and where a signal was received meanwhile, its properties
//! overrule the fetched ones: the signal was atomic, and whatever PID 1 changes after it brings
//! another signal.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use zbus::OwnedVariant;

use super::call_queue::CallQueue;
use super::list_size::{LargeFiles, MAX_REPLY};
use super::non_utf8_mounts;
use crate::systemd::dbus::{Call, Get, Purpose};
use crate::systemd::ledger::Gap;
use crate::systemd::state::State;
use crate::systemd::unit::Unit;
use crate::systemd::unit::dependencies::Relation;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::properties::{Extras, Interface, NAMES, checked, is_signalled, wanted};

/// Units whose properties are fetched: new units, planned fetches, and those under way.
#[derive(Default)]
pub(super) struct Fetches {
    pub(super) pending: PendingFetches,
    /// Units whose calls have not been made yet.
    planned: VecDeque<Arc<str>>,
    /// Units that PID 1 has just loaded.
    pub(super) new_units: BTreeMap<Arc<str>, NewUnit>,
}

/// A unit that UnitNew named, which has no values.
pub(super) struct NewUnit {
    /// When to request its state.
    pub(super) reads_at: Instant,
    /// Whether a signal with values has arrived since.
    pub(super) has_values: bool,
}

impl NewUnit {
    pub(super) fn new(reads_at: Instant) -> Self {
        Self { reads_at, has_values: false }
    }
}

impl Fetches {
    /// Plans to fetch a unit's properties if it is exported, otherwise only its names: one of them
    /// may be expected, or may be among those to export.
    pub(super) fn plan(&mut self, unit: &Unit, gap: Option<Gap>) {
        let is_fetched = unit.selected || unit.kind.can_have_aliases();
        if is_fetched && !unit.is_absent() && self.pending.begin(&unit.name, unit.kind, gap) {
            self.planned.push_back(unit.name.clone());
        }
    }

    /// Plans to fetch a unit's properties only if it ran since, given that its configuration is
    /// unchanged: each run has another invocation ID.
    pub(super) fn plan_check(&mut self, unit: &Unit, gap: Option<Gap>) {
        if self.pending.by_name.contains_key(&unit.name) {
            return self.plan(unit, gap);
        }
        if unit.selected && !unit.is_absent() && self.pending.begin(&unit.name, unit.kind, gap) {
            self.pending.by_name.entry(unit.name.clone()).and_modify(|fetch| fetch.is_check = true);
            self.planned.push_back(unit.name.clone());
        }
    }

    /// Makes the calls of the next planned fetches, as far as there is room.
    pub(super) fn request_planned(&mut self, state: &State, extras: Extras, calls: &mut CallQueue) {
        while calls.room() > 0
            && let Some(name) = self.planned.pop_front()
        {
            let Some(unit) = state.mirror.unit(&name) else { continue };
            let kind = unit.kind;
            let is_check = self.pending.by_name.get(&name).is_some_and(|fetch| fetch.is_check);
            let properties = match unit.selected {
                true if is_check => checked(kind).collect(),
                true => wanted(kind, extras).collect(),
                // a target determines which units should be active, exported or not
                false if kind == UnitKind::Target => {
                    let names = Relation::OF_TARGETS.into_iter().chain([NAMES]);
                    names.map(|name| (Interface::Unit, Some(name))).collect()
                }
                false => vec![(Interface::Unit, Some(NAMES))],
            };
            let Some(number) = self.pending.start(&name, properties.len()) else { continue };
            let purpose = Purpose::Fetch(number);
            for (interface, property) in properties {
                let name = name.clone();
                calls.add(Call::Unit(Get { name, kind, interface, property, purpose }));
            }
        }
    }

    /// Requests the states of new units that are due.
    pub(super) fn request_new_units(&mut self, state: &State, calls: &mut CallQueue, now: Instant) {
        let due = self.new_units.extract_if(.., |_, unit| unit.reads_at <= now);
        let mut due: Vec<_> = due.map(|(name, _)| name).collect();
        let is_mount = |name: &Arc<str>| UnitKind::of(name) == Some(UnitKind::Mount);
        if due.iter().any(is_mount) && non_utf8_mounts::prevent_listing(&state.manager) {
            due.retain(|name| !is_mount(name));
        }
        // each may have a description of 1 MiB
        let large = if due.len() > FEW_NAMES { LargeFiles::find() } else { LargeFiles::default() };
        let (mut names, mut size) = (Vec::new(), 0);
        for name in due {
            let row = large.row(&name);
            let is_full = names.len() == MAX_NAMES_PER_CALL || size + row > MAX_REPLY;
            // no name would be any name
            if is_full && !names.is_empty() {
                calls.add(Call::ListNames(std::mem::take(&mut names)));
                size = 0;
            }
            names.push(name.to_string());
            size += row;
        }
        if !names.is_empty() {
            calls.add(Call::ListNames(names));
        }
    }

    /// Whether a signal is the first one with values since UnitNew.
    pub(super) fn has_first_values(&mut self, name: &str) -> bool {
        let unit = self.new_units.get_mut(name);
        unit.is_some_and(|unit| !std::mem::replace(&mut unit.has_values, true))
    }

    /// Removes a unit that was unloaded.
    pub(super) fn remove(&mut self, name: &str) {
        self.new_units.remove(name);
        self.pending.remove(name);
    }
}

/// The units being fetched.
#[derive(Default)]
pub(super) struct PendingFetches {
    by_name: HashMap<Arc<str>, PendingFetch>,
    last_number: u32,
}

/// The properties of one unit received so far.
pub(super) struct PendingFetch {
    kind: UnitKind,
    /// Distinguishes the calls of this fetch from those of an earlier one; `None` before they are
    /// made.
    number: Option<u32>,
    /// Replies still to come.
    left: usize,
    values: Vec<(Interface, &'static str, OwnedVariant)>,
    signalled: Vec<Interface>,
    /// Why signals before the fetch may be missing.
    pub(super) gap: Option<Gap>,
    /// Whether it only checks that the unit has not run.
    pub(super) is_check: bool,
}

impl PendingFetches {
    /// Begins a fetch, with the gap of one that it replaces. False if one waits for its calls.
    pub(super) fn begin(&mut self, name: &Arc<str>, kind: UnitKind, gap: Option<Gap>) -> bool {
        let before = self.by_name.get(name);
        let waits = before.is_some_and(|fetch| fetch.number.is_none());
        let gap = match gap {
            Some(Gap::Reload) => gap,
            _ => before.and_then(|fetch| fetch.gap).or(gap),
        };
        let (values, signalled) = (Vec::new(), Vec::new());
        let is_check = false;
        let fetch = PendingFetch { kind, number: None, left: 0, values, signalled, gap, is_check };
        self.by_name.insert(name.clone(), fetch);
        !waits
    }

    /// Notes how many calls will be made, and returns the number of the fetch for them. `None` if
    /// the unit was unloaded meanwhile.
    pub(super) fn start(&mut self, name: &str, calls: usize) -> Option<u32> {
        let fetch = self.by_name.get_mut(name)?;
        self.last_number += 1;
        (fetch.number, fetch.left) = (Some(self.last_number), calls);
        fetch.number
    }

    /// Why signals of this unit may be missing.
    pub(super) fn gap(&self, name: &str) -> Option<Gap> {
        self.by_name.get(name)?.gap
    }

    /// Notes that a reload is among the signals that may be missing.
    pub(super) fn mark_missed_reload(&mut self) {
        for fetch in self.by_name.values_mut() {
            fetch.gap = fetch.gap.and(Some(Gap::Reload));
        }
    }

    /// Notes a signal.
    pub(super) fn signalled(&mut self, name: &str, interface: Interface) {
        if let Some(fetch) = self.by_name.get_mut(name) {
            let kind = fetch.kind;
            fetch
                .values
                .retain(|(of, name, _)| *of != interface || !is_signalled(kind, interface, name));
            fetch.signalled.push(interface);
        }
    }

    /// Adds a reply; returns the fetch once it is complete.
    pub(super) fn add_reply(
        &mut self,
        name: &str,
        number: u32,
        interface: Interface,
        values: Vec<(&'static str, OwnedVariant)>,
    ) -> Option<PendingFetch> {
        let fetch = self.by_name.get_mut(name).filter(|fetch| fetch.number == Some(number))?;
        let overruled = fetch.signalled.contains(&interface);
        let kind = fetch.kind;
        let values = values
            .into_iter()
            .filter(|(property, _)| !(overruled && is_signalled(kind, interface, property)));
        fetch.values.extend(values.map(|(property, value)| (interface, property, value)));
        fetch.left = fetch.left.saturating_sub(1);
        if fetch.left == 0 { self.by_name.remove(name) } else { None }
    }

    /// Removes a unit that was unloaded.
    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Whether nothing is being fetched.
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl PendingFetch {
    /// Whether a check shows that the unit ran, and no signal carried all properties since.
    pub(super) fn reveals_run(&self, unit: &Unit) -> bool {
        let is_signalled = self.signalled.contains(&Interface::Unit);
        self.is_check && !is_signalled && {
            let mut read = Unit::new(unit.name.clone(), unit.kind, unit.selected);
            self.apply(&mut read);
            read.invocation_id != unit.invocation_id
        }
    }

    /// Sets all received properties of the unit.
    pub(super) fn apply(&self, unit: &mut Unit) {
        for (interface, property, value) in &self.values {
            unit.set(*interface, property, value);
        }
    }
}

/// Up to this number of names in one call, the sizes of their files are not read: the reply has 8 MiB at most.
const FEW_NAMES: usize = 8;

/// Names of units in one call.
const MAX_NAMES_PER_CALL: usize = 64;

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;
    use crate::systemd::unit::value::InternedStr;

    const KIND: UnitKind = UnitKind::Service;

    fn value(property: &'static str, text: &str) -> (&'static str, OwnedVariant) {
        (property, Variant::from(text).try_to_owned().unwrap())
    }

    /// The Result and Restart of a service after the fetch is applied.
    fn applied(fetch: &PendingFetch) -> (String, String) {
        let mut unit = Unit::new("a.service".into(), KIND, true);
        fetch.apply(&mut unit);
        let service = unit.service().unwrap();
        let text = |text: &Option<InternedStr>| text.clone().unwrap_or_default();
        (text(&service.result).into(), text(&service.restart).into())
    }

    fn begun(calls: usize) -> (PendingFetches, u32) {
        let mut fetches = PendingFetches::default();
        assert!(fetches.is_empty());
        assert!(fetches.begin(&"a.service".into(), KIND, None));
        let number = fetches.start("a.service", calls).unwrap();
        (fetches, number)
    }

    #[test]
    fn applies_values_once_all_replies_arrived() {
        let (mut fetches, number) = begun(2);
        let first = vec![value("Result", "signal"), value("Restart", "always")];
        assert!(fetches.add_reply("a.service", number, Interface::Kind, first).is_none());
        assert!(!fetches.is_empty());
        let fetch = fetches.add_reply("a.service", number, Interface::Unit, Vec::new()).unwrap();
        assert_eq!(applied(&fetch), ("signal".to_owned(), "always".to_owned()));
        assert!(fetches.is_empty());
    }

    #[test]
    fn signal_overrules_only_properties_it_carries() {
        let fetched = || vec![value("Result", "signal"), value("Restart", "always")];
        for (signalled, result) in [(Interface::Kind, ""), (Interface::Unit, "signal")] {
            let (mut before, number) = begun(1);
            before.signalled("a.service", signalled);
            let fetch = before.add_reply("a.service", number, Interface::Kind, fetched()).unwrap();
            assert_eq!(applied(&fetch), (result.to_owned(), "always".to_owned()));

            let (mut after, number) = begun(2);
            assert!(after.add_reply("a.service", number, Interface::Kind, fetched()).is_none());
            after.signalled("a.service", signalled);
            let fetch = after.add_reply("a.service", number, Interface::Unit, Vec::new()).unwrap();
            assert_eq!(applied(&fetch), (result.to_owned(), "always".to_owned()));
        }
    }

    #[test]
    fn ignores_replies_to_an_earlier_fetch() {
        let (mut fetches, earlier) = begun(1);
        let name = "a.service".into();
        assert!(fetches.begin(&name, KIND, None), "its calls have been made");
        assert!(!fetches.begin(&name, KIND, None), "it waits for its calls");
        let number = fetches.start("a.service", 1).unwrap();
        assert!(fetches.add_reply("a.service", earlier, Interface::Kind, Vec::new()).is_none());
        assert!(fetches.add_reply("a.service", number, Interface::Kind, Vec::new()).is_some());
    }

    #[test]
    fn replacing_fetch_keeps_the_gap() {
        let mut fetches = PendingFetches::default();
        let name = "a.service".into();
        fetches.begin(&name, KIND, Some(Gap::Reload));
        fetches.begin(&name, KIND, Some(Gap::Drift));
        assert_eq!(fetches.gap("a.service"), Some(Gap::Reload));
        assert_eq!(fetches.gap("b.service"), None);
    }

    #[test]
    fn check_reveals_a_run_by_its_invocation_id() {
        let id =
            |byte: u8| ("InvocationID", Variant::from(&[byte; 16][..]).try_to_owned().unwrap());
        let mut unit = Unit::new("a.service".into(), KIND, true);
        unit.set(Interface::Unit, "InvocationID", &id(1).1);
        for (ids, signal, reveals) in [
            (vec![id(1)], None, false),
            (vec![id(2)], None, true),
            (vec![], None, true),
            (vec![id(2)], Some(Interface::Unit), false),
            (vec![id(2)], Some(Interface::Kind), true),
        ] {
            let mut fetches = Fetches::default();
            fetches.plan_check(&unit, Some(Gap::Reload));
            let number = fetches.pending.start("a.service", 1).unwrap();
            signal.into_iter().for_each(|signal| fetches.pending.signalled("a.service", signal));
            let fetch = fetches.pending.add_reply("a.service", number, Interface::Unit, ids);
            assert_eq!(fetch.unwrap().reveals_run(&unit), reveals);
        }
        let mut fetches = Fetches::default();
        fetches.plan(&unit, Some(Gap::Drift));
        fetches.plan_check(&unit, Some(Gap::Reload));
        assert!(!fetches.pending.by_name["a.service"].is_check, "a fetch stays one");
    }

    #[test]
    fn unloaded_unit_is_not_fetched() {
        let (mut fetches, number) = begun(1);
        fetches.remove("a.service");
        assert!(fetches.is_empty());
        assert_eq!(fetches.start("a.service", 1), None);
        assert!(fetches.add_reply("a.service", number, Interface::Kind, Vec::new()).is_none());
    }
}
