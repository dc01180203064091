//! What a reading found: plain data.

use std::sync::Arc;

use super::endpoint::Protocol;
use super::expected::Expectation;
use crate::source::Error;

/// What one reading found.
#[derive(Debug, Default)]
pub struct Reading {
    /// Listeners, at most [`max`](super::Options::max), in the same order every time.
    pub listeners: Vec<Listener>,
    /// How many listening sockets were left out of `listeners`, for want of room.
    pub truncated: u64,
    /// Unix listeners that socket units name; `None` unless asked for.
    pub unix: Option<Vec<UnixListener>>,
    /// TCP connections by unit and state; `None` unless asked for.
    pub connections: Option<Vec<Connections>>,
    /// The expected listeners, and whether each is missing; empty if that cannot be known.
    pub expected: Vec<(Arc<Expectation>, bool)>,
    /// Why the listeners are without units, queue limits and drops, and what to change.
    pub degraded: Option<String>,
}

impl Reading {
    /// Turns what is unavailable into `None`, and remembers the first reason.
    pub(super) fn unless_unavailable<T>(
        &mut self,
        result: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Unavailable(reason)) => {
                self.degraded.get_or_insert(reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The sockets of one unit that listen on the same address and port.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The unit; of a socket unit's listener the service it starts. `None` if it is no unit's.
    pub unit: Option<Arc<str>>,
    /// What is listened for.
    pub protocol: Protocol,
    /// As `ss` writes it: `127.0.0.1`, `::1`, `fe80::1%eth0`; `*` for every address of IPv6 and
    /// IPv4 alike.
    pub address: String,
    /// The port, in digits.
    pub port: String,
    /// The socket unit that made the socket, if one did.
    pub socket_unit: Option<Arc<str>>,
    /// How many sockets: more than one with `SO_REUSEPORT`.
    pub sockets: u64,
    /// Connections that wait for accept(); `None` for UDP.
    pub accept_queue: Option<u64>,
    /// How many may wait; `None` for UDP and where only /proc tells of the socket.
    pub accept_queue_limit: Option<u64>,
    /// Connections (UDP: datagrams) dropped since the exporter first saw the listener or since
    /// its socket was made; does not fall when the socket is made anew. `None` where the kernel
    /// does not tell.
    pub drops: Option<u64>,
}

/// A unix socket that a socket unit names and that listens.
#[derive(Clone, Debug, PartialEq)]
pub struct UnixListener {
    /// The service that the socket unit starts, or the socket unit itself if it starts one a
    /// connection.
    pub unit: Arc<str>,
    /// The path as the socket unit has it; an abstract name begins with `@`.
    pub path: String,
    /// Connections that wait for accept().
    pub accept_queue: u64,
    /// How many may wait.
    pub accept_queue_limit: u64,
}

/// The TCP connections of a unit that are in the same state.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// The unit; of those a socket unit's listener accepted, the service it starts. `None` if
    /// they are no unit's.
    pub unit: Option<Arc<str>>,
    /// Such as `established` or `close_wait`; never `time_wait`, which is no unit's.
    pub state: &'static str,
    /// How many.
    pub count: u64,
}
