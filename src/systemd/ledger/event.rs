//! One thing that happened to a unit.

use std::sync::Arc;
use std::time::SystemTime;

use crate::systemd::unit::value::{InvocationId, Word};

/// One thing that happened to a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When: PID 1's time stamp for exits, otherwise when its signal came.
    pub at: SystemTime,
    /// The unit's name.
    pub unit: Arc<str>,
    /// What happened.
    pub what: What,
    /// A service's or job's result; `None` for a clean exit and for a restart.
    pub cause: Option<Word>,
    /// How the main process ended: its exit status, or the signal's name.
    pub status: Option<Word>,
    /// The run concerned, as in the journal's `_SYSTEMD_INVOCATION_ID`.
    pub invocation_id: Option<InvocationId>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The main process ended and the result is success.
    Exited,
    /// The service failed.
    Failed,
    /// systemd restarted it by `Restart=`.
    Restarted,
    /// The start limit was hit: systemd will not restart it again.
    GivenUp,
    /// A job for the unit failed, timed out, or could not start for a dependency.
    JobFailed,
}

impl What {
    /// The word in `/api/v1/events`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::Restarted => "restarted",
            Self::GivenUp => "given-up",
            Self::JobFailed => "job-failed",
        }
    }
}
