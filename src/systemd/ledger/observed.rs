//! One change of a unit, beyond its two states: the input of its counting, and the results.

use super::event::Event;
use super::oom_kills::Kill;
use crate::systemd::unit::value::{InternedStr, Timestamp};

/// Signals may be missing between two states.
#[derive(Clone, Copy, Debug)]
pub(super) struct MissedSignals {
    /// Whether those of a reload of PID 1's configuration are among them.
    pub(super) reload: bool,
    /// When the last reload was, if known.
    pub(super) reloaded_at: Option<Timestamp>,
}

/// Results of one change beyond the counters of the unit.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The result of a failure that was seen.
    pub(super) failure: Option<InternedStr>,
    /// Whether the result of a service killed by SIGKILL is counted later.
    pub(super) may_be_oom_killed: bool,
    /// Such a failure.
    pub(super) killed: Option<Kill>,
    /// Whether a failure of this run with this result is counted, which its signal reports late.
    pub(super) is_failure_counted: bool,
    /// Whether the exit of its main process is counted from the journal.
    pub(super) is_exit_counted: bool,
    /// The results of the run that were counted, and [`MAIN_EXIT`](super::journal_reconciliation::MAIN_EXIT).
    pub(super) counted: Vec<InternedStr>,
    /// Exits that were not seen, but must have preceded restarts.
    pub(super) missed_exits: u64,
    /// How many more exits are possible, where systemd may have counted a restart twice.
    pub(super) possible_double_count: u64,
    pub(super) events: Vec<Event>,
}
