//! Which bound sockets are listeners, and the limits of their number.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SocketOptions;
use super::endpoint::Protocol;
use super::fair_limit::{FairLimit, SocketId};
use super::socket_activation::Activation;
use super::udp_servers::UdpServers;

/// Selects the listeners of a dump.
#[derive(Debug)]
pub(super) struct ListenerFilter {
    max: usize,
    proc: PathBuf,
    /// The ports that the kernel assigns to clients: a UDP socket bound to one need not be a server.
    ephemeral: RangeInclusive<u16>,
    /// The UDP ports of socket units and expectations.
    named: BTreeSet<u16>,
    /// The ports of expectations, sorted.
    preferred: Vec<u16>,
    /// The UDP sockets on other ephemeral ports.
    pub(super) udp: UdpServers,
}

impl ListenerFilter {
    pub(super) fn new(
        options: &SocketOptions,
        activation: &Activation<'_>,
        udp: UdpServers,
    ) -> Self {
        let expected = options.expected.iter();
        let mut preferred: Vec<u16> =
            expected.filter_map(|expected| expected.port.parse().ok()).collect();
        preferred.sort_unstable();
        Self {
            max: options.max,
            ephemeral: ephemeral_ports(&options.proc),
            named: activation.udp_ports().chain(preferred.iter().copied()).collect(),
            preferred,
            proc: options.proc.clone(),
            udp,
        }
    }

    /// Whether a listening (UDP: bound and not connected) socket on `port` is a listener.
    pub(super) fn accepts(&self, protocol: Protocol, port: u16, socket: SocketId) -> bool {
        !protocol.is_udp()
            || !self.ephemeral.contains(&port)
            || self.named.contains(&port)
            || self.udp.is_server(socket)
    }

    /// Where procfs is mounted.
    pub(super) fn proc(&self) -> &Path {
        &self.proc
    }

    /// The table of a protocol's sockets in the network namespace of process `pid`, or `self`.
    pub(super) fn table(&self, pid: &str, protocol: Protocol) -> PathBuf {
        self.proc.join(pid).join("net").join(protocol.name())
    }

    /// The limit for a dump by cgroup or by its owner: higher than that of the reading, because
    /// the number of listeners of each unit is known only at the end.
    pub(super) fn dump_limit<O: Ord>(&self) -> FairLimit<'_, O> {
        FairLimit::new(self.max.saturating_mul(8).max(MIN_DUMP_LIMIT), &self.preferred)
    }

    /// The limit for the listeners of all units.
    pub(super) fn unit_limit(&self) -> FairLimit<'_, Option<Arc<str>>> {
        FairLimit::new(self.max, &self.preferred)
    }
}

/// The file is hidden where only processes are visible in /proc; then the kernel's default.
fn ephemeral_ports(proc: &Path) -> RangeInclusive<u16> {
    fs::read(proc.join(EPHEMERAL_PORTS_FILE))
        .ok()
        .as_deref()
        .and_then(parse_range)
        .unwrap_or(DEFAULT_EPHEMERAL_PORTS)
}

fn parse_range(text: &[u8]) -> Option<RangeInclusive<u16>> {
    let mut numbers = str::from_utf8(text).ok()?.split_ascii_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// The minimum for a dump, so that expected listeners are found whatever `max` is.
const MIN_DUMP_LIMIT: usize = 8192;

const EPHEMERAL_PORTS_FILE: &str = "sys/net/ipv4/ip_local_port_range";
const DEFAULT_EPHEMERAL_PORTS: RangeInclusive<u16> = 32768..=60999;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::source::sockets::socket_activation::SocketToService;
    use crate::source::sockets::udp_servers::UdpSockets;

    #[test]
    fn port_range_is_two_numbers() {
        assert_eq!(parse_range(b"1024\t65535\n"), Some(1024..=65535));
        for text in [&b""[..], b"1024", b"1024 x", b"1024 65536", b"\xff 1"] {
            assert_eq!(parse_range(text), None, "{text:?}");
        }
    }

    #[test]
    fn bound_udp_sockets_of_clients_are_not_listeners() {
        let expected = vec![Arc::new("a.service:udp:40000".parse().unwrap())];
        let options = SocketOptions { expected, ..SocketOptions::default() };
        let services = SocketToService::default();
        let udp = UdpSockets::default().begin(Instant::now());
        let mut filter = ListenerFilter::new(&options, &Activation::new(&[], &services), udp);
        filter.ephemeral = DEFAULT_EPHEMERAL_PORTS;
        let accepts = |protocol, port| filter.accepts(protocol, port, SocketId::Cookie(1));
        assert!(accepts(Protocol::Udp, 53));
        assert!(!accepts(Protocol::Udp6, 45000));
        assert!(accepts(Protocol::Udp, 40000));
        assert!(accepts(Protocol::Tcp, 45000));
    }
}
