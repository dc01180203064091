//! A List+Watch cache of PID 1, as client-go's reflector: units and jobs are listed once, updated
//! by D-Bus signals, and compared with a new list at intervals.
//!
//! ```text
//! dbus      connection, calls and messages        zbus
//! follow    lists, watches, resyncs               the only writer of the modules below
//! mirror    the units and jobs as they are        plain data
//! ledger    counters and events of units          outlive the unit
//! ```

mod dbus;
mod dead_timers;
pub mod follow;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod ledger;
pub mod manager;
pub mod mirror;
pub mod saved;
pub mod snapshot;
pub mod state;
pub mod unit;
mod unmet_dependencies;
pub mod wanted_inactive;
