//! Compares the mirror with PID 1's list of units: after connecting, after a reload, and at
//! intervals.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::connection::Follower;
use super::list_size::{LargeFiles, MAX_REPLY, unit_names};
use super::non_utf8_mounts;
use crate::clock;
use crate::systemd::dbus::{Call, FollowError};
use crate::systemd::ledger::Gap;
use crate::systemd::manager::NAMES;
use crate::systemd::mirror::ListedUnit;
use crate::systemd::state::State;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::properties::may_be_frozen;

/// The listing under way, why one is needed, and what a listing may explain.
pub(super) struct Resync {
    interval: Duration,
    next: Instant,
    /// A listing to make as soon as none is under way.
    pub(super) requested: Option<Reason>,
    pub(super) listing: Option<UnitListing>,
    /// As of the last listing.
    large_files: LargeFiles,
    /// Finds them on this host.
    pub(super) find_large_files: fn() -> LargeFiles,
    /// Why the last listing failed as a whole.
    failure: Option<FollowError>,
    /// Why signals before the first listing may be missing.
    pub(super) missed_signals: Option<Gap>,
    /// Differences found by a listing on schedule, and when they count as drift.
    pub(super) possible_drift: HashMap<Arc<str>, Instant>,
    /// Units that were unloaded lately: a call about one may have loaded it.
    pub(super) recently_unloaded: HashMap<Arc<str>, Instant>,
    /// Since when a reload is under way.
    pub(super) reloading_since: Option<Instant>,
    /// When the configuration was last reloaded.
    pub(super) reloaded_at: Option<Instant>,
    /// Whether PID 1 has replied about the number of its units since a listing was requested.
    pub(super) is_count_read: bool,
    /// Whether PID 1 has replied about its version, on which depends what may be listed.
    pub(super) is_version_read: bool,
}

/// Why the units are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The connection is new.
    Connect,
    /// The configuration was reloaded, or PID 1 was re-executed.
    Reload,
    /// The interval is over: differences are drift.
    Schedule,
}

/// The units listed so far.
pub(super) struct UnitListing {
    reason: Reason,
    listed: BTreeSet<String>,
    /// Kinds still to be listed one by one; empty when all were listed at once.
    kinds: Vec<UnitKind>,
    /// Calls to be made one after the other: each reply may be large.
    parts: VecDeque<Call>,
    failed: BTreeMap<UnitKind, String>,
}

impl Resync {
    pub(super) fn new(missed_signals: Option<Gap>, interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            next: now + interval,
            requested: Some(Reason::Connect),
            listing: None,
            large_files: LargeFiles::default(),
            find_large_files: LargeFiles::find,
            failure: None,
            missed_signals,
            possible_drift: HashMap::new(),
            recently_unloaded: HashMap::new(),
            reloading_since: None,
            reloaded_at: None,
            is_count_read: false,
            is_version_read: false,
        }
    }

    /// Whether a listing is under way, or has failed.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some() || self.failure.is_some()
    }

    pub(super) fn is_reloading(&self) -> bool {
        self.reloading_since.is_some()
    }

    /// Whether the first listing of the connection has covered this unit. Until then, UnitRemoved
    /// may be part of a reload whose beginning was missed; the listing omits units that are really
    /// gone.
    pub(super) fn has_listed(&self, name: &str) -> bool {
        let listing = self.listing.as_ref();
        self.missed_signals.is_none()
            || listing.is_some_and(|listing| listing.listed.contains(name))
    }

    /// Notes that PID 1 has loaded a unit, perhaps after it listed those of its kind.
    pub(super) fn unit_loaded(&mut self, name: &str) {
        if let Some(listing) = &mut self.listing {
            listing.listed.insert(name.to_owned());
        }
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> impl Iterator<Item = Instant> {
        self.possible_drift.values().copied().chain([self.next])
    }
}

