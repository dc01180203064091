//! A count of events, with the last one.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::systemd::unit::value::InvocationId;

/// A counter, and its last increment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// The value.
    pub total: u64,
    /// The invocation ID of the run last counted, as 32 hex digits, and when.
    #[serde(with = "super::saved::last_run")]
    pub last: Option<(Arc<str>, SystemTime)>,
}

impl Counted {
    pub(super) fn add(&mut self, other: &Self) {
        self.total += other.total;
        let at = |last: &Option<(Arc<str>, SystemTime)>| last.as_ref().map(|(_, at)| *at);
        if at(&other.last) > at(&self.last) {
            self.last.clone_from(&other.last);
        }
    }

    pub(super) fn count(&mut self, run: Option<InvocationId>, at: SystemTime) {
        self.total += 1;
        self.last = run.map(|run| (run.hex().into(), at));
    }
}
