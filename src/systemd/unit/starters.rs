//! Units that start other units: timers, sockets and paths.

use std::sync::Arc;
use std::time::Duration;

use super::value::{InternedStr, Timestamp};

/// Properties that only timers have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timer {
    /// `Unit`: the unit it starts.
    pub unit: Option<Arc<str>>,
    /// `LastTriggerUSec`, wall clock; with `Persistent=`, also of an earlier boot.
    pub last_trigger: Option<Timestamp>,
    /// `LastTriggerUSecMonotonic`: 0 until the timer elapses after it was started.
    pub last_trigger_monotonic: Option<Timestamp>,
    /// `NextElapseUSecRealtime`, wall clock.
    pub next_realtime: Option<Timestamp>,
    /// `NextElapseUSecMonotonic`, since boot.
    pub next_monotonic: Option<Timestamp>,
    /// `AccuracyUSec`.
    pub accuracy: Option<Duration>,
    /// `RandomizedDelayUSec`.
    pub randomized_delay: Option<Duration>,
    /// `TimersMonotonic`: whether one of its settings is `OnUnitActiveSec=` or `OnUnitInactiveSec=`,
    /// which elapse again after each run of the unit.
    pub follows_unit: Option<bool>,
    /// `Result`.
    pub result: Option<InternedStr>,
}

/// Properties that only socket units have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Socket {
    /// `NAccepted`: connections accepted since the socket unit was started (Accept=yes).
    pub accepted: Option<u64>,
    /// `NConnections`: connections open now (Accept=yes).
    pub connections: Option<u64>,
    /// `NRefused`: connections refused for a limit.
    pub refused: Option<u64>,
    /// `Listen`: the sockets, as pairs of type and address.
    pub listen: Vec<(String, String)>,
    /// `Accept`: whether a service is started for every connection.
    pub accept: Option<bool>,
    /// `Triggers`: the service it starts; with Accept=yes those it started last.
    pub triggers: Box<[Arc<str>]>,
    /// `Result`.
    pub result: Option<InternedStr>,
}

/// Properties that only path units have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path {
    /// `Triggers`: the unit that it starts.
    pub triggers: Box<[Arc<str>]>,
    /// `Result`.
    pub result: Option<InternedStr>,
}
