//! HTTP server with limits against slow, many and hostile clients.
//!
//! This module has no notion of collectors: an [`App`] builds the response bodies.

mod app;
mod basic_auth;
mod body;
mod budget;
mod config;
mod connection;
mod fair_queue;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gzip;
mod limits;
mod listen_address;
mod live_config;
mod liveness;
mod rate_limit;
mod reject;
mod router;
mod scrape_request;
mod server;
mod timeouts;
mod tls;

pub use app::{App, EventsRequest, Format, HtmlPage, HttpError, ScrapeRequest};
pub use basic_auth::MAX_PASSWORD_BYTES;
pub use config::ConfigError;
pub use limits::Limits;
pub use listen_address::{HttpListener, InvalidListenAddress, ListenAddress};
pub use live_config::LiveConfig;
pub use liveness::Liveness;
pub use server::{ServerOptions, serve};
