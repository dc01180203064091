//! One connection to the bus, from subscribing to its end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tracing::{info, warn};
use zbus::MessageStream;
use zbus::message::{Message, Type};
use zbus::names::OwnedUniqueName;

use super::boot_blame::Blame;
use super::call_queue::Window;
use super::non_utf8_mounts;
use super::pending_fetches::Drafts;
use super::resync::{Listing, Reason, decoded};
use super::round_robin::Round;
use crate::systemd::dbus::{Call, Error, Get};
use crate::systemd::ledger::Gap;
use crate::systemd::manager;
use crate::systemd::mirror::Listed;
use crate::systemd::state::{Shared, State};
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::properties::{Extras, Interface, wanted};
use crate::systemd::wakeup_coalescing::Hold;

/// What is under way on one connection.
pub(super) struct Session<'s> {
    pub(super) shared: &'s Shared,
    pub(super) owner: OwnedUniqueName,
    pub(super) window: Window,
    /// While replies are expected, or calls are planned, or the units have not been read yet.
    hold: Option<Hold>,
    resync: Duration,
    pub(super) drafts: Drafts,
    /// A unit as it was before a change of which the first half has been told.
    pub(super) half: Option<Arc<Unit>>,
    fetches: VecDeque<Arc<str>>,
    pub(super) listing: Option<Listing>,
    /// Units that PID 1 has just loaded, and when to ask for their properties.
    pub(super) arrivals: BTreeMap<Arc<str>, Instant>,
    /// Units that were unloaded lately: asking about one may have loaded it.
    pub(super) departed: HashMap<Arc<str>, Instant>,
    /// Properties to ask again, and when.
    pub(super) hints: BTreeMap<(Arc<str>, Interface, &'static str), Instant>,
    /// Differences found by the resync, and when they count unless a signal explains them.
    pub(super) suspects: HashMap<Arc<str>, Instant>,
    pub(super) reloading: bool,
    /// When that began.
    pub(super) reload_began: Instant,
    /// Why signals before the first listing may be missing.
    pub(super) gap: Option<Gap>,
    /// When the configuration was last reloaded.
    pub(super) reloaded: Option<Instant>,
    /// A listing to make as soon as none is under way.
    pub(super) relist: Option<Reason>,
    pub(super) extras: Extras,
    /// Whether PID 1 has been asked for its version: what may be listed depends on it.
    pub(super) is_versioned: bool,
    /// Whether units' files are enabled.
    files_enabled: Round,
    /// How long units took at boot.
    pub(super) blame: Blame,
    /// Whether units' files have changed.
    pub(super) files_changed: Round,
    next_resync: Instant,
    next_poll: Instant,
    polls: u32,
    pub(super) next_heartbeat: Instant,
}

impl<'s> Session<'s> {
    /// A session with `owner`, through a window to it.
    pub(super) fn new(
        shared: &'s Shared,
        owner: OwnedUniqueName,
        window: Window,
        resync: Duration,
        extras: Extras,
    ) -> Self {
        let now = Instant::now();
        let status = &mut shared.lock().status;
        status.reloading = false;
        let gap = match status.reloaded {
            _ if !status.filled => None,
            true => Some(Gap::Reload),
            false => Some(Gap::Reconnect),
        };
        Self {
            shared,
            owner,
            window,
            hold: Some(shared.coalescing.hold()),
            resync,
            drafts: Drafts::default(),
            half: None,
            fetches: VecDeque::new(),
            listing: None,
            arrivals: BTreeMap::new(),
            departed: HashMap::new(),
            hints: BTreeMap::new(),
            suspects: HashMap::new(),
            reloading: false,
            reload_began: now,
            gap,
            reloaded: None,
            relist: Some(Reason::Connect),
            extras,
            is_versioned: false,
            files_changed: Round::new(FILES_CHANGED, now),
            files_enabled: Round::new(FILES_ENABLED, now),
            blame: Blame::default(),
            next_resync: now + resync,
            next_poll: now + WATCH,
            polls: 0,
            next_heartbeat: now + HEARTBEAT,
        }
    }

