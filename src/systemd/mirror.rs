//! A copy of every unit that PID 1 has loaded, kept current by its signals.
//!
//! The mirror never awaits and makes no calls: the follower applies changes, scrapes copy.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::unit::Unit;
use super::unit::name::UnitKind;
use super::unit::template::template_of;
use super::unit::value::InternedStr;
use crate::clock;
use crate::unit_filter::Selection;

/// The units by name, the jobs by id.
#[derive(Debug)]
pub struct Mirror {
    units: BTreeMap<Arc<str>, Arc<Unit>>,
    /// The primary names of units by their other names.
    primary: HashMap<Arc<str>, Arc<str>>,
    /// How many of them are instances, of any template.
    instances: usize,
    jobs: BTreeMap<u32, Job>,
    /// How many jobs each unit has.
    jobs_of: HashMap<Arc<str>, usize>,
    /// The last job of a unit that ended, of the last minute.
    ended_jobs: HashMap<Arc<str>, EndedJob>,
    /// Since when all jobs have been seen: when they were listed.
    jobs_since: Option<SystemTime>,
    selection: Selection,
    max_units: usize,
    /// Of them, places for services, sockets and timers only.
    reserved: usize,
    /// Whether a unit beyond the limit was not added.
    is_full: bool,
}

/// A queued or running job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The unit it is for.
    pub unit: Arc<str>,
    /// When it was first seen.
    pub since: SystemTime,
}

/// A job that has ended.
#[derive(Clone, Copy, Debug)]
struct EndedJob {
    /// When it was first seen.
    since: SystemTime,
    /// When its end was seen.
    ended: SystemTime,
}

