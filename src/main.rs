//! The `unit-exporter` program: parses the command line and runs the command.

use std::process::ExitCode;

use unit_exporter::cli::args::Args;
use unit_exporter::cli::run;

fn main() -> ExitCode {
    run(Args::from_command_line(std::env::args_os()).unwrap_or_else(|error| error.exit()))
}
