//! The exits of units, as systemd logs them.

use std::sync::Arc;

use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp};

/// The exit of a unit, as systemd logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalExit {
    /// The unit's name.
    pub unit: Arc<str>,
    /// The invocation ID of the run.
    pub run: InvocationId,
    /// The result: `UNIT_RESULT=`, or success.
    pub result: InternedStr,
    /// The time at which journald received the message, on `CLOCK_MONOTONIC`.
    pub at: Timestamp,
}

/// The exits since the last reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalExits {
    /// The exits, in the order of the journal.
    pub exits: Vec<JournalExit>,
    /// When messages were last lost, or may have been: journald started, or dropped some.
    pub last_gap: Option<Timestamp>,
}

impl JournalExit {
    /// Whether the run did not fail.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.result == "success"
    }
}

impl JournalExits {
    /// No exits: the journal could not be read at that time.
    #[must_use]
    pub fn unreadable(at: Timestamp) -> Self {
        Self { exits: Vec::new(), last_gap: Some(at) }
    }
}
