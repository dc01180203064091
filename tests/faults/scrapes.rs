//! Consecutive scrapes during a fault, and the result of each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::Exporter;

/// One scrape that was answered.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// Time of the request.
    pub(crate) at: Instant,
    /// Duration.
    pub(crate) took: Duration,
    /// The collectors that failed.
    pub(crate) failed: BTreeSet<String>,
    /// Time since the last message from systemd.
    pub(crate) age: Duration,
    /// Number of units that have a state.
    pub(crate) units: usize,
}

/// All scrapes in order.
#[derive(Debug)]
pub(crate) struct Scrapes(pub(crate) Vec<Scrape>);

impl Scrape {
    /// Scrapes once; panics unless the response is complete.
    #[track_caller]
    pub(crate) fn of(exporter: &Exporter<'_>) -> Self {
        let at = Instant::now();
        let page = exporter.samples();
        let took = at.elapsed();
        let collectors: Vec<_> = page.all("unit_exporter_collector_success", &[]).collect();
        assert!(collectors.len() > 5, "{collectors:?}");
        let failed = collectors.iter().filter(|collector| collector.value != 1.0);
        let active = [("state", "active")];
        Self {
            at,
            took,
            failed: failed.map(|sample| sample.label("collector").to_owned()).collect(),
            age: page
                .value("unit_exporter_systemd_last_seen_timestamp_seconds", &[])
                .map(|seen| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seen))
                .and_then(|seen| SystemTime::now().duration_since(seen).ok())
                .unwrap_or_default(),
            units: page.all("systemd_unit_state", &active).count(),
        }
    }
}

impl Scrapes {
    /// Scrapes, with a pause in between, until `work` is done, and once more.
    pub(crate) fn during<T>(
        exporter: &Exporter<'_>,
        pause: Duration,
        work: impl FnOnce() -> T,
    ) -> (Self, T) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let scraping = scope.spawn(|| {
                let mut scrapes = Vec::new();
                loop {
                    let last = over.load(Ordering::Relaxed);
                    scrapes.push(Scrape::of(exporter));
                    if last {
                        return Self(scrapes);
                    }
                    thread::sleep(pause);
                }
            });
            let value = work();
            over.store(true, Ordering::Relaxed);
            (scraping.join().expect("every scrape is answered"), value)
        })
    }

    /// Duration of the slowest scrape.
    pub(crate) fn longest(&self) -> Duration {
        self.0.iter().map(|scrape| scrape.took).max().unwrap_or_default()
    }

    /// Scrapes in which a collector other than these failed.
    pub(crate) fn failed_but(&self, may_fail: &[&str]) -> Vec<&Scrape> {
        let may = |collector: &String| may_fail.contains(&&**collector);
        self.0.iter().filter(|scrape| !scrape.failed.iter().all(may)).collect()
    }

    /// The longest continuous failure of a collector.
    pub(crate) fn longest_failure(&self, collector: &str) -> Duration {
        let (mut longest, mut since) = (Duration::ZERO, None);
        for scrape in &self.0 {
            if scrape.failed.contains(collector) {
                let since = *since.get_or_insert(scrape.at);
                longest = longest.max(scrape.at + scrape.took - since);
            } else {
                since = None;
            }
        }
        longest
    }
}

/// Under Prometheus's default timeout of 10 s.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
