//! Who ought to listen where: `UNIT:PROTO:PORT`.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use super::endpoint::Protocol;
use super::fair_limit::Key;

/// A listener that ought to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The unit, with its suffix.
    pub unit: Arc<str>,
    /// `tcp` and `udp` want it to be reached by IPv4, be it through an IPv6 socket for both.
    pub protocol: Protocol,
    /// The port in digits: 1 to 65535, without zeros before them.
    pub port: String,
}

impl Expectation {
    /// Whether this listener is the one, or one of those.
    pub(super) fn is_met_by(
        &self,
        listener: &Key<Option<Arc<str>>>,
        socket_unit: Option<&Arc<str>>,
    ) -> bool {
        let its = |unit: Option<&Arc<str>>| unit == Some(&self.unit);
        self.port.parse() == Ok(listener.port)
            && (its(listener.owner.as_ref()) || its(socket_unit))
            && self.protocol.is_udp() == listener.protocol.is_udp()
            && match self.protocol.is_v6() {
                true => listener.protocol.is_v6(),
                false => listener.address.is_v4(),
            }
    }
}

/// Why a text is no [`Expectation`].
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "{0}; expected UNIT:PROTO:PORT, PROTO one of tcp, tcp6, udp, udp6, \
     as in nginx.service:tcp:443"
)]
pub struct NotAnExpectation(String);

impl FromStr for Expectation {
    type Err = NotAnExpectation;

    /// A unit without a suffix is a service, as for systemctl.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // From the right: a unit's name may have colons.
        let mut parts = text.rsplitn(3, ':');
        let (Some(port), Some(protocol), Some(unit)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAnExpectation("it has fewer than three parts".into()));
        };
        if unit.is_empty() || !unit.chars().all(is_allowed_in_a_name) {
            return Err(NotAnExpectation(format!("{unit:?} is no unit's name")));
        }
        let unit = match unit.contains('.') {
            true => unit.into(),
            false => format!("{unit}.service").into(),
        };
        let protocol = Protocol::named(protocol)
            .ok_or_else(|| NotAnExpectation(format!("{protocol:?} is no protocol")))?;
        let port: NonZeroU16 =
            port.parse().map_err(|_| NotAnExpectation(format!("{port:?} is no port")))?;
        Ok(Self { unit, protocol, port: port.to_string() })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.unit, self.protocol.name(), self.port)
    }
}

/// systemd.unit(5), "Unit File Names".
fn is_allowed_in_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":-_.\\@".contains(c)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::source::sockets::endpoint::Address;

    #[test]
    fn a_unit_a_protocol_and_a_port_make_an_expectation() {
        for (text, unit, protocol, port) in [
            ("laravel-reverb.service:tcp:6001", "laravel-reverb.service", Protocol::Tcp, "6001"),
            ("laravel-reverb:tcp:6001", "laravel-reverb.service", Protocol::Tcp, "6001"),
            ("dns@a:b.socket:udp6:53", "dns@a:b.socket", Protocol::Udp6, "53"),
        ] {
            let expected = Expectation { unit: unit.into(), protocol, port: port.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason_and_an_example() {
        for (text, reason) in [
            ("", "fewer than three parts"),
            ("nginx:443", "fewer than three parts"),
            (":tcp:443", "\"\" is no unit's name"),
            ("a b.service:tcp:443", "\"a b.service\" is no unit's name"),
            ("nginx:http:443", "\"http\" is no protocol"),
            ("nginx:tcp:https", "\"https\" is no port"),
            ("nginx:tcp:0", "\"0\" is no port"),
            ("nginx:tcp:65536", "\"65536\" is no port"),
            ("nginx:tcp:443 ", "\"443 \" is no port"),
        ] {
            let error = text.parse::<Expectation>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.ends_with("as in nginx.service:tcp:443"), "{error}");
        }
    }

    #[test]
    fn a_listener_meets_it_by_unit_or_socket_unit_port_and_family() {
        let listeners = [
            listener(Protocol::Tcp6, Address::Any),
            listener(Protocol::Tcp6, Address::Ip(Ipv6Addr::UNSPECIFIED.into())),
            listener(Protocol::Tcp, Address::Ip(Ipv4Addr::LOCALHOST.into())),
        ];
        for (text, met) in [
            ("web.service:tcp:80", [true, false, true]),
            ("web.socket:tcp:80", [true, false, true]),
            ("web.service:tcp6:80", [true, true, false]),
            ("web.service:tcp:81", [false; 3]),
            ("web.service:udp:80", [false; 3]),
            ("other.service:tcp:80", [false; 3]),
        ] {
            let expectation: Expectation = text.parse().unwrap();
            let socket_unit = Arc::from("web.socket");
            let found = listeners.each_ref().map(|l| expectation.is_met_by(l, Some(&socket_unit)));
            assert_eq!(found, met, "{text}");
        }
    }

    fn listener(protocol: Protocol, address: Address) -> Key<Option<Arc<str>>> {
        Key { owner: Some("web.service".into()), protocol, address, port: 80 }
    }
}
