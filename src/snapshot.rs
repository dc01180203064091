//! The data of one scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::source::cgroup::{Cgroup, Layout};
use crate::source::process::UnitProcesses;
use crate::source::process::usage::ProcessUsage;
use crate::source::restart_due::RestartCause;
use crate::source::security_assessment::Exposures;
use crate::source::{UnitReadings, dbus_daemons, journal, sockets};
use crate::state_file::StateFileStats;
use crate::systemd::snapshot::SystemdSnapshot;
use crate::systemd::state::Status;
use crate::systemd::unit::template::ExpectedInstances;

/// Plain data, one field per source. A source that failed leaves its field empty, so its
/// metrics are absent rather than zero.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Units, jobs and the manager, once the mirror has been filled.
    pub systemd: Option<SystemdSnapshot>,
    /// How following systemd goes.
    pub status: Status,
    /// When the last message of systemd arrived; `None` before the first.
    pub last_seen: Option<SystemTime>,
    /// The units that must be there, and whether each is missing.
    pub expected: Vec<(Arc<str>, bool)>,
    /// The templates of which a number of instances must be active.
    pub expected_instances: Vec<ExpectedInstances>,
    /// Resource usage of each unit.
    pub cgroups: Option<UnitReadings<Cgroup>>,
    /// Which cgroup versions the host has mounted.
    pub cgroup_layout: Option<Layout>,
    /// The processes of each unit.
    pub processes: Option<UnitReadings<UnitProcesses>>,
    /// PID 1 as a process.
    pub pid1: Option<ProcessUsage>,
    /// The exporter as a process.
    pub own: Option<ProcessUsage>,
    /// Counters of the exporter itself.
    pub exporter: ExporterStats,
    /// The journal entries since the exporter started.
    pub journal: Option<journal::JournalReading>,
    /// Who listens; `None` if it was not asked or did not answer.
    pub listeners: Option<sockets::ListenerReading>,
    /// The services that run older files than those of the host.
    pub restart_due: Vec<RestartDue>,
    /// The values of other daemons.
    pub daemons: Daemons,
    /// The service managers of users.
    pub users: Vec<UserSnapshot>,
    /// How reading each collector's source went.
    pub attempts: Vec<Attempt>,
}

impl Snapshot {
    /// The time since the last message of systemd; `None` before the first.
    #[must_use]
    pub fn silence(&self, now: SystemTime) -> Option<Duration> {
        Some(now.duration_since(self.last_seen?).unwrap_or_default())
    }
}

/// A service that should be restarted.
#[derive(Clone, Debug)]
pub struct RestartDue {
    /// Its name.
    pub name: Arc<str>,
    /// Which of its files is newer than its process.
    pub because: RestartCause,
}

/// The service manager of one user.
#[derive(Debug)]
pub struct UserSnapshot {
    /// The user's name.
    pub name: Arc<str>,
    /// Its manager, its units and what they use; nothing else.
    pub snapshot: Snapshot,
}

/// The values of other daemons on the system bus; `None` for one that was not read or did not reply.
#[derive(Debug, Default)]
pub struct Daemons {
    /// The D-Bus daemon.
    pub bus: Option<dbus_daemons::bus::BusStatistics>,
    /// systemd-logind.
    pub logins: Option<dbus_daemons::logind::Logins>,
    /// systemd-machined.
    pub machines: Option<dbus_daemons::machined::Machines>,
    /// systemd-networkd.
    pub network: Option<dbus_daemons::networkd::Network>,
    /// systemd-resolved.
    pub resolved: Option<dbus_daemons::resolved::ResolvedStatistics>,
    /// systemd-analyze, which is no daemon: how exposed services are, selected or not.
    pub exposures: Option<Exposures>,
}

/// Counters of the exporter itself.
#[derive(Clone, Debug, Default)]
pub struct ExporterStats {
    /// HTTP answers by status code.
    pub requests: BTreeMap<String, u64>,
    /// Clients that reached a shared limit of the web server, by limit and action.
    pub limited: BTreeMap<(&'static str, &'static str), u64>,
    /// How long scrapes took.
    pub scrapes: Histogram,
    /// When the exporter started; `None` in a snapshot that was not scraped.
    pub started: Option<SystemTime>,
    /// Units that a collector skipped since the exporter started, because scrapes ran out of time.
    pub truncated_units: BTreeMap<&'static str, u64>,
    /// Files that a collector failed to read since the exporter started.
    pub failed_reads: BTreeMap<&'static str, u64>,
    /// Processes and cgroups that were skipped since the exporter started.
    pub truncated_processes: u64,
    /// Listeners that were dropped since the exporter started.
    pub truncated_listeners: u64,
    /// The file in which the counters survive a restart.
    pub state: StateFileStats,
    /// Lines of the log that were dropped.
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
