//! Socket units: assigns the sockets that PID 1 made for a service.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::endpoint::{Address, Protocol};

/// A socket unit, as PID 1 reports it.
#[derive(Clone, Debug, Default)]
pub struct SocketUnit {
    /// The name.
    pub name: Arc<str>,
    /// Whether the unit listens now (`ActiveState` is `active`).
    pub active: bool,
    /// Addresses (D-Bus `Listen`): type such as `Stream`, and address such as `[::]:18701`,
    /// `/run/x.sock` or `@abstract`.
    pub listen: Vec<(String, String)>,
    /// The service that the unit starts (D-Bus `Triggers`); empty if the unit starts one per
    /// connection (`Accept=yes`).
    pub triggers: Vec<Arc<str>>,
}

/// The service that each socket unit starts, kept when systemd has unloaded the socket unit: the
/// service may still have its sockets.
#[derive(Debug, Default)]
pub(super) struct SocketToService(HashMap<Arc<str>, Arc<str>>);

/// Socket units by the address that they listen on.
#[derive(Debug)]
pub(super) struct Activation<'a> {
    services: &'a SocketToService,
    by_address: HashMap<(bool, IpAddr, u16), &'a SocketUnit>,
    by_path: HashMap<&'a [u8], (&'a SocketUnit, &'a str)>,
}

/// The owner of a listener: the unit, and the socket unit that made the socket.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ListenerOwner {
    pub(super) unit: Option<Arc<str>>,
    pub(super) socket_unit: Option<Arc<str>>,
}

