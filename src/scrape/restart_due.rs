//! Checks in the background, at most once a minute, which services should be restarted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::debug;

use crate::snapshot::RestartDue;
use crate::source::restart_due::{FileLookups, RestartCause, RunningService};
use crate::systemd::state::{Shared, State};
use crate::systemd::unit::Unit;
use crate::systemd::unit::value::Timestamp;

/// Checks the running services of one systemd.
#[derive(Debug)]
pub(super) struct RestartChecks {
    shared: Shared,
    proc: PathBuf,
    last: Arc<LastCheck>,
}

#[derive(Debug, Default)]
struct LastCheck {
    check: Mutex<Option<Check>>,
    is_running: AtomicBool,
}

#[derive(Debug)]
struct Check {
    at: Instant,
    due: Vec<(Arc<str>, Timestamp, RestartCause)>,
}

impl RestartChecks {
    /// Reads processes below `proc`.
    pub(super) fn new(shared: Shared, proc: PathBuf) -> Self {
        Self { shared, proc, last: Arc::default() }
    }

    /// The services that should be restarted, as of the last check, without those that were restarted
    /// since; none if they are not wanted. Starts the next check if it is due, and waits for the first
    /// one only, for a moment.
    pub(super) async fn read(&self, is_wanted: bool) -> Vec<RestartDue> {
        if !is_wanted {
            return Vec::new();
        }
        let last = self.last.lock().as_ref().map(|check| check.at);
        let is_due = last.is_none_or(|at| at.elapsed() > INTERVAL);
        if is_due && !self.last.is_running.swap(true, Ordering::Relaxed) {
            let (last_check, shared, proc) =
                (self.last.clone(), self.shared.clone(), self.proc.clone());
            let check = tokio::task::spawn_blocking(move || last_check.check(&shared, proc));
            if last.is_none() {
                let _ = tokio::time::timeout(FIRST_CHECK_TIMEOUT, check).await;
            }
        }
        let last = self.last.lock();
        let state = self.shared.lock();
        let is_same_run = |name: &str, run: Timestamp| {
            state.mirror.unit(name).and_then(|unit| run_of(unit)) == Some(run)
        };
        let due = last.iter().flat_map(|check| &check.due);
        due.filter(|(name, run, _)| is_same_run(name, *run))
            .map(|(name, _, because)| RestartDue { name: name.clone(), because: *because })
            .collect()
    }
}

impl LastCheck {
    fn check(&self, shared: &Shared, proc: PathBuf) {
        let _running = Running(&self.is_running);
        let services = {
            let state = shared.lock();
            if !state.status.filled {
                return;
            }
            running_services(&state)
        };
        let mut lookups = FileLookups::new(proc);
        let mut due = Vec::new();
        for (run, service) in services {
            let causes = lookups.check(&service);
            due.extend(causes.into_iter().map(|because| (service.name.clone(), run, because)));
        }
        debug!(lookups = lookups.count, due = due.len(), "compared services with their files");
        *self.lock() = Some(Check { at: Instant::now(), due });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Check>> {
        self.check.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resets the flag also after a panic.
struct Running<'f>(&'f AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The exported services with a main process.
fn running_services(state: &State) -> Vec<(Timestamp, RunningService)> {
    let now = SystemTime::now();
    // the clock may have been wrong when a service was started, but no file changed since the boot then
    let boot = now.checked_sub(Timestamp::monotonic().since_epoch()).unwrap_or(now);
    let units = state.mirror.units().filter(|unit| unit.selected && unit.group.is_none());
    let services = units.filter_map(|unit| {
        let (service, run) = (unit.service()?, run_of(unit)?);
        let running = RunningService {
            name: unit.name.clone(),
            started: run.system_time().max(boot),
            pid: service.main_pid?,
            files: service.files.clone(),
            is_loaded: unit.needs_reload != Some(true),
        };
        Some((run, running))
    });
    services.collect()
}

/// The start of the main process of an active service.
fn run_of(unit: &Unit) -> Option<Timestamp> {
    let service = unit.service().filter(|service| service.main_pid.is_some())?;
    service.main_start.and_then(Timestamp::set).filter(|_| unit.is("active"))
}

/// A check takes about ten lookups of files for each service.
const INTERVAL: Duration = Duration::from_secs(60);

/// A directory may be on a file server that does not respond.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
