//! The exposure level of each service by `systemd-analyze security`: hourly, because that reads every
//! property of every service from PID 1.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Error;
use crate::single_flight::SingleFlight;

/// The exposure level of services by name, from 0 to 10.
pub type Exposures = Arc<BTreeMap<String, f64>>;

/// Runs assessments, and caches the last one.
#[derive(Debug, Default)]
pub struct Security {
    last: Arc<Mutex<Option<Assessment>>>,
    flights: SingleFlight<(), Result<Exposures, String>>,
}

#[derive(Debug)]
struct Assessment {
    at: Instant,
    outcome: Result<Exposures, String>,
}

impl Security {
    /// The last assessment. Waits for the first one only; starts the next in the background when the
    /// last is older than an hour, or five minutes if it failed.
    ///
    /// # Errors
    /// That of the last assessment.
    pub async fn read(self: Arc<Self>) -> Result<Exposures, Error> {
        let cached = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().map(|last| (last.is_due(), last.outcome.clone()))
        };
        let outcome = match cached {
            Some((false, outcome)) => outcome,
            Some((true, outcome)) => {
                tokio::spawn(async move { self.assess().await });
                outcome
            }
            None => self.assess().await,
        };
        outcome.map_err(Error::Unavailable)
    }

    /// Runs an assessment, or waits for a running one.
    async fn assess(&self) -> Result<Exposures, String> {
        let last = self.last.clone();
        let work = || async move {
            let outcome = assess().await.map(Arc::new);
            let assessment = Assessment { at: Instant::now(), outcome: outcome.clone() };
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(assessment);
            outcome
        };
        let outcome = self.flights.share((), work).await;
        outcome.unwrap_or_else(|| Err(Error::Panicked.to_string()))
    }
}

impl Assessment {
    fn is_due(&self) -> bool {
        self.at.elapsed() > if self.outcome.is_ok() { INTERVAL } else { RETRY_INTERVAL }
    }
}

async fn assess() -> Result<BTreeMap<String, f64>, String> {
    // The only subprocess: nothing else has its rating of settings.
    #[expect(clippy::disallowed_types, reason = "systemd-analyze has no other interface")]
    let mut command = tokio::process::Command::new(PROGRAM);
    command
        .args(["security", "--json=short", "--no-pager"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(TIMEOUT, command.output()).await {
        Ok(Ok(output)) => exposures(&output),
        Ok(Err(error)) => Err(format!("{PROGRAM}: {error}; is it installed?")),
        Err(_) => Err(format!("{PROGRAM} did not exit within {TIMEOUT:?}")),
    }
}

fn exposures(output: &Output) -> Result<BTreeMap<String, f64>, String> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line: String = stderr.lines().next().unwrap_or_default().chars().take(200).collect();
        return Err(format!("{PROGRAM} security --json (systemd 250): {}: {line}", output.status));
    }
    let rows: Vec<ServiceRow> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{PROGRAM} security --json: {error}"))?;
    let exposure = |row: ServiceRow| Some((row.unit, row.exposure?.parse().ok()?));
    Ok(rows.into_iter().filter_map(exposure).collect())
}

/// A service; without an exposure level if it cannot be assessed.
#[derive(Deserialize)]
struct ServiceRow {
    unit: String,
    exposure: Option<String>,
}

const PROGRAM: &str = "systemd-analyze";

const INTERVAL: Duration = Duration::from_secs(3600);

/// After a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(300);

/// An assessment takes 0.1 s for a hundred services, and much longer on an overloaded host.
const TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        let status = ExitStatus::from_raw(status);
        Output { status, stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn parses_rows_without_those_that_have_no_exposure() {
        let rows = r#"[{"unit":"a.service","exposure":"9.6","predicate":"UNSAFE","happy":":-{"},
                       {"unit":"b.service","exposure":null},{"unit":"c.service"}]"#;
        let read = exposures(&output(0, rows, "")).unwrap();
        assert_eq!(read, [("a.service".to_owned(), 9.6)].into());
    }

    #[test]
    fn error_has_the_first_line_of_stderr() {
        let error =
            exposures(&output(256, "", "unrecognized option '--json=short'\n")).unwrap_err();
        assert!(error.contains("unrecognized option"), "{error}");
        assert!(exposures(&output(0, "<html>", "")).is_err());
    }
}