impl SocketToService {
    pub(super) fn update(&mut self, units: &[SocketUnit]) {
        if self.0.len() > units.len() + MAX_UNLOADED_SOCKET_UNITS {
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

    /// The unit that serves the sockets made in the cgroup of `maker`: the service if `maker` is a
    /// socket unit.
    pub(super) fn of<'a>(&'a self, maker: &'a Arc<str>) -> &'a Arc<str> {
        self.0.get(maker).unwrap_or(maker)
    }
}

impl<'a> Activation<'a> {
    pub(super) fn new(units: &'a [SocketUnit], services: &'a SocketToService) -> Self {
        let mut activation = Self { services, by_address: HashMap::new(), by_path: HashMap::new() };
        // Of two units with one address, the active one is inserted last and counts.
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

    /// The owner of a socket that was made in the cgroup of `maker`.
    ///
    /// systemd makes a socket unit's sockets in the cgroup of the unit or, where that fails, in that
    /// of PID 1. In the second case, and if the cgroup no longer exists, the address decides.
    pub(super) fn owner(
        &self,
        maker: Option<&Arc<str>>,
        protocol: Protocol,
        address: Address,
        port: u16,
    ) -> ListenerOwner {
        match maker {
            Some(maker) if maker.ends_with(".socket") => ListenerOwner {
                unit: Some(self.services.of(maker).clone()),
                socket_unit: Some(maker.clone()),
            },
            None => self.by_address(protocol, address, port).unwrap_or_default(),
            Some(maker) if **maker == *PID1 => self
                .by_address(protocol, address, port)
                .unwrap_or_else(|| ListenerOwner { unit: Some(maker.clone()), socket_unit: None }),
            Some(maker) => ListenerOwner { unit: Some(maker.clone()), socket_unit: None },
        }
    }

    /// The unit of the unix socket of that name, and the name as its socket unit has it.
    pub(super) fn unix(&self, name: &[u8]) -> Option<(Arc<str>, &'a str)> {
        let (unit, path) = match name.split_first() {
            Some((0, rest)) => self.by_path.get([b"@", rest].concat().as_slice())?,
            _ => self.by_path.get(name)?,
        };
        Some((self.services.of(&unit.name).clone(), path))
    }

    fn by_address(&self, protocol: Protocol, address: Address, port: u16) -> Option<ListenerOwner> {
        let unit = self.by_address.get(&(protocol.is_udp(), address.ip(), port))?;
        Some(ListenerOwner {
            unit: Some(self.services.of(&unit.name).clone()),
            socket_unit: Some(unit.name.clone()),
        })
    }
}

/// `1.2.3.4:80`, `[::1]:80` or `[fe80::1%eth0]:80`; anything else is not an inet address.
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

/// The maximum number of socket units that are kept beyond those that are loaded.
const MAX_UNLOADED_SOCKET_UNITS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_units_cgroup_maps_to_the_service() {
        let units = [unit("web.socket", true, "Stream", "[::]:80", &["web.service"])];
        let services = services(&units);
        let activation = Activation::new(&units, &services);
        let owner = activation.owner(Some(&"web.socket".into()), Protocol::Tcp6, Address::Any, 80);
        assert_eq!(owner, expected_owner("web.service", "web.socket"));
    }

    #[test]
    fn socket_unit_owns_the_listener_with_accept_yes() {
        let units = [unit("echo.socket", true, "Stream", "0.0.0.0:7", &[])];
        let services = services(&units);
        let activation = Activation::new(&units, &services);
        let owner = activation.owner(Some(&"echo.socket".into()), Protocol::Tcp, V4, 7);
        assert_eq!(owner, expected_owner("echo.socket", "echo.socket"));
    }

    #[test]
    fn address_decides_for_pid_1s_cgroup_and_unknown_cgroups() {
        let units = [unit("web.socket", false, "Stream", "0.0.0.0:80", &["web.service"])];
        let services = services(&units);
        let activation = Activation::new(&units, &services);
        let web = expected_owner("web.service", "web.socket");
        assert_eq!(activation.owner(Some(&"init.scope".into()), Protocol::Tcp, V4, 80), web);
        assert_eq!(activation.owner(None, Protocol::Tcp, V4, 80), web);
        assert_eq!(activation.owner(None, Protocol::Udp, V4, 80), ListenerOwner::default());
        assert_eq!(activation.owner(None, Protocol::Tcp, V4, 81), ListenerOwner::default());
        assert_eq!(
            activation.owner(Some(&"own.service".into()), Protocol::Tcp, V4, 80),
            ListenerOwner { unit: Some("own.service".into()), socket_unit: None }
        );
    }

    #[test]
    fn unloaded_socket_unit_still_maps_to_its_service() {
        let mut services = services(&[unit("a.socket", true, "Stream", "[::]:80", &["a.service"])]);
        services.update(&[]);
        assert_eq!(&**services.of(&"a.socket".into()), "a.service");
        services.update(&[unit("a.socket", true, "Stream", "[::]:80", &[])]);
        assert_eq!(&**services.of(&"a.socket".into()), "a.socket");
    }

    #[test]
    fn active_socket_unit_has_the_address_of_two() {
        for order in [[0, 1], [1, 0]] {
            let units = [
                unit("a.socket", false, "Stream", "0.0.0.0:80", &["a.service"]),
                unit("b.socket", true, "Stream", "0.0.0.0:80", &["b.service"]),
            ];
            let units = order.map(|at| units[at].clone());
            let owner =
                Activation::new(&units, &services(&units)).owner(None, Protocol::Tcp, V4, 80);
            assert_eq!(owner, expected_owner("b.service", "b.socket"));
        }
    }

    #[test]
    fn finds_unix_listener_by_path_and_by_abstract_name() {
        let units = [
            unit("a.socket", true, "Stream", "/run/a.sock", &["a.service"]),
            unit("b.socket", true, "SequentialPacket", "@b", &["b.service"]),
        ];
        let services = services(&units);
        let activation = Activation::new(&units, &services);
        assert_eq!(activation.unix(b"/run/a.sock"), Some(("a.service".into(), "/run/a.sock")));
        assert_eq!(activation.unix(b"\0b"), Some(("b.service".into(), "@b")));
        assert_eq!(activation.unix(b"/run/b.sock"), None);
        assert_eq!(activation.unix(b""), None);
    }

    #[test]
    fn parses_addresses_as_systemd_writes_them() {
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

    fn services(units: &[SocketUnit]) -> SocketToService {
        let mut services = SocketToService::default();
        services.update(units);
        services
    }

    fn unit(name: &str, active: bool, kind: &str, address: &str, triggers: &[&str]) -> SocketUnit {
        SocketUnit {
            name: name.into(),
            active,
            listen: vec![(kind.into(), address.into())],
            triggers: triggers.iter().map(|&service| service.into()).collect(),
        }
    }

    fn expected_owner(unit: &str, socket_unit: &str) -> ListenerOwner {
        ListenerOwner { unit: Some(unit.into()), socket_unit: Some(socket_unit.into()) }
    }
}
