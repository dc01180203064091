//! What is exported: one file per subject, one literal per metric; no I/O.

mod boot;
mod budget;
mod dbus;
mod details;
mod encode;
mod exporter;
mod family;
mod journal;
mod listeners;
mod logind;
mod machined;
mod manager;
mod networkd;
mod openmetrics;
mod page;
mod pieces;
mod processes;
mod reference;
mod resolved;
mod resources;
mod rows;
mod security;
mod services;
mod sockets;
mod text;
mod timers;
mod units;
mod users;

pub use family::{Exemplar, Family, Histogram, Kind, Resets, Sample, Sink, Subject, Unit, Value};
pub use page::{Format, Remembered, Selected, Tally, render};
pub use reference::{Reference, Row};

use crate::snapshot::Snapshot;

/// Every metric, in the order of `/metrics` and of docs/METRICS.md.
pub fn all(snapshot: &Snapshot, out: &mut impl Sink) -> std::fmt::Result {
    manager::families(snapshot, out)?;
    units::families(snapshot, out)?;
    services::families(snapshot, out)?;
    details::families(snapshot, out)?;
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
    users::families(snapshot, out)?;
    exporter::families(snapshot, out)
}
