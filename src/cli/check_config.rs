//! `check-config`: whether a web configuration file is valid.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::http::LiveConfig;

/// Prints the warnings and the verdict.
///
/// # Errors
/// The file cannot be read, is invalid, or refuses every request.
pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    for warning in LiveConfig::check(file)? {
        writeln!(stdout, "{}: {warning}", file.display())?;
    }
    writeln!(stdout, "{}: good", file.display())?;
    Ok(ExitCode::SUCCESS)
}
