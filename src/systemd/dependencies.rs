//! What a service needs and wants, and which of that is not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use zbus::Variant;

use super::mirror::Mirror;
use super::unit::Unit;
use super::value::{Timestamp, as_strings};

/// The units that a service depends on, by relation, under their primary names.
#[derive(Clone, Debug, Default)]
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
    pub fn unmet(&self, mirror: &Mirror) -> impl Iterator<Item = (Relation, u64)> {
        let unmet = |relation, names: &[Arc<str>]| {
            let units = names.iter().filter_map(|name| mirror.unit(name));
            units.filter(|unit| is_unmet(relation, unit)).count() as u64
        };
        let counts = Relation::ALL.into_iter().zip(&self.0);
        counts
            .map(move |(relation, names)| (relation, unmet(relation, names)))
            .filter(|(_, count)| *count > 0)
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
