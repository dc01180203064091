//! The state that the follower writes and scrapes copy: mirror, ledger, manager, and the status of
//! following.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::ledger::{Gap, Ledger, RunEnd};
use super::manager::Manager;
use super::mirror::{Change, Mirror};
use super::unit::Unit;
use super::unit::name::UnitKind;
use crate::bus::wakeup_coalescing::Coalescing;
use crate::clock;

/// The state of PID 1 and its units.
#[derive(Debug)]
pub struct State {
    /// The units and jobs as they are.
    pub mirror: Mirror,
    /// Counters and events of units.
    pub ledger: Ledger,
    /// PID 1 itself.
    pub manager: Manager,
    /// How long the slowest units took to start at boot, the slowest first; `None` until it has
    /// been read.
    pub boot_blame: Option<Vec<(Arc<str>, Duration)>>,
    /// The unit before a change of which only the first signal has been received: it is not counted
    /// yet.
    pub pending_change: Option<Arc<Unit>>,
    /// The status of following.
    pub status: Status,
}

/// The status of following PID 1.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether signals are subscribed to and the mirror has been filled since.
    pub following: bool,
    /// Whether the mirror was ever filled.
    pub filled: bool,
    /// Whether what happened before the start of the exporter is counted: its state was restored, or
    /// it counts from the boot on.
    pub counts_downtime: bool,
    /// Whether a reload of PID 1's configuration is under way.
    pub reloading: bool,
    /// Whether a reload began since all units were last fetched: PID 1 may count a restart twice.
    pub reload_pending_resync: bool,
    /// Why PID 1 is not followed, or does not respond; `None` without a problem.
    pub trouble: Option<String>,
    /// When the last signal or reply of PID 1 was received.
    pub last_message: Option<Instant>,
    /// Kinds of units that PID 1 failed to list, and why.
    pub unlisted: BTreeMap<UnitKind, String>,
    /// Signals received, by member.
    pub signals: BTreeMap<&'static str, u64>,
    /// Calls made, by kind.
    pub calls: BTreeMap<&'static str, u64>,
    /// Failed calls, by cause.
    pub errors: BTreeMap<&'static str, u64>,
    /// Connections to the bus that were lost.
    pub disconnects: u64,
    /// How often the mirror was compared with PID 1's list of units, by reason.
    pub resyncs: BTreeMap<&'static str, u64>,
    /// Units found different by a comparison on schedule.
    pub drift: u64,
    /// Messages of untrusted senders, which were ignored.
    pub untrusted_messages: u64,
}

/// The state, shared by the follower and by scrapes, and locked for moments only.
#[derive(Clone, Debug)]
pub struct Shared {
    state: Arc<Mutex<State>>,
    created: Instant,
    /// Delays the reading of signals; scrapes catch up first.
    pub coalescing: Coalescing,
    /// Notified while missed exits or kills wait for the journal to be read.
    pub journal_wanted: Arc<Notify>,
}

impl Shared {
    /// Shares a state.
    #[must_use]
    pub fn new(mirror: Mirror, ledger: Ledger) -> Self {
        let status = Status {
            trouble: Some(NOT_CONNECTED_YET.to_owned()),
            errors: ERRORS.into_iter().map(|kind| (kind, 0)).collect(),
            resyncs: RESYNCS.into_iter().map(|reason| (reason, 0)).collect(),
            ..Status::default()
        };
        let manager = Manager::default();
        let (boot_blame, pending_change) = (None, None);
        let state = State { mirror, ledger, manager, boot_blame, pending_change, status };
        Self {
            state: Arc::new(Mutex::new(state)),
            created: clock::instant(),
            coalescing: Coalescing::default(),
            journal_wanted: Arc::default(),
        }
    }

    /// Locks the state. A panic while it was locked does not spread: the state is plain data.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the units have been read for the first time or that has failed, right after the
    /// start of the exporter.
    pub async fn first_read(&self) {
        while self.lock().status.is_starting()
            && clock::instant().duration_since(self.created) < FIRST_READ_TIMEOUT
        {
            tokio::time::sleep(FIRST_READ_POLL_INTERVAL).await;
        }
    }
}

impl State {
    /// Counts the exits, restarts and starts that one change of a unit reports. `gap` is why
    /// signals before the change may be missing.
    pub fn observe(&mut self, change: &Change, gap: Option<Gap>) {
        let run_end = RunEnd::as_read(&self.mirror, &change.after);
        self.count(change, gap, run_end);
    }

    /// The same for a change that a signal reports.
    pub fn observe_signal(&mut self, change: &Change, gap: Option<Gap>) {
        // the first signal of a new unit may report an end before it
        let is_current = gap.is_none() && change.before.inactive_enter.is_some();
        let run_end = match is_current {
            true => RunEnd::at_signal(&self.mirror, &change.after),
            false => RunEnd::as_read(&self.mirror, &change.after),
        };
        self.count(change, gap, run_end);
    }

    fn count(&mut self, change: &Change, gap: Option<Gap>, run_end: RunEnd) {
        self.ledger.observe(change, gap, self.manager.units_loaded);
        self.ledger.note_run_end(change, run_end);
    }
}

impl Status {
    /// The status at the time of the call: a thread that hangs reports nothing.
    #[must_use]
    pub fn now(&self) -> Self {
        if !self.is_silent() {
            return self.clone();
        }
        let silence = format!("no message from systemd for {MAX_SILENCE:?}");
        let trouble = self.trouble.clone().or(Some(silence));
        Self { following: false, trouble, ..self.clone() }
    }

    /// Whether the first connection is being made, or the units are being read for the first time.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.trouble.as_deref() == Some(NOT_CONNECTED_YET)
    }

    /// Whether PID 1 has sent a message, but none for some time.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.last_message.is_some_and(|at| clock::instant().duration_since(at) > MAX_SILENCE)
    }

    /// When the last message of PID 1 arrived, to the millisecond; `None` before the first.
    #[must_use]
    pub fn last_seen(&self) -> Option<SystemTime> {
        let at = clock::wall().checked_sub(clock::instant().duration_since(self.last_message?))?;
        let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let millis = u64::try_from(since_epoch.as_millis()).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }
}

/// The trouble until PID 1 is followed for the first time, or that has failed.
const NOT_CONNECTED_YET: &str = "not connected to the system bus yet";

/// How long after the start scrapes wait for the units: with the time limit of sources, 8 s.
const FIRST_READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Reading the units takes 20 ms on a host with 200 units.
const FIRST_READ_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// PID 1 is sent a call every 15 s, and a reply after 10 s is late.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Causes of failed calls.
const ERRORS: [&str; 4] = ["answer", "decode", "panic", "timeout"];

/// Reasons for comparing the mirror with PID 1's list of units.
const RESYNCS: [&str; 3] = ["connect", "reload", "schedule"];
