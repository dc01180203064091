//! `check config` and `check web-config`: whether a file is valid.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::config_file::ConfigFile;
use crate::http::LiveConfig;

/// Checks a file of `--config.file`.
pub(super) fn config(file: &Path) -> anyhow::Result<ExitCode> {
    report(file, "configuration", || ConfigFile::read(file).map(|_| Vec::new()))
}

/// Checks a file of `--web.config.file`.
pub(super) fn web_config(file: &Path) -> anyhow::Result<ExitCode> {
    report(file, "web configuration", || LiveConfig::check(file))
}

/// Prints the result as promtool does: warnings and success to stdout, a failure to stderr.
fn report<E: Display>(
    file: &Path,
    kind: &str,
    check: impl FnOnce() -> Result<Vec<String>, E>,
) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    let name = file.display();
    writeln!(stdout, "Checking {name}")?;
    match check() {
        Ok(warnings) => {
            for warning in warnings {
                writeln!(stdout, " WARNING: {warning}")?;
            }
            writeln!(stdout, " SUCCESS: {name} is a valid {kind}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            writeln!(io::stderr(), " FAILED: {error:#}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
