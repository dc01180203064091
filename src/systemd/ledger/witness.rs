//! What the journal tells of failures that no signal told: while the bus is away, and while systemd
//! reloads its configuration.
//!
//! A restart that was counted tells that there was a failure, not why, and after a reload it may
//! tell of one too many. systemd puts every failure into the journal too, with its result and its
//! run. That comes a little later: what was not seen waits for it, and is unknown only if the
//! journal does not have it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::systemd::value::{InvocationId, Timestamp, Word};

/// A failure of a unit, as systemd puts it into the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The unit's name.
    pub unit: Arc<str>,
    /// The run that failed.
    pub run: InvocationId,
    /// Its result: `UNIT_RESULT=`.
    pub result: Word,
    /// When journald took it, on `CLOCK_MONOTONIC`.
    pub at: Timestamp,
}

/// Failures of a unit that only its restarts tell of.
#[derive(Clone, Debug)]
pub(super) struct Unseen {
    pub(super) unit: Arc<str>,
    /// When that was found, on `CLOCK_MONOTONIC`.
    pub(super) found: Timestamp,
    /// How many there were at least.
    pub(super) deaths: u64,
    /// How many more there may have been.
    pub(super) more: u64,
    /// Why they were not seen.
    pub(super) reason: &'static str,
}

/// The failures that wait for the journal, and what it has told.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// Whether there is a journal to wait for.
    pub(super) is_heard: bool,
    unseen: Vec<Unseen>,
    told: VecDeque<Told>,
    /// The runs whose failures are counted, the latest last.
    counted: VecDeque<InvocationId>,
    is_counted: HashSet<InvocationId>,
}

impl Witness {
    /// Notes that the failure of this run is counted.
    pub(super) fn counted(&mut self, run: InvocationId) {
        if self.is_heard && self.is_counted.insert(run) {
            self.counted.push_back(run);
            if self.counted.len() > MOST
                && let Some(oldest) = self.counted.pop_front()
            {
                self.is_counted.remove(&oldest);
            }
        }
    }

    pub(super) fn wait(&mut self, unseen: Unseen) {
        self.unseen.push(unseen);
    }

    /// Hears what the journal has told.
    pub(super) fn hear(&mut self, told: Vec<Told>) {
        self.told.extend(told);
        let over = self.told.len().saturating_sub(MOST);
        self.told.drain(..over);
    }

    /// What was not seen and has waited long enough, given that the journal has been read until
    /// then, each with what it tells of that.
    pub(super) fn explain(&mut self, read: Timestamp) -> Vec<(Unseen, Vec<Told>)> {
        let Self { unseen, told, is_counted, .. } = self;
        told.retain(|told| !is_counted.contains(&told.run));
        let due = unseen.extract_if(.., |unseen| unseen.found.0.saturating_add(SETTLE) <= read.0);
        due.map(|unseen| {
            let most = unseen.deaths.saturating_add(unseen.more);
            let mut left = usize::try_from(most).unwrap_or(usize::MAX);
            let (mut explained, mut others) = (Vec::new(), VecDeque::new());
            for told in told.drain(..) {
                if left > 0 && told.unit == unseen.unit && told.at <= unseen.found {
                    left -= 1;
                    explained.push(told);
                } else {
                    others.push_back(told);
                }
            }
            *told = others;
            (unseen, explained)
        })
        .collect()
    }

    /// Forgets what the journal told long before then: nothing waits for it any more.
    pub(super) fn forget(&mut self, read: Timestamp) {
        if self.unseen.is_empty() {
            self.told.retain(|told| told.at.0.saturating_add(LONG) > read.0);
        }
    }
}

/// How long the journal may need to have it, in microseconds.
const SETTLE: u64 = 1_000_000;

/// Signals are not later than the journal by so much, in microseconds.
const LONG: u64 = 60_000_000;

/// Failures and runs that are remembered at most.
const MOST: usize = 4096;
