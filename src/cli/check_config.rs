//! `check-config`: whether a web configuration file is valid.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::http::Protection;

/// Prints the warnings and the verdict.
///
/// # Errors
/// The file cannot be read or is invalid.
pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    let protection = Protection::open(file)?;
    for warning in protection.warnings() {
        writeln!(stdout, "{}: {warning}", file.display())?;
    }
    writeln!(stdout, "{}: good", file.display())?;
    Ok(ExitCode::SUCCESS)
}
