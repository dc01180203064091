//! The counters: by unit, and for the whole host.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::exits::{JournalExit, JournalExits, JournalOomKill, JournalProcessExit};
use super::saved::SavedCounts;
use super::{JournalOptions, JournalReading, Progress};
use crate::systemd::unit::name::is_valid;
use crate::systemd::unit::serial;
use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp};
use crate::unit_filter::Selection;

/// The priority of a message, as its sender set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(u8);

/// The counters of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalCounts {
    /// Messages by priority.
    pub messages: [JournalCount; Priority::ALL.len()],
    /// Core dumps by the signal's number.
    pub core_dumps: BTreeMap<u8, JournalCount>,
    /// OOM kills that the kernel logged.
    pub oom_kills: JournalCount,
    /// Messages that journald dropped because of its rate limit.
    pub dropped: JournalCount,
}

/// One counter of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalCount {
    /// The value.
    pub total: u64,
    /// The time of the first entry that was counted; `None` before it.
    #[serde(with = "serial::wall_clock_option")]
    pub first: Option<SystemTime>,
}

/// The exit of a process: its run, the property of the command if it is not the main process, and how.
pub(super) type ProcessExit = (InvocationId, Option<InternedStr>, JournalProcessExit);

/// All counters.
#[derive(Debug)]
pub(super) struct Totals {
    selection: Selection,
    keep_for: Duration,
    keep: usize,
    indexes: HashMap<Arc<str>, u32>,
    units: Vec<CountedUnit>,
    messages: [u64; Priority::ALL.len()],
    missed: u64,
    exits: JournalExits,
    /// Exits of processes whose units' exits have not been read yet, the latest last, with the
    /// property of the command if that is not the main process.
    process_exits: VecDeque<ProcessExit>,
    now: Instant,
    last_eviction: Instant,
}

#[derive(Debug)]
struct CountedUnit {
    name: Arc<str>,
    /// Whether it is the sum of units with short-lived names.
    is_group: bool,
    counts: JournalCounts,
    /// The time of the last count.
    last: Instant,
}

impl Priority {
    /// The names of syslog's priorities; the last is for messages without one.
    pub const ALL: [&str; 9] =
        ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "none"];

    /// The priority of messages without one.
    pub(super) const NONE: Self = Self(8);

    /// Anything but a digit from 0 to 7 is [`Self::NONE`].
    pub(super) fn parse(value: &[u8]) -> Self {
        match value {
            [digit @ b'0'..=b'7'] => Self(digit - b'0'),
            _ => Self::NONE,
        }
    }
}

impl Totals {
    pub(super) fn new(options: &JournalOptions) -> Self {
        let now = Instant::now();
        Self {
            selection: options.selection.clone(),
            keep_for: options.keep_for,
            keep: options.keep,
            indexes: HashMap::new(),
            units: Vec::new(),
            messages: [0; Priority::ALL.len()],
            missed: 0,
            exits: JournalExits::default(),
            process_exits: VecDeque::new(),
            now,
            last_eviction: now,
        }
    }

    /// The index of the unit of that name; `None` if the unit has no counters.
    pub(super) fn unit_index(&mut self, name: &[u8]) -> Option<u32> {
        let name = std::str::from_utf8(name).ok()?;
        if let Some(index) = self.indexes.get(name) {
            return Some(*index);
        }
        if !is_valid(name) || !self.selection.includes(name) {
            return None;
        }
        // the journal does not show which socket units exist
        let group = self.selection.group(name, |_| true);
        let is_group = group.is_some();
        self.add_unit(group.unwrap_or_else(|| name.into()), is_group)
    }

    /// The index of the unit or group of that name, whether it is exported or not.
    fn add_unit(&mut self, name: Arc<str>, is_group: bool) -> Option<u32> {
        if let Some(index) = self.indexes.get(&name) {
            return Some(*index);
        }
        let index = u32::try_from(self.units.len()).ok()?;
        let unit = CountedUnit {
            name: name.clone(),
            is_group,
            counts: JournalCounts::default(),
            last: self.now,
        };
        let has_room = self.units.len() < MAX_UNITS;
        has_room.then(|| {
            self.indexes.insert(name, index);
            self.units.push(unit);
            index
        })
    }

