//! Fault injection: the faults and promises of docs/internals/robustness.md.

#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "helpers of tests")]

mod bus;
mod chaos;
mod clock;
mod crashers;
mod frozen;
mod journal;
mod kernel;
mod limits;
mod log;
mod restarts;
mod scrapes;
#[path = "../support/mod.rs"]
mod support;
#[path = "../truth/mod.rs"]
mod truth;

/// Whether to run faults for as long as the documented figures need: `FAULTS=long`.
fn long() -> bool {
    std::env::var_os("FAULTS").is_some_and(|faults| faults == "long")
}
