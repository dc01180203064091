//! The HTTP server over real sockets on the loopback interface, with scripted responses.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod certificates;
mod client;
mod config;
mod interop;
mod limits;
mod liveness;
mod load;
mod logins;
mod password;
mod peers;
mod program;
mod requests;
mod scripted_server;
mod server_process;
mod shutdown;
mod tls;
mod tls_client;
