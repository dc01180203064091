//! The rules of alerts/: their expressions, their texts and runbooks, and when they fire.

// promtool, amtool, Alertmanager and Prometheus are programs
#![allow(clippy::disallowed_types, clippy::unwrap_used)]

mod expressions;
mod live;
mod profiles;
#[path = "../promql/mod.rs"]
mod promql;
#[path = "../support/mod.rs"]
mod support;
mod texts;
mod tools;
