//! PID 1 of the model: its units, jobs and queues. Each function names the one of systemd that it
//! follows; src/core/service.c is in `service`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zbus::message::Message;

use super::bus;
use super::history::{History, Version};
use super::journal::{Journal, Record};
use super::service::{Service, Started, Sub, Truth, UnitFile};

/// A time on both clocks, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dual {
    pub(super) wall: u64,
    pub(super) monotonic: u64,
}

/// The type of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobKind {
    Start,
    Stop,
    Restart,
}

/// An installed job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) unit: usize,
    pub(super) kind: JobKind,
    is_running: bool,
    is_announced: bool,
}

/// PID 1, of one boot.
pub(super) struct Pid1 {
    pub(super) version: Version,
    /// Microseconds since boot.
    pub(super) now: u64,
    /// Microseconds since the epoch at boot.
    pub(super) boot: u64,
    pub(super) files: Vec<UnitFile>,
    /// The loaded units.
    pub(super) units: Vec<Option<Service>>,
    pub(super) truth: Vec<Truth>,
    pub(super) conditions: Vec<bool>,
    pub(super) spawn_fails: Vec<bool>,
    pub(super) jobs: BTreeMap<u32, Job>,
    run_queue: BTreeSet<u32>,
    changed_units: VecDeque<usize>,
    changed_jobs: VecDeque<u32>,
    /// Whether the queue to the bus is full.
    pub(super) is_throttled: bool,
    /// Whether a bus delivers its messages.
    pub(super) is_on_bus: bool,
    pub(super) is_subscribed: bool,
    /// Messages to the exporter.
    pub(super) sent: VecDeque<Message>,
    /// When the units were last loaded.
    pub(super) units_loaded: Dual,
    pub(super) journal: Journal,
    /// Reloads so far.
    pub(super) reloads: u64,
    last_job: u32,
    last_pid: u32,
    last_invocation: u64,
}

impl Pid1 {
    /// A host that has just booted; `number` distinguishes its runs from those of other boots.
    pub(super) fn boot(history: &History, boot: u64, number: u64) -> Self {
        let files = history.units.clone();
        let count = files.len();
        let mut pid1 = Self {
            version: history.version,
            now: 5_000_000,
            boot,
            files,
            units: vec![None; count],
            truth: vec![Truth::default(); count],
            conditions: vec![true; count],
            spawn_fails: vec![false; count],
            jobs: BTreeMap::new(),
            run_queue: BTreeSet::new(),
            changed_units: VecDeque::new(),
            changed_jobs: VecDeque::new(),
            is_throttled: false,
            is_on_bus: true,
            is_subscribed: false,
            sent: VecDeque::new(),
            units_loaded: Dual::default(),
            journal: Journal::default(),
            reloads: 0,
            last_job: 0,
            last_pid: 100,
            last_invocation: number << 32,
        };
        pid1.units_loaded = pid1.now();
        for unit in 0..count {
            if pid1.files[unit].is_kept {
                pid1.load(unit);
            }
        }
        pid1
    }

    pub(super) fn now(&self) -> Dual {
        Dual { wall: self.boot + self.now, monotonic: self.now }
    }

    pub(super) fn next_pid(&mut self) -> u32 {
        self.last_pid += 1;
        self.last_pid
    }

    /// unit_acquire_invocation_id()
    pub(super) fn next_invocation(&mut self) -> u64 {
        self.last_invocation += 1;
        self.last_invocation
    }

    /// A loaded unit.
    pub(super) fn service(&mut self, unit: usize) -> &mut Service {
        self.units[unit].as_mut().expect("a loaded unit")
    }

    /// manager_load_unit()
    pub(super) fn load(&mut self, unit: usize) {
        if self.units[unit].is_none() {
            self.units[unit] = Some(Service::new(self.files[unit].commands()));
            self.truth[unit].ended_with_job = None;
            self.queue(unit);
        }
    }

    pub(super) fn job_kind(&self, unit: usize) -> Option<JobKind> {
        let job = self.units[unit].as_ref()?.job?;
        Some(self.jobs[&job].kind)
    }

