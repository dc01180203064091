//! Counters of the host as a whole.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::clock;
use crate::systemd::unit::value::{InternedStr, intern};

/// The counters of the host as a whole.
#[derive(Clone, Debug)]
pub struct HostCounters {
    /// When they began.
    pub since: SystemTime,
    /// Failures of services by result.
    pub failures: BTreeMap<InternedStr, u64>,
    /// Completed jobs by result.
    pub job_results: BTreeMap<InternedStr, u64>,
    /// Reloads of PID 1's configuration.
    pub reloads: u64,
    /// Exits that only NRestarts revealed, by the reason why their signals were missed.
    pub lost: BTreeMap<&'static str, u64>,
}

impl Default for HostCounters {
    fn default() -> Self {
        let zeros = |results: &[&str]| results.iter().map(|name| (intern(name), 0)).collect();
        Self {
            since: clock::wall(),
            failures: zeros(SERVICE_RESULTS),
            job_results: zeros(JOB_RESULTS),
            reloads: 0,
            lost: LOST_REASONS.into_iter().map(|reason| (reason, 0)).collect(),
        }
    }
}

/// Every result of a failed service in systemd 247 to 262: systemd.exec(5), `$SERVICE_RESULT`; and
/// `unknown` for failures whose cause was missed.
pub const SERVICE_RESULTS: &[&str] = &[
    "core-dump",
    "exit-code",
    "oom-kill",
    "protocol",
    "resources",
    "signal",
    "start-limit-hit",
    "timeout",
    "unknown",
    "watchdog",
];

const JOB_RESULTS: &[&str] = &["canceled", "dependency", "done", "failed", "skipped", "timeout"];

/// Reasons why an exit may be missed.
pub(super) const LOST_REASONS: [&str; 5] =
    ["coalesced", "downtime", "drift", "reconnect", "reload"];
