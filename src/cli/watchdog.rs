//! Watchdog keep-alives for systemd, as long as every part of the exporter responds.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::http::Liveness;
use crate::scrape::Scraper;
use crate::sd_notify::Notify;
use crate::systemd::follow::Thread;

/// The parts that have to respond.
pub(super) struct Watchdog {
    pub(super) listeners: Liveness,
    pub(super) scraper: Arc<Scraper>,
    /// The thread that follows PID 1. That of the users' managers is not watched: a restart because
    /// of one user would interrupt all metrics.
    pub(super) follower: Thread,
}

impl Watchdog {
    /// Sends the status text, and keep-alives while every part responds. This does not depend on the
    /// bus or PID 1: if these hang, a restart of the exporter would not help.
    pub(super) async fn run(self, notify: Arc<Notify>) {
        let pause =
            notify.watchdog().map_or(STATUS_INTERVAL, |limit| STATUS_INTERVAL.min(limit / 3));
        let mut workers = Workers::new(Handle::current().metrics());
        let mut last_status = String::new();
        // the first status has the units, or why there are none
        let _ = timeout(pause, self.scraper.first_read()).await;
        loop {
            match self.hung_part(&mut workers).await {
                None => notify.alive(),
                Some(part) => {
                    warn!(
                        part,
                        "self-check failed; the watchdog restarts the service if this persists"
                    );
                }
            }
            let status = self.scraper.summary();
            if status != last_status {
                notify.status(&status);
                last_status = status;
            }
            sleep(pause).await;
        }
    }

    async fn hung_part(&self, workers: &mut Workers) -> Option<&'static str> {
        let (accepts, follows, scrapes) = tokio::join!(
            timeout(REPLY_TIMEOUT, self.listeners.check()),
            timeout(REPLY_TIMEOUT, self.follower.responds()),
            timeout(REPLY_TIMEOUT, self.scraper.responds()),
        );
        let parts = [
            ("a listener does not accept connections", accepts.unwrap_or(false)),
            ("the thread that follows systemd hangs", follows.is_ok()),
            ("no thread is free for scrapes", scrapes.is_ok()),
            ("a thread that serves HTTP hangs", !workers.has_hung()),
        ];
        parts.into_iter().find_map(|(part, responds)| (!responds).then_some(part))
    }
}

/// The worker threads of the runtime, and what each had done at the last check.
struct Workers {
    metrics: RuntimeMetrics,
    before: Vec<(u64, Duration)>,
}

impl Workers {
    fn new(metrics: RuntimeMetrics) -> Self {
        Self { metrics, before: Vec::new() }
    }

    /// Whether a worker has run the same task since the last check.
    fn has_hung(&mut self) -> bool {
        let metrics = &self.metrics;
        let progress = |worker| {
            (metrics.worker_park_unpark_count(worker), metrics.worker_total_busy_duration(worker))
        };
        let now: Vec<_> = (0..metrics.num_workers()).map(progress).collect();
        // an even count: the worker is not parked
        let has_hung = |(now, before): (&(u64, Duration), &(u64, Duration))| {
            now == before && now.0.is_multiple_of(2)
        };
        let hung = now.iter().zip(&self.before).any(has_hung);
        self.before = now;
        hung
    }
}

/// How often the status text is sent to systemd, unless the watchdog needs it more often.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The packaged `WatchdogSec=` is 30 s.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::runtime;

    use super::*;

    #[test]
    fn worker_that_runs_one_task_for_long_has_hung() {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let mut workers = Workers::new(runtime.metrics());
        let pause = Duration::from_millis(200);
        std::thread::sleep(pause);
        for _ in 0..3 {
            assert!(!workers.has_hung(), "idle");
            std::thread::sleep(pause);
        }
        let task = runtime.spawn(async move {
            for _ in 0..1000 {
                std::thread::sleep(pause / 100);
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..3 {
            std::thread::sleep(pause);
            assert!(!workers.has_hung(), "busy");
        }
        task.abort();
        let (release, released) = std::sync::mpsc::channel::<()>();
        runtime.spawn(async move { released.recv() });
        std::thread::sleep(pause);
        workers.has_hung();
        std::thread::sleep(pause);
        assert!(workers.has_hung(), "one task all the time");
        drop(release);
        std::thread::sleep(pause);
        workers.has_hung();
        std::thread::sleep(pause);
        assert!(!workers.has_hung(), "idle again");
    }
}