/// One row of PID 1's list of units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUnit {
    /// The primary name.
    pub name: String,
    /// `LoadState`
    pub load_state: InternedStr,
    /// `ActiveState`
    pub active_state: InternedStr,
    /// `SubState`
    pub sub_state: InternedStr,
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
    /// An empty mirror.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self {
            units: BTreeMap::new(),
            primary: HashMap::new(),
            instances: 0,
            jobs: BTreeMap::new(),
            jobs_of: HashMap::new(),
            ended_jobs: HashMap::new(),
            jobs_since: None,
            selection,
            max_units: usize::MAX,
            reserved: 0,
            is_full: false,
        }
    }

    /// Adds no units beyond this number: their memory is limited. `reserved` of the places are for
    /// services, sockets and timers only.
    #[must_use]
    pub fn with_limit(self, max_units: usize, reserved: usize) -> Self {
        Self { max_units, reserved, ..self }
    }

    /// The limit, if units were not added because of it.
    #[must_use]
    pub fn exceeded_limit(&self) -> Option<usize> {
        self.is_full.then_some(self.max_units)
    }

    /// Whether a unit may be added.
    fn has_room(&mut self, kind: UnitKind) -> bool {
        let reserved = if kind.is_urgent() { 0 } else { self.reserved };
        let has_room = self.units.len() < self.max_units.saturating_sub(reserved);
        self.is_full |= !has_room;
        has_room
    }

    /// The unit of that primary name, under which PID 1 lists it and sends its signals.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&Arc<Unit>> {
        self.units.get(name)
    }

    /// The unit that has this name, primary or not.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Unit>> {
        let unit = self.unit(name);
        // a name that was once referred to without a file may be an alias now
        let named = || self.unit(self.primary.get(name)?);
        unit.filter(|unit| !unit.is_absent()).or_else(named).or(unit)
    }

    /// Which units are exported.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Every unit, in the order of their names.
    pub fn units(&self) -> impl ExactSizeIterator<Item = &Arc<Unit>> {
        self.units.values()
    }

    /// Every unit, the first to be exported first where series are limited: by name, but instances
    /// of a template with more than `MANY_INSTANCES` last. A user who can start instances at will
    /// displaces no other unit.
    pub fn units_by_priority(&self) -> impl Iterator<Item = &Arc<Unit>> {
        let mut instances: HashMap<_, usize> = HashMap::new();
        // with fewer instances in total, no template has that many
        let all = (self.instances > MANY_INSTANCES).then(|| self.units());
        for template in all.into_iter().flatten().filter_map(|unit| template_of(&unit.name)) {
            *instances.entry(template).or_default() += 1;
        }
        instances.retain(|_, count| *count > MANY_INSTANCES);
        let is_one_of_many = |unit: &&Arc<Unit>| {
            !instances.is_empty()
                && template_of(&unit.name).is_some_and(|of| instances.contains_key(&of))
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

    /// Adds a unit that PID 1 has just loaded; `None` if the mirror has the unit already, or if the
    /// suffix of the name is no unit type.
    pub fn load(&mut self, name: &str) -> Option<Arc<Unit>> {
        let kind = UnitKind::of(name)?;
        if self.units.contains_key(name) || !self.has_room(kind) {
            return None;
        }
        let name: Arc<str> = name.into();
        let selected = self.selection.includes(&name);
        Some(self.insert(Unit::fresh(name, kind, selected)))
    }

    /// Whether a unit of that name is exported.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        self.selection.includes(name)
    }

    /// Whether the unit that has this name is exported, or would be if it were loaded.
    #[must_use]
    pub fn exports(&self, name: &str) -> bool {
        self.unit(name).map_or_else(|| self.selects(name), |unit| unit.selected)
    }

    /// Adds a unit as it was before the exporter was restarted, if it is exported.
    pub fn restore(&mut self, mut unit: Arc<Unit>) {
        let is_new = self.selects(&unit.name) && !self.units.contains_key(&unit.name);
        if is_new && self.has_room(unit.kind) {
            Arc::make_mut(&mut unit).selected = true;
            self.insert(Arc::unwrap_or_clone(unit));
        }
    }

    fn insert(&mut self, mut unit: Unit) -> Arc<Unit> {
        unit.group = self.group(&unit.name);
        let unit = Arc::new(unit);
        self.instances += usize::from(template_of(&unit.name).is_some());
        self.units.insert(unit.name.clone(), unit.clone());
        // a list may have the instances of a socket unit before the unit itself
        if let Some(stem) = unit.name.strip_suffix(".socket") {
            let from: Arc<str> = format!("{stem}@").into();
            let instances = self.units_from(Bound::Included(from.clone()));
            let instances = instances.take_while(|unit| unit.name.starts_with(&*from));
            let names: Vec<_> = instances.map(|unit| unit.name.clone()).collect();
            for name in names {
                let group = self.group(&name);
                self.change(&name, |unit| unit.group = group);
            }
        }
        unit
    }

    /// The name under which the unit is summed; `None` if it is exported by itself.
    pub(super) fn group(&self, name: &str) -> Option<Arc<str>> {
        self.selection.group(name, |name| self.units.contains_key(name))
    }

    /// Applies one row of the list of units. `None` if it changes nothing.
    pub fn list(&mut self, listed: &ListedUnit) -> Option<Change> {
        let kind = UnitKind::of(&listed.name)?;
        if !self.units.contains_key(listed.name.as_str()) {
            if !self.has_room(kind) {
                return None;
            }
            let name: Arc<str> = listed.name.as_str().into();
            let selected = self.selection.includes(&name);
            self.insert(Unit::new(name, kind, selected));
        }
        self.change(&listed.name, |unit| {
            let states = (&unit.active_state, &unit.sub_state);
            if states != (&Some(listed.active_state.clone()), &Some(listed.sub_state.clone())) {
                // signals were missed: the time is that of an earlier change
                unit.state_change = None;
            }
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

    /// Changes a unit; `None` if there is none of that name. If no value differs, the `Arc` stays
    /// the same: the lines rendered from it are cached.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut Unit)) -> Option<Change> {
        let unit = self.units.get_mut(name)?;
        let (before, mut after) = (unit.clone(), unit.clone());
        change(Arc::make_mut(&mut after));
        if after.aliases != before.aliases {
            before.aliases.iter().for_each(|alias| drop(self.primary.remove(alias)));
            let aliases = after.aliases.iter().map(|alias| (alias.clone(), after.name.clone()));
            self.primary.extend(aliases);
            let names: Vec<_> = after.names().collect();
            let selected = self.selection.includes_any(&names);
            Arc::make_mut(&mut after).selected = selected;
        }
        if after != before {
            *unit = after;
        }
        Some(Change { before, after: unit.clone() })
    }

    /// Removes a unit that PID 1 has unloaded.
    pub fn unload(&mut self, name: &str) -> Option<Arc<Unit>> {
        let unit = self.units.remove(name)?;
        self.is_full = false;
        for alias in &unit.aliases {
            if self.primary.get(alias) == Some(&unit.name) {
                self.primary.remove(alias);
            }
        }
        self.instances -= usize::from(template_of(&unit.name).is_some());
        Some(unit)
    }

    /// Whether a job for the unit is queued or runs.
    #[must_use]
    pub fn has_job(&self, unit: &str) -> bool {
        self.jobs_of.contains_key(unit)
    }

    /// Whether all jobs of now are known.
    #[must_use]
    pub fn knows_jobs(&self) -> bool {
        self.jobs_since.is_some()
    }

    /// Whether the unit had a job at this time or later, given that it last became active at `active`;
    /// `None` if jobs were not seen then. A job that was seen before the unit became active is the one
    /// that started it, and ended then: its signals may be read late.
    #[must_use]
    pub fn had_job(&self, unit: &str, at: SystemTime, active: SystemTime) -> Option<bool> {
        let is_known = self.jobs_since.is_some_and(|since| since <= at);
        let had = |job: &EndedJob| job.ended >= at && (active > at || job.since > active);
        let ended = self.ended_jobs.get(unit).is_some_and(had);
        is_known.then_some(ended || self.has_job(unit))
    }

    /// Notes that the signals of jobs were not received until now: they are known once listed.
    pub fn forget_jobs(&mut self) {
        self.jobs_since = None;
    }

    /// Adds a job.
    pub fn job_new(&mut self, id: u32, unit: &str, since: SystemTime) {
        if self.jobs.len() < MAX_JOBS && !self.jobs.contains_key(&id) {
            let unit: Arc<str> = unit.into();
            *self.jobs_of.entry(unit.clone()).or_default() += 1;
            self.jobs.insert(id, Job { unit, since });
        }
    }

    /// Removes a job that has ended.
    pub fn job_removed(&mut self, id: u32) {
        let Some(Job { unit, since }) = self.jobs.remove(&id) else { return };
        if let Some(count) = self.jobs_of.get_mut(&unit) {
            *count -= 1;
            if *count == 0 {
                self.jobs_of.remove(&unit);
            }
        }
        let now = clock::wall();
        if self.ended_jobs.len() >= MAX_ENDED_JOBS {
            let age = |job: &EndedJob| now.duration_since(job.ended);
            self.ended_jobs.retain(|_, job| age(job).is_ok_and(|age| age < JOB_AGE));
        }
        if self.ended_jobs.len() < MAX_JOBS {
            self.ended_jobs.insert(unit, EndedJob { since, ended: now });
        }
    }

    /// Removes the jobs that are not listed, and adds those that the mirror lacks.
    pub fn jobs_listed(&mut self, listed: &[(u32, String)], now: SystemTime) {
        let is_listed = |id: &u32| listed.iter().any(|(listed, _)| listed == id);
        let ended: Vec<_> = self.jobs.keys().copied().filter(|id| !is_listed(id)).collect();
        ended.into_iter().for_each(|id| self.job_removed(id));
        for (id, unit) in listed {
            self.job_new(*id, unit, now);
        }
        self.jobs_since.get_or_insert(now);
    }
}

/// PID 1 allows 128 Ki jobs; more than this many are ignored.
const MAX_JOBS: usize = 16_384;

/// Ended jobs are forgotten once there are this many.
const MAX_ENDED_JOBS: usize = 256;

/// A change of a unit is read within this time after its job, also on a busy host.
const JOB_AGE: Duration = Duration::from_secs(60);

/// A template with more instances has one per connection, user or job of a queue.
const MANY_INSTANCES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::unit::value::intern;

    #[test]
    fn list_returns_changes_only() {
        let mut mirror = Mirror::new(Selection::default());
        let listed = |load: &str, active: &str, sub: &str| {
            let (load_state, active_state, sub_state) = (intern(load), intern(active), intern(sub));
            ListedUnit { name: "a.service".into(), load_state, active_state, sub_state }
        };
        assert!(
            mirror.list(&ListedUnit { name: "a.nothing".into(), ..listed("", "", "") }).is_none()
        );
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
            assert!(mirror.list(state).is_none(), "no change");
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
    fn units_beyond_the_limit_are_not_added() {
        let mut mirror = Mirror::new(Selection::default()).with_limit(2, 0);
        assert!(mirror.load("a.service").is_some() && mirror.load("b.service").is_some());
        assert_eq!(mirror.exceeded_limit(), None);
        let (load_state, active_state, sub_state) = ("loaded".into(), "active".into(), "".into());
        let name = "c.service".to_owned();
        assert!(
            mirror.list(&ListedUnit { name, load_state, active_state, sub_state }).is_none()
                && mirror.load("d.service").is_none()
        );
        assert_eq!((mirror.units().len(), mirror.exceeded_limit()), (2, Some(2)));
        mirror.unload("a.service");
        assert!(mirror.load("c.service").is_some() && mirror.exceeded_limit().is_none());
    }

    #[test]
    fn reserved_places_are_for_services_sockets_and_timers() {
        let mut mirror = Mirror::new(Selection::default()).with_limit(4, 3);
        assert!(mirror.load("a.target").is_some() && mirror.load("b.target").is_none());
        assert_eq!(mirror.exceeded_limit(), Some(4));
        for name in ["a.service", "b.socket", "c.timer"] {
            assert!(mirror.load(name).is_some(), "{name}");
        }
        assert!(mirror.load("d.service").is_none());
    }

    #[test]
    fn unchanged_unit_keeps_its_arc() {
        let mut mirror = Mirror::new(Selection::default());
        let first = mirror.load("a.service").unwrap();
        let mut failed = || {
            let change =
                mirror.change("a.service", |unit| unit.active_state = Some(intern("failed")));
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
    fn instances_of_large_templates_come_last() {
        let mut mirror = Mirror::new(Selection::default());
        let instances = |name: &str, count: usize| {
            (0..count).map(|number| format!("{name}@{number:03}.service")).collect::<Vec<_>>()
        };
        let (most, more) = (instances("b", MANY_INSTANCES), instances("a", MANY_INSTANCES + 1));
        let one = ["c.service".to_owned()];
        for name in more.iter().chain(&most).chain(&one) {
            mirror.load(name);
        }
        let ranked: Vec<_> = mirror.units_by_priority().map(|unit| unit.name.to_string()).collect();
        assert_eq!(ranked, [most, one.to_vec(), more].concat());
    }

    #[test]
    fn jobs_keep_the_time_they_were_first_seen() {
        let mut mirror = Mirror::new(Selection::default());
        let first = SystemTime::now();
        let later = first + std::time::Duration::from_secs(1);
        mirror.job_new(1, "a.service", first);
        mirror.job_new(1, "b.service", later);
        mirror.job_new(2, "b.service", first);
        mirror.jobs_listed(&[(1, "a.service".into()), (3, "c.service".into())], later);
        let jobs: Vec<_> = mirror.jobs().map(|job| (&*job.unit, job.since)).collect();
        assert_eq!(jobs, [("a.service", first), ("c.service", later)]);
        assert!(mirror.has_job("a.service") && !mirror.has_job("b.service"));
        mirror.job_new(4, "a.service", later);
        mirror.job_removed(4);
        assert!(mirror.has_job("a.service"), "the other job");
        mirror.job_removed(3);
        mirror.job_removed(3);
        assert!(!mirror.has_job("c.service"));
        let long_ago = SystemTime::UNIX_EPOCH;
        assert_eq!(mirror.had_job("c.service", first, long_ago), None, "not listed yet");
        mirror.forget_jobs();
        assert!(!mirror.knows_jobs());
        mirror.jobs_listed(&[(1, "a.service".into())], first);
        assert!(mirror.knows_jobs());
        let had = |name, at| mirror.had_job(name, at, long_ago);
        assert_eq!(had("c.service", first), Some(true));
        assert_eq!(
            had("c.service", SystemTime::now() + later.duration_since(first).unwrap()),
            Some(false)
        );
        assert_eq!((had("a.service", later), had("d.service", first)), (Some(true), Some(false)));
        mirror.job_new(5, "e.service", first);
        mirror.job_removed(5);
        let had_when_active = |active| mirror.had_job("e.service", first, active);
        assert_eq!(had_when_active(first), Some(false), "the job started the unit, and ended then");
        assert_eq!(had_when_active(long_ago), Some(true));
        assert_eq!(mirror.jobs().len(), 1);
        for id in 0..u32::try_from(MAX_JOBS).unwrap() + 1 {
            mirror.job_new(id, "a.service", first);
        }
        assert_eq!(mirror.jobs().len(), MAX_JOBS);
    }
}
