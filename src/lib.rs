//! A Prometheus exporter for the host as systemd sees it.
//!
//! Events between scrapes are followed as they happen; a scrape reads the rest and flows one
//! way, and the tree is laid out the same way:
//!
//! ```text
//! systemd/     what PID 1 says       units mirrored from its signals, and counts of what happened
//! source/      the kernel's files    one file per interface of the host; no metric is named there
//! scrape       one scrape            every source under its deadline
//! state_file   across restarts       counters and positions, saved while they change
//! snapshot     what it knows         plain data, one field per source
//! metrics/     what is exported      one literal per metric; no I/O
//! html/        what people read      HTML of the same snapshot; no I/O
//! http/        serving it            limits, TLS, passwords
//! ```
//!
//! Around them: `bus/` connects to D-Bus, `cli/` parses flags and files and runs one command, `collector` lists the collectors and
//! profiles, `unit_filter` selects units, `short_lived` names their sums, `app` answers the requests of `http/` from scrapes, `single_flight`
//! shares one scrape between simultaneous requests, `http_counts` counts responses, `sd_notify` reports to
//! systemd, `logging` writes the log, `fuzzing` has the functions that fuzz/ runs.
//!
//! To add a metric, declare it in `metrics/`. If its value is not read yet, parse it in `source/`
//! first, or add the property's line to `systemd/unit/property_tables.rs`.

pub mod app;
pub mod bus;
pub mod cli;
pub mod collector;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod html;
pub mod http;
pub mod http_counts;
pub mod logging;
pub mod metrics;
pub mod scrape;
pub mod sd_notify;
pub mod short_lived;
pub mod single_flight;
pub mod snapshot;
pub mod source;
pub mod state_file;
pub mod systemd;
pub mod unit_filter;
