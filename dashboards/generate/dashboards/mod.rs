//! One file per dashboard.

pub(crate) mod boot;
pub(crate) mod crashes;
pub(crate) mod exporter;
pub(crate) mod fleet;
pub(crate) mod host;
pub(crate) mod listeners;
pub(crate) mod timers;
pub(crate) mod unit;
pub(crate) mod workers;
