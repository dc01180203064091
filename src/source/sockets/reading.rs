//! The result of a reading: plain data.

use std::sync::Arc;

use super::endpoint::Protocol;
use super::expected::Expectation;
use crate::source::Error;

/// The result of one reading.
#[derive(Debug, Default)]
pub struct ListenerReading {
    /// Listeners, at most [`max`](super::SocketOptions::max), in a stable order.
    pub listeners: Vec<Listener>,
    /// The number of listening sockets that are not in `listeners` because of that limit.
    pub truncated: u64,
    /// Unix listeners that socket units name; `None` unless enabled.
    pub unix: Option<Vec<UnixListener>>,
    /// TCP connections by unit and state; `None` unless enabled.
    pub connections: Option<Vec<Connections>>,
    /// The expected listeners, and whether each is missing; empty if the reading is degraded.
    pub expected: Vec<(Arc<Expectation>, bool)>,
    /// Why the listeners are without units, queue limits and drops, and what to change.
    pub degraded: Option<String>,
}

impl ListenerReading {
    /// Records why the reading is degraded; the first reason counts.
    pub(super) fn degrade(&mut self, reason: impl Into<String>) {
        self.degraded.get_or_insert_with(|| reason.into());
    }

    /// Turns [`Error::Unavailable`] into `None`, and records it.
    pub(super) fn unless_unavailable<T>(
        &mut self,
        result: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Unavailable(reason)) => {
                self.degrade(reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The sockets of one unit that listen on the same address and port.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The unit; for a socket unit's listener the service that it starts. `None` without a unit.
    pub unit: Option<Arc<str>>,
    /// The transport and address family.
    pub protocol: Protocol,
    /// As `ss` writes it: `127.0.0.1`, `::1`, `fe80::1%eth0`; `*` for every address of IPv6 and
    /// IPv4 alike.
    pub address: String,
    /// The port, in digits.
    pub port: String,
    /// The socket unit that made the socket, if one did.
    pub socket_unit: Option<Arc<str>>,
    /// The number of sockets: more than one with `SO_REUSEPORT`.
    pub sockets: u64,
    /// Connections in the accept queue; `None` for UDP.
    pub accept_queue: Option<u64>,
    /// The limit of the accept queue; `None` for UDP and where the socket was read from /proc.
    pub accept_queue_limit: Option<u64>,
    /// Connections (UDP: datagrams) dropped since the exporter first saw the listener or since
    /// its socket was made; does not decrease when the socket is made again. `None` where the
    /// kernel does not report drops.
    pub drops: Option<u64>,
}

/// A listening unix socket that a socket unit names.
#[derive(Clone, Debug, PartialEq)]
pub struct UnixListener {
    /// The service that the socket unit starts, or the socket unit itself if it starts one per
    /// connection.
    pub unit: Arc<str>,
    /// The path as the socket unit has it; an abstract name begins with `@`.
    pub path: String,
    /// Connections in the accept queue.
    pub accept_queue: u64,
    /// The limit of the accept queue.
    pub accept_queue_limit: u64,
}

/// The TCP connections of a unit that are in the same state.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// The unit; for connections that a socket unit's listener accepted, the service that it
    /// starts. `None` without a unit.
    pub unit: Option<Arc<str>>,
    /// Such as `established` or `close_wait`; never `time_wait`, which has no unit.
    pub state: &'static str,
    /// The number of connections.
    pub count: u64,
}
