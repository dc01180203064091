//! A bounded set of runs.

use std::collections::{HashSet, VecDeque};

use crate::systemd::unit::value::InvocationId;

/// The latest [`MAX_RUNS`] runs that were added.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// The latest last.
    in_order: VecDeque<InvocationId>,
    all: HashSet<InvocationId>,
}

impl Runs {
    pub(super) fn add(&mut self, run: InvocationId) {
        if self.all.insert(run) {
            self.in_order.push_back(run);
            if self.in_order.len() > MAX_RUNS
                && let Some(oldest) = self.in_order.pop_front()
            {
                self.all.remove(&oldest);
            }
        }
    }

    pub(super) fn contains(&self, run: &InvocationId) -> bool {
        self.all.contains(run)
    }

    /// In the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = &InvocationId> {
        self.in_order.iter()
    }
}

/// The exits of a minute, with 100 a second and two names each.
const MAX_RUNS: usize = 12_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_runs_are_dropped_at_the_limit() {
        let run = |number: usize| InvocationId((number as u128).to_be_bytes());
        let mut runs = Runs::default();
        (0..MAX_RUNS + 10).for_each(|number| runs.add(run(number)));
        runs.add(run(MAX_RUNS));
        assert_eq!((runs.in_order.len(), runs.all.len()), (MAX_RUNS, MAX_RUNS));
        assert!(!runs.contains(&run(9)) && runs.contains(&run(10)));
        assert_eq!(runs.iter().next(), Some(&run(10)));
    }
}
