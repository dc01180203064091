//! The command line: what the program takes, and the commands that it has.

pub mod args;
pub mod check_host;
mod hash_password;

pub use hash_password::{BadPassword, hash_password, read_password};
