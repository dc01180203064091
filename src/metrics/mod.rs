//! What is exported: one file per subject, one literal per metric; no I/O.

mod boot;
mod exporter;
mod family;
mod listeners;
mod manager;
mod openmetrics;
mod page;
mod processes;
mod reference;
mod resources;
mod services;
mod sockets;
mod text;
mod timers;
mod units;

pub use family::{Exemplar, Family, Histogram, Kind, Resets, Sample, Sink, Subject, Unit, Value};
pub use page::{Dropped, Format, Selected, Tally, render};
pub use reference::{Reference, Row};

use crate::snapshot::Snapshot;

/// Every metric, in the order of `/metrics` and of docs/METRICS.md.
pub fn all(snapshot: &Snapshot, out: &mut impl Sink) -> std::fmt::Result {
    manager::families(snapshot, out)?;
    units::families(snapshot, out)?;
    services::families(snapshot, out)?;
    timers::families(snapshot, out)?;
    sockets::families(snapshot, out)?;
    resources::families(snapshot, out)?;
    processes::families(snapshot, out)?;
    boot::families(snapshot, out)?;
    listeners::families(snapshot, out)?;
    exporter::families(snapshot, out)
}
