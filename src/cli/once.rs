//! `--once`: prints one scrape response.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use super::{FILL_TIMEOUT, wait_for_units};
use crate::app::Exporter;
use crate::metrics::Format;

/// Prints the response; success only if every collector succeeded.
pub(super) async fn run(exporter: &Exporter) -> anyhow::Result<ExitCode> {
    wait_for_units(exporter.scraper(), FILL_TIMEOUT).await;
    let page = exporter.page(Format::Text, &[], &[], &[]).await?;
    std::io::stdout().write_all(&page).context("failed to write the metrics")?;
    let failed = exporter.scraper().failed();
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut stderr = std::io::stderr().lock();
    for (collector, error) in failed {
        // stderr is the last place to report to
        let _ = writeln!(stderr, "{collector}: {error}");
    }
    Ok(ExitCode::FAILURE)
}
