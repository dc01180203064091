//! Serving the site over HTTP, with limits against slow, many and hostile clients.
//!
//! Nothing here knows of collectors: a [`Site`] gives the pages, and this module answers with them.

mod app;
mod basic_auth;
mod body;
mod config;
mod connection;
mod connection_limit;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gzip;
mod limits;
mod listen_address;
mod live_config;
mod liveness;
mod negotiate;
mod overload;
mod query;
mod rate_limit;
mod router;
mod server;
mod socket;
mod timeouts;
mod tls;

pub use app::{Format, Page, Refusal, Site, Wanted, WantedEvents};
pub use basic_auth::LONGEST_PASSWORD;
pub use config::ConfigError;
pub use limits::Limits;
pub use listen_address::{BadAddress, ListenAddress, Listener};
pub use live_config::Protection;
pub use liveness::Pulse;
pub use server::{Options, serve};
