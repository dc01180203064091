//! The rules of alerts/: what they ask exists, they say what a reader needs, and they fire when they should.

// promtool, amtool, Alertmanager and Prometheus are programs
#![allow(clippy::disallowed_types, clippy::unwrap_used)]

mod expressions;
mod live;
#[path = "../promql/mod.rs"]
mod promql;
#[path = "../support/mod.rs"]
mod support;
mod texts;
mod tools;
