//! The form of the ledger in the state file.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::host_counters::LOST_REASONS;
use super::journal_reconciliation::{MAX_REMEMBERED, MissedExits};
use super::oom_kills::{Kill, MAX_WAITING};
use super::unit_counters::UnitCounters;
use super::{Ledger, MAX_GROUPS};
use crate::clock;
use crate::source::journal::exits::{JournalExit, JournalOomKill};
use crate::systemd::unit::name::{UnitKind, is_valid};
use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp, intern};
use crate::systemd::unit::{Unit, serial};

/// A copy of the ledger, to be saved or restored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedLedger {
    #[serde(with = "serial::named")]
    counters: Vec<(Arc<str>, Arc<UnitCounters>)>,
    #[serde(with = "serial::named")]
    groups: Vec<(Arc<str>, Arc<UnitCounters>)>,
    #[serde(with = "serial::shared")]
    events: Vec<Arc<Event>>,
    host: SavedHost,
    missed: Vec<SavedMissed>,
    journal_exits: Vec<JournalExit>,
    from_boot: bool,
    boot_end: Option<Timestamp>,
    journal_restarts: Vec<(String, Timestamp)>,
    last_gap: Option<Timestamp>,
    reliable_journal: Vec<String>,
    counted_runs: Vec<InvocationId>,
    unknown_failures: Vec<(String, Timestamp, u64)>,
    kills: Vec<Kill>,
    oom_kills: Vec<JournalOomKill>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedHost {
    #[serde(with = "serial::wall_clock")]
    since: SystemTime,
    failures: BTreeMap<String, u64>,
    job_results: BTreeMap<String, u64>,
    reloads: u64,
    lost: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedMissed {
    unit: String,
    since: Timestamp,
    found: Timestamp,
    #[serde(default)]
    run: InvocationId,
    exits: u64,
    possible_double_count: u64,
    reason: String,
}

impl Default for SavedHost {
    fn default() -> Self {
        let (failures, job_results, lost) = Default::default();
        Self { since: clock::wall(), failures, job_results, reloads: 0, lost }
    }
}

impl Ledger {
    /// A copy to be saved. Cheap: counters and events are shared.
    #[must_use]
    pub fn saved(&self) -> SavedLedger {
        let reconciliation = &self.reconciliation;
        let shared = |(name, counters): (&Arc<str>, &Arc<_>)| (name.clone(), Arc::clone(counters));
        let owned = |counts: &BTreeMap<InternedStr, u64>| {
            counts.iter().map(|(name, count)| (name.to_string(), *count)).collect()
        };
        let missed = reconciliation.missed.iter().map(|missed| SavedMissed {
            unit: missed.unit.to_string(),
            since: missed.since,
            found: missed.found,
            run: missed.run,
            exits: missed.exits,
            possible_double_count: missed.possible_double_count,
            reason: missed.reason.to_owned(),
        });
        let lost = self.host.lost.iter().map(|(reason, count)| ((*reason).to_owned(), *count));
        let restarts = reconciliation.journal_restarts.iter();
        let reliable = reconciliation.units_with_reliable_journal.iter();
        let unknown = reconciliation.unknown_failures.iter();
        SavedLedger {
            counters: self.counters.iter().map(shared).collect(),
            groups: self.groups.iter().map(shared).collect(),
            events: self.events.iter().cloned().collect(),
            host: SavedHost {
                since: self.host.since,
                failures: owned(&self.host.failures),
                job_results: owned(&self.host.job_results),
                reloads: self.host.reloads,
                lost: lost.collect(),
            },
            missed: missed.collect(),
            journal_exits: reconciliation.journal_exits.iter().cloned().collect(),
            from_boot: reconciliation.from_boot,
            boot_end: reconciliation.boot_end,
            journal_restarts: restarts.map(|(unit, at)| (unit.to_string(), *at)).collect(),
            last_gap: reconciliation.last_gap,
            reliable_journal: reliable.map(ToString::to_string).collect(),
            counted_runs: reconciliation.counted_runs.iter().copied().collect(),
            unknown_failures: unknown
                .map(|(unit, at, left)| (unit.to_string(), *at, *left))
                .collect(),
            kills: self.oom_kills.waiting.iter().cloned().collect(),
            oom_kills: self.oom_kills.logged.iter().cloned().collect(),
        }
    }

    /// Continues from a saved ledger, for the units that are exported and have a valid name.
    pub fn restore(&mut self, saved: SavedLedger, is_selected: impl Fn(&str) -> bool) {
        let is_known = |name: &str| is_valid(name) && is_selected(name);
        for (name, mut counters) in saved.counters {
            let Some(kind) = UnitKind::of(&name).filter(|_| is_known(&name)) else { continue };
            Arc::make_mut(&mut counters).kind = kind;
            if let Some(at) = counters.unloaded_at {
                self.unloaded.push_back((at, name.clone()));
            }
            self.counters.insert(name, counters);
        }
        self.unloaded.make_contiguous().sort();
        for (group, mut counters) in saved.groups.into_iter().take(MAX_GROUPS) {
            let Some(kind) = UnitKind::of(&group).filter(|_| is_valid(&group)) else { continue };
            Arc::make_mut(&mut counters).kind = kind;
            self.groups.insert(group, counters);
        }
        self.events = saved.events.into_iter().filter(|event| is_known(&event.unit)).collect();
        self.limit_events();
        let SavedHost { since, failures, job_results, reloads, lost } = saved.host;
        let interned = |counts: BTreeMap<String, u64>| {
            counts.into_iter().take(MAX_RESULTS).map(|(name, count)| (intern(&name), count))
        };
        (self.host.since, self.host.reloads) = (since, reloads);
        self.host.failures.extend(interned(failures));
        self.host.job_results.extend(interned(job_results));
        for reason in LOST_REASONS {
            self.host.lost.insert(reason, lost.get(reason).copied().unwrap_or_default());
        }
        let reconciliation = &mut self.reconciliation;
        reconciliation.missed = saved.missed.into_iter().filter_map(SavedMissed::restore).collect();
        reconciliation.journal_exits = VecDeque::from(saved.journal_exits);
        let restarts = saved.journal_restarts.into_iter();
        reconciliation.journal_restarts = restarts.map(|(unit, at)| (unit.into(), at)).collect();
        (reconciliation.from_boot, reconciliation.boot_end) = (saved.from_boot, saved.boot_end);
        reconciliation.last_gap = saved.last_gap;
        let reliable = saved.reliable_journal.into_iter().map(Into::into);
        reconciliation.units_with_reliable_journal = reliable.collect();
        for run in saved.counted_runs {
            reconciliation.counted_runs.add(run);
        }
        let unknown = saved.unknown_failures.into_iter().take(MAX_REMEMBERED);
        let unknown = unknown.map(|(unit, found, left)| (unit.into(), found, left));
        reconciliation.unknown_failures = unknown.collect();
        let kills = saved.kills.into_iter().filter(|kill| is_known(&kill.unit));
        self.oom_kills.waiting = kills.take(MAX_WAITING).collect();
        self.oom_kills.logged = saved.oom_kills.into_iter().take(MAX_WAITING).collect();
        self.expire(clock::instant());
    }

    /// Marks the restored counters of units that are not loaded, as far as `is_loaded` is known.
    pub fn unload_others(&mut self, is_loaded: impl Fn(&str) -> bool) {
        let is_gone = |(name, counters): &(&Arc<str>, &Arc<UnitCounters>)| {
            counters.unloaded_at.is_none() && !is_loaded(name)
        };
        let gone = self.counters.iter().filter(is_gone).map(|(name, _)| name.clone());
        for name in gone.collect::<Vec<_>>() {
            self.unload(&name, clock::instant());
        }
    }
}

impl SavedMissed {
    fn restore(self) -> Option<MissedExits> {
        let Self { unit, since, found, run, exits, possible_double_count, reason } = self;
        // sums of many must not overflow
        let [exits, possible_double_count] =
            [exits, possible_double_count].map(|count| count.min(u64::from(u32::MAX)));
        let reason = LOST_REASONS.into_iter().find(|known| *known == reason)?;
        let unit = unit.into();
        Some(MissedExits { unit, since, found, run, exits, possible_double_count, reason })
    }
}

/// Whether a state differs in what decides about the next change of the unit.
pub(super) fn differ(before: &Unit, after: &Unit) -> bool {
    let state = |unit: &Unit| {
        let service = unit.service().map(|service| {
            let exit = (service.main_exit_monotonic, service.exit_code, service.exit_status);
            (service.result.clone(), service.restarts, exit)
        });
        let trigger = unit.timer().map(|timer| timer.last_trigger_monotonic);
        (unit.active_state.clone(), unit.sub_state.clone(), unit.invocation_id, service, trigger)
    };
    state(before) != state(after)
}

/// The last run that was counted.
pub(super) mod last_run {
    use serde::{Deserializer, Serializer};

    use super::*;

    type LastRun = Option<(Arc<str>, SystemTime)>;

    #[derive(Serialize, Deserialize)]
    struct Saved(
        #[serde(with = "serial::text")] Arc<str>,
        #[serde(with = "serial::wall_clock")] SystemTime,
    );

    pub(in super::super) fn serialize<S: Serializer>(
        last: &LastRun,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        last.as_ref().map(|(run, at)| Saved(run.clone(), *at)).serialize(to)
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<LastRun, D::Error> {
        let saved = Option::<Saved>::deserialize(from)?;
        // an exemplar has the id as hex digits
        let is_id = |saved: &Saved| InvocationId::from_hex(&saved.0).is_some();
        Ok(saved.filter(is_id).map(|Saved(run, at)| (run, at)))
    }
}

/// Distinct results of services or of jobs.
const MAX_RESULTS: usize = 64;
