//! The `unit-exporter` program: parses the command line and runs the command.

use std::process::ExitCode;

use clap::Parser;
use unit_exporter::cli::args::Args;
use unit_exporter::cli::run;

fn main() -> ExitCode {
    run(Args::parse())
}