    /// Follows until the connection or PID 1 is gone; says why.
    pub(super) async fn run(mut self, mut messages: MessageStream) -> Error {
        let coalescing = self.shared.coalescing.clone();
        self.window.call(Call::Subscribe);
        self.window.call(Call::ListJobs);
        self.ask_manager();
        let error = loop {
            if let Err(error) = self.due(Instant::now()) {
                break error;
            }
            let wake = tokio::time::Instant::from_std(self.next_due());
            tokio::select! {
                // a scrape waits until all messages have been taken
                biased;
                message = messages.next() => match message {
                    None => break Error::Closed("end of stream".to_owned()),
                    Some(Err(error)) => break Error::Closed(error.to_string()),
                    Some(Ok(message)) => if let Err(error) = self.take(&message) {
                        break error;
                    },
                },
                () = coalescing.read() => coalescing.consumed(),
                () = tokio::time::sleep_until(wake) => {}
            }
        };
        self.observe_half(&mut self.shared.lock());
        error
    }

    fn take(&mut self, message: &Message) -> Result<(), Error> {
        match message.message_type() {
            Type::Signal => self.signal(message),
            Type::MethodReturn | Type::Error => {
                self.answer(message);
                Ok(())
            }
            Type::MethodCall => Ok(()),
        }
    }

    /// Says that the mirror is full once the last fetch has come.
    pub(super) fn settle(&mut self, state: &mut State) {
        if !self.drafts.is_empty() || self.listing.is_some() {
            return;
        }
        state.status.reloaded &= self.reloading || self.relist.is_some();
        if !state.status.following {
            let units = state.mirror.units().len();
            info!(units, "following systemd");
            state.status.following = true;
            state.status.filled = true;
            state.status.trouble = None;
        }
    }

    /// Does what is due: listings, fetches, questions asked now and then.
    fn due(&mut self, now: Instant) -> Result<(), Error> {
        let shared = self.shared;
        let state = &mut *shared.lock();
        if now >= self.next_heartbeat {
            // the answer is the sign of life; the state itself has no signal
            self.next_heartbeat = now + HEARTBEAT;
            self.window.call(Call::Manager("SystemState".to_owned()));
        }
        if now >= self.next_poll {
            self.next_poll = now + WATCH;
            self.polls += 1;
            self.poll(state, self.polls.is_multiple_of(POLL));
        }
        if now >= self.files_changed.next {
            for name in self.files_changed.turn(&state.mirror, now) {
                self.hint(&name, Interface::Unit, "NeedDaemonReload", now);
            }
        }
        if self.extras.files && now >= self.files_enabled.next {
            for name in self.files_enabled.turn(&state.mirror, now) {
                self.hint(&name, Interface::Unit, "UnitFileState", now);
                self.hint(&name, Interface::Unit, "UnitFilePreset", now);
            }
        }
        self.find_blame(state);
        if now >= self.next_resync {
            self.next_resync = now + self.resync;
            self.relist = self.relist.or(Some(Reason::Schedule));
            state.ledger.forget(now);
            self.departed.retain(|_, since| now.duration_since(*since) < DEPARTED);
        }
        if self.reloading && now.duration_since(self.reload_began) > RELOAD {
            warn!("systemd does not say that its reload is done; its units are listed anew");
            self.reload_done(state);
        }
        if self.listing.is_none()
            && !self.reloading
            && self.is_versioned
            && let Some(reason) = self.relist.take()
        {
            self.list(state, reason);
        }
        self.count_drift(state, now);
        self.ask_arrivals(state, now);
        self.fetch_next(state);
        self.ask_hints(state, now);
        self.window.pump(|call| *state.status.calls.entry(call.kind()).or_default() += 1);
        if let Some(age) = self.window.check(now)? {
            *state.status.errors.entry("timeout").or_default() += 1;
            let trouble = Error::Silent(age).to_string();
            warn!(%trouble, "units on the page are as last seen");
            state.status.trouble = Some(trouble);
        } else if !self.window.is_late() && state.status.following {
            state.status.trouble = None;
        }
        let is_asking =
            !(self.window.is_idle() && self.arrivals.is_empty() && self.hints.is_empty());
        let is_busy = is_asking || !state.status.following;
        self.hold = is_busy.then(|| self.hold.take().unwrap_or_else(|| shared.coalescing.hold()));
        Ok(())
    }

    fn next_due(&self) -> Instant {
        let soon = Instant::now() + TICK;
        // without room, the next answer is what they wait for
        let hints = self.hints.values().copied().filter(|_| self.window.room() > 0);
        let waits =
            [self.next_heartbeat, self.next_poll, self.next_resync, self.files_changed.next]
                .into_iter()
                .chain(self.arrivals.values().copied())
                .chain(hints)
                .chain(self.suspects.values().copied())
                .min();
        if self.window.is_idle() {
            waits.unwrap_or(soon)
        } else {
            waits.map_or(soon, |at| at.min(soon))
        }
    }

