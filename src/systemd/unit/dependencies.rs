//! What a service needs and wants, and which of that is not there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use zbus::Variant;

use super::Unit;
use super::value::{Timestamp, as_strings};
use crate::systemd::mirror::Mirror;

/// The units that a service depends on, by relation, under their primary names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependencies([Box<[Arc<str>]>; Relation::ALL.len()]);

/// How one unit depends on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `Requires=`
    Requires,
    /// `BindsTo=`
    BindsTo,
    /// `Requisite=`
    Requisite,
    /// `Wants=`
    Wants,
}

impl Dependencies {
    /// Takes one property of `org.freedesktop.systemd1.Unit`; others are passed over. A name that
    /// stands there twice is one dependency.
    pub(super) fn set(&mut self, name: &str, value: &Variant<'_>) {
        if let Some(at) = Relation::PROPERTIES.iter().position(|property| *property == name) {
            let names: BTreeSet<_> = as_strings(value).into_iter().collect();
            self.0[at] = names.into_iter().collect();
        }
    }

    /// Every dependency, by relation.
    pub fn iter(&self) -> impl Iterator<Item = (Relation, &Arc<str>)> {
        Relation::ALL
            .into_iter()
            .zip(&self.0)
            .flat_map(|(relation, names)| names.iter().map(move |name| (relation, name)))
    }

    /// How many of them are not met, by relation, where any are.
    pub fn unmet<'m>(&'m self, units: &mut Looked<'m>) -> impl Iterator<Item = (Relation, u64)> {
        let mut unmet = |relation, names: &'m [Arc<str>]| {
            let units = names.iter().filter_map(|name| units.unit(name));
            units.filter(|unit| is_unmet(relation, unit)).count() as u64
        };
        let counts = Relation::ALL.into_iter().zip(&self.0);
        counts
            .map(move |(relation, names)| (relation, unmet(relation, names)))
            .filter(|(_, count)| *count > 0)
    }
}

/// The units of a mirror, each looked up once: thousands of services depend on the same few.
#[derive(Debug)]
pub struct Looked<'m> {
    mirror: &'m Mirror,
    known: HashMap<&'m str, Option<&'m Arc<Unit>>>,
}

impl<'m> Looked<'m> {
    /// None is looked up yet.
    #[must_use]
    pub fn new(mirror: &'m Mirror) -> Self {
        Self { mirror, known: HashMap::new() }
    }

    fn unit(&mut self, name: &'m str) -> Option<&'m Arc<Unit>> {
        *self.known.entry(name).or_insert_with(|| self.mirror.unit(name))
    }
}

impl Relation {
    /// Every relation.
    pub const ALL: [Self; 4] = [Self::Requires, Self::BindsTo, Self::Requisite, Self::Wants];

    /// The properties that name them.
    pub(super) const PROPERTIES: [&str; 4] = ["Requires", "BindsTo", "Requisite", "Wants"];

    /// The label `relation`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requires => "requires",
            Self::BindsTo => "binds_to",
            Self::Requisite => "requisite",
            Self::Wants => "wants",
        }
    }
}

/// Whether a unit that another depends on does not serve it. A oneshot that has done its work does,
/// and so does what is wanted only, in case it is installed.
fn is_unmet(relation: Relation, unit: &Unit) -> bool {
    if ["active", "reloading", "refreshing"].into_iter().any(|state| unit.is(state)) {
        return false;
    }
    let load_state = unit.load_state.as_deref().unwrap_or_default();
    let is_installed = !["not-found", "masked"].contains(&load_state);
    let has_done_its_work = unit.is("inactive")
        && unit.inactive_enter.and_then(Timestamp::set).is_some()
        && unit.service().is_some_and(|service| {
            service.service_type.as_deref() == Some("oneshot")
                && service.result.as_deref() == Some("success")
        });
    !has_done_its_work && (is_installed || relation != Relation::Wants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::mirror::Listed;
    use crate::systemd::unit::Detail;
    use crate::systemd::unit::value::word;
    use crate::unit_filter::Selection;

    #[test]
    fn what_is_not_there_or_not_up_is_unmet() {
        let mut mirror = Mirror::new(Selection::default());
        for (name, load_state, active_state) in UNITS {
            let (load_state, active_state) = (word(load_state), word(active_state));
            let (name, sub_state) = (name.to_owned(), word(""));
            mirror.list(&Listed { name, load_state, active_state, sub_state });
        }
        let work = |result: &str, kind: &str, at| {
            let (result, kind) = (Some(word(result)), Some(word(kind)));
            move |unit: &mut Unit| {
                unit.inactive_enter = Some(Timestamp(at));
                let Detail::Service(service) = &mut unit.detail else { unreachable!() };
                (service.result, service.service_type) = (result, kind);
            }
        };
        mirror.change("done.service", work("success", "oneshot", 1));
        mirror.change("undone.service", work("success", "oneshot", 0));
        mirror.change("bad.service", work("exit-code", "oneshot", 1));
        mirror.change("down.service", work("success", "simple", 1));
        let names: Vec<_> =
            UNITS.iter().map(|(name, ..)| *name).chain(["nowhere.service"]).collect();
        let mut all = Dependencies::default();
        for property in Relation::PROPERTIES {
            all.set(property, &Variant::from(names.clone()));
        }
        assert_eq!(all.iter().count(), names.len() * Relation::ALL.len());
        let unmet: Vec<_> = all.unmet(&mut Looked::new(&mirror)).collect();
        let [requires, binds_to, requisite, wants] = Relation::ALL;
        // undone, bad, down, broken.mount, gone and masked; of what is wanted only, not the last two
        assert_eq!(unmet, [(requires, 6), (binds_to, 6), (requisite, 6), (wants, 4)]);
        let mut met = Dependencies::default();
        met.set("Wants", &Variant::from(vec!["up.service", "done.service", "gone.service"]));
        assert_eq!(met.unmet(&mut Looked::new(&mirror)).count(), 0);
    }

    const UNITS: [(&str, &str, &str); 9] = [
        ("bad.service", "loaded", "inactive"),
        ("broken.mount", "loaded", "failed"),
        ("done.service", "loaded", "inactive"),
        ("down.service", "loaded", "inactive"),
        ("gone.service", "not-found", "inactive"),
        ("masked.service", "masked", "inactive"),
        ("reloading.service", "loaded", "reloading"),
        ("undone.service", "loaded", "inactive"),
        ("up.service", "loaded", "active"),
    ];
}
