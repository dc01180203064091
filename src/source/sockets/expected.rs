//! Listeners that should exist: `UNIT:PROTO:PORT`.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use super::endpoint::Protocol;
use super::fair_limit::ListenerKey;
use crate::systemd::unit::name::{UnitKind, check_expected};

/// A listener that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The unit, with its suffix.
    pub unit: Arc<str>,
    /// `tcp` and `udp` require that IPv4 reaches the listener, if only by an IPv6 socket for both.
    pub protocol: Protocol,
    /// The port in digits: 1 to 65535, without leading zeros.
    pub port: String,
}

impl Expectation {
    /// Whether the listener is an expected one. `unit` is the primary name of the expected unit.
    pub(super) fn is_met_by(
        &self,
        unit: &Arc<str>,
        listener: &ListenerKey<Option<Arc<str>>>,
        socket_unit: Option<&Arc<str>>,
    ) -> bool {
        let is_unit = |of: Option<&Arc<str>>| of == Some(unit);
        (is_unit(listener.owner.as_ref()) || is_unit(socket_unit)) && self.is_at(listener)
    }

    /// Whether the listener has the expected protocol and port.
    pub(super) fn is_at(&self, listener: &ListenerKey<Option<Arc<str>>>) -> bool {
        self.port.parse() == Ok(listener.port)
            && self.protocol.is_udp() == listener.protocol.is_udp()
            && match self.protocol.is_v6() {
                true => listener.protocol.is_v6(),
                false => listener.address.is_v4(),
            }
    }
}

/// Why a text is not an [`Expectation`].
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "{0}; expected UNIT:PROTO:PORT, PROTO one of tcp, tcp6, udp, udp6, \
     as in nginx.service:tcp:443"
)]
pub struct ParseExpectationError(String);

impl FromStr for Expectation {
    type Err = ParseExpectationError;

    /// A unit without a suffix is a service, as for systemctl.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // From the right: a unit's name may have colons.
        let mut parts = text.rsplitn(3, ':');
        let (Some(port), Some(protocol), Some(unit)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseExpectationError("fewer than three parts".into()));
        };
        let name = match UnitKind::of(unit) {
            Some(_) => unit.into(),
            None => format!("{unit}.service"),
        };
        check_expected(&name)
            .map_err(|why| ParseExpectationError(format!("invalid unit name {unit:?}: {why}")))?;
        let protocol = Protocol::named(protocol)
            .ok_or_else(|| ParseExpectationError(format!("unknown protocol {protocol:?}")))?;
        let port: NonZeroU16 =
            port.parse().map_err(|_| ParseExpectationError(format!("invalid port {port:?}")))?;
        Ok(Self { unit: name.into(), protocol, port: port.to_string() })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.unit, self.protocol.name(), self.port)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::source::sockets::endpoint::Address;

    #[test]
    fn parses_unit_protocol_and_port() {
        for (text, unit, protocol, port) in [
            ("laravel-reverb.service:tcp:6001", "laravel-reverb.service", Protocol::Tcp, "6001"),
            ("laravel-reverb:tcp:6001", "laravel-reverb.service", Protocol::Tcp, "6001"),
            ("php8.2-fpm:tcp:9000", "php8.2-fpm.service", Protocol::Tcp, "9000"),
            ("dns@a:b.socket:udp6:53", "dns@a:b.socket", Protocol::Udp6, "53"),
        ] {
            let expected = Expectation { unit: unit.into(), protocol, port: port.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn error_has_the_reason_and_an_example() {
        for (text, reason) in [
            ("", "fewer than three parts"),
            ("nginx:443", "fewer than three parts"),
            (":tcp:443", "invalid unit name \"\""),
            ("a b.service:tcp:443", "invalid unit name \"a b.service\""),
            ("queue@:tcp:443", "name an instance, e.g. queue@1.service"),
            ("queue@.socket:tcp:443", "name an instance, e.g. queue@1.socket"),
            ("nginx:http:443", "unknown protocol \"http\""),
            ("nginx:tcp:https", "invalid port \"https\""),
            ("nginx:tcp:0", "invalid port \"0\""),
            ("nginx:tcp:65536", "invalid port \"65536\""),
            ("nginx:tcp:443 ", "invalid port \"443 \""),
        ] {
            let error = text.parse::<Expectation>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.ends_with("as in nginx.service:tcp:443"), "{error}");
        }
    }

    #[test]
    fn listener_matches_by_unit_or_socket_unit_port_and_family() {
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
            let found = listeners
                .each_ref()
                .map(|l| expectation.is_met_by(&expectation.unit, l, Some(&socket_unit)));
            assert_eq!(found, met, "{text}");
        }
    }

    fn listener(protocol: Protocol, address: Address) -> ListenerKey<Option<Arc<str>>> {
        ListenerKey { owner: Some("web.service".into()), protocol, address, port: 80 }
    }
}