    /// Asks all of the manager's properties.
    pub(super) fn ask_manager(&mut self) {
        for property in manager::wanted() {
            self.window.call(Call::Manager(property));
        }
    }

    fn poll(&mut self, state: &State, all: bool) {
        for property in manager::polled().filter(|_| all) {
            self.window.call(Call::Manager(property.to_owned()));
        }
        let now = Instant::now();
        let does_something = |unit: &&Arc<Unit>| !unit.is("inactive") && !unit.is("failed");
        for unit in state.mirror.units().filter(|unit| unit.selected).filter(does_something) {
            self.hint_polled(unit, all, now);
        }
    }

    fn ask_arrivals(&mut self, state: &State, now: Instant) {
        let mut due: Vec<_> = self
            .arrivals
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &due {
            self.arrivals.remove(name);
        }
        let is_mount = |name: &Arc<str>| Kind::of(name) == Some(Kind::Mount);
        if due.iter().any(is_mount) && non_utf8_mounts::mounts(&state.manager) {
            due.retain(|name| !is_mount(name));
        }
        for names in due.chunks(NAMES) {
            let names = names.iter().map(|name| name.to_string()).collect();
            self.window.call(Call::ListNames(names));
        }
    }

    /// Takes the list of units that have just been loaded, and fetches those that still are.
    pub(super) fn arrived(&mut self, state: &mut State, rows: zbus::Result<Vec<Listed>>) {
        for row in decoded(state, rows).unwrap_or_default() {
            if let Some(change) = state.mirror.list(&row) {
                state.observe(&change, None);
            }
            if let Some(unit) = state.mirror.unit(&row.name).cloned() {
                state.ledger.open(&unit);
                self.fetch(&unit, None);
            }
        }
    }

    /// Plans to fetch a unit's properties, if it has any worth asking for.
    pub(super) fn fetch(&mut self, unit: &Unit, gap: Option<Gap>) {
        if unit.selected && !unit.is_absent() && self.drafts.begin(&unit.name, unit.kind, gap) {
            self.fetches.push_back(unit.name.clone());
        }
    }

    /// Makes the calls of the next planned fetches, as far as there is room.
    fn fetch_next(&mut self, state: &State) {
        while self.window.room() > 0
            && let Some(name) = self.fetches.pop_front()
        {
            let Some(unit) = state.mirror.unit(&name) else { continue };
            let kind = unit.kind;
            let calls: Vec<_> = wanted(kind, self.extras).collect();
            let Some(generation) = self.drafts.calls(&name, calls.len()) else { continue };
            for (interface, property) in calls {
                let name = name.clone();
                self.window.call(Call::Unit(Get { name, kind, interface, property, generation }));
            }
        }
    }

    /// Forgets a unit that is not loaded any more.
    pub(super) fn unload(&mut self, state: &mut State, name: &Arc<str>) {
        self.arrivals.remove(name);
        self.suspects.remove(name);
        self.drafts.drop(name);
        if state.mirror.unload(name).is_some() {
            state.ledger.unload(name, Instant::now());
            if self.departed.len() < MOST_DEPARTED {
                self.departed.insert(name.clone(), Instant::now());
            }
        }
    }

    fn count_drift(&mut self, state: &mut State, now: Instant) {
        let before = self.suspects.len();
        self.suspects.retain(|_, at| *at > now);
        state.status.drift += (before - self.suspects.len()) as u64;
    }
}

/// The generation of a question that is part of no fetch.
pub(super) const ALONE: u32 = 0;

/// Asked alone, for the blame of the boot.
pub(super) const BLAME: u32 = u32::MAX;

/// A reload takes seconds; after this long its end was missed.
const RELOAD: Duration = Duration::from_secs(90);

/// A sign of life from PID 1 at least so often: one Get.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often that is asked which changes without a signal and is of use only while it is new.
const WATCH: Duration = Duration::from_secs(15);

/// Every so many times, all is asked that changes without a signal: once a minute.
const POLL: u32 = 4;

/// Units asked at each step of the round: two a second in all.
const FILES_CHANGED: usize = 4;

/// The same, where PID 1 looks for links in many directories: 3 to 6 ms a unit after each reload.
const FILES_ENABLED: usize = 2;

/// While answers are awaited: how often it is looked whether they are late.
const TICK: Duration = Duration::from_secs(1);

/// A unit unloaded less than this ago may be loaded again by our own question.
pub(super) const DEPARTED: Duration = Duration::from_secs(2);

/// Bounds what a flood of short-lived units costs.
const MOST_DEPARTED: usize = 4096;

/// Names in one question.
const NAMES: usize = 64;
