//! Services that crash at known rates and record each crash in a file: the reference when other sources lose events.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Exporter, Machine, Samples};

/// Services that crash repeatedly.
pub(crate) struct Crashers<'a> {
    machine: &'a Machine,
    pub(crate) names: Vec<String>,
}

/// Crashes of one service, as recorded by itself and as counted by the exporter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// In the service's own list.
    pub(crate) crashes: u64,
    /// Counted with their cause.
    pub(crate) with_cause: u64,
    /// Counted with result `unknown`.
    pub(crate) unknown: u64,
}

impl<'a> Crashers<'a> {
    /// Starts one service per pause, the seconds from its start to its crash.
    pub(crate) fn start(machine: &'a Machine, pauses: &[&str]) -> Self {
        machine.write("/opt/crash", include_str!("crash.sh"));
        machine.ok(&["mkdir", "--parents", "/run/crashes"]);
        let names: Vec<_> = (1..=pauses.len()).map(|n| format!("crasher-{n}.service")).collect();
        let texts: Vec<_> = pauses
            .iter()
            .map(|pause| {
                format!(
                    "[Unit]\nStartLimitIntervalSec=0\n[Service]\nLimitCORE=0\nRestart=always\nRestartSec=100ms\n\
                     StandardOutput=null\nStandardError=null\nExecStart=/bin/sh /opt/crash %n {pause}\n"
                )
            })
            .collect();
        let units: Vec<_> =
            names.iter().zip(&texts).map(|(name, text)| (&**name, &**text)).collect();
        machine.units(&units);
        let start = ["systemctl", "start", "--no-block"].into_iter();
        machine.ok(&start.chain(names.iter().map(|name| &**name)).collect::<Vec<_>>());
        Self { machine, names }
    }

    /// Lets no service crash any more, and waits until all run.
    #[track_caller]
    pub(crate) fn stop_crashing(&self) {
        self.machine.write("/run/calm", "");
        let begun = Instant::now();
        // ten checks in a row: RestartSec= is 100 ms
        let mut checks = 0;
        while checks < 10 {
            let all = self.names.iter().all(|name| {
                self.list(name).lines().next_back().is_some_and(|line| line.starts_with("runs"))
            });
            checks = if all { checks + 1 } else { 0 };
            assert!(begun.elapsed() < Duration::from_secs(120), "not all services run");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The service's own list: its starts and its crashes.
    pub(crate) fn list(&self, name: &str) -> String {
        fs::read_to_string(self.machine.path(&format!("/run/crashes/{name}"))).unwrap_or_default()
    }

    /// Crashes in the service's own list.
    pub(crate) fn crashes(&self, name: &str) -> u64 {
        let list = self.list(name);
        list.lines().filter(|line| line.starts_with("crashes")).count() as u64
    }

    /// Compares the service's own list with a scrape response.
    pub(crate) fn account(&self, name: &str, page: &Samples) -> Account {
        let of = [("name", name)];
        let mut account = Account { crashes: self.crashes(name), ..Account::default() };
        for sample in page.all("systemd_service_failures_by_result_total", &of) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
            let count = sample.value as u64;
            match sample.label("result") {
                "unknown" => account.unknown += count,
                _ => account.with_cause += count,
            }
        }
        account
    }

    /// All accounts by name, as soon as every crash is counted, or after half a minute.
    pub(crate) fn accounts(&self, exporter: &Exporter<'_>) -> Vec<(&str, Account)> {
        let begun = Instant::now();
        loop {
            let page = exporter.samples();
            let accounts: Vec<_> =
                self.names.iter().map(|name| (&**name, self.account(name, &page))).collect();
            let complete = accounts.iter().all(|(_, account)| account.unaccounted() == 0);
            if complete || begun.elapsed() > Duration::from_secs(30) {
                return accounts;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Account {
    /// Crashes that are not counted; negative if more were counted than happened.
    pub(crate) fn unaccounted(&self) -> i64 {
        self.crashes.cast_signed() - (self.with_cause + self.unknown).cast_signed()
    }
}
