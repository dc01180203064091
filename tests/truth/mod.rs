//! Exits, failures and restarts of services from the journal: the reference for the exporter's counters.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::Machine;

/// Journal records by service.
#[derive(Debug, Default)]
pub struct Truth {
    exits: BTreeMap<String, BTreeMap<(String, String), f64>>,
    results: BTreeMap<String, BTreeMap<(String, String), f64>>,
    restarts: BTreeMap<String, f64>,
}

/// Disables journald's rate limit, so that no crash is dropped.
pub fn disable_journal_rate_limit(machine: &Machine) {
    let path = "/etc/systemd/journald.conf.d/all.conf";
    if !machine.path(path).exists() {
        machine.write(path, "[Journal]\nRateLimitIntervalSec=0\nRuntimeMaxUse=200M\n");
        machine.ok(&["systemctl", "restart", "systemd-journald"]);
    }
}

impl Truth {
    /// Reads all records of PID 1.
    #[track_caller]
    pub fn of(machine: &Machine) -> Self {
        machine.ok(&["journalctl", "--sync"]);
        let ids = [PROCESS_EXIT, FAILURE_RESULT, RESTART_SCHEDULED];
        let matches: Vec<_> = ids.iter().map(|id| format!("MESSAGE_ID={id}")).collect();
        let mut command = vec!["journalctl", "--output=json", "--no-pager", "_PID=1"];
        command.extend(matches.iter().map(|each| &**each));
        let mut truth = Self::default();
        for line in machine.ok(&command).lines() {
            let record: Value = serde_json::from_str(line).expect("JSON");
            truth.take(&record);
        }
        truth
    }

    fn take(&mut self, record: &Value) {
        let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let unit = field("UNIT");
        match &*field("MESSAGE_ID") {
            PROCESS_EXIT => {
                let (code, mut status) = (field("EXIT_CODE"), field("EXIT_STATUS"));
                if code != "exited" {
                    status = signal_name(&status);
                }
                *self.exits.entry(unit).or_default().entry((code, status)).or_default() += 1.0;
            }
            FAILURE_RESULT => {
                let key = (field("UNIT_RESULT"), String::new());
                *self.results.entry(unit).or_default().entry(key).or_default() += 1.0;
            }
            _ => *self.restarts.entry(unit).or_default() += 1.0,
        }
    }

    /// Unclean exits of the main process, by code and status.
    pub fn exits(&self, unit: &str) -> BTreeMap<(String, String), f64> {
        self.exits.get(unit).cloned().unwrap_or_default()
    }

    /// Failures by result.
    pub fn results(&self, unit: &str) -> BTreeMap<(String, String), f64> {
        self.results.get(unit).cloned().unwrap_or_default()
    }

    /// Number of failures.
    pub fn failures(&self, unit: &str) -> f64 {
        self.results(unit).values().sum()
    }

    /// Number of automatic restarts (`Restart=`).
    pub fn restarts(&self, unit: &str) -> f64 {
        self.restarts.get(unit).copied().unwrap_or_default()
    }

    /// The results of all failures of all services.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        self.results.values().flat_map(|results| results.keys().map(|(result, _)| &**result))
    }
}

/// The journal records some signals by number, some by name.
fn signal_name(status: &str) -> String {
    match status.trim_start_matches("SIG") {
        "6" | "ABRT" => "SIGABRT",
        "9" | "KILL" => "SIGKILL",
        "11" | "SEGV" => "SIGSEGV",
        "15" | "TERM" => "SIGTERM",
        other => panic!("no test sends signal {other}"),
    }
    .to_owned()
}

// sd-messages.h: SD_MESSAGE_UNIT_…
const PROCESS_EXIT: &str = "98e322203f7a4ed290d09fe03c09fe15";
const FAILURE_RESULT: &str = "d9b373ed55a64feb8242e02dbe79a49c";
const RESTART_SCHEDULED: &str = "5eb03494b6584870a536b337290809b3";
