//! Socket units: whose listener a socket is that PID 1 made for a service.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::endpoint::{Address, Protocol};

/// What PID 1 says of a socket unit.
#[derive(Clone, Debug, Default)]
pub struct SocketUnit {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it listens now (`ActiveState` is `active`).
    pub active: bool,
    /// What it listens on (D-Bus `Listen`): type such as `Stream`, and address such as
    /// `[::]:18701`, `/run/x.sock` or `@abstract`.
    pub listen: Vec<(String, String)>,
    /// The service it starts (D-Bus `Triggers`); empty if it starts one a connection
    /// (`Accept=yes`).
    pub triggers: Vec<Arc<str>>,
}

/// Which service each socket unit starts, remembered when systemd has unloaded the socket unit:
/// its sockets may live on in the service.
#[derive(Debug, Default)]
pub(super) struct Started(HashMap<Arc<str>, Arc<str>>);

/// Socket units by what they start and by what they listen on.
#[derive(Debug)]
pub(super) struct Activation<'a> {
    started: &'a Started,
    by_address: HashMap<(bool, IpAddr, u16), &'a SocketUnit>,
    by_path: HashMap<&'a [u8], (&'a SocketUnit, &'a str)>,
}

/// Whose a listener is: the unit, and the socket unit that made it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Owner {
    pub(super) unit: Option<Arc<str>>,
    pub(super) socket_unit: Option<Arc<str>>,
}

impl Started {
    pub(super) fn learn(&mut self, units: &[SocketUnit]) {
        if self.0.len() > units.len() + REMEMBERED {
            self.0.clear();
        }
        for unit in units {
            match unit.triggers.first() {
                Some(service) if self.0.get(&unit.name) != Some(service) => {
                    self.0.insert(unit.name.clone(), service.clone());
                }
                Some(_) => {}
                None => drop(self.0.remove(&unit.name)),
            }
        }
    }

    /// The unit that serves what was made in the cgroup of `maker`: the service if that is a
    /// socket unit.
    pub(super) fn by<'a>(&'a self, maker: &'a Arc<str>) -> &'a Arc<str> {
        self.0.get(maker).unwrap_or(maker)
    }
}

impl<'a> Activation<'a> {
    pub(super) fn new(units: &'a [SocketUnit], started: &'a Started) -> Self {
        let mut activation = Self { started, by_address: HashMap::new(), by_path: HashMap::new() };
        // Of two that name one address the active one has it; the last one entered counts.
        let mut units: Vec<_> = units.iter().collect();
        units.sort_by(|a, b| (a.active, &b.name).cmp(&(b.active, &a.name)));
        for unit in units {
            for (kind, address) in &unit.listen {
                match (kind.as_str(), parse_inet(address)) {
                    ("Stream", Some((ip, port))) => {
                        activation.by_address.insert((false, ip, port), unit);
                    }
                    ("Datagram", Some((ip, port))) => {
                        activation.by_address.insert((true, ip, port), unit);
                    }
                    ("Stream" | "SequentialPacket", None) => {
                        activation.by_path.insert(address.as_bytes(), (unit, address));
                    }
                    _ => {}
                }
            }
        }
        activation
    }

    /// The UDP ports that socket units name.
    pub(super) fn udp_ports(&self) -> impl Iterator<Item = u16> {
        self.by_address.keys().filter(|(udp, ..)| *udp).map(|(.., port)| *port)
    }

    /// Whose a socket is that was made in the cgroup of `maker`.
    ///
    /// systemd makes a socket unit's sockets in a cgroup of the unit's own, or, where it cannot,
    /// in PID 1's; then, and if the cgroup is gone, the address tells.
    pub(super) fn owner(
        &self,
        maker: Option<&Arc<str>>,
        protocol: Protocol,
        address: Address,
        port: u16,
    ) -> Owner {
        match maker {
            Some(maker) if maker.ends_with(".socket") => Owner {
                unit: Some(self.started.by(maker).clone()),
                socket_unit: Some(maker.clone()),
            },
            None => self.by_address(protocol, address, port).unwrap_or_default(),
            Some(maker) if **maker == *PID1 => self
                .by_address(protocol, address, port)
                .unwrap_or_else(|| Owner { unit: Some(maker.clone()), socket_unit: None }),
            Some(maker) => Owner { unit: Some(maker.clone()), socket_unit: None },
        }
    }

    /// The unit that a unix socket of that name is for, and the name as its socket unit has it.
    pub(super) fn unix(&self, name: &[u8]) -> Option<(Arc<str>, &'a str)> {
        let (unit, path) = match name.split_first() {
            Some((0, rest)) => self.by_path.get([b"@", rest].concat().as_slice())?,
            _ => self.by_path.get(name)?,
        };
        Some((self.started.by(&unit.name).clone(), path))
    }

    fn by_address(&self, protocol: Protocol, address: Address, port: u16) -> Option<Owner> {
        let unit = self.by_address.get(&(protocol.is_udp(), address.ip(), port))?;
        Some(Owner {
            unit: Some(self.started.by(&unit.name).clone()),
            socket_unit: Some(unit.name.clone()),
        })
    }
}

