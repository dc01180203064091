//! The exits of units, as systemd logs them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::systemd::unit::serial;
use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp};

/// The exit of a unit, as systemd logs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalExit {
    /// The unit's name.
    #[serde(with = "serial::text")]
    pub unit: Arc<str>,
    /// The invocation ID of the run.
    pub run: InvocationId,
    /// The result: `UNIT_RESULT=`, or success.
    pub result: InternedStr,
    /// The time at which journald received the message, on `CLOCK_MONOTONIC`.
    pub at: Timestamp,
    /// How the main process exited; `None` if the journal does not have it.
    pub main_exit: Option<JournalProcessExit>,
    /// The property with the command that failed before the main process did, such as
    /// `ExecStartPre`, and how its process exited.
    pub command: Option<(InternedStr, JournalProcessExit)>,
}

/// How a process of a service exited, as systemd logs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalProcessExit {
    /// The number of `CLD_*`: 1 exited, 2 killed, 3 dumped.
    pub code: u64,
    /// The exit status as a number; the signal as a number, or its name without `SIG`.
    pub status: InternedStr,
}

/// A process of a unit that the OOM killer killed, as the kernel logs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalOomKill {
    /// The unit's name.
    #[serde(with = "serial::text")]
    pub unit: Arc<str>,
    /// The process, in the initial namespace.
    pub pid: u32,
    /// The time at which journald received the message, on `CLOCK_MONOTONIC`.
    pub at: Timestamp,
}

/// The exits since the last reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalExits {
    /// The exits, in the order of the journal.
    pub exits: Vec<JournalExit>,
    /// The units that `Restart=` restarted, and when.
    pub restarts: Vec<(Arc<str>, Timestamp)>,
    /// The OOM kills in units, in the order of the journal.
    pub oom_kills: Vec<JournalOomKill>,
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
        Self { last_gap: Some(at), ..Self::default() }
    }
}
