//! A Prometheus exporter for the host as systemd sees it.
//!
//! Signals of systemd are counted between scrapes; a scrape reads all other values. Data flows down
//! this picture:
//!
//! ```text
//! bus/         D-Bus connections     limits of messages, few wake-ups
//! systemd/     state of PID 1        cache of all units, and counts of their events
//! source/      kernel interfaces     one module for each; names no metric
//! scrape/      one scrape            each source under its deadline
//! state_file   counts kept on disk   read at the start, saved while they change
//! snapshot     result of a scrape    plain data, one field per source
//! metrics/     exported metrics      one literal per metric; no I/O
//! html/        status page           reads the same snapshot; no I/O
//! http/        server                limits, TLS, authentication
//! ```
//!
//! Beside them: `clock` reads the clocks, `cli/` parses flags and files and runs one command, `collector` lists the collectors
//! and profiles, `unit_filter` selects units, `short_lived` names sums of units, `app` builds the
//! responses of `http/` from scrapes, `single_flight` shares one scrape between simultaneous requests,
//! `directory_watcher` reports changes of directories, `response_buffers` keeps memory of responses,
//! `http_counts` counts responses, `sd_notify` reports to systemd, `logging` writes the log, `fuzzing`
//! has the functions that fuzz/ runs.
//!
//! To add a metric, declare it in `metrics/`. If its value is not read yet, parse it in `source/`
//! first, or add the property's line to `systemd/unit/property_tables.rs`.

pub mod app;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod directory_watcher;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod html;
pub mod http;
pub mod http_counts;
pub mod logging;
pub mod metrics;
pub mod response_buffers;
pub mod scrape;
pub mod sd_notify;
pub mod short_lived;
#[cfg(test)]
mod simulation;
pub mod single_flight;
pub mod snapshot;
pub mod source;
pub mod state_file;
pub mod systemd;
pub mod unit_filter;
