//! The units that a service or target depends on.

use std::collections::BTreeSet;
use std::sync::Arc;

use zbus::Variant;

use super::value::as_strings;
use super::{Detail, Unit};

/// The units that a service or target depends on, by relation, under their primary names.
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
    /// `Upholds=`, systemd 249.
    Upholds,
}

impl Dependencies {
    /// Sets one property of `org.freedesktop.systemd1.Unit`; others are ignored. A name that is
    /// listed twice is one dependency.
    pub(in crate::systemd) fn set(&mut self, name: &str, value: &Variant<'_>) {
        if let Some(at) = Relation::PROPERTIES.iter().position(|property| *property == name) {
            let names: BTreeSet<_> = as_strings(value).into_iter().collect();
            self.0[at] = names.into_iter().collect();
        }
    }

    /// Keeps the names for which `keep` holds.
    pub(in crate::systemd) fn retain(&mut self, mut keep: impl FnMut(&Arc<str>) -> bool) {
        for names in &mut self.0 {
            *names = std::mem::take(names).into_iter().filter(|name| keep(name)).collect();
        }
    }

    /// The names of the units, by relation.
    pub fn by_relation(&self) -> impl Iterator<Item = (Relation, &[Arc<str>])> {
        Relation::ALL.into_iter().zip(self.0.iter().map(|names| &**names))
    }

    /// Every dependency, by relation.
    pub fn iter(&self) -> impl Iterator<Item = (Relation, &Arc<str>)> {
        self.by_relation()
            .flat_map(|(relation, names)| names.iter().map(move |name| (relation, name)))
    }
}

impl Unit {
    /// The units that a service or target depends on.
    #[must_use]
    pub fn dependencies(&self) -> Option<&Dependencies> {
        match &self.detail {
            Detail::Service(service) => Some(&service.dependencies),
            Detail::Target(dependencies) => Some(dependencies),
            _ => None,
        }
    }

    /// The units that a timer, socket unit or path unit starts.
    #[must_use]
    pub fn triggers(&self) -> &[Arc<str>] {
        match &self.detail {
            Detail::Timer(timer) => timer.unit.as_slice(),
            Detail::Socket(socket) => &socket.triggers,
            Detail::Path(path) => &path.triggers,
            _ => &[],
        }
    }
}

impl Relation {
    /// Every relation.
    pub const ALL: [Self; 5] =
        [Self::Requires, Self::BindsTo, Self::Requisite, Self::Wants, Self::Upholds];

    /// The properties that list the units.
    pub(in crate::systemd) const PROPERTIES: [&str; 5] =
        ["Requires", "BindsTo", "Requisite", "Wants", "Upholds"];

    /// The properties that list the units of a target: those that are started with it.
    pub(in crate::systemd) const OF_TARGETS: [&str; 3] = ["Requires", "Wants", "Upholds"];

    /// The label `relation`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requires => "requires",
            Self::BindsTo => "binds_to",
            Self::Requisite => "requisite",
            Self::Wants => "wants",
            Self::Upholds => "upholds",
        }
    }
}
