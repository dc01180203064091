//! Every unit that PID 1 has loaded, in memory, as its signals keep it true.
//!
//! The mirror never waits and never asks: what follows the bus applies changes, scrapes copy.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use super::unit::Unit;
use super::unit::name::Kind;
use super::unit::value::Word;
use crate::unit_filter::Selection;

/// The units by name, the jobs by id.
#[derive(Debug)]
pub struct Mirror {
    units: BTreeMap<Arc<str>, Arc<Unit>>,
    /// How many of them are instances, of any template.
    instances: usize,
    jobs: BTreeMap<u32, Job>,
    selection: Selection,
}

/// A queued or running job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The unit it is for.
    pub unit: Arc<str>,
    /// When it was first seen.
    pub since: SystemTime,
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
        Self { units: BTreeMap::new(), instances: 0, jobs: BTreeMap::new(), selection }
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
        // with fewer in all, no template can have as many
        let all = (self.instances > CROWD).then(|| self.units());
        for template in all.into_iter().flatten().filter_map(template) {
            *instances.entry(template).or_default() += 1;
        }
        instances.retain(|_, count| *count > CROWD);
        let is_one_of_many = |unit: &&Arc<Unit>| {
            !instances.is_empty() && template(unit).is_some_and(|of| instances.contains_key(&of))
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
        let unit = Arc::new(Unit::fresh(name, kind, selected));
        self.insert(unit.clone());
        Some(unit)
    }

    fn insert(&mut self, unit: Arc<Unit>) {
        self.instances += usize::from(template(&unit).is_some());
        self.units.insert(unit.name.clone(), unit);
    }

    /// Takes what the list of units says of one unit. `None` if that was known already.
    pub fn list(&mut self, listed: &Listed) -> Option<Change> {
        let kind = Kind::of(&listed.name)?;
        if !self.units.contains_key(listed.name.as_str()) {
            let name: Arc<str> = listed.name.as_str().into();
            let selected = self.selection.includes(&name);
            self.insert(Arc::new(Unit::new(name, kind, selected)));
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

    /// Changes a unit; `None` if there is none of that name. What is told anew and has not changed
    /// leaves the very same unit there: pages have its lines already.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut Unit)) -> Option<Change> {
        let unit = self.units.get_mut(name)?;
        let (before, mut after) = (unit.clone(), unit.clone());
        change(Arc::make_mut(&mut after));
        if after != before {
            *unit = after;
        }
        Some(Change { before, after: unit.clone() })
    }

    /// Forgets a unit that PID 1 has unloaded.
    pub fn unload(&mut self, name: &str) -> Option<Arc<Unit>> {
        let unit = self.units.remove(name)?;
        self.instances -= usize::from(template(&unit).is_some());
        Some(unit)
    }

    /// Takes up a job.
    pub fn job_new(&mut self, id: u32, unit: &str, since: SystemTime) {
        if self.jobs.len() < MOST_JOBS {
            self.jobs.entry(id).or_insert_with(|| Job { unit: unit.into(), since });
        }
    }

    /// Forgets a job that has ended.
    pub fn job_removed(&mut self, id: u32) {
        self.jobs.remove(&id);
    }

    /// Keeps only the jobs that PID 1 still has, and takes up those not known.
    pub fn jobs_listed(&mut self, listed: &[(u32, String)], now: SystemTime) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::unit::value::word;

    #[test]
    fn a_list_tells_what_is_new_in_it() {
        let mut mirror = Mirror::new(Selection::default());
        let listed = |load: &str, active: &str, sub: &str| {
            let (load_state, active_state, sub_state) = (word(load), word(active), word(sub));
            Listed { name: "a.service".into(), load_state, active_state, sub_state }
        };
        assert!(mirror.list(&Listed { name: "a.nothing".into(), ..listed("", "", "") }).is_none());
        let states = [
            listed("loaded", "active", "running"),
            listed("masked", "active", "running"),
            listed("masked", "failed", "running"),
            listed("masked", "failed", "failed"),
        ];
        for (number, state) in states.iter().enumerate() {
            let change = mirror.list(state).expect("a change");
            assert_eq!(change.before.load_state.is_none(), number == 0);
            assert!(change.after.is(&state.active_state));
            assert_eq!(change.after.load_state.as_ref(), Some(&state.load_state));
            assert_eq!(change.after.sub_state.as_ref(), Some(&state.sub_state));
            assert!(mirror.list(state).is_none(), "known already");
        }
        assert_eq!(mirror.units().len(), 1);
        assert!(mirror.load("a.service").is_none() && mirror.load("a.nothing").is_none());
        assert_eq!(&*mirror.load("b.service").unwrap().name, "b.service");
        let from = |name: &str| mirror.units_from(Bound::Excluded(name.into())).count();
        assert_eq!((from("a"), from("a.service"), from("b.service")), (2, 1, 0));
        assert_eq!(&*mirror.unload("a.service").unwrap().name, "a.service");
        assert!(mirror.unit("a.service").is_none() && mirror.unload("a.service").is_none());
    }

    #[test]
    fn a_unit_of_which_the_same_is_told_again_stays_the_very_same() {
        let mut mirror = Mirror::new(Selection::default());
        let first = mirror.load("a.service").unwrap();
        let mut failed = || {
            let change =
                mirror.change("a.service", |unit| unit.active_state = Some(word("failed")));
            let change = change.unwrap();
            (change.before, change.after)
        };
        let (before, after) = failed();
        assert!(Arc::ptr_eq(&before, &first) && !Arc::ptr_eq(&before, &after));
        let (before, again) = failed();
        assert!(Arc::ptr_eq(&before, &after) && Arc::ptr_eq(&again, &after));
        assert!(Arc::ptr_eq(mirror.unit("a.service").unwrap(), &after));
    }

    #[test]
    fn instances_of_a_crowd_find_room_last() {
        let mut mirror = Mirror::new(Selection::default());
        let crowd = |name: &str, count: usize| {
            (0..count).map(|number| format!("{name}@{number:03}.service")).collect::<Vec<_>>()
        };
        let (most, more) = (crowd("b", CROWD), crowd("a", CROWD + 1));
        let one = ["c.service".to_owned()];
        for name in more.iter().chain(&most).chain(&one) {
            mirror.load(name);
        }
        let ranked: Vec<_> = mirror.units_by_rank().map(|unit| unit.name.to_string()).collect();
        assert_eq!(ranked, [most, one.to_vec(), more].concat());
    }

    #[test]
    fn jobs_are_kept_as_they_were_first_seen() {
        let mut mirror = Mirror::new(Selection::default());
        let first = SystemTime::now();
        let later = first + std::time::Duration::from_secs(1);
        mirror.job_new(1, "a.service", first);
        mirror.job_new(1, "b.service", later);
        mirror.job_new(2, "b.service", first);
        mirror.jobs_listed(&[(1, "a.service".into()), (3, "c.service".into())], later);
        let jobs: Vec<_> = mirror.jobs().map(|job| (&*job.unit, job.since)).collect();
        assert_eq!(jobs, [("a.service", first), ("c.service", later)]);
        mirror.job_removed(3);
        assert_eq!(mirror.jobs().len(), 1);
        for id in 0..u32::try_from(MOST_JOBS).unwrap() + 1 {
            mirror.job_new(id, "a.service", first);
        }
        assert_eq!(mirror.jobs().len(), MOST_JOBS);
    }
}
