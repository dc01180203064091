//! Checks that PID 1's signals arrive: a policy of the bus may deny them and allow calls.
//!
//! If none has arrived, a property of a unit that does not exist is read. PID 1 loads that unit for
//! the reply, sends UnitNew, and unloads it.

use std::time::{Duration, Instant};

use super::call_queue::CallQueue;
use crate::systemd::dbus::{Call, FollowError};

/// Whether signals arrive over this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalCheck {
    /// No signal has arrived.
    Due,
    /// The call has been made.
    Requested,
    /// PID 1 has replied at this time; its signal must follow.
    Replied(Instant),
    /// A signal has arrived; `recent`, if since the last [`SignalCheck::repeat`].
    Passed { recent: bool },
}

impl SignalCheck {
    /// Notes a signal of PID 1.
    pub(super) fn signal_arrived(&mut self) {
        *self = Self::Passed { recent: true };
    }

    /// Notes the reply. After an error there may be no signal.
    pub(super) fn replied(&mut self, is_error: bool, now: Instant) {
        if *self == Self::Requested {
            *self = if is_error { Self::Passed { recent: false } } else { Self::Replied(now) };
        }
    }

    /// Checks again if no signal has arrived since the last time.
    pub(super) fn repeat(&mut self) {
        if let Self::Passed { recent } = *self {
            *self = if recent { Self::Passed { recent: false } } else { Self::Due };
        }
    }

    /// Makes the call if it is due.
    ///
    /// # Errors
    /// The signal has not arrived in time.
    pub(super) fn run(&mut self, calls: &mut CallQueue, now: Instant) -> Result<(), FollowError> {
        match *self {
            Self::Due => {
                calls.add(Call::SignalCheck);
                *self = Self::Requested;
            }
            Self::Replied(_) if self.deadline().is_some_and(|at| now >= at) => {
                return Err(FollowError::NoSignals);
            }
            _ => {}
        }
        Ok(())
    }

    /// When the signal must have arrived.
    pub(super) fn deadline(self) -> Option<Instant> {
        if let Self::Replied(at) = self { Some(at + SIGNAL_TIMEOUT) } else { None }
    }
}

/// PID 1 sends the signal right after the reply.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(10);
