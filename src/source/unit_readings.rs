//! The result of one pass over the units, from a source that reads files per unit.

use std::sync::Arc;

use super::Error;

/// The values of each unit. `K` identifies the unit, as in [`UnitGroup`](super::cgroup_tree::UnitGroup).
#[derive(Debug)]
pub struct UnitReadings<V, K = Arc<str>> {
    /// Each unit that has values now, in the requested order.
    pub units: Vec<(K, V)>,
    /// Units that were not read before the deadline.
    pub truncated: u64,
    /// Files, processes and cgroups that could not be read or parsed; their values are absent.
    pub failures: Failures,
}

impl<V, K> Default for UnitReadings<V, K> {
    fn default() -> Self {
        Self { units: Vec::new(), truncated: 0, failures: Failures::default() }
    }
}

/// Failed reads of one pass.
#[derive(Debug, Default)]
pub struct Failures {
    /// How many reads failed.
    pub count: u64,
    /// The first error.
    pub first: Option<Error>,
}

impl Failures {
    pub(super) fn add(&mut self, error: Error) {
        self.count += 1;
        self.first.get_or_insert(error);
    }
}