impl Follower<'_> {
    /// Begins a listing if one is due and possible.
    ///
    /// # Errors
    /// The last listing failed as a whole.
    pub(super) fn resync_due(
        &mut self,
        state: &mut State,
        now: Instant,
    ) -> Result<(), FollowError> {
        let resync = &mut self.resync;
        if let Some(failure) = resync.failure.take() {
            return Err(failure);
        }
        if now >= resync.next {
            self.signal_check.repeat();
            resync.next = now + resync.interval;
            resync.is_count_read = false;
            self.calls.add(Call::Manager(NAMES.to_owned()));
            resync.requested = resync.requested.or(Some(Reason::Schedule));
            state.ledger.expire(now);
            resync.recently_unloaded.retain(|_, at| now.duration_since(*at) < RECENTLY_UNLOADED);
        }
        if resync.reloading_since.is_some_and(|at| now.duration_since(at) > RELOAD_TIMEOUT) {
            warn!("no Reloading(false) signal after daemon-reload; re-listing all units");
            self.finish_reload(state);
        }
        let resync = &mut self.resync;
        if resync.listing.is_none()
            && !resync.is_reloading()
            && resync.is_version_read
            && resync.is_count_read
            && let Some(reason) = resync.requested.take()
        {
            self.list_units(state, reason);
        }
        let before = self.resync.possible_drift.len();
        self.resync.possible_drift.retain(|_, at| *at > now);
        state.status.drift += (before - self.resync.possible_drift.len()) as u64;
        Ok(())
    }

    pub(super) fn list_units(&mut self, state: &mut State, reason: Reason) {
        *state.status.resyncs.entry(reason.as_str()).or_default() += 1;
        let (listed, kinds, parts) = (BTreeSet::new(), Vec::new(), VecDeque::new());
        let mut listing = UnitListing { reason, listed, kinds, parts, failed: BTreeMap::new() };
        let excludes_mounts = non_utf8_mounts::prevent_listing(&state.manager);
        if excludes_mounts {
            listing.failed.insert(UnitKind::Mount, non_utf8_mounts::ERROR.to_owned());
        }
        let units = state.manager.names.unwrap_or_default().max(state.mirror.units().len() as u64);
        self.resync.large_files = (self.resync.find_large_files)();
        if self.resync.large_files.rows(units) > MAX_REPLY {
            debug!(units, "the list of units is too long for one reply; listing parts of it");
            self.calls.add(Call::Names);
        } else if excludes_mounts {
            self.list_kinds(&mut listing);
        } else {
            self.calls.add(Call::List);
        }
        self.resync.listing = Some(listing);
    }

    /// Lists the units in parts, after the names of all units have been read.
    pub(super) fn list_parts(&mut self, names: Result<&str, String>) {
        let Some(mut listing) = self.resync.listing.take() else { return };
        let names: Vec<_> = match names {
            Ok(xml) => unit_names(xml).collect(),
            Err(error) => {
                self.resync.failure =
                    Some(FollowError::NotListed { kind: UnitKind::Service, error });
                return;
            }
        };
        let parts = self.resync.large_files.parts(names.iter().map(String::as_str));
        for (kind, patterns) in parts {
            if !listing.failed.contains_key(&kind) {
                listing.kinds.push(kind);
                listing.parts.push_back(Call::ListPart(kind, patterns));
            }
        }
        debug!(names = names.len(), parts = listing.parts.len(), "listing units");
        let Some(first) = listing.parts.pop_front() else {
            let (kind, error) = (UnitKind::Service, "it names no units".to_owned());
            self.resync.failure = Some(FollowError::NotListed { kind, error });
            return;
        };
        self.calls.add(first);
        self.resync.listing = Some(listing);
    }

    /// Handles the reply to a call that lists units.
    pub(super) fn units_listed(
        &mut self,
        state: &mut State,
        call: &Call,
        rows: zbus::Result<Vec<ListedUnit>>,
    ) {
        let rows = match count_decode_error(state, rows) {
            Ok(rows) => rows,
            Err(error) => return self.listing_failed(state, call, error.to_string()),
        };
        let Some(mut listing) = self.resync.listing.take() else { return };
        let gap = match listing.reason {
            Reason::Connect => self.resync.missed_signals,
            Reason::Reload => Some(Gap::Reload),
            Reason::Schedule => None,
        };
        // the mirror had every unit that was loaded before: another one was loaded since, and ran only since
        let is_complete = (state.status.filled || state.status.counts_downtime)
            && state.mirror.exceeded_limit().is_none();
        for row in rows {
            let was_listed =
                |kind: UnitKind| is_complete && !state.status.unlisted.contains_key(&kind);
            if UnitKind::of(&row.name).is_some_and(was_listed) {
                state.mirror.load(&row.name);
            }
            let change = state.mirror.list(&row);
            let Some(unit) = state.mirror.unit(&row.name).cloned() else { continue };
            listing.listed.insert(row.name);
            state.ledger.open(&unit);
            if let Some(change) = &change {
                state.observe(change, gap);
            }
            match listing.reason {
                Reason::Reload if change.is_none() && self.is_left_alone(&unit) => {
                    self.fetches.plan_check(&unit, gap);
                }
                Reason::Connect | Reason::Reload => self.fetches.plan(&unit, gap),
                Reason::Schedule if change.is_some() => {
                    let at = clock::instant() + DRIFT_TIMEOUT;
                    self.resync.possible_drift.insert(unit.name.clone(), at);
                    self.fetches.plan(&unit, Some(Gap::Drift));
                }
                Reason::Schedule => {}
            }
        }
        self.resync.listing = Some(listing);
        self.kind_done(state, call);
    }

    /// Handles an error. With one invalid byte in one mount's path, systemd up to 257 cannot list
    /// any unit: then each kind is listed alone, and only that kind fails.
    pub(super) fn listing_failed(&mut self, state: &mut State, call: &Call, error: String) {
        let Some(mut listing) = self.resync.listing.take() else { return };
        if let Call::ListKind(kind) | Call::ListPart(kind, _) = call {
            listing.failed.insert(*kind, error);
            self.resync.listing = Some(listing);
            self.kind_done(state, call);
        } else {
            debug!(%error, "systemd failed to list all units at once; listing each kind alone");
            self.list_kinds(&mut listing);
            self.resync.listing = Some(listing);
        }
    }

    /// Lists each kind alone, except those that cannot be listed.
    fn list_kinds(&mut self, listing: &mut UnitListing) {
        listing.kinds = UnitKind::ALL.to_vec();
        listing.kinds.retain(|kind| !listing.failed.contains_key(kind));
        for kind in &listing.kinds {
            self.calls.add(Call::ListKind(*kind));
        }
    }

    fn kind_done(&mut self, state: &mut State, call: &Call) {
        let Some(listing) = &mut self.resync.listing else { return };
        if let Call::ListKind(done) | Call::ListPart(done, _) = call {
            // one for each part
            let at = listing.kinds.iter().position(|kind| kind == done);
            at.map(|at| listing.kinds.swap_remove(at));
        }
        if let Some(next) = listing.parts.pop_front() {
            self.calls.add(next);
        }
        if !listing.kinds.is_empty() {
            return;
        }
        let Some(UnitListing { reason, listed, failed, .. }) = self.resync.listing.take() else {
            return;
        };
        if let Some((kind, error)) = failed.iter().find(|(kind, _)| must_be_listed(**kind)) {
            let (kind, error) = (*kind, error.clone());
            self.resync.failure = Some(FollowError::NotListed { kind, error });
            state.status.unlisted = failed;
            return;
        }
        let gone: Vec<_> = state
            .mirror
            .units()
            .filter(|unit| !listed.contains(&*unit.name) && !failed.contains_key(&unit.kind))
            .map(|unit| unit.name.clone())
            .collect();
        for name in gone {
            self.unload(state, &name);
            if reason == Reason::Schedule {
                state.status.drift += 1;
            }
        }
        if reason == Reason::Schedule && !self.refetch.files.sees_settings() {
            let services = state.mirror.units().filter(|unit| unit.selected);
            services.for_each(|unit| self.refetch.plan_settings(unit, clock::instant()));
        }
        if reason == Reason::Schedule && self.extras.freezer {
            let units = state.mirror.units().filter(|unit| unit.selected && may_be_frozen(unit));
            units.for_each(|unit| self.refetch.plan_freezer(unit, clock::instant()));
        }
        for (kind, error) in &failed {
            if !state.status.unlisted.contains_key(kind) {
                warn!(%kind, %error, "systemd failed to list the units of this kind; their states may be stale");
            }
        }
        state.status.unlisted = failed;
        // from here on, the pending fetch of each unit holds the gap
        self.resync.missed_signals = None;
        self.mark_synced(state);
    }

    /// Removes a unit that is not loaded any more.
    pub(super) fn unload(&mut self, state: &mut State, name: &Arc<str>) {
        self.fetches.remove(name);
        self.resync.possible_drift.remove(name);
        if let Some(unit) = state.mirror.unload(name) {
            match &unit.group {
                Some(group) => state.ledger.unload_into(group, name),
                None => state.ledger.unload(name, clock::instant()),
            }
            if self.resync.recently_unloaded.len() < MAX_RECENTLY_UNLOADED {
                self.resync.recently_unloaded.insert(name.clone(), clock::instant());
            }
        }
    }
}

