//! Listen addresses, and the listeners bound to them or passed by systemd.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use listenfd::ListenFd;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::limits::{RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES};

/// A listen address: `:9558`, `127.0.0.1:9558`, `[::1]:9558` or `localhost:9558`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None` for all addresses of the host, IPv6 and IPv4.
    host: Option<String>,
    port: u16,
}

/// An invalid listen address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListenAddress {
    /// The address is not of one of the forms supported.
    #[error("invalid listen address {0:?}; expected HOST:PORT, [IPv6]:PORT or :PORT")]
    Syntax(String),
    /// exporter-toolkit supports `vsock://:PORT`; this server does not.
    #[error("vsock is not supported: {0:?}; listen on a TCP address or use --web.systemd-socket")]
    Vsock(String),
}

/// A listening socket.
#[derive(Debug)]
pub enum HttpListener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A connection: TCP, or Unix from a socket that systemd passed.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// The clients that share one part of each limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Peer {
    /// An IPv4 address or an IPv6 /64 network: a host that has one address of a /64 can use all.
    Network(IpAddr),
    /// A user of this host, on a Unix socket.
    User(u32),
}

impl Peer {
    pub(super) fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Network(address.into()),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self::Network(Ipv6Addr::from_bits(network).into())
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) if address.is_ipv4() => write!(out, "{address}"),
            Self::Network(network) => write!(out, "{network}/64"),
            Self::User(user) => write!(out, "uid {user}"),
        }
    }
}

impl HttpListener {
    /// The sockets passed by systemd, in its order; empty if it passed none. Needs a Tokio
    /// runtime; only the first call returns them.
    ///
    /// # Errors
    /// A passed file descriptor is not a listening stream socket.
    pub fn passed() -> io::Result<Vec<Self>> {
        let mut passed = ListenFd::from_env();
        (0..passed.len()).map(|at| take(&mut passed, at)).collect()
    }

    /// The address of a TCP socket; `None` for a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Whether the kernel still accepts connections on the socket (`SO_ACCEPTCONN`).
    pub(super) fn listens(&self) -> bool {
        let listens = match self {
            Self::Tcp(listener) => sockopt::socket_acceptconn(listener),
            Self::Unix(listener) => sockopt::socket_acceptconn(listener),
        };
        listens.unwrap_or(false)
    }

    /// The next connection and its peer.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // responses are written whole, so Nagle's algorithm would only delay them
                let _ = stream.set_nodelay(true);
                let _ = sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
                let _ = sockopt::set_socket_recv_buffer_size(&stream, RECEIVE_BUFFER_BYTES);
                Ok((Stream::Left(stream), Peer::at(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let _ = sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
                let user = stream.peer_cred()?.uid();
                Ok((Stream::Right(stream), Peer::User(user)))
            }
        }
    }
}

fn take(passed: &mut ListenFd, at: usize) -> io::Result<HttpListener> {
    if let Ok(Some(listener)) = passed.take_tcp_listener(at) {
        listener.set_nonblocking(true)?;
        return Ok(HttpListener::Tcp(TcpListener::from_std(listener)?));
    }
    if let Ok(Some(listener)) = passed.take_unix_listener(at) {
        listener.set_nonblocking(true)?;
        return Ok(HttpListener::Unix(UnixListener::from_std(listener)?));
    }
    let text = format!("file descriptor {} passed by systemd is not a stream socket", at + 3);
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl ListenAddress {
    /// Binds and listens: one listener, or one per address of a host name.
    ///
    /// # Errors
    /// The error of the kernel or the resolver, with the address in its text.
    pub fn bind(&self) -> io::Result<Vec<HttpListener>> {
        let bound = self.try_bind();
        let bound = bound.map(|bound| bound.into_iter().map(HttpListener::Tcp).collect());
        bound.map_err(|error| io::Error::new(error.kind(), format!("{self}: {error}")))
    }

    fn try_bind(&self) -> io::Result<Vec<TcpListener>> {
        let Some(host) = &self.host else {
            return Ok(vec![listen_on_all(self.port)?]);
        };
        let mut addresses: Vec<SocketAddr> = match (host.as_str(), self.port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            // a container may have no /etc/hosts
            Err(_) if host == "localhost" => vec![(Ipv4Addr::LOCALHOST, self.port).into()],
            Err(error) => return Err(error),
        };
        addresses.dedup();
        addresses.into_iter().map(listen_on).collect()
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        if text.starts_with("vsock://") {
            return Err(InvalidListenAddress::Vsock(text.to_owned()));
        }
        let invalid = || InvalidListenAddress::Syntax(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => {
                address
                    .split('%')
                    .next()
                    .unwrap_or("")
                    .parse::<Ipv6Addr>()
                    .map_err(|_| invalid())?;
                Some(address.to_owned())
            }
            None if host.is_empty() => None,
            None if host.contains([':', '[', ']', '/', '@']) => return Err(invalid()),
            None => Some(host.to_owned()),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(out, ":{}", self.port),
            Some(host) if host.contains(':') => write!(out, "[{host}]:{}", self.port),
            Some(host) => write!(out, "{host}:{}", self.port),
        }
    }
}

/// Listens on all addresses with one socket; on IPv4 only if the kernel has no IPv6.
fn listen_on_all(port: u16) -> io::Result<TcpListener> {
    match TcpSocket::new_v6() {
        Ok(socket) => {
            // the default is /proc/sys/net/ipv6/bindv6only
            sockopt::set_ipv6_v6only(&socket, false)?;
            bind_and_listen(socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        }
        Err(_) => listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        let socket = TcpSocket::new_v6()?;
        sockopt::set_ipv6_v6only(&socket, true)?;
        socket
    } else {
        TcpSocket::new_v4()?
    };
    bind_and_listen(socket, address)
}

fn bind_and_listen(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    // inherited by connections, before the first byte arrives
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The accept queue: room for a thousand scrapers at once; the kernel caps it at
/// net.core.somaxconn.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_address_displays_as_written() {
        for text in [":9558", "127.0.0.1:9558", "[::1]:9558", "localhost:0", "[fe80::1%eth0]:1"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "9558", "::1:9558", "[::1]", "[x]:1", "host:", "host:x", ":65536", "a/b:1"]
        {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn rejects_vsock_with_a_reason() {
        let error = "vsock://:9558".parse::<ListenAddress>().unwrap_err();
        assert!(error.to_string().starts_with("vsock is not supported"), "{error}");
    }

    #[tokio::test]
    async fn listens_on_ipv4_and_ipv6_without_host() {
        let listener = ":0".parse::<ListenAddress>().unwrap().bind().unwrap().remove(0);
        let port = listener.address().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let peer = tokio::net::TcpStream::connect((host, port)).await.unwrap();
            let (_, from) = listener.accept().await.unwrap();
            assert_eq!(from, Peer::at(peer.local_addr().unwrap().ip()));
        }
    }

    #[test]
    fn peer_is_an_ipv4_address_or_an_ipv6_network() {
        let peer = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(peer("127.0.0.1"), peer("::ffff:127.0.0.1"));
        assert_ne!(peer("127.0.0.1"), peer("127.0.0.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_ne!(peer("127.0.0.1"), peer("0:0:7f00:1::"));
        assert_eq!(peer("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[tokio::test]
    async fn bind_error_contains_the_address() {
        let taken = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().unwrap().remove(0);
        let address = taken.address().unwrap().to_string();
        let error = address.parse::<ListenAddress>().unwrap().bind().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address), "{error}");
    }
}
