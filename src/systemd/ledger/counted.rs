//! A count of events, with the first and the last one.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::systemd::unit::serial;
use crate::systemd::unit::value::InvocationId;

/// A counter, with its first and its last increment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// The value.
    pub total: u64,
    /// The time of the first event; `None` before it.
    #[serde(with = "serial::wall_clock_option")]
    pub first: Option<SystemTime>,
    /// The invocation ID of the run last counted, as 32 hex digits, and when.
    #[serde(with = "super::saved::last_run")]
    pub last: Option<(Arc<str>, SystemTime)>,
}

impl Counted {
    pub(super) fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.set_first(other.first);
        let at = |last: &Option<(Arc<str>, SystemTime)>| last.as_ref().map(|(_, at)| *at);
        if at(&other.last) > at(&self.last) {
            self.last.clone_from(&other.last);
        }
    }

    pub(super) fn count(&mut self, run: Option<InvocationId>, at: SystemTime) {
        self.add_events(1, at);
        self.last = run.map(|run| (run.hex().into(), at));
    }

    /// Adds events of unknown runs, none of them before `since`.
    pub(super) fn add_events(&mut self, events: u64, since: SystemTime) {
        self.total += events;
        // a user's manager may send any time
        self.set_first(Some(since.min(clock::wall())));
    }

    fn set_first(&mut self, first: Option<SystemTime>) {
        self.first = self.first.into_iter().chain(first).min();
    }
}
