//! What one scrape knows of the host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::source::own::Own;
use crate::source::pid1::Pid1;
use crate::source::security_assessment::Exposures;
use crate::source::{cgroup, dbus_daemons, journal, process, sockets};
use crate::systemd::ledger::{Account, Host};
use crate::systemd::manager::Manager;
use crate::systemd::state::{State, Status};
use crate::systemd::unit::Unit;
use crate::systemd::unit::dependencies::{Looked, Relation};
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::value::Word;

/// Plain data, one field per source. A source that failed leaves its field empty, so its
/// metrics are absent rather than zero.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Units, jobs and the manager, once the mirror has been filled.
    pub systemd: Option<Systemd>,
    /// How following systemd goes.
    pub status: Status,
    /// How long ago systemd was last heard; `None` if it never was.
    pub silence: Option<Duration>,
    /// The units that must be there, and whether each is missing.
    pub expected: Vec<(Arc<str>, bool)>,
    /// What each unit uses.
    pub cgroups: Option<cgroup::Readings>,
    /// Each unit's processes.
    pub processes: Option<process::Readings>,
    /// PID 1 as a process.
    pub pid1: Option<Pid1>,
    /// The exporter as a process.
    pub own: Option<Own>,
    /// What the exporter counts of its own work.
    pub exporter: Exporter,
    /// What has been logged since the exporter started.
    pub journal: Option<journal::Reading>,
    /// Who listens; `None` if it was not asked or did not answer.
    pub listeners: Option<sockets::Reading>,
    /// What other daemons say.
    pub daemons: Daemons,
    /// What is known of the managers of users.
    pub users: Vec<User>,
    /// How reading each collector's source went.
    pub attempts: Vec<Attempt>,
}

/// What is known of one user's manager.
#[derive(Debug)]
pub struct User {
    /// The user's name.
    pub name: Arc<str>,
    /// Its manager, its units and what they use; nothing else.
    pub snapshot: Snapshot,
}

/// A copy of mirror and ledger, as far as it is exported.
#[derive(Debug, Default)]
pub struct Systemd {
    /// The selected units, by name.
    pub units: Vec<Arc<Unit>>,
    /// How many units there are, selected or not, by kind and ActiveState.
    pub counts: BTreeMap<(Kind, Word), u64>,
    /// How many units there are, selected or not, by LoadState.
    pub load_states: BTreeMap<Word, u64>,
    /// The accounts of the selected units and of those unloaded lately, by name.
    pub accounts: Vec<(Arc<str>, Arc<Account>)>,
    /// Of the selected services, by name, how many units that they depend on are not there.
    pub unmet: Vec<(Arc<str>, Relation, u64)>,
    /// What is counted for the host as a whole.
    pub host: Host,
    /// PID 1 itself.
    pub manager: Manager,
    /// How long the slowest units took to start at boot.
    pub blame: Vec<(Arc<str>, Duration)>,
    /// Queued and running jobs.
    pub jobs: usize,
    /// How long the oldest job has been there; `None` without any.
    pub oldest_job: Option<Duration>,
    /// How far the wall clock is ahead of the monotonic one.
    pub boot_offset: Duration,
}

/// What other daemons on the system bus say; `None` for one that was not asked or did not answer.
#[derive(Debug, Default)]
pub struct Daemons {
    /// The D-Bus daemon.
    pub bus: Option<dbus_daemons::bus::Statistics>,
    /// systemd-logind.
    pub logins: Option<dbus_daemons::logind::Logins>,
    /// systemd-machined.
    pub machines: Option<dbus_daemons::machined::Machines>,
    /// systemd-networkd.
    pub network: Option<dbus_daemons::networkd::Network>,
    /// systemd-resolved.
    pub resolved: Option<dbus_daemons::resolved::Statistics>,
    /// systemd-analyze, which is no daemon: how exposed services are, selected or not.
    pub exposures: Option<Exposures>,
}

/// What the exporter counts of its own work.
#[derive(Clone, Debug, Default)]
pub struct Exporter {
    /// HTTP answers by status code.
    pub requests: BTreeMap<String, u64>,
    /// How long scrapes took.
    pub scrapes: Histogram,
    /// Lines of the log that nobody took.
    pub lines_dropped: u64,
}

/// A histogram as it is exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound and count of each bucket, not cumulative, the last bound infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all values.
    pub sum: f64,
}

/// How one collector went in one scrape.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its name, as in `--collector.NAME`.
    pub collector: &'static str,
    /// Why it gave nothing; `None` if it answered.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// When it last answered; `None` if it never did.
    pub last_success: Option<SystemTime>,
    /// How often it panicked since the exporter started: each a fault of the exporter.
    pub panics: u64,
}

impl Systemd {
    /// Copies what is exported. `not_found` takes in units that have no file and do nothing.
    #[must_use]
    pub fn copy(state: &State, not_found: bool) -> Self {
        let mut counts: BTreeMap<(Kind, Word), u64> = BTreeMap::new();
        let mut load_states: BTreeMap<Word, u64> = BTreeMap::new();
        let mut looked = Looked::new(&state.mirror);
        let mut unmet = Vec::new();
        let mut units = Vec::with_capacity(state.mirror.units().len());
        for unit in state.mirror.units_by_rank() {
            let Some(active) = &unit.active_state else { continue };
            *counts.entry((unit.kind, active.clone())).or_default() += 1;
            if let Some(load) = &unit.load_state {
                *load_states.entry(load.clone()).or_default() += 1;
            }
            if unit.selected && (not_found || !unit.is_absent()) {
                units.push(unit.clone());
                if let Some(service) = unit.service() {
                    let counts = service.dependencies.unmet(&mut looked);
                    unmet.extend(
                        counts.map(|(relation, count)| (unit.name.clone(), relation, count)),
                    );
                }
            }
        }
        let accounts = state.ledger.accounts();
        Self {
            units,
            counts,
            load_states,
            unmet,
            accounts: accounts.map(|(name, account)| (name.clone(), account.clone())).collect(),
            host: state.ledger.host().clone(),
            manager: state.manager.clone(),
            blame: state.blame.clone().unwrap_or_default(),
            jobs: state.mirror.jobs().len(),
            oldest_job: state.mirror.jobs().map(|job| job.since.elapsed()).max(),
            boot_offset: boot_offset(),
        }
    }
}

fn boot_offset() -> Duration {
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since_boot = Duration::new(
        u64::try_from(monotonic.tv_sec).unwrap_or_default(),
        u32::try_from(monotonic.tv_nsec).unwrap_or_default(),
    );
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(since_boot)
}
