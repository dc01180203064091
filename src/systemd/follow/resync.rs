//! The mirror compared with PID 1's list of units: at first, after a reload, and now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::connection::Session;
use super::non_utf8_mounts;
use crate::systemd::dbus::Call;
use crate::systemd::ledger::Gap;
use crate::systemd::mirror::Listed;
use crate::systemd::state::State;
use crate::systemd::unit::name::Kind;

/// Why the units are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The session begins.
    Connect,
    /// The configuration was reloaded, or PID 1 executed itself anew.
    Reload,
    /// Now and then: differences are drift.
    Schedule,
}

/// The units listed so far.
pub(super) struct Listing {
    reason: Reason,
    seen: BTreeSet<String>,
    /// Kinds still to be listed one by one; empty when all were listed at once.
    kinds: Vec<Kind>,
    unlisted: BTreeMap<Kind, String>,
}

impl Session<'_> {
    pub(super) fn list(&mut self, state: &mut State, reason: Reason) {
        *state.status.resyncs.entry(reason.as_str()).or_default() += 1;
        let (seen, kinds, unlisted) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
        let mut listing = Listing { reason, seen, kinds, unlisted };
        if non_utf8_mounts::mounts(&state.manager) {
            listing.unlisted.insert(Kind::Mount, non_utf8_mounts::WHY.to_owned());
            self.list_kinds(&mut listing);
        } else {
            self.window.call(Call::List);
        }
        self.listing = Some(listing);
    }

    /// Whether the list that a session begins with tells of a unit nothing more. Until then, what
    /// PID 1 says of removing it may be part of a reload of whose beginning this session did not
    /// hear; and a unit that has really gone, the list leaves out.
    pub(super) fn has_listed(&self, name: &str) -> bool {
        let listing = self.listing.as_ref();
        self.gap.is_none() || listing.is_some_and(|listing| listing.seen.contains(name))
    }

    pub(super) fn listed(
        &mut self,
        state: &mut State,
        call: &Call,
        rows: zbus::Result<Vec<Listed>>,
    ) {
        let rows = match decoded(state, rows) {
            Ok(rows) => rows,
            Err(error) => return self.not_listed(state, call, error.to_string()),
        };
        let Some(mut listing) = self.listing.take() else { return };
        let gap = match listing.reason {
            Reason::Connect => self.gap,
            Reason::Reload => Some(Gap::Reload),
            Reason::Schedule => None,
        };
        for row in rows {
            let change = state.mirror.list(&row);
            let Some(unit) = state.mirror.unit(&row.name).cloned() else { continue };
            listing.seen.insert(row.name);
            state.ledger.open(&unit);
            if let Some(change) = &change {
                state.observe(change, gap);
            }
            match listing.reason {
                Reason::Connect | Reason::Reload => self.fetch(&unit, gap),
                Reason::Schedule if change.is_some() => {
                    self.suspects.insert(unit.name.clone(), Instant::now() + SUSPECT);
                    self.fetch(&unit, Some(Gap::Drift));
                }
                Reason::Schedule => {}
            }
        }
        self.listing = Some(listing);
        self.kind_done(state, call);
    }

    /// One invalid byte in one mount's path, and systemd up to 257 cannot list any unit: then
    /// each kind is listed alone, and only that one fails.
    pub(super) fn not_listed(&mut self, state: &mut State, call: &Call, error: String) {
        let Some(mut listing) = self.listing.take() else { return };
        if let Call::ListKind(kind) = call {
            listing.unlisted.insert(*kind, error);
            self.listing = Some(listing);
            self.kind_done(state, call);
        } else {
            debug!(%error, "systemd cannot list all units at once; listing each kind alone");
            self.list_kinds(&mut listing);
            self.listing = Some(listing);
        }
    }

    /// Lists each kind alone, but for those that are known not to be listed.
    fn list_kinds(&mut self, listing: &mut Listing) {
        listing.kinds = Kind::ALL.to_vec();
        listing.kinds.retain(|kind| !listing.unlisted.contains_key(kind));
        for kind in &listing.kinds {
            self.window.call(Call::ListKind(*kind));
        }
    }

    fn kind_done(&mut self, state: &mut State, call: &Call) {
        let Some(listing) = &mut self.listing else { return };
        if let Call::ListKind(done) = call {
            listing.kinds.retain(|kind| kind != done);
        }
        if !listing.kinds.is_empty() {
            return;
        }
        let Some(Listing { reason, seen, unlisted, .. }) = self.listing.take() else { return };
        let gone: Vec<_> = state
            .mirror
            .units()
            .filter(|unit| !seen.contains(&*unit.name) && !unlisted.contains_key(&unit.kind))
            .map(|unit| unit.name.clone())
            .collect();
        for name in gone {
            self.unload(state, &name);
            if reason == Reason::Schedule {
                state.status.drift += 1;
            }
        }
        for (kind, error) in &unlisted {
            if !state.status.unlisted.contains_key(kind) {
                warn!(%kind, %error, "systemd cannot list the units of this kind; all others are served");
            }
        }
        state.status.unlisted = unlisted;
        // from here on, every unit that was away has a draft that says so
        self.gap = None;
        self.settle(state);
    }
}

/// The rows of a list; one that makes no sense is told and counted.
pub(super) fn decoded(
    state: &mut State,
    rows: zbus::Result<Vec<Listed>>,
) -> zbus::Result<Vec<Listed>> {
    rows.inspect_err(|error| {
        warn!(%error, "systemd's list of units made no sense");
        *state.status.errors.entry("decode").or_default() += 1;
    })
}

impl Listing {
    /// PID 1 has loaded a unit, perhaps after it listed those of its kind.
    pub(super) fn loaded(&mut self, name: &str) {
        self.seen.insert(name.to_owned());
    }
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
const SUSPECT: Duration = Duration::from_secs(2);
