//! The listeners of units, and which of the expected ones are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expected::Expectation;
use super::fair_limit::{FairLimit, ListenerKey, SocketTally};
use super::socket_activation::Activation;

/// Listeners by unit, and the expected ones that are not among them, with the primary names of their
/// units.
pub(super) struct UnitListeners<'a> {
    pub(super) listeners: FairLimit<'a, Option<Arc<str>>>,
    missing: Vec<(Arc<Expectation>, Arc<str>)>,
    /// Those that a listener without a known unit may be.
    undetermined: Vec<Arc<Expectation>>,
}

impl<'a> UnitListeners<'a> {
    pub(super) fn new(
        listeners: FairLimit<'a, Option<Arc<str>>>,
        expected: &[Arc<Expectation>],
        primary: &BTreeMap<Arc<str>, Arc<str>>,
    ) -> Self {
        let name = |unit| primary.get(unit).unwrap_or(unit).clone();
        let missing = expected.iter().map(|expected| (expected.clone(), name(&expected.unit)));
        Self { listeners, missing: missing.collect(), undetermined: Vec::new() }
    }

    /// Each expected listener, and whether it is missing; without those of which this cannot be
    /// determined.
    pub(super) fn found(&self, expected: &[Arc<Expectation>]) -> Vec<(Arc<Expectation>, bool)> {
        let is_missing = |expected| self.missing.iter().any(|(missing, _)| missing == expected);
        let all = expected.iter().map(|expected| (expected.clone(), is_missing(expected)));
        all.filter(|(expected, missing)| !missing || !self.undetermined.contains(expected))
            .collect()
    }

    /// Adds a listener by the unit in whose cgroup it was made and, if that cgroup no longer exists,
    /// by the unit that holds it.
    pub(super) fn add_activated(
        &mut self,
        key: ListenerKey<Option<Arc<str>>>,
        mut tally: SocketTally,
        holder: Option<&Arc<str>>,
        activation: &Activation<'_>,
    ) {
        let maker = key.owner.as_ref();
        let owner = activation.owner(maker, key.protocol, key.address, key.port);
        tally.socket_unit = owner.socket_unit;
        self.add(key.owned_by(holder.cloned().or(owner.unit)), tally);
    }

    pub(super) fn add(&mut self, key: ListenerKey<Option<Arc<str>>>, tally: SocketTally) {
        let socket_unit = tally.socket_unit.as_ref();
        self.missing.retain(|(expected, unit)| !expected.is_met_by(unit, &key, socket_unit));
        if tally.is_orphan && key.owner.is_none() {
            let may_be = self.missing.iter().map(|(expected, _)| expected);
            self.undetermined.extend(may_be.filter(|expected| expected.is_at(&key)).cloned());
        }
        self.listeners.add(key, tally);
    }
}
