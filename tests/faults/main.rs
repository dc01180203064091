//! What a host does to those who live on it: each fault of docs/robustness.md, with what is promised of it.

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
mod scrapes;
#[path = "../support/mod.rs"]
mod support;
#[path = "../truth/mod.rs"]
mod truth;

/// Whether to take the time that the figures are of: `FAULTS=long`.
fn long() -> bool {
    std::env::var_os("FAULTS").is_some_and(|faults| faults == "long")
}
