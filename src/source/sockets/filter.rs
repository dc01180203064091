//! Which bound sockets are listeners, and how many of them there is room for.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use super::endpoint::Protocol;
use super::fair_limit::Gathered;
use super::socket_activation::Activation;

/// What to keep of a dump.
#[derive(Debug)]
pub(super) struct Wanted {
    max: usize,
    proc: PathBuf,
    /// The ports the kernel gives to clients: a UDP socket bound to one says nothing of a server.
    ephemeral: RangeInclusive<u16>,
    /// The UDP ports of socket units and expectations.
    named: BTreeSet<u16>,
    /// The ports of expectations, sorted.
    preferred: Vec<u16>,
}

impl Wanted {
    pub(super) fn new(options: &Options, activation: &Activation<'_>) -> Self {
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
        }
    }

    /// Whether a listening (UDP: bound and not connected) socket on `port` is a listener.
    pub(super) fn wants(&self, protocol: Protocol, port: u16) -> bool {
        !protocol.is_udp() || !self.ephemeral.contains(&port) || self.named.contains(&port)
    }

    /// The table of a protocol's sockets in the network namespace of process `pid`, or `self`.
    pub(super) fn table(&self, pid: &str, protocol: Protocol) -> PathBuf {
        self.proc.join(pid).join("net").join(protocol.name())
    }

    /// Room for the listeners of a dump, by cgroup or by whose that is: more than are told of, for
    /// which unit has how many is known only when all are there.
    pub(super) fn dumped<O: Ord>(&self) -> Gathered<'_, O> {
        Gathered::new(self.max.saturating_mul(8).max(AT_LEAST), &self.preferred)
    }

    /// Room for the listeners of units.
    pub(super) fn by_unit(&self) -> Gathered<'_, Option<Arc<str>>> {
        Gathered::new(self.max, &self.preferred)
    }
}

/// Hidden where only processes are visible in /proc; then the kernel's default.
fn ephemeral_ports(proc: &Path) -> RangeInclusive<u16> {
    fs::read(proc.join(EPHEMERAL_PORTS))
        .ok()
        .as_deref()
        .and_then(parse_range)
        .unwrap_or(DEFAULT_RANGE)
}

fn parse_range(text: &[u8]) -> Option<RangeInclusive<u16>> {
    let mut numbers = str::from_utf8(text).ok()?.split_ascii_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// Room for what an expectation looks for, be the page as small as may be.
const AT_LEAST: usize = 8192;

const EPHEMERAL_PORTS: &str = "sys/net/ipv4/ip_local_port_range";
const DEFAULT_RANGE: RangeInclusive<u16> = 32768..=60999;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sockets::socket_activation::Started;

    #[test]
    fn a_port_range_is_two_numbers() {
        assert_eq!(parse_range(b"1024\t65535\n"), Some(1024..=65535));
        for text in [&b""[..], b"1024", b"1024 x", b"1024 65536", b"\xff 1"] {
            assert_eq!(parse_range(text), None, "{text:?}");
        }
    }

    #[test]
    fn bound_udp_sockets_of_clients_are_no_listeners() {
        let expected = vec![Arc::new("a.service:udp:40000".parse().unwrap())];
        let options = Options { expected, ..Options::default() };
        let started = Started::default();
        let mut wanted = Wanted::new(&options, &Activation::new(&[], &started));
        wanted.ephemeral = DEFAULT_RANGE;
        assert!(wanted.wants(Protocol::Udp, 53));
        assert!(!wanted.wants(Protocol::Udp6, 45000));
        assert!(wanted.wants(Protocol::Udp, 40000));
        assert!(wanted.wants(Protocol::Tcp, 45000));
    }
}
