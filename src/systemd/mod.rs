//! What PID 1 says: units, jobs and its own state, mirrored from its signals.
//!
//! ```text
//! bus       the calls and the signals        zbus
//! follow    fill, follow, resync             the only writer of what is below
//! mirror    units and jobs as they are       plain data
//! ledger    what happened to them            counts that outlive the unit
//! ```

mod bus;
pub mod dependencies;
pub mod follow;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod ledger;
pub mod manager;
pub mod mirror;
pub mod name;
mod place;
pub mod properties;
pub mod sandbox;
pub mod state;
pub mod unit;
pub mod value;
