//! The exported metrics: one file per subject, one literal per metric, no I/O.

mod boot;
mod conditions;
mod dbus;
mod dependencies;
mod exporter;
mod exporter_http;
mod exporter_process;
mod exporter_state;
pub mod exposition;
mod family;
mod journal;
mod listeners;
mod logind;
mod machined;
mod manager;
mod networkd;
mod processes;
mod resolved;
mod resources;
mod results;
mod sandbox;
mod security;
mod services;
mod sockets;
mod templates;
mod timers;
mod unit_files;
mod units;
mod user_managers;

pub use exposition::reference::{MetricReference, Reference};
pub use exposition::render::{
    Format, MetricsQuery, RenderState, SeriesCounts, render, render_into,
};
pub use family::{BaseUnit, Exemplar, Family, Kind, Per, Resets, Sample, Sink, Subject, Value};

use crate::snapshot::Snapshot;

/// Every metric, in the order of `/metrics` and of docs/METRICS.md.
pub fn all(snapshot: &Snapshot, out: &mut impl Sink) -> std::fmt::Result {
    manager::families(snapshot, out)?;
    units::families(snapshot, out)?;
    results::families(snapshot, out)?;
    services::families(snapshot, out)?;
    dependencies::families(snapshot, out)?;
    conditions::families(snapshot, out)?;
    unit_files::families(snapshot, out)?;
    sandbox::families(snapshot, out)?;
    timers::families(snapshot, out)?;
    sockets::families(snapshot, out)?;
    resources::families(snapshot, out)?;
    processes::families(snapshot, out)?;
    boot::families(snapshot, out)?;
    listeners::families(snapshot, out)?;
    journal::families(snapshot, out)?;
    resolved::families(snapshot, out)?;
    logind::families(snapshot, out)?;
    networkd::families(snapshot, out)?;
    machined::families(snapshot, out)?;
    dbus::families(snapshot, out)?;
    security::families(snapshot, out)?;
    user_managers::families(snapshot, out)?;
    exporter::families(snapshot, out)
}
