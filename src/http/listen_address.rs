//! The addresses the server listens on.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use listenfd::ListenFd;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::socket::Stream;

/// One listen address as the operator wrote it: `:9558`, `127.0.0.1:9558`, `[::1]:9558` or
/// `localhost:9558`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None` for all addresses of the host, IPv6 and IPv4.
    host: Option<String>,
    port: u16,
}

/// Text that is no listen address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no listen address: write HOST:PORT, [IPv6]:PORT or :PORT")]
pub struct BadAddress(String);

/// What connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// The sockets that systemd passed to this process, in its order; empty if it passed none.
    /// Needs a runtime, and answers only once.
    ///
    /// # Errors
    /// One of them is no listening stream socket.
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

    /// Whether the kernel still takes connections for it.
    pub(super) fn listens(&self) -> bool {
        let listens = match self {
            Self::Tcp(listener) => sockopt::socket_acceptconn(listener),
            Self::Unix(listener) => sockopt::socket_acceptconn(listener),
        };
        listens.unwrap_or(false)
    }

    /// The next connection and who made it; users of a Unix socket count as one peer.
    pub(super) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // answers are written whole; waiting for more to send with them gains nothing
                let _ = stream.set_nodelay(true);
                let _ = sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
                Ok((Stream::Tcp(stream), peer.ip()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Ipv4Addr::UNSPECIFIED.into()))
            }
        }
    }
}

fn take(passed: &mut ListenFd, at: usize) -> io::Result<Listener> {
    if let Ok(Some(listener)) = passed.take_tcp_listener(at) {
        listener.set_nonblocking(true)?;
        return Ok(Listener::Tcp(TcpListener::from_std(listener)?));
    }
    if let Ok(Some(listener)) = passed.take_unix_listener(at) {
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix(UnixListener::from_std(listener)?));
    }
    let text = format!("the socket that systemd passed as number {} is no stream socket", at + 3);
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl ListenAddress {
    /// Listens: one listener, or one for each address of a host name.
    ///
    /// # Errors
    /// What the kernel or the resolver answered, with the address in the text.
    pub fn bind(&self) -> io::Result<Vec<Listener>> {
        let bound = self.try_bind();
        let bound = bound.map(|bound| bound.into_iter().map(Listener::Tcp).collect());
        bound.map_err(|error| io::Error::new(error.kind(), format!("{self}: {error}")))
    }

    fn try_bind(&self) -> io::Result<Vec<TcpListener>> {
        let Some(host) = &self.host else {
            return Ok(vec![every_address(self.port)?]);
        };
        let mut addresses: Vec<SocketAddr> = match (host.as_str(), self.port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            // a container may have no /etc/hosts to say so
            Err(_) if host == "localhost" => vec![(Ipv4Addr::LOCALHOST, self.port).into()],
            Err(error) => return Err(error),
        };
        addresses.dedup();
        addresses.into_iter().map(one_address).collect()
    }
}

impl FromStr for ListenAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => {
                address.split('%').next().unwrap_or("").parse::<Ipv6Addr>().map_err(|_| bad())?;
                Some(address.to_owned())
            }
            None if host.is_empty() => None,
            None if host.contains([':', '[', ']', '/', '@']) => return Err(bad()),
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

/// All addresses with one socket; only IPv4's where the kernel has no IPv6.
fn every_address(port: u16) -> io::Result<TcpListener> {
    match TcpSocket::new_v6() {
        Ok(socket) => {
            // /proc/sys/net/ipv6/bindv6only may say otherwise
            sockopt::set_ipv6_v6only(&socket, false)?;
            listen(&socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
            socket.listen(BACKLOG)
        }
        Err(_) => one_address(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
    }
}

fn one_address(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        let socket = TcpSocket::new_v6()?;
        sockopt::set_ipv6_v6only(&socket, true)?;
        socket
    } else {
        TcpSocket::new_v4()?
    };
    listen(&socket, address)?;
    socket.listen(BACKLOG)
}

fn listen(socket: &TcpSocket, address: SocketAddr) -> io::Result<()> {
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// What the kernel holds for a client that does not read; it doubles the figure. Left alone it
/// grows to megabytes for each, and the service's memory limit counts them.
const SEND_BUFFER: usize = 128 << 10;

/// Room for a thousand scrapers at the same moment; the kernel caps it at net.core.somaxconn.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in [":9558", "127.0.0.1:9558", "[::1]:9558", "localhost:0", "[fe80::1%eth0]:1"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "9558", "::1:9558", "[::1]", "[x]:1", "host:", "host:x", ":65536", "a/b:1"]
        {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn no_host_means_every_address_of_both_families() {
        let listener = ":0".parse::<ListenAddress>().unwrap().bind().unwrap().remove(0);
        let port = listener.address().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let peer = tokio::net::TcpStream::connect((host, port)).await.unwrap();
            let (_, from) = listener.accept().await.unwrap();
            assert_eq!(from.to_canonical(), peer.local_addr().unwrap().ip());
        }
    }

    #[tokio::test]
    async fn an_error_names_the_address() {
        let taken = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().unwrap().remove(0);
        let address = taken.address().unwrap().to_string();
        let error = address.parse::<ListenAddress>().unwrap().bind().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address), "{error}");
    }
}
