//! What was counted: by unit, and for the host as a whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exits::{JournalExit, JournalExits};
use super::{Options, Progress, Reading};
use crate::systemd::unit::name::is_valid;
use crate::systemd::unit::value::{InvocationId, Timestamp, Word};
use crate::unit_filter::Selection;

/// How much a message matters, as whoever logged it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(u8);

/// What was counted of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages by priority.
    pub messages: [u64; Priority::ALL.len()],
    /// Core dumps by the signal's number.
    pub core_dumps: BTreeMap<u8, u64>,
    /// Messages that journald dropped for there were too many.
    pub dropped: u64,
}

/// Everything that was counted.
#[derive(Debug)]
pub(super) struct Totals {
    selection: Selection,
    keep_for: Duration,
    keep: usize,
    numbers: HashMap<Arc<str>, u32>,
    units: Vec<Unit>,
    messages: [u64; Priority::ALL.len()],
    missed: u64,
    exits: JournalExits,
    now: Instant,
    forgotten: Instant,
}

#[derive(Debug)]
struct Unit {
    name: Arc<str>,
    counts: Counts,
    /// When something was last counted.
    last: Instant,
}

impl Priority {
    /// The names of the priorities, as syslog has them; the last is for messages without one.
    pub const ALL: [&str; 9] =
        ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "none"];

    /// That of messages without one.
    pub(super) const NONE: Self = Self(8);

    /// Anything but a digit from 0 to 7 is none.
    pub(super) fn parse(value: &[u8]) -> Self {
        match value {
            [digit @ b'0'..=b'7'] => Self(digit - b'0'),
            _ => Self::NONE,
        }
    }
}

impl Totals {
    pub(super) fn new(options: &Options) -> Self {
        let now = Instant::now();
        Self {
            selection: options.selection.clone(),
            keep_for: options.keep_for,
            keep: options.keep,
            numbers: HashMap::new(),
            units: Vec::new(),
            messages: [0; Priority::ALL.len()],
            missed: 0,
            exits: JournalExits::default(),
            now,
            forgotten: now,
        }
    }

    /// The number of the unit of that name; `None` if it is not counted by name.
    pub(super) fn number(&mut self, name: &[u8]) -> Option<u32> {
        let name = std::str::from_utf8(name).ok()?;
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.units.len() >= MOST || !is_valid(name) || !self.selection.includes(name) {
            return None;
        }
        let number = u32::try_from(self.units.len()).ok()?;
        let name: Arc<str> = name.into();
        self.numbers.insert(name.clone(), number);
        self.units.push(Unit { name, counts: Counts::default(), last: self.now });
        Some(number)
    }

    /// Counts a message of that unit, or of none that is counted by name.
    pub(super) fn message(&mut self, unit: Option<u32>, priority: Priority) {
        let priority = usize::from(priority.0);
        self.messages[priority] += 1;
        self.of(unit, |counts| counts.messages[priority] += 1);
    }

    pub(super) fn core_dump(&mut self, unit: Option<u32>, signal: u8) {
        self.of(unit, |counts| *counts.core_dumps.entry(signal).or_default() += 1);
    }

    pub(super) fn dropped(&mut self, unit: Option<u32>, messages: u64) {
        self.of(unit, |counts| counts.dropped = counts.dropped.saturating_add(messages));
    }

    pub(super) fn missed(&mut self, messages: u64) {
        self.missed = self.missed.saturating_add(messages);
    }

    /// Takes down that a run of that unit ended.
    pub(super) fn end(&mut self, unit: Option<u32>, run: InvocationId, result: Word, at: u64) {
        let unit = unit.and_then(|number| self.units.get(usize::try_from(number).ok()?));
        let Some(Unit { name, .. }) = unit else { return };
        if self.exits.exits.len() < MOST_ENDS {
            self.exits.exits.push(JournalExit {
                unit: name.clone(),
                run,
                result,
                at: Timestamp(at),
            });
        } else {
            self.gap(at);
        }
    }

    /// Takes down that messages may be missing.
    pub(super) fn gap(&mut self, at: u64) {
        self.exits.last_gap = self.exits.last_gap.max(Some(Timestamp(at)));
    }

    pub(super) fn take_exits(&mut self) -> JournalExits {
        std::mem::take(&mut self.exits)
    }

    fn of(&mut self, unit: Option<u32>, count: impl FnOnce(&mut Counts)) {
        let unit = unit.and_then(|number| self.units.get_mut(usize::try_from(number).ok()?));
        if let Some(unit) = unit {
            count(&mut unit.counts);
            unit.last = self.now;
        }
    }

    /// Drops units that are not loaded and have been silent for too long, or are too many. Says
    /// whether it did: then every unit has another number.
    pub(super) fn forget(&mut self, now: Instant, is_loaded: impl Fn(&str) -> bool) -> bool {
        self.now = now;
        if now.duration_since(self.forgotten) < FORGETTING && self.units.len() < MOST {
            return false;
        }
        self.forgotten = now;
        let unloaded = self.units.iter().filter(|unit| !is_loaded(&unit.name));
        let mut unloaded: Vec<_> = unloaded.map(|unit| (unit.last, unit.name.clone())).collect();
        unloaded.sort_unstable_by(|a, b| b.cmp(a));
        // the last so many stay, and of those what is young enough
        let old = |last: Instant| now.duration_since(last) > self.keep_for;
        let stay = unloaded.iter().take(self.keep).take_while(|(last, _)| !old(*last)).count();
        let over: HashSet<Arc<str>> = unloaded.drain(stay..).map(|(_, name)| name).collect();
        if over.is_empty() {
            return false;
        }
        self.units.retain(|unit| !over.contains(&unit.name));
        let numbered = self.units.iter().zip(0..);
        self.numbers = numbered.map(|(unit, number)| (unit.name.clone(), number)).collect();
        true
    }

    pub(super) fn reading(&self, progress: Progress, shortfall: Option<String>) -> Reading {
        let named = self.units.iter().map(|unit| (unit.name.clone(), unit.counts.clone()));
        let mut units: Vec<_> = named.collect();
        units.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Reading { units, messages: self.messages, missed: self.missed, progress, shortfall }
    }
}

/// Units that are counted by name at the same time.
const MOST: usize = 20_000;

/// Ends kept until they are taken, every second.
const MOST_ENDS: usize = 4096;

/// How often silent units are looked for.
const FORGETTING: Duration = Duration::from_secs(60);
