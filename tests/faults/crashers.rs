//! Services that crash at known rates, and note themselves how often: the truth whatever else is lost.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Exporter, Machine, Samples};

/// Services that crash over and over.
pub(crate) struct Crashers<'a> {
    machine: &'a Machine,
    pub(crate) names: Vec<String>,
}

/// How often one crashed, and what became of that.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// By its own list.
    pub(crate) crashes: u64,
    /// Counted with their cause.
    pub(crate) exactly: u64,
    /// Counted as failures of an unknown cause.
    pub(crate) unknown: u64,
}

impl<'a> Crashers<'a> {
    /// Starts one for each pause, which is in seconds.
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

    /// Lets none crash any more, and waits until all run.
    #[track_caller]
    pub(crate) fn calm(&self) {
        self.machine.write("/run/calm", "");
        let begun = Instant::now();
        // it takes 100 ms to be restarted
        let mut looks = 0;
        while looks < 10 {
            let all = self.names.iter().all(|name| {
                self.list(name).lines().next_back().is_some_and(|line| line.starts_with("runs"))
            });
            looks = if all { looks + 1 } else { 0 };
            assert!(begun.elapsed() < Duration::from_secs(120), "not all run");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// What each noted: when it ran and when it crashed.
    pub(crate) fn list(&self, name: &str) -> String {
        fs::read_to_string(self.machine.path(&format!("/run/crashes/{name}"))).unwrap_or_default()
    }

    /// How often one noted that it crashed.
    pub(crate) fn crashes(&self, name: &str) -> u64 {
        let list = self.list(name);
        list.lines().filter(|line| line.starts_with("crashes")).count() as u64
    }

    /// What a page tells of one.
    pub(crate) fn account(&self, name: &str, page: &Samples) -> Account {
        let of = [("name", name)];
        let mut account = Account { crashes: self.crashes(name), ..Account::default() };
        for sample in page.all("systemd_service_failures_by_result_total", &of) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
            let count = sample.value as u64;
            match sample.label("result") {
                "unknown" => account.unknown += count,
                _ => account.exactly += count,
            }
        }
        account
    }

    /// All accounts, by name, as soon as no crash is left to be told, or after half a minute.
    pub(crate) fn accounts(&self, exporter: &Exporter<'_>) -> Vec<(&str, Account)> {
        let begun = Instant::now();
        loop {
            let page = exporter.samples();
            let accounts: Vec<_> =
                self.names.iter().map(|name| (&**name, self.account(name, &page))).collect();
            let told = accounts.iter().all(|(_, account)| account.unaccounted() == 0);
            if told || begun.elapsed() > Duration::from_secs(30) {
                return accounts;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Account {
    /// Crashes that no counter tells of; negative if more were counted than happened.
    pub(crate) fn unaccounted(&self) -> i64 {
        self.crashes.cast_signed() - (self.exactly + self.unknown).cast_signed()
    }
}