    pub(super) fn log(&mut self, record: Record) {
        self.journal.log(self.now, record);
    }

    /// unit_add_to_dbus_queue()
    pub(super) fn queue(&mut self, unit: usize) {
        let service = self.service(unit);
        if !std::mem::replace(&mut service.is_queued, true) {
            self.changed_units.push_back(unit);
        }
    }

    /// manager_add_job() for one unit, with the mode replace, and job_install().
    pub(super) fn add_job(&mut self, unit: usize, kind: JobKind) {
        self.load(unit);
        if let Some(id) = self.service(unit).job {
            let job = self.jobs.get_mut(&id).expect("an installed job");
            let is_conflict = (job.kind == JobKind::Stop) != (kind == JobKind::Stop);
            if !is_conflict {
                // job_merge_into_installed(): a restart covers a start
                let is_covered = job.kind == kind || job.kind == JobKind::Restart;
                if !is_covered {
                    job.kind = kind;
                    job.is_running = false;
                }
                self.run_queue.insert(id);
                return;
            }
            self.end_job(id, "canceled");
            self.load(unit);
        }
        self.last_job += 1;
        let id = self.last_job;
        self.jobs.insert(id, Job { unit, kind, is_running: false, is_announced: false });
        self.service(unit).job = Some(id);
        self.run_queue.insert(id);
        self.changed_jobs.push_back(id);
        self.queue(unit);
    }

