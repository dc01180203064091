//! Counts the dependencies of a service that are not active.

use std::collections::HashMap;
use std::sync::Arc;

use super::mirror::Mirror;
use super::unit::Unit;
use super::unit::dependencies::{Dependencies, Relation};
use super::unit::value::Timestamp;

/// Counts unmet dependencies. Each unit is looked up once: thousands of services depend on the same
/// few.
#[derive(Debug)]
pub(super) struct UnmetDependencies<'m> {
    mirror: &'m Mirror,
    units: HashMap<&'m str, Option<&'m Arc<Unit>>>,
}

impl<'m> UnmetDependencies<'m> {
    /// A counter for the services of a mirror.
    #[must_use]
    pub(super) fn new(mirror: &'m Mirror) -> Self {
        Self { mirror, units: HashMap::new() }
    }

    /// The number of dependencies that are not met, by relation; relations without any are omitted.
    pub(super) fn of(
        &mut self,
        dependencies: &'m Dependencies,
    ) -> impl Iterator<Item = (Relation, u64)> {
        dependencies
            .by_relation()
            .map(|(relation, names)| (relation, self.count(relation, names)))
            .filter(|(_, count)| *count > 0)
    }

    fn count(&mut self, relation: Relation, names: &'m [Arc<str>]) -> u64 {
        let units = names.iter().filter_map(|name| self.unit(name));
        units.filter(|unit| is_unmet(relation, unit)).count() as u64
    }

    fn unit(&mut self, name: &'m str) -> Option<&'m Arc<Unit>> {
        *self.units.entry(name).or_insert_with(|| self.mirror.unit(name))
    }
}

/// Whether a dependency is not met: the unit is not active, and systemd does not treat it as
/// started. Units of `Wants=` and `Upholds=` that are not installed do not count.
fn is_unmet(relation: Relation, unit: &Unit) -> bool {
    if ["active", "reloading", "refreshing"].into_iter().any(|state| unit.is(state)) {
        return false;
    }
    let load_state = unit.load_state.as_deref().unwrap_or_default();
    let is_installed = !["not-found", "masked"].contains(&load_state);
    let is_optional = [Relation::Wants, Relation::Upholds].contains(&relation);
    !is_treated_as_started(unit) && (is_installed || !is_optional)
}

/// Whether systemd treats the inactive unit as started: a condition or `ExecCondition=` skipped the
/// start, or it is a oneshot that has completed.
pub(super) fn is_treated_as_started(unit: &Unit) -> bool {
    let is_skipped = unit.conditions_met == Some(false)
        && unit.conditions_checked.and_then(Timestamp::set).is_some();
    let service = || {
        unit.service().is_some_and(|service| match service.result.as_deref() {
            Some("exec-condition") => true,
            Some("success") => {
                service.service_type.as_deref() == Some("oneshot")
                    && unit.inactive_enter.and_then(Timestamp::set).is_some()
            }
            _ => false,
        })
    };
    unit.is("inactive") && (is_skipped || service())
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;
    use crate::systemd::mirror::ListedUnit;
    use crate::systemd::unit::Detail;
    use crate::systemd::unit::value::intern;
    use crate::unit_filter::Selection;

    #[test]
    fn inactive_dependencies_are_unmet() {
        let mut mirror = Mirror::new(Selection::default());
        for (name, load_state, active_state) in UNITS {
            let (load_state, active_state) = (intern(load_state), intern(active_state));
            let (name, sub_state) = (name.to_owned(), intern(""));
            mirror.list(&ListedUnit { name, load_state, active_state, sub_state });
        }
        let work = |result: &str, kind: &str, at| {
            let (result, kind) = (Some(intern(result)), Some(intern(kind)));
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
        mirror.change("skipped.service", work("exec-condition", "simple", 1));
        for (name, met, checked) in [
            ("unchecked.mount", false, 0),
            ("unmet.mount", false, 1),
            ("met.mount", true, 1),
            ("failed.mount", false, 1),
        ] {
            mirror.change(name, |unit| {
                unit.conditions_met = Some(met);
                unit.conditions_checked = Some(Timestamp(checked));
            });
        }
        let names: Vec<_> =
            UNITS.iter().map(|(name, ..)| *name).chain(["nowhere.service"]).collect();
        let mut all = Dependencies::default();
        for property in Relation::PROPERTIES {
            all.set(property, &Variant::from(names.clone()));
        }
        assert_eq!(all.iter().count(), names.len() * Relation::ALL.len());
        let unmet: Vec<_> = UnmetDependencies::new(&mirror).of(&all).collect();
        let [requires, binds_to, requisite, wants, upholds] = Relation::ALL;
        // undone, bad, down, unchecked.mount, met.mount, failed.mount, gone and masked; the last two
        // do not count for Wants= and Upholds=
        let strict = [requires, binds_to, requisite].map(|relation| (relation, 8));
        assert_eq!(unmet, [&strict[..], &[(wants, 6), (upholds, 6)]].concat());
        let mut met = Dependencies::default();
        met.set("Wants", &Variant::from(vec!["up.service", "done.service", "gone.service"]));
        assert_eq!(UnmetDependencies::new(&mirror).of(&met).count(), 0);
    }

    const UNITS: [(&str, &str, &str); 13] = [
        ("bad.service", "loaded", "inactive"),
        ("failed.mount", "loaded", "failed"),
        ("done.service", "loaded", "inactive"),
        ("down.service", "loaded", "inactive"),
        ("gone.service", "not-found", "inactive"),
        ("masked.service", "masked", "inactive"),
        ("met.mount", "loaded", "inactive"),
        ("reloading.service", "loaded", "reloading"),
        ("skipped.service", "loaded", "inactive"),
        ("unchecked.mount", "loaded", "inactive"),
        ("undone.service", "loaded", "inactive"),
        ("unmet.mount", "loaded", "inactive"),
        ("up.service", "loaded", "active"),
    ];
}
