//! The commands other than serving.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;

/// A command other than serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Check a configuration file, or the collectors on this host
    #[command(subcommand)]
    Check(Check),
    /// Read a password and print its bcrypt hash for the web configuration file
    HashPassword {
        /// bcrypt cost: each step doubles the time of a login
        #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(4..=16))]
        cost: u32,
    },
    /// Alias of `check web-config`
    #[command(hide = true)]
    CheckConfig {
        /// Web configuration file
        file: PathBuf,
    },
    /// Alias of `check host`
    #[command(hide = true)]
    CheckHost {
        /// Flags as for serving
        #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
}

/// The object of a check.
#[derive(Clone, Debug, Subcommand)]
pub enum Check {
    /// Check a file of --config.file; the exit status is 0 if it is valid
    Config {
        /// Configuration file
        file: PathBuf,
    },
    /// Check a file of --web.config.file; the exit status is 0 if it is valid
    WebConfig {
        /// Web configuration file
        file: PathBuf,
    },
    /// Report which collectors work on this host and how to fix the others; the exit status is 0
    /// if all enabled collectors work
    Host {
        /// Flags as for serving
        #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
}
