//! What the follower keeps and scrapes copy: mirror, ledger, manager, and how following goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::ledger::{Gap, Ledger};
use super::manager::Manager;
use super::mirror::{Change, Mirror};
use super::unit::name::Kind;
use super::wakeup_coalescing::Coalescing;

/// All that is known of PID 1 and its units.
#[derive(Debug)]
pub struct State {
    /// The units and jobs as they are.
    pub mirror: Mirror,
    /// What happened to them.
    pub ledger: Ledger,
    /// PID 1 itself.
    pub manager: Manager,
    /// How long the slowest units took to start at boot, once that is known, the slowest first.
    pub blame: Option<Vec<(Arc<str>, Duration)>>,
    /// How following goes.
    pub status: Status,
}

/// How following PID 1 goes.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether signals are subscribed to and the mirror has been filled since.
    pub following: bool,
    /// Whether the mirror was ever filled.
    pub filled: bool,
    /// Whether PID 1 said that it reloads and has not said yet that it is done.
    pub reloading: bool,
    /// Whether it has said that since all units were last fetched: it may count a restart twice.
    pub reloaded: bool,
    /// Why PID 1 is not followed, or does not answer; `None` if all is well.
    pub trouble: Option<String>,
    /// When PID 1 was last heard: a signal, or an answer.
    pub heard: Option<Instant>,
    /// Kinds of units that PID 1 could not list, and why.
    pub unlisted: BTreeMap<Kind, String>,
    /// Signals taken, by member.
    pub signals: BTreeMap<&'static str, u64>,
    /// Calls made, by what they ask.
    pub calls: BTreeMap<&'static str, u64>,
    /// Calls that failed, by why.
    pub errors: BTreeMap<&'static str, u64>,
    /// Connections to the bus that were lost.
    pub reconnects: u64,
    /// Times that the mirror was compared with PID 1's list, by why.
    pub resyncs: BTreeMap<&'static str, u64>,
    /// Units found different by the comparison that runs now and then.
    pub drift: u64,
    /// Forged or stray messages that were passed over.
    pub foreign: u64,
}

/// The one state, shared by the follower and by scrapes. It is locked for moments only.
#[derive(Clone, Debug)]
pub struct Shared {
    state: Arc<Mutex<State>>,
    /// Delays the reading of signals; scrapes catch up first.
    pub coalescing: Coalescing,
}

impl Shared {
    /// Shares a state.
    #[must_use]
    pub fn new(mirror: Mirror, ledger: Ledger) -> Self {
        let status = Status {
            trouble: Some("not connected to the system bus yet".to_owned()),
            errors: ERRORS.into_iter().map(|kind| (kind, 0)).collect(),
            resyncs: RESYNCS.into_iter().map(|reason| (reason, 0)).collect(),
            ..Status::default()
        };
        let manager = Manager::default();
        let state = State { mirror, ledger, manager, blame: None, status };
        Self { state: Arc::new(Mutex::new(state)), coalescing: Coalescing::default() }
    }

    /// Locks the state. A panic while it was locked does not spread: the state is plain data.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts what one change of a unit tells, after a gap or without.
    pub fn observe(&mut self, change: &Change, gap: Option<Gap>) {
        self.ledger.observe(change, gap, self.manager.units_loaded);
    }
}

impl Status {
    /// When the last message of PID 1 arrived, to the millisecond; `None` before the first.
    #[must_use]
    pub fn last_seen(&self) -> Option<SystemTime> {
        let at = SystemTime::now().checked_sub(self.heard?.elapsed())?;
        let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let millis = u64::try_from(since_epoch.as_millis()).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }
}

/// Why a call failed.
const ERRORS: [&str; 4] = ["answer", "decode", "panic", "timeout"];

/// Why the mirror is compared with PID 1's list.
const RESYNCS: [&str; 3] = ["connect", "reload", "schedule"];