    /// The unit's own name, not that of its group; `None` if the unit has no counters.
    pub(super) fn exported_unit(&mut self, name: &[u8]) -> Option<Arc<str>> {
        let index = self.unit_index(name)?;
        let counted = &self.units.get(usize::try_from(index).ok()?)?.name;
        let name = str::from_utf8(name).ok()?;
        Some(if **counted == *name { counted.clone() } else { name.into() })
    }

    /// Counts a message of a unit, or of none that has counters.
    pub(super) fn message(&mut self, unit: Option<u32>, priority: Priority, at: u64) {
        let priority = usize::from(priority.0);
        self.messages[priority] += 1;
        self.count(unit, |counts| counts.messages[priority].add(1, at));
    }

    pub(super) fn core_dump(&mut self, unit: Option<u32>, signal: u8, at: u64) {
        self.count(unit, |counts| counts.core_dumps.entry(signal).or_default().add(1, at));
    }

    pub(super) fn dropped(&mut self, unit: Option<u32>, messages: u64, at: u64) {
        self.count(unit, |counts| counts.dropped.add(messages, at));
    }

    /// Counts and records an OOM kill in a unit.
    pub(super) fn oom_kill(&mut self, unit: &[u8], pid: u32, at: u64) {
        let index = self.unit_index(unit);
        self.count(index, |counts| counts.oom_kills.add(1, at));
        if let Some(unit) = self.exported_unit(unit)
            && self.exits.oom_kills.len() < MAX_EXITS
        {
            let at = Timestamp(at);
            self.exits.oom_kills.push(JournalOomKill { unit, pid, at });
        }
    }

    pub(super) fn missed(&mut self, messages: u64) {
        self.missed = self.missed.saturating_add(messages);
    }

    /// Remembers how a process of a run exited: that of a command, or the main process.
    pub(super) fn process_exit(
        &mut self,
        run: InvocationId,
        command: Option<InternedStr>,
        exit: JournalProcessExit,
    ) {
        if self.process_exits.len() >= MAX_PROCESS_EXITS {
            self.process_exits.pop_front();
        }
        self.process_exits.push_back((run, command, exit));
    }

    pub(super) fn process_exits(&self) -> &VecDeque<ProcessExit> {
        &self.process_exits
    }

    /// Records a restart by `Restart=`.
    pub(super) fn restart(&mut self, unit: Option<Arc<str>>, at: u64) {
        if let Some(unit) = unit
            && self.exits.restarts.len() < MAX_EXITS
        {
            self.exits.restarts.push((unit, Timestamp(at)));
        }
    }

    /// Records the exit of a unit.
    pub(super) fn exit(
        &mut self,
        unit: Option<Arc<str>>,
        run: InvocationId,
        result: InternedStr,
        at: u64,
    ) {
        let (mut main_exit, mut command) = (None, None);
        while let Some(at) = self.process_exits.iter().position(|(of, ..)| *of == run)
            && let Some((_, property, exit)) = self.process_exits.remove(at)
        {
            match property {
                None => main_exit = main_exit.or(Some(exit)),
                Some(property) if main_exit.is_none() && command.is_none() => {
                    command = Some((property, exit));
                }
                Some(_) => {}
            }
        }
        let Some(unit) = unit else { return };
        if self.exits.exits.len() < MAX_EXITS {
            self.exits.exits.push(JournalExit {
                unit,
                run,
                result,
                at: Timestamp(at),
                main_exit,
                command,
            });
        } else {
            self.gap(at);
        }
    }

    /// Records that messages may be missing.
    pub(super) fn gap(&mut self, at: u64) {
        self.exits.last_gap = self.exits.last_gap.max(Some(Timestamp(at)));
    }

    pub(super) fn take_exits(&mut self) -> JournalExits {
        std::mem::take(&mut self.exits)
    }

