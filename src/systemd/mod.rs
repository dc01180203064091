//! What PID 1 says: units, jobs and its own state, mirrored from its signals.
//!
//! ```text
//! bus       the calls and the signals        zbus
//! follow    fill, follow, resync             the only writer of what is below
//! mirror    units and jobs as they are       plain data
//! ledger    what happened to them            counts that outlive the unit
//! ```

mod dbus;
pub mod follow;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod ledger;
pub mod manager;
mod manager_address;
pub mod mirror;
pub mod snapshot;
pub mod state;
pub mod unit;
mod unmet_dependencies;
pub mod wakeup_coalescing;
