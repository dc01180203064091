//! The web side over real sockets on the loopback interface, with a site that is easy to predict.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

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