    fn count(&mut self, unit: Option<u32>, count: impl FnOnce(&mut JournalCounts)) {
        let unit = unit.and_then(|index| self.units.get_mut(usize::try_from(index).ok()?));
        if let Some(unit) = unit {
            count(&mut unit.counts);
            unit.last = self.now;
        }
    }

    /// Evicts unloaded units that have not logged for `keep_for`, or that exceed `keep`. Returns
    /// whether there were any: then the indexes of units have changed.
    pub(super) fn evict(&mut self, now: Instant, is_loaded: impl Fn(&str) -> bool) -> bool {
        self.now = now;
        if now.duration_since(self.last_eviction) < EVICTION_INTERVAL
            && self.units.len() < MAX_UNITS
        {
            return false;
        }
        self.last_eviction = now;
        let unloaded = self.units.iter().filter(|unit| !is_loaded(&unit.name));
        let mut unloaded: Vec<_> = unloaded.map(|unit| (unit.last, unit.name.clone())).collect();
        unloaded.sort_unstable_by(|a, b| b.cmp(a));
        // kept: the latest `keep`, if they have logged within `keep_for`
        let old = |last: Instant| now.duration_since(last) > self.keep_for;
        let stay = unloaded.iter().take(self.keep).take_while(|(last, _)| !old(*last)).count();
        let over: HashSet<Arc<str>> = unloaded.drain(stay..).map(|(_, name)| name).collect();
        if over.is_empty() {
            return false;
        }
        self.units.retain(|unit| !over.contains(&unit.name));
        let indexed = self.units.iter().zip(0..);
        self.indexes = indexed.map(|(unit, index)| (unit.name.clone(), index)).collect();
        true
    }

    /// The counters of each unit, to be saved.
    pub(super) fn saved_units(&self) -> impl Iterator<Item = SavedCounts> {
        self.units.iter().map(|unit| SavedCounts {
            name: unit.name.to_string(),
            is_group: unit.is_group,
            counts: unit.counts.clone(),
            last: unit.last,
        })
    }

    pub(super) fn restore_unit(&mut self, saved: &SavedCounts) {
        let SavedCounts { name, is_group, counts, last } = saved;
        let index = match is_group {
            // the expressions are about the units in it
            true if is_valid(name) => self.add_unit(name.as_str().into(), true),
            _ => self.unit_index(name.as_bytes()),
        };
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(unit) = index.and_then(|index| self.units.get_mut(index)) {
            (unit.counts, unit.last) = (counts.clone(), *last);
        }
    }

    /// The messages by priority, and those that were missed.
    pub(super) fn messages(&self) -> ([u64; Priority::ALL.len()], u64) {
        (self.messages, self.missed)
    }

    pub(super) fn set_messages(&mut self, messages: [u64; Priority::ALL.len()], missed: u64) {
        (self.messages, self.missed) = (messages, missed);
    }

    pub(super) fn reading(&self, progress: Progress, shortfall: Option<String>) -> JournalReading {
        let named = self.units.iter().map(|unit| (unit.name.clone(), unit.counts.clone()));
        let mut units: Vec<_> = named.collect();
        units.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        JournalReading { units, messages: self.messages, missed: self.missed, progress, shortfall }
    }
}

impl JournalCount {
    /// Adds the count of an entry; `at` is its time, in microseconds of `CLOCK_MONOTONIC`.
    fn add(&mut self, count: u64, at: u64) {
        self.total = self.total.saturating_add(count);
        self.first.get_or_insert_with(|| SystemTime::now() - Timestamp(at).age());
    }
}

/// Units that have counters at the same time.
const MAX_UNITS: usize = 20_000;

/// Exits kept until they are taken, every second.
const MAX_EXITS: usize = 65_536;

/// Exits of main processes that wait for their units' exits.
const MAX_PROCESS_EXITS: usize = 256;

/// The time between two evictions.
const EVICTION_INTERVAL: Duration = Duration::from_secs(60);
