//! Serving the site over HTTP, with limits against slow, many and hostile clients.
//!
//! Nothing here knows of collectors: a [`Site`] gives the pages, and this module answers with them.

mod answer;
mod auth;
mod body;
mod config;
mod connection;
mod crowd;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gzip;
mod limits;
mod listen;
mod negotiate;
mod pace;
mod password;
mod protection;
mod pulse;
mod query;
mod rate;
mod requests;
mod server;
mod site;
mod stream;
mod tls;
mod turn_away;

pub use config::ConfigError;
pub use limits::Limits;
pub use listen::{BadAddress, ListenAddress, Listener};
pub use password::{BadPassword, hash_password, read_password};
pub use protection::Protection;
pub use pulse::Pulse;
pub use requests::Requests;
pub use server::{Options, serve};
pub use site::{Format, Page, Refusal, Site, Wanted, WantedEvents};