    /// manager_dispatch_run_queue() and job_run_and_invalidate().
    pub(super) fn run_jobs(&mut self) {
        if self.run_queue.is_empty() {
            return;
        }
        while let Some(id) = self.run_queue.pop_first() {
            let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.is_running) else { continue };
            job.is_running = true;
            let Job { unit, kind, .. } = *job;
            let outcome = match kind {
                JobKind::Start => self.start(unit),
                JobKind::Stop | JobKind::Restart => self.stop(unit),
            };
            match outcome {
                Started::Ended(result) if self.jobs.contains_key(&id) => self.end_job(id, result),
                Started::Waits => {
                    if let Some(job) = self.jobs.get_mut(&id) {
                        job.is_running = false;
                    }
                }
                Started::Ended(_) | Started::Runs => {}
            }
        }
        self.end_dispatch();
    }

    /// unit_process_job()
    pub(super) fn process_job(&mut self, unit: usize, sub: Sub) {
        let Some(id) = self.service(unit).job else { return };
        let job = self.jobs[&id];
        if !job.is_running {
            self.run_queue.insert(id);
        }
        let active = sub.active();
        let result = match job.kind {
            JobKind::Start if active == "active" => Some("done"),
            JobKind::Start if job.is_running && sub.is_inactive() => {
                Some(if active == "failed" { "failed" } else { "done" })
            }
            JobKind::Start => None,
            JobKind::Stop | JobKind::Restart if sub.is_inactive() => Some("done"),
            JobKind::Stop | JobKind::Restart => {
                (job.is_running && active != "deactivating").then_some("failed")
            }
        };
        if let Some(result) = result {
            self.end_job(id, result);
        }
    }

    /// job_finish_and_invalidate(), job_uninstall() and bus_job_send_removed_signal().
    fn end_job(&mut self, id: u32, result: &'static str) {
        let job = self.jobs.get_mut(&id).expect("an installed job");
        if job.kind == JobKind::Restart && result == "done" {
            (job.kind, job.is_running) = (JobKind::Start, false);
            self.run_queue.insert(id);
            return;
        }
        let unit = job.unit;
        self.announce_job(id);
        self.send_change(unit);
        let name = self.files[unit].name;
        self.send(|| bus::job_removed(id, name, result));
        if !["done", "canceled", "skipped"].contains(&result) {
            *self.truth[unit].job_failures.entry(result).or_default() += 1;
        }
        self.jobs.remove(&id);
        self.run_queue.remove(&id);
        self.service(unit).job = None;
        self.queue(unit);
    }

    /// bus_job_send_change_signal()
    fn announce_job(&mut self, id: u32) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !std::mem::replace(&mut job.is_announced, true) {
            let name = self.files[job.unit].name;
            self.send(|| bus::job_new(id, name));
        }
    }

    /// bus_unit_send_pending_change_signal(): the first signal of a unit is UnitNew, without values.
    fn send_change(&mut self, unit: usize) {
        let Some(service) = self.units[unit].as_mut().filter(|service| service.is_queued) else {
            return;
        };
        service.is_queued = false;
        let is_new = !std::mem::replace(&mut service.is_announced, true);
        self.changed_units.retain(|changed| *changed != unit);
        if !(self.is_on_bus && self.is_subscribed) {
            return;
        }
        let name = self.files[unit].name;
        if is_new {
            self.sent.push_back(bus::unit_new(name));
        } else if let Some(service) = &self.units[unit] {
            self.sent.extend(bus::properties_changed(name, service));
        }
    }

    fn send(&mut self, message: impl FnOnce() -> Message) {
        if self.is_on_bus && self.is_subscribed {
            self.sent.push_back(message());
        }
    }

    /// The end of a turn of manager_loop(): PID 1 collects units, then sends signals.
    pub(super) fn end_dispatch(&mut self) {
        for unit in 0..self.files.len() {
            // unit_may_gc(), unit_free() and bus_unit_send_removed_signal()
            let may_gc = |service: &Service| service.sub == Sub::Dead && service.job.is_none();
            if !self.files[unit].is_kept && self.units[unit].as_ref().is_some_and(may_gc) {
                self.send_removal(unit);
                self.changed_units.retain(|changed| *changed != unit);
                self.units[unit] = None;
            }
        }
        if !self.is_throttled {
            self.dispatch_bus_queue();
        }
    }

    /// manager_dispatch_dbus_queue()
    fn dispatch_bus_queue(&mut self) {
        while let Some(unit) = self.changed_units.front().copied() {
            self.send_change(unit);
        }
        while let Some(id) = self.changed_jobs.pop_front() {
            self.announce_job(id);
        }
    }

    fn send_removal(&mut self, unit: usize) {
        if self.units[unit].as_ref().is_some_and(|service| !service.is_announced) {
            self.queue(unit);
        }
        self.send_change(unit);
        let name = self.files[unit].name;
        self.send(|| bus::unit_removed(name));
    }

    /// manager_reload(); `late` if UnitNew follows the end of the reload, as after a re-execution.
    pub(super) fn reload(&mut self, late: bool) {
        self.send(|| bus::reloading(true));
        let loaded: Vec<_> = (0..self.files.len()).filter(|at| self.units[*at].is_some()).collect();
        for unit in &loaded {
            self.send_removal(*unit);
        }
        self.reloads += 1;
        self.now += 1000;
        self.units_loaded = self.now();
        for unit in &loaded {
            let service = self.service(*unit);
            (service.is_announced, service.is_queued) = (false, false);
            self.coldplug(*unit);
            self.queue(*unit);
        }
        if !late {
            self.dispatch_bus_queue();
        }
        self.send(|| bus::reloading(false));
        if !late {
            self.end_dispatch();
        }
    }

    /// When a timer of PID 1 elapses or a process exits next.
    pub(super) fn next_event(&self) -> Option<u64> {
        let units = self.units.iter().flatten();
        units
            .flat_map(|service| [service.restart_due, service.dies.map(|(at, _)| at)])
            .flatten()
            .min()
    }

    /// The next of these events that is due, with its jobs.
    pub(super) fn run_event(&mut self) -> bool {
        let now = self.now;
        for unit in 0..self.files.len() {
            let Some(service) = &self.units[unit] else { continue };
            if let Some((_, exit)) = service.dies.filter(|(at, _)| *at <= now) {
                self.exited(unit, exit);
            } else if service.restart_due.is_some_and(|at| at <= now) {
                self.enter_restart(unit);
            } else {
                continue;
            }
            self.end_dispatch();
            return true;
        }
        false
    }
}
