//! Every unit that PID 1 has loaded, in memory, as its signals keep it true.
//!
//! The mirror never waits and never asks: what follows the bus applies changes, scrapes copy.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use super::name::Kind;
use super::unit::Unit;
use super::value::Word;
use crate::selection::Selection;

/// The units by name, the jobs by id.
#[derive(Debug)]
pub struct Mirror {
    units: BTreeMap<Arc<str>, Arc<Unit>>,
    jobs: BTreeMap<u32, Job>,
    selection: Selection,
}

/// A queued or running job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The unit it is for.
    pub unit: Arc<str>,
    /// When it was first seen.
    pub since: Instant,
}

/// One line of the list of units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The primary name.
    pub name: String,
    /// `LoadState`
    pub load_state: Word,
    /// `ActiveState`
    pub active_state: Word,
    /// `SubState`
    pub sub_state: Word,
}

/// A unit before and after one change.
#[derive(Debug)]
pub struct Change {
    /// As it was.
    pub before: Arc<Unit>,
    /// As it is.
    pub after: Arc<Unit>,
}

impl Mirror {
    /// A mirror that knows nothing yet.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self { units: BTreeMap::new(), jobs: BTreeMap::new(), selection }
    }

    /// The unit of that name.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&Arc<Unit>> {
        self.units.get(name)
    }

    /// Every unit, in the order of their names.
    pub fn units(&self) -> impl ExactSizeIterator<Item = &Arc<Unit>> {
        self.units.values()
    }

    /// Every unit, in the order in which they find room where room is limited: by name, but the
    /// instances of a template that has more than `CROWD` of them last. Whoever can start
    /// instances at will pushes no other unit off a page.
    pub fn units_by_rank(&self) -> impl Iterator<Item = &Arc<Unit>> {
        let mut instances: HashMap<_, usize> = HashMap::new();
        for template in self.units().filter_map(template) {
            *instances.entry(template).or_default() += 1;
        }
        let is_one_of_many = |unit: &&Arc<Unit>| {
            let of_template = template(unit).and_then(|template| instances.get(&template));
            of_template.is_some_and(|count| *count > CROWD)
        };
        let (many, others): (Vec<_>, Vec<_>) = self.units().partition(is_one_of_many);
        others.into_iter().chain(many)
    }

    /// The units from this name on, in the order of their names.
    pub fn units_from(&self, from: Bound<Arc<str>>) -> impl Iterator<Item = &Arc<Unit>> {
        self.units.range((from, Bound::Unbounded)).map(|(_, unit)| unit)
    }

    /// Every job.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = &Job> {
        self.jobs.values()
    }

    /// Takes up a unit that PID 1 has only just loaded; `None` if it was known or has no kind
    /// that systemd has.
    pub fn load(&mut self, name: &str) -> Option<Arc<Unit>> {
        let kind = Kind::of(name)?;
        if self.units.contains_key(name) {
            return None;
        }
        let name: Arc<str> = name.into();
        let selected = self.selection.includes(&name);
        let unit = Arc::new(Unit::fresh(name.clone(), kind, selected));
        self.units.insert(name, unit.clone());
        Some(unit)
    }

    /// Takes what the list of units says of one unit. `None` if that was known already.
    pub fn list(&mut self, listed: &Listed) -> Option<Change> {
        let kind = Kind::of(&listed.name)?;
        if !self.units.contains_key(listed.name.as_str()) {
            let name: Arc<str> = listed.name.as_str().into();
            let selected = self.selection.includes(&name);
            self.units.insert(name.clone(), Arc::new(Unit::new(name, kind, selected)));
        }
        self.change(&listed.name, |unit| {
            unit.load_state = Some(listed.load_state.clone());
            unit.active_state = Some(listed.active_state.clone());
            unit.sub_state = Some(listed.sub_state.clone());
        })
        .filter(|Change { before, after }| {
            before.load_state != after.load_state
                || before.active_state != after.active_state
                || before.sub_state != after.sub_state
        })
    }

    /// Changes a unit; `None` if there is none of that name.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut Unit)) -> Option<Change> {
        let unit = self.units.get_mut(name)?;
        let before = unit.clone();
        change(Arc::make_mut(unit));
        Some(Change { before, after: unit.clone() })
    }

    /// Forgets a unit that PID 1 has unloaded.
    pub fn unload(&mut self, name: &str) -> Option<Arc<Unit>> {
        self.units.remove(name)
    }

    /// Takes up a job.
    pub fn job_new(&mut self, id: u32, unit: &str, since: Instant) {
        if self.jobs.len() < MOST_JOBS {
            self.jobs.entry(id).or_insert_with(|| Job { unit: unit.into(), since });
        }
    }

    /// Forgets a job that has ended.
    pub fn job_removed(&mut self, id: u32) {
        self.jobs.remove(&id);
    }

    /// Keeps only the jobs that PID 1 still has, and takes up those not known.
    pub fn jobs_listed(&mut self, listed: &[(u32, String)], now: Instant) {
        self.jobs.retain(|id, _| listed.iter().any(|(listed, _)| listed == id));
        for (id, unit) in listed {
            self.job_new(*id, unit, now);
        }
    }
}

/// PID 1 allows 128 Ki jobs; more than this many are not told apart.
const MOST_JOBS: usize = 16_384;

/// What an instance is an instance of: the name up to its `@`, and the kind.
fn template(unit: &Arc<Unit>) -> Option<(&str, Kind)> {
    let (template, _) = unit.name.split_once('@')?;
    Some((template, unit.kind))
}

/// More instances than a template has by intent: one a connection, one a user, one a queue.
const CROWD: usize = 500;
