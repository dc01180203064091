//! The HTTP server over real sockets on the loopback interface, with scripted responses.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod certificates;
mod child;
mod client;
mod config;
mod judges;
mod limits;
mod load;
mod logins;
mod password;
mod program;
mod pulse;
mod requests;
mod secure;
mod shutdown;
mod site;
mod tls;
