//! What the journal tells of failures that no signal told: while the bus is away, and while systemd
//! reloads its configuration.
//!
//! A restart that was counted tells that there was a failure, not why, and after a reload it may
//! tell of one too many. systemd puts every failure into the journal too, with its result and its
//! run. That comes a little later: what was not seen waits for it, and is unknown only if the
//! journal does not have it but might have lost it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use crate::systemd::unit::Unit;
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

/// What the journal tells anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Failures, in the order in which they were told.
    pub failures: Vec<Told>,
    /// When messages last went missing, or may have: journald was started, or dropped some.
    pub hole: Option<Timestamp>,
}

/// Failures of a unit that only its restarts tell of.
#[derive(Clone, Debug)]
pub(super) struct Unseen {
    pub(super) unit: Arc<str>,
    /// From when on they may have happened, on `CLOCK_MONOTONIC`.
    pub(super) since: Timestamp,
    /// When that was found, on the same.
    pub(super) found: Timestamp,
    /// How many there were at least.
    pub(super) deaths: u64,
    /// How many more there may have been.
    pub(super) more: u64,
    /// Why they were not seen.
    pub(super) reason: &'static str,
}

/// What the journal tells of failures that were not seen.
#[derive(Debug, Default)]
pub(super) struct Explained {
    pub(super) failures: Vec<Told>,
    /// Whether there were no others.
    pub(super) is_all: bool,
}

/// The failures that wait for the journal, and what it has told.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// Whether there is a journal to wait for.
    pub(super) is_heard: bool,
    unseen: Vec<Unseen>,
    told: VecDeque<Told>,
    hole: Option<Timestamp>,
    /// Units of which it has told a failure that was seen, too: it has those of their failures.
    known: HashSet<Arc<str>>,
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
    pub(super) fn hear(&mut self, news: News) {
        self.hole = self.hole.max(news.hole);
        self.told.extend(news.failures);
        let over = self.told.len().saturating_sub(MOST);
        self.told.drain(..over);
    }

    /// What was not seen and has waited long enough, given that the journal has been read until
    /// then, each with what it tells of that.
    pub(super) fn explain(&mut self, read: Timestamp) -> Vec<(Unseen, Explained)> {
        let Self { unseen, told, hole, known, is_counted, .. } = self;
        for seen in told.iter().filter(|told| is_counted.contains(&told.run)) {
            if known.len() < MOST {
                known.insert(seen.unit.clone());
            }
        }
        told.retain(|told| !is_counted.contains(&told.run));
        let due = unseen.extract_if(.., |unseen| unseen.found.0.saturating_add(SETTLE) <= read.0);
        due.map(|unseen| {
            let most = unseen.deaths.saturating_add(unseen.more);
            let mut left = usize::try_from(most).unwrap_or(usize::MAX);
            let (mut failures, mut others) = (Vec::new(), VecDeque::new());
            for told in told.drain(..) {
                if left > 0 && told.unit == unseen.unit && told.at <= unseen.found {
                    left -= 1;
                    failures.push(told);
                } else {
                    others.push_back(told);
                }
            }
            *told = others;
            let is_all = known.contains(&unseen.unit) && hole.is_none_or(|at| at < unseen.since);
            (unseen, Explained { failures, is_all })
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

impl News {
    /// That it could not be read then.
    #[must_use]
    pub fn none(at: Timestamp) -> Self {
        Self { failures: Vec::new(), hole: Some(at) }
    }
}

/// When a unit was last known to be as it was, on `CLOCK_MONOTONIC`: at the latest time that it
/// tells of.
pub(super) fn known_at(unit: &Unit) -> Timestamp {
    let Unit { active_enter, active_exit, inactive_enter, inactive_exit, .. } = unit;
    let service = unit.service();
    let process = service.map(|service| [service.main_start, service.main_exit]);
    let times = [*active_enter, *active_exit, *inactive_enter, *inactive_exit];
    let times = times.into_iter().chain(process.into_iter().flatten()).flatten();
    let latest = times.filter_map(Timestamp::set).max();
    let age = latest.and_then(|at| SystemTime::now().duration_since(at.system_time()).ok());
    let age = age.and_then(|age| u64::try_from(age.as_micros()).ok());
    // what lies in the future, as a clock that was set back makes it, tells nothing
    age.map_or(Timestamp(0), |age| Timestamp(Timestamp::monotonic().0.saturating_sub(age)))
}

/// How long the journal may need to have it, in microseconds.
const SETTLE: u64 = 1_000_000;

/// Signals are not later than the journal by so much, in microseconds.
const LONG: u64 = 60_000_000;

/// Failures and runs that are remembered at most.
const MOST: usize = 4096;