/// Whether no name of this kind is a path, which could have bytes that systemd cannot list: a failure
/// to list such units is a failure of all.
fn must_be_listed(kind: UnitKind) -> bool {
    use UnitKind::{Scope, Service, Slice, Socket, Target, Timer};
    matches!(kind, Scope | Service | Slice | Socket | Target | Timer)
}

/// Logs and counts a list of units that cannot be decoded.
pub(super) fn count_decode_error(
    state: &mut State,
    rows: zbus::Result<Vec<ListedUnit>>,
) -> zbus::Result<Vec<ListedUnit>> {
    rows.inspect_err(|error| {
        warn!(%error, "failed to decode ListUnits reply");
        *state.status.errors.entry("decode").or_default() += 1;
    })
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reload => "reload",
            Self::Schedule => "schedule",
        }
    }
}

/// A difference counts as drift unless a signal explains it within this time.
const DRIFT_TIMEOUT: Duration = Duration::from_secs(2);

/// A reload takes seconds; after this time its end was missed.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(90);

/// A unit unloaded less than this ago may be loaded again by a call of ours.
pub(super) const RECENTLY_UNLOADED: Duration = Duration::from_secs(2);

/// Bounds the memory that a flood of short-lived units takes.
const MAX_RECENTLY_UNLOADED: usize = 4096;