/// `1.2.3.4:80`, `[::1]:80` or `[fe80::1%eth0]:80`; anything else is no inet address.
fn parse_inet(address: &str) -> Option<(IpAddr, u16)> {
    let address = match (address.find('%'), address.find(']')) {
        (Some(scope), Some(end)) if scope < end => {
            &format!("{}{}", &address[..scope], &address[end..])
        }
        _ => address,
    };
    address.parse::<SocketAddr>().ok().map(|address| (address.ip(), address.port()))
}

/// The unit of PID 1 itself.
const PID1: &str = "init.scope";

/// How many socket units beyond those there are.
const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_units_own_cgroup_leads_to_the_service() {
        let units = [unit("web.socket", true, "Stream", "[::]:80", &["web.service"])];
        let started = started(&units);
        let activation = Activation::new(&units, &started);
        let owner = activation.owner(Some(&"web.socket".into()), Protocol::Tcp6, Address::Any, 80);
        assert_eq!(owner, owned("web.service", "web.socket"));
    }

    #[test]
    fn one_service_a_connection_leaves_the_listener_to_the_socket_unit() {
        let units = [unit("echo.socket", true, "Stream", "0.0.0.0:7", &[])];
        let started = started(&units);
        let activation = Activation::new(&units, &started);
        let owner = activation.owner(Some(&"echo.socket".into()), Protocol::Tcp, V4, 7);
        assert_eq!(owner, owned("echo.socket", "echo.socket"));
    }

    #[test]
    fn the_address_tells_where_pid_1_made_the_socket_or_its_cgroup_is_gone() {
        let units = [unit("web.socket", false, "Stream", "0.0.0.0:80", &["web.service"])];
        let started = started(&units);
        let activation = Activation::new(&units, &started);
        let web = owned("web.service", "web.socket");
        assert_eq!(activation.owner(Some(&"init.scope".into()), Protocol::Tcp, V4, 80), web);
        assert_eq!(activation.owner(None, Protocol::Tcp, V4, 80), web);
        assert_eq!(activation.owner(None, Protocol::Udp, V4, 80), Owner::default());
        assert_eq!(activation.owner(None, Protocol::Tcp, V4, 81), Owner::default());
        assert_eq!(
            activation.owner(Some(&"own.service".into()), Protocol::Tcp, V4, 80),
            Owner { unit: Some("own.service".into()), socket_unit: None }
        );
    }

    #[test]
    fn a_socket_unit_that_is_unloaded_still_leads_to_its_service() {
        let mut started = started(&[unit("a.socket", true, "Stream", "[::]:80", &["a.service"])]);
        started.learn(&[]);
        assert_eq!(&**started.by(&"a.socket".into()), "a.service");
        started.learn(&[unit("a.socket", true, "Stream", "[::]:80", &[])]);
        assert_eq!(&**started.by(&"a.socket".into()), "a.socket");
    }

    #[test]
    fn of_two_socket_units_with_one_address_the_active_one_has_it() {
        for order in [[0, 1], [1, 0]] {
            let units = [
                unit("a.socket", false, "Stream", "0.0.0.0:80", &["a.service"]),
                unit("b.socket", true, "Stream", "0.0.0.0:80", &["b.service"]),
            ];
            let units = order.map(|at| units[at].clone());
            let owner =
                Activation::new(&units, &started(&units)).owner(None, Protocol::Tcp, V4, 80);
            assert_eq!(owner, owned("b.service", "b.socket"));
        }
    }

    #[test]
    fn unix_listeners_are_found_by_path_and_by_abstract_name() {
        let units = [
            unit("a.socket", true, "Stream", "/run/a.sock", &["a.service"]),
            unit("b.socket", true, "SequentialPacket", "@b", &["b.service"]),
        ];
        let started = started(&units);
        let activation = Activation::new(&units, &started);
        assert_eq!(activation.unix(b"/run/a.sock"), Some(("a.service".into(), "/run/a.sock")));
        assert_eq!(activation.unix(b"\0b"), Some(("b.service".into(), "@b")));
        assert_eq!(activation.unix(b"/run/b.sock"), None);
        assert_eq!(activation.unix(b""), None);
    }

    #[test]
    fn addresses_are_parsed_as_systemd_writes_them() {
        for (text, expected) in [
            ("127.0.0.1:80", Some(("127.0.0.1", 80))),
            ("[::]:18701", Some(("::", 18701))),
            ("[fe80::1%eth0]:9", Some(("fe80::1", 9))),
            ("/run/x.sock", None),
            ("@a%b]", None),
            ("%]", None),
            ("vsock:2:1234", None),
            ("", None),
        ] {
            let expected = expected.map(|(ip, port)| (ip.parse().unwrap(), port));
            assert_eq!(parse_inet(text), expected, "{text}");
        }
    }

    const V4: Address = Address::Ip(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));

    fn started(units: &[SocketUnit]) -> Started {
        let mut started = Started::default();
        started.learn(units);
        started
    }

    fn unit(name: &str, active: bool, kind: &str, address: &str, triggers: &[&str]) -> SocketUnit {
        SocketUnit {
            name: name.into(),
            active,
            listen: vec![(kind.into(), address.into())],
            triggers: triggers.iter().map(|&service| service.into()).collect(),
        }
    }

    fn owned(unit: &str, socket_unit: &str) -> Owner {
        Owner { unit: Some(unit.into()), socket_unit: Some(socket_unit.into()) }
    }
}
