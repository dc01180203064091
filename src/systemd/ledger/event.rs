//! Events of units.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::downtime::code_and_status;
use crate::source::journal::exits::JournalProcessExit;
use crate::systemd::unit::serial;
use crate::systemd::unit::value::{InternedStr, InvocationId};

/// An event of a unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// PID 1's timestamp for exits, otherwise when its signal was received.
    #[serde(with = "serial::wall_clock")]
    pub at: SystemTime,
    /// The unit's name.
    #[serde(with = "serial::text")]
    pub unit: Arc<str>,
    /// The kind of event.
    pub kind: EventKind,
    /// A service's or job's result; `None` for a clean exit and for a restart.
    pub cause: Option<InternedStr>,
    /// The exit status of the process that failed, or the name of the signal that killed it.
    pub status: Option<InternedStr>,
    /// The property with the command of that process, such as `ExecStartPre`; `None` for the main
    /// process.
    #[serde(default)]
    pub command: Option<InternedStr>,
    /// The run, as in the journal's `_SYSTEMD_INVOCATION_ID`.
    pub invocation_id: Option<InvocationId>,
    /// Whether it happened before the exporter was started: read from the journal, or a difference
    /// to the state before.
    pub before_start: bool,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The main process exited and the result is success.
    Exited,
    /// The service failed.
    Failed,
    /// systemd restarted it by `Restart=`.
    Restarted,
    /// The start limit was hit: systemd will not restart it again.
    StartLimitHit,
    /// A job for the unit failed, timed out, or could not start for a dependency.
    JobFailed,
}

impl Event {
    /// The event with the command that failed, as the journal has it.
    pub(super) fn of_command(self, command: Option<(InternedStr, JournalProcessExit)>) -> Self {
        let Some((property, exit)) = command else { return self };
        // systemd ends a command that takes too long: its exit shows nothing
        let is_timeout = self.cause.as_deref() == Some("timeout");
        let status = code_and_status(&exit).filter(|_| !is_timeout).map(|(_, status)| status);
        Self { command: Some(property), status, ..self }
    }

    /// Whether the process that failed is not known.
    pub(super) fn awaits_command(&self) -> bool {
        self.status.is_none() && self.command.is_none()
    }
}

impl EventKind {
    /// The value of `what` in `/api/v1/events`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::Restarted => "restarted",
            Self::StartLimitHit => "given-up",
            Self::JobFailed => "job-failed",
        }
    }
}

/// An event that the exporter counts while it runs.
pub(super) fn event(
    unit: &Arc<str>,
    at: SystemTime,
    kind: EventKind,
    cause: Option<InternedStr>,
    status: Option<InternedStr>,
    invocation_id: Option<InvocationId>,
) -> Event {
    let (unit, command, before_start) = (unit.clone(), None, false);
    Event { at, unit, kind, cause, status, command, invocation_id, before_start }
}
