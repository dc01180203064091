//! A booted systemd for the tests, the exporter as a unit inside, and parsers of its responses.
//!
//! ```ignore
//! mod support;
//!
//! let machine = support::machine();
//! machine.unit("web.service", "[Service]\nExecStart=/bin/sleep infinity\n");
//! machine.ok(&["systemctl", "start", "web"]);
//! let exporter = machine.exporter(&["--log.level=debug"]);
//! let page = exporter.samples();
//! assert_eq!(page.value("systemd_unit_state", &[("name", "web.service"), ("state", "active")]), Some(1.0));
//! ```
//!
//! Needs root, systemd and dbus-daemon; the `booted` script beside this file reports missing programs.

// Each test binary uses a part of this.
#![allow(dead_code, unused_imports, unreachable_pub)]
// Tests run systemctl and other programs; the exporter itself starts no processes.
#![allow(clippy::disallowed_types)]

mod exporter;
mod freeze;
mod http;
mod machine;
mod prometheus;
pub mod protobuf;
mod random;
mod samples;

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

pub use exporter::Exporter;
pub use freeze::{Frozen, FrozenThread};
pub use http::{Response, send_request};
pub use machine::{EXPORTER_INSIDE, HERE, Machine, Options, PROGRAM, TREE, cpu, program};
pub use prometheus::Prometheus;
pub use random::Random;
pub use samples::{Sample, Samples};

/// The machine that all tests of one binary share, which ends with the test process.
pub fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| Machine::options().boot())
}

/// Retries until `attempt` returns a value; panics with `what` after half a minute.
#[track_caller]
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    in_time(attempt).unwrap_or_else(|| panic!("not within {RETRY_TIMEOUT:?}: {what}"))
}

/// Retries until `attempt` returns a value, for at most half a minute.
pub fn in_time<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let value = attempt();
        if value.is_some() || start.elapsed() > RETRY_TIMEOUT {
            return value;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

// Generous, for loaded machines: only a failing test waits that long.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
