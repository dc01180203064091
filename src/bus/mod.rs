//! Connections to D-Bus, of which other users may own the other end: a connection accepts no file
//! descriptors, and each message has a limit.

mod address;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod wakeup_coalescing;

pub use address::BusAddress;
