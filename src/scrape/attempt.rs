//! Attempts to read the source of a collector, and the health of collectors over all scrapes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinError;
use tracing::{info, warn};

use crate::snapshot::Attempt;
use crate::source::{Error, Failures};

/// The result of reading a source; a panic is a join error.
pub(super) type Read<T> = Result<Result<T, Error>, JoinError>;

/// The health of each collector.
#[derive(Debug, Default)]
pub(super) struct CollectorsHealth(Mutex<BTreeMap<&'static str, CollectorHealth>>);

#[derive(Debug, Default)]
struct CollectorHealth {
    error: Option<String>,
    /// Whether the last read had failures, though it succeeded.
    partial: bool,
    last_success: Option<SystemTime>,
    /// Number of reads that panicked.
    panics: u64,
}

impl CollectorsHealth {
    /// Reads the source of a collector, up to the deadline; `None` if the collector is off.
    pub(super) async fn attempt<T>(
        &self,
        collector: &'static str,
        wanted: bool,
        reading: impl Future<Output = Read<T>>,
    ) -> Option<(Option<T>, Attempt)> {
        let whole = async { reading.await.map(|read| read.map(|value| (value, None))) };
        self.attempt_in_part(collector, wanted, whole).await
    }

    /// As `attempt`, of a source that may return an incomplete value and the reason: then the
    /// collector counts as failed, but the value is exported.
    pub(super) async fn attempt_in_part<T>(
        &self,
        collector: &'static str,
        wanted: bool,
        reading: impl Future<Output = Read<(T, Option<String>)>>,
    ) -> Option<(Option<T>, Attempt)> {
        if !wanted {
            return None;
        }
        let began = Instant::now();
        let result = match tokio::time::timeout(SOURCE_TIMEOUT, reading).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Panicked),
            Err(_) => Err(Error::Late),
        };
        let panicked = matches!(result, Err(Error::Panicked));
        let (value, error) = match result {
            Ok((value, shortfall)) => (Some(value), shortfall),
            Err(error) => (None, Some(error.to_string())),
        };
        Some((value, self.record(collector, error, panicked, began.elapsed())))
    }

    /// Records the result of an attempt; logs when a collector begins to fail, and when it recovers.
    pub(super) fn record(
        &self,
        collector: &'static str,
        error: Option<String>,
        panicked: bool,
        took: Duration,
    ) -> Attempt {
        let mut collectors = self.lock();
        let health = collectors.entry(collector).or_default();
        match &error {
            Some(error) if health.error.is_none() => {
                warn!(collector, %error, "collector failed; everything else is served");
            }
            None if health.error.is_some() => info!(collector, "collector works again"),
            _ => {}
        }
        health.error.clone_from(&error);
        health.panics += u64::from(panicked);
        if error.is_none() {
            health.last_success = Some(SystemTime::now());
        }
        let CollectorHealth { last_success, panics, .. } = *health;
        Attempt { collector, error, took, last_success, panics }
    }

    /// Logs the first failure of a read that succeeded in part; later ones only after a read without
    /// failures.
    pub(super) fn log_failures(&self, collector: &'static str, failures: &Failures) {
        let mut collectors = self.lock();
        let health = collectors.entry(collector).or_default();
        if let Some(error) = failures.first.as_ref().filter(|_| !health.partial) {
            warn!(collector, failed = failures.count, first = %error, "some files could not be read");
        }
        health.partial = failures.first.is_some();
    }

    /// The collectors that failed in the last attempt, and why.
    pub(super) fn failed(&self) -> Vec<(&'static str, String)> {
        let collectors = self.lock();
        let failed =
            collectors.iter().filter_map(|(name, health)| Some((*name, health.error.clone()?)));
        failed.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, CollectorHealth>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of an attempt, whose record goes to `attempts`.
pub(super) fn take<T>(
    read: Option<(Option<T>, Attempt)>,
    attempts: &mut Vec<Attempt>,
) -> Option<T> {
    let (value, attempt) = read?;
    attempts.push(attempt);
    value
}

/// Less than Prometheus's default scrape timeout of 10 s, so that all other collectors are served.
pub(super) const SOURCE_TIMEOUT: Duration = Duration::from_secs(5);
