//! One scrape: all sources are read in parallel, under the same deadline.

mod attempt;
pub mod blocking_source;
mod cgroups_and_processes;
mod dbus_daemons;
pub mod expected;
mod group_sums;
pub(crate) mod journal;
mod journal_changes;
mod restart_due;
mod sockets;
pub(crate) mod state_saver;
mod summary;
#[cfg(test)]
mod tests;
pub mod user_managers;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;
use tracing::warn;

use crate::http_counts::HttpCounts;
use crate::scrape::attempt::{CollectorsHealth, Read, take};
use crate::scrape::blocking_source::BlockingSource;
use crate::scrape::expected::{CurrentExpected, Expected};
use crate::scrape::group_sums::{GroupSums, Groups};
use crate::scrape::journal::JournalFollower;
use crate::scrape::restart_due::RestartChecks;
use crate::scrape::state_saver::StateSaver;
use crate::scrape::user_managers::follow::UserManagers;
use crate::single_flight::SingleFlight;
use crate::snapshot::{ExporterStats, Histogram, Snapshot};
use crate::source::Error;
use crate::source::cgroup::{self, Cgroups};
use crate::source::dbus_daemons::DaemonClient;
use crate::source::journal::{Journal, JournalOptions};
use crate::source::process::{Processes, usage};
use crate::source::security_assessment::Security;
use crate::source::sockets::{Listeners, SocketOptions};
use crate::state_file::StateFile;
use crate::systemd::ledger::Event;
use crate::systemd::snapshot::SystemdSnapshot;
use crate::systemd::state::{Shared, State};

