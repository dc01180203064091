//! Distinguishes servers from clients among bound UDP sockets on ports that the kernel assigns to clients.
//!
//! A client's socket is bound and unconnected for the time of one exchange; a socket that two
//! readings have found is a server's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::fair_limit::SocketId;

/// When each socket on such a port was first found, in the readings so far.
#[derive(Debug, Default)]
pub(super) struct UdpSockets(HashMap<SocketId, Instant>);

/// The sockets of one reading.
#[derive(Debug)]
pub(super) struct UdpServers {
    before: HashMap<SocketId, Instant>,
    found: RefCell<HashMap<SocketId, Instant>>,
    now: Instant,
}

impl UdpSockets {
    /// Begins a reading.
    pub(super) fn begin(&mut self, now: Instant) -> UdpServers {
        let (before, found) = (std::mem::take(&mut self.0), RefCell::default());
        UdpServers { before, found, now }
    }

    /// Ends the reading; sockets that it did not find are forgotten.
    pub(super) fn end(&mut self, servers: UdpServers) {
        self.0 = servers.found.into_inner();
    }
}

impl UdpServers {
    /// Notes a socket. Whether it is a server's: an earlier reading has found it.
    pub(super) fn is_server(&self, socket: SocketId) -> bool {
        let first = self.before.get(&socket).copied();
        let mut found = self.found.borrow_mut();
        if found.len() < MAX_SOCKETS {
            found.insert(socket, first.unwrap_or(self.now));
        }
        first.is_some_and(|first| self.now.duration_since(first) >= MIN_AGE)
    }
}

/// Two scrapers may read at almost the same time.
const MIN_AGE: Duration = Duration::from_secs(1);

/// A host has at most 64 Ki ports for clients at each address.
const MAX_SOCKETS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_found_by_two_readings_is_a_server() {
        let mut sockets = UdpSockets::default();
        let start = Instant::now();
        let mut read = |seconds: f64, found: &[u64]| {
            let reading = sockets.begin(start + Duration::from_secs_f64(seconds));
            let servers = found.iter().filter(|id| reading.is_server(SocketId::Cookie(**id)));
            let servers: Vec<u64> = servers.copied().collect();
            sockets.end(reading);
            servers
        };
        assert!(read(0.0, &[1, 2]).is_empty());
        assert!(read(0.1, &[1, 2, 3]).is_empty(), "two scrapers at once");
        assert_eq!(read(15.0, &[1, 3, 4]), [1, 3]);
        assert_eq!(read(30.0, &[1, 2, 4, 5]), [1, 4], "2 is another socket");
        assert_eq!(read(45.0, &[1, 2]), [1, 2]);
    }
}
