//! How exposed each service is, assessed by `systemd-analyze security`: hourly, since it makes PID 1
//! tell every property of every service.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Error;
use crate::single_flight::Flights;

/// The exposure of services by name, between 0 and 10.
pub type Exposures = Arc<BTreeMap<String, f64>>;

/// The assessments, the last of which is kept.
#[derive(Debug, Default)]
pub struct Security {
    last: Arc<Mutex<Option<Assessment>>>,
    flights: Flights<(), Result<Exposures, String>>,
}

#[derive(Debug)]
struct Assessment {
    at: Instant,
    outcome: Result<Exposures, String>,
}

impl Security {
    /// The last assessment. Only the first is waited for; when one is an hour old, the next begins.
    ///
    /// # Errors
    /// What went wrong at the last, which is made again after some minutes.
    pub async fn read(self: Arc<Self>) -> Result<Exposures, Error> {
        let known = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().map(|last| (last.is_due(), last.outcome.clone()))
        };
        let outcome = match known {
            Some((false, outcome)) => outcome,
            Some((true, outcome)) => {
                tokio::spawn(async move { self.assess().await });
                outcome
            }
            None => self.assess().await,
        };
        outcome.map_err(Error::Unavailable)
    }

    /// Makes an assessment, or joins one that is being made.
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
        self.at.elapsed() > if self.outcome.is_ok() { INTERVAL } else { RETRY }
    }
}

async fn assess() -> Result<BTreeMap<String, f64>, String> {
    // The one thing that is learnt from a program: how it judges settings is written nowhere else.
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
        Err(_) => Err(format!("{PROGRAM} has not ended for {TIMEOUT:?}")),
    }
}

fn exposures(output: &Output) -> Result<BTreeMap<String, f64>, String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
        return Err(format!("{PROGRAM} security --json (systemd 250): {}: {line}", output.status));
    }
    let rows: Vec<Row> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{PROGRAM} security --json: {error}"))?;
    let exposure = |row: Row| Some((row.unit, row.exposure?.parse().ok()?));
    Ok(rows.into_iter().filter_map(exposure).collect())
}

/// One service; one that cannot be assessed has no exposure.
#[derive(Deserialize)]
struct Row {
    unit: String,
    exposure: Option<String>,
}

const PROGRAM: &str = "systemd-analyze";

const INTERVAL: Duration = Duration::from_secs(3600);

/// After a failure.
const RETRY: Duration = Duration::from_secs(300);

/// It takes a tenth of a second for a hundred services, and much longer on a host in need.
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
    fn rows_are_read_and_what_has_no_exposure_is_absent() {
        let rows = r#"[{"unit":"a.service","exposure":"9.6","predicate":"UNSAFE","happy":":-{"},
                       {"unit":"b.service","exposure":null},{"unit":"c.service"}]"#;
        let read = exposures(&output(0, rows, "")).unwrap();
        assert_eq!(read, [("a.service".to_owned(), 9.6)].into());
    }

    #[test]
    fn an_error_says_what_the_program_said() {
        let error =
            exposures(&output(256, "", "unrecognized option '--json=short'\n")).unwrap_err();
        assert!(error.contains("unrecognized option"), "{error}");
        assert!(exposures(&output(0, "<html>", "")).is_err());
    }
}