/// The sources to read, and their paths.
#[derive(Clone, Debug)]
pub struct ScrapeConfig {
    /// `/proc`, or a fixture of it.
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`, or a fixture of it.
    pub cgroup: PathBuf,
    /// Units, instances and listeners that must exist.
    pub expected: Expected,
    /// Whether units without a unit file that are inactive are exported.
    pub not_found: bool,
    /// Which listeners to read.
    pub listeners: SocketOptions,
    /// The address of the bus of other daemons.
    pub dbus_address: String,
    /// Where the journal is.
    pub journal: JournalOptions,
    /// Whether the journal is followed.
    pub has_journal: bool,
    /// The file in which the state survives a restart.
    pub state_file: Option<Arc<StateFile>>,
    /// The service managers of users.
    pub users: UserManagers,
}

/// Reads the host for each scrape, and records the health of collectors.
#[derive(Debug)]
pub struct Scraper {
    shared: Shared,
    config: ScrapeConfig,
    expected: CurrentExpected,
    journal: BlockingSource<Journal>,
    saver: Option<Arc<StateSaver>>,
    listeners: BlockingSource<Listeners>,
    daemons: Arc<DaemonClient>,
    security: Arc<Security>,
    collectors: CollectorsHealth,
    cgroups: BlockingSource<Cgroups>,
    processes: BlockingSource<Processes>,
    // no state: only one read at a time, so that reads that hang block one thread, not one per scrape
    pid1: BlockingSource<()>,
    own: BlockingSource<()>,
    user_cgroups: BlockingSource<Cgroups>,
    user_processes: BlockingSource<Processes>,
    flights: SingleFlight<Vec<&'static str>, Arc<Snapshot>>,
    group_sums: Mutex<GroupSums>,
    restart_checks: RestartChecks,
    /// Whether the log has the warning that no unit is selected.
    nothing_selected: AtomicBool,
    durations: Mutex<Histogram>,
    truncated: Mutex<TruncationTotals>,
    requests: Arc<HttpCounts>,
    started: SystemTime,
}

/// Skipped units, processes and listeners and failed reads, summed since the exporter started.
#[derive(Clone, Debug, Default)]
struct TruncationTotals {
    units: BTreeMap<&'static str, u64>,
    failed_reads: BTreeMap<&'static str, u64>,
    processes: u64,
    listeners: u64,
}

impl Scraper {
    /// A scraper of the host whose systemd is mirrored in `shared`, and whose answers are counted
    /// in `requests`.
    #[must_use]
    pub fn new(shared: Shared, config: ScrapeConfig, requests: Arc<HttpCounts>) -> Self {
        let buckets = BUCKETS.into_iter().map(|bound| (bound, 0)).collect();
        let saver = config
            .state_file
            .clone()
            .map(|file| StateSaver::new(file, shared.clone(), config.journal.start.saved()));
        Self {
            restart_checks: RestartChecks::new(shared.clone(), config.proc.clone()),
            shared,
            saver,
            security: Arc::default(),
            daemons: Arc::new(DaemonClient::new(config.dbus_address.clone())),
            expected: CurrentExpected::new(config.expected.clone()),
            config,
            journal: BlockingSource::default(),
            listeners: BlockingSource::default(),
            collectors: CollectorsHealth::default(),
            cgroups: BlockingSource::default(),
            processes: BlockingSource::default(),
            pid1: BlockingSource::default(),
            own: BlockingSource::default(),
            user_cgroups: BlockingSource::default(),
            user_processes: BlockingSource::default(),
            flights: SingleFlight::default(),
            group_sums: Mutex::default(),
            nothing_selected: AtomicBool::new(false),
            durations: Mutex::new(Histogram { buckets, sum: 0.0 }),
            truncated: Mutex::default(),
            requests,
            started: SystemTime::now(),
        }
    }

    /// Reads the host, but for the collectors named; scrapes at the same time share one reading.
    /// `None` if it panicked.
    pub async fn scrape(self: &Arc<Self>, without: &[&'static str]) -> Option<Arc<Snapshot>> {
        let scraper = self.clone();
        let key = without.to_vec();
        let without = key.clone();
        self.flights.share(key, move || async move { Arc::new(scraper.read(&without).await) }).await
    }

    /// Replaces the units, instances and listeners that must exist.
    pub fn expect(&self, expected: Expected) {
        self.expected.replace(expected);
    }

    fn group_sums(&self) -> MutexGuard<'_, GroupSums> {
        self.group_sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the journal without end, and watches the first for hanging. Without them it is read at
    /// scrapes alone, and what is deleted in between is not counted. The first blocks its thread; the
    /// second needs another.
    pub fn follow_journal(
        &self,
    ) -> (impl Future<Output = ()> + Send + use<>, impl Future<Output = ()> + Send + use<>) {
        if cgroup::limits_memory_by_v1(&self.config.cgroup) {
            self.shared.lock().ledger.find_oom_kills_in_journal();
        }
        let follower = self.journal_follower();
        (follower.clone().follow(), follower.watch_for_hangs())
    }

    fn journal_follower(&self) -> JournalFollower {
        JournalFollower {
            kept: self.journal.clone(),
            options: self.config.journal.clone(),
            shared: self.shared.clone(),
            saver: self.saver.clone(),
            reading: Arc::default(),
        }
    }

    /// Whether the first reading has ended, and a message of systemd was received in the last 30 s.
    ///
    /// # Errors
    /// The reason, in one line.
    pub fn ready(&self) -> Result<(), String> {
        let status = self.shared.lock().status.now();
        let is_starting = status.is_starting();
        match status.trouble {
            Some(trouble) if !status.filled || status.is_silent() => Err(trouble),
            _ if !status.filled || is_starting => {
                Err("the units are being read for the first time".into())
            }
            _ => Ok(()),
        }
    }

    /// Waits until a thread for blocking reads has been free, and the state unlocked.
    pub async fn responds(&self) {
        let shared = self.shared.clone();
        // a panic is a response
        let _ = tokio::task::spawn_blocking(move || drop(shared.lock())).await;
    }

    /// Since when it counts.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// The latest events, the newest first.
    #[must_use]
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.shared.lock().ledger.events().cloned().collect()
    }

    /// The primary name of the loaded unit that has this name.
    #[must_use]
    pub fn primary_name(&self, name: &str) -> Option<Arc<str>> {
        Some(self.shared.lock().mirror.find(name)?.name.clone())
    }

    /// The collectors that failed in the last scrape, and why.
    pub fn failed(&self) -> Vec<(&'static str, String)> {
        self.collectors.failed()
    }

    async fn read(&self, without: &[&'static str]) -> Snapshot {
        let began = Instant::now();
        let wants = |collector| !without.contains(&collector);
        let pid1 = self.config.proc.join("1");
        self.shared.first_read().await;
        self.shared.coalescing.catch_up().await;
        let expected = self.expected.get().listeners;
        let (units, groups, input) = {
            let state = &self.shared.lock();
            // thousands of names: only for those who will read them
            let units = wants("cgroup") || wants("process");
            let units = if units { cgroups_and_processes::groups(state) } else { Vec::new() };
            let input = wants("listeners").then(|| sockets::input(state, &expected));
            let groups = if units.is_empty() { Groups::new() } else { group_sums::groups(state) };
            (units, groups, input.unwrap_or_default())
        };
        let deadline = Instant::now() + SOURCE_DEADLINE;
        let config = &self.config;
        let (sender, activities) = oneshot::channel();
        let cgroups =
            cgroups_and_processes::cgroups(&self.cgroups, config, units.clone(), sender, deadline);
        let processes =
            cgroups_and_processes::processes(&self.processes, config, units, activities, deadline);
        let listeners =
            sockets::listeners(&self.listeners, &config.listeners, expected, input, deadline);
        let journal = journal::journal(&self.journal, &config.journal, &self.shared, deadline);
        let pid1 = self.pid1.read(|| Ok(()), move |()| usage::read(&pid1));
        let own = self.own.read(|| Ok(()), |()| usage::read(Path::new("/proc/self")));
        let (cgroups, processes, journal, listeners, pid1, own, others) = tokio::join!(
            self.collectors.attempt("cgroup", wants("cgroup"), cgroups),
            self.collectors.attempt("process", wants("process"), processes),
            self.collectors.attempt_in_part("journal", wants("journal"), journal),
            self.collectors.attempt_in_part("listeners", wants("listeners"), listeners),
            self.collectors.attempt("manager", wants("manager"), pid1),
            self.collectors.attempt("exporter", wants("exporter"), own),
            async { tokio::join!(self.daemons(wants), self.users(wants, deadline)) },
        );
        let ((daemons, asked), (users, seen)) = others;
        // last, so that the states are as new as can be
        let mut snapshot = catch_unwind(AssertUnwindSafe(|| self.systemd())).unwrap_or_else(|_| {
            let error = Some(Error::Panicked.to_string());
            let attempts = vec![self.collectors.record("units", error, true, Duration::ZERO)];
            Snapshot { attempts, ..Snapshot::default() }
        });
        (snapshot.cgroup_layout, snapshot.cgroups) = take(cgroups, &mut snapshot.attempts).unzip();
        snapshot.processes = take(processes, &mut snapshot.attempts);
        if let Some(cgroups) = &mut snapshot.cgroups {
            self.group_sums().replace(None, &mut cgroups.units, &groups);
            self.collectors.log_failures("cgroup", &cgroups.failures);
        }
        if let Some(processes) = &mut snapshot.processes {
            group_sums::replace_processes(&mut processes.units, &groups);
            self.collectors.log_failures("process", &processes.failures);
        }
        snapshot.pid1 = take(pid1, &mut snapshot.attempts);
        snapshot.own = take(own, &mut snapshot.attempts);
        snapshot.journal = take(journal, &mut snapshot.attempts);
        snapshot.listeners = take(listeners, &mut snapshot.attempts);
        snapshot.restart_due = self.restart_checks.read(wants("services")).await;
        (snapshot.daemons, snapshot.users) = (daemons, users);
        snapshot.attempts.extend(asked);
        snapshot.attempts.extend(seen);
        let truncated = self.add_truncated(&snapshot);
        snapshot.exporter = ExporterStats {
            truncated_units: truncated.units,
            failed_reads: truncated.failed_reads,
            truncated_processes: truncated.processes,
            truncated_listeners: truncated.listeners,
            requests: self.requests.by_code().map(|(code, n)| (code.to_string(), n)).collect(),
            limited: self.requests.by_limit().collect(),
            scrapes: self.took(began.elapsed()),
            started: Some(self.started),
            state: self.config.state_file.as_ref().map(|file| file.stats()).unwrap_or_default(),
            lines_dropped: crate::logging::dropped_lines(),
        };
        snapshot
    }

    /// Copies the mirror, which is current or not, but never read in a scrape.
    fn systemd(&self) -> Snapshot {
        let began = Instant::now();
        let state: &State = &self.shared.lock();
        let status = state.status.now();
        let last_seen = status.last_seen();
        let outcome =
            |trouble| vec![self.collectors.record("units", trouble, false, began.elapsed())];
        if !status.filled {
            let attempts = outcome(status.trouble.clone());
            return Snapshot { status, last_seen, attempts, ..Snapshot::default() };
        }
        let missing = |name: &Arc<str>| {
            let unit = state.mirror.find(name);
            unit.is_none_or(|unit| unit.load_state.as_deref() == Some("not-found"))
        };
        let Expected { units, instances, .. } = self.expected.get();
        let expected = units.into_iter().map(|name| (name.clone(), missing(&name)));
        let systemd = SystemdSnapshot::copy(state, self.config.not_found);
        let is_empty = systemd.units.is_empty() && systemd.short_lived.is_empty();
        if is_empty && !self.nothing_selected.swap(is_empty, Ordering::Relaxed) {
            let include = self.config.journal.selection.include();
            warn!(include, "{NOTHING_SELECTED}");
        }
        Snapshot {
            expected: expected.collect(),
            expected_instances: instances,
            systemd: Some(systemd),
            attempts: outcome(status.trouble.clone().or_else(|| too_many_units(state))),
            status,
            last_seen,
            ..Snapshot::default()
        }
    }

    /// Adds what this scrape skipped, and returns the totals.
    fn add_truncated(&self, snapshot: &Snapshot) -> TruncationTotals {
        let mut totals = self.truncated.lock().unwrap_or_else(PoisonError::into_inner);
        let cgroups = snapshot.cgroups.as_ref();
        let processes = snapshot.processes.as_ref();
        let partial = [
            ("cgroup", cgroups.map(|read| (read.truncated, read.failures.count))),
            ("process", processes.map(|read| (read.truncated, read.failures.count))),
        ];
        for (collector, read) in partial {
            let Some((truncated, failed)) = read else { continue };
            *totals.units.entry(collector).or_default() += truncated;
            *totals.failed_reads.entry(collector).or_default() += failed;
        }
        let units = processes.iter().flat_map(|read| &read.units);
        totals.processes += units.map(|(_, unit)| unit.truncated).sum::<u64>();
        totals.listeners += snapshot.listeners.as_ref().map_or(0, |read| read.truncated);
        totals.clone()
    }

    fn took(&self, took: Duration) -> Histogram {
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = took.as_secs_f64();
        durations.sum += seconds;
        if let Some((_, count)) = durations.buckets.iter_mut().find(|(bound, _)| seconds <= *bound)
        {
            *count += 1;
        }
        durations.clone()
    }
}

/// The trouble if the host has more units than are followed.
fn too_many_units(state: &State) -> Option<String> {
    let limit = state.mirror.exceeded_limit()?;
    Some(format!(
        "this host has more than {limit} units: not all are followed; find the program that makes them"
    ))
}

/// The warning in the log and in the report of `check host`.
pub const NOTHING_SELECTED: &str = "no loaded unit matches --systemd.collector.unit-include without \
    matching --systemd.collector.unit-exclude: no unit is exported; an expression must match the \
    whole name, e.g. nginx.* for nginx.service";

/// When a source stops and returns what it has read so far.
const SOURCE_DEADLINE: Duration = Duration::from_secs(4);

/// In seconds.
const BUCKETS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, f64::INFINITY];
