//! The endpoint of a socket: protocol and address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A transport and an address family, as the kernel lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP over IPv4.
    Tcp,
    /// TCP over IPv6, with [`Address::Any`] over IPv4 too.
    Tcp6,
    /// UDP over IPv4.
    Udp,
    /// UDP over IPv6, with [`Address::Any`] over IPv4 too.
    Udp6,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Tcp6, Self::Udp, Self::Udp6];

    /// The name, also that of the file in /proc/net.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tcp6 => "tcp6",
            Self::Udp => "udp",
            Self::Udp6 => "udp6",
        }
    }

    /// The protocol of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// Whether the transport is UDP, which has neither listen() nor accept().
    #[must_use]
    pub fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::Udp6)
    }

    /// Whether the family is IPv6.
    #[must_use]
    pub fn is_v6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }
}

/// The address a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Address {
    /// Every address, of IPv6 and IPv4 alike: `::` without `IPV6_V6ONLY`.
    Any,
    /// One address, or every one of a family.
    Ip(IpAddr),
    /// A link-local address and the index of its interface.
    Link(Ipv6Addr, u32),
}

impl Address {
    /// The address without its interface.
    pub(super) fn ip(self) -> IpAddr {
        match self {
            Self::Any => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            Self::Ip(ip) => ip,
            Self::Link(ip, _) => IpAddr::V6(ip),
        }
    }

    /// Whether IPv4 reaches a socket bound to it.
    pub(super) fn is_v4(self) -> bool {
        match self {
            Self::Any => true,
            Self::Ip(IpAddr::V4(_)) => true,
            Self::Ip(IpAddr::V6(ip)) => ip.to_ipv4_mapped().is_some(),
            Self::Link(..) => false,
        }
    }
}

/// As `ss` writes addresses, except for the interface, which is a number here.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Link(ip, interface) => write!(f, "{ip}%{interface}"),
        }
    }
}
