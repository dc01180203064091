//! The kernel's sock_diag interface: a netlink socket, opened for one reading.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netdevice, recv, send,
    socket_with,
};

use super::UnixListener;
use super::endpoint::Protocol;
use super::fair_limit::{Gathered, Identity, Key, Tally};
use super::filter::Wanted;
use super::netlink;
use super::netlink::{InetSocket, Message, UnixSocket};
use super::socket_activation::Activation;
use crate::source::Error;

/// A netlink socket that talks to the kernel alone.
#[derive(Debug)]
pub(super) struct Diag {
    socket: OwnedFd,
}

impl Diag {
    /// [`Error::Unavailable`] if this process may not.
    pub(super) fn open(deadline: Instant) -> Result<Self, Error> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(SOCK_DIAG),
        )
        .map_err(refused)?;
        connect(&socket, &SocketAddrNetlink::new(0, 0)).map_err(refused)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Recv, Some(timeout)).map_err(failed)?;
        Ok(Self { socket })
    }

    /// Listeners by whose the cgroup is that they were made in. [`Error::Unavailable`] if the
    /// kernel has no such dump.
    pub(super) fn listeners<'a, O: Ord>(
        &self,
        protocol: Protocol,
        buffer: &mut [u8],
        wanted: &'a Wanted,
        whose: &impl Fn(Option<u64>) -> O,
        deadline: Instant,
    ) -> Result<Gathered<'a, O>, Error> {
        let state = if protocol.is_udp() { netlink::CLOSE } else { netlink::LISTEN };
        let request = netlink::inet_request(protocol, state);
        let start = || wanted.dumped();
        self.dump(&request, buffer, deadline, start, |gathered, body| {
            let socket = InetSocket::parse(body)?;
            if !wanted.wants(protocol, socket.port) {
                return Some(());
            }
            let mut tally = Tally::one(Identity::Cookie(socket.cookie), socket.drops);
            if !protocol.is_udp() {
                tally.queue = Some(socket.receive_queue.into());
                tally.limit = Some(socket.send_queue.into());
            }
            let (owner, port, address) = (whose(socket.cgroup), socket.port, socket.address);
            gathered.add(Key { owner, protocol, port, address }, tally);
            Some(())
        })
    }

    /// TCP connections by cgroup and state.
    pub(super) fn connections(
        &self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> Result<BTreeMap<(u64, &'static str), u64>, Error> {
        let states = STATES.iter().fold(0, |states, (bit, _)| states | 1 << bit);
        let mut all = BTreeMap::new();
        for protocol in [Protocol::Tcp, Protocol::Tcp6] {
            let request = netlink::inet_request(protocol, states);
            let counts: BTreeMap<_, u64> =
                self.dump(&request, buffer, deadline, BTreeMap::new, |counts, body| {
                    let socket = InetSocket::parse(body)?;
                    let state = STATES.iter().find(|(state, _)| *state == socket.state);
                    if let (Some(cgroup), Some((_, state))) = (socket.cgroup, state) {
                        *counts.entry((cgroup, *state)).or_default() += 1;
                    }
                    Some(())
                })?;
            for (key, count) in counts {
                *all.entry(key).or_default() += count;
            }
        }
        Ok(all)
    }

    /// The unix listeners that socket units name.
    pub(super) fn unix(
        &self,
        buffer: &mut [u8],
        activation: &Activation<'_>,
        deadline: Instant,
    ) -> Result<Vec<UnixListener>, Error> {
        let request = netlink::unix_request();
        let mut found = self.dump(&request, buffer, deadline, Vec::new, |found, body| {
            let socket = UnixSocket::parse(body)?;
            if let Some((unit, path)) = activation.unix(socket.name) {
                found.push(UnixListener {
                    unit,
                    path: path.to_owned(),
                    accept_queue: socket.queue.into(),
                    accept_queue_limit: socket.limit.into(),
                });
            }
            Some(())
        })?;
        found.sort_unstable_by(|a, b| (&a.unit, &a.path).cmp(&(&b.unit, &b.path)));
        found.dedup_by(|later, first| {
            let same = later.unit == first.unit && later.path == first.path;
            if same {
                first.accept_queue += later.accept_queue;
                first.accept_queue_limit += later.accept_queue_limit;
            }
            same
        });
        Ok(found)
    }

    /// An interface's name; `None` if it is gone.
    pub(super) fn interface(&self, index: u32) -> Option<String> {
        netdevice::index_to_name(&self.socket, index).ok()
    }

    /// Asks, and lets `visit` put every socket of the reply into what `start` made. Where the
    /// kernel says that the dump was interrupted by a change, it is asked once again.
    fn dump<T>(
        &self,
        request: &[u8],
        buffer: &mut [u8],
        deadline: Instant,
        start: impl Fn() -> T,
        visit: impl Fn(&mut T, &[u8]) -> Option<()>,
    ) -> Result<T, Error> {
        let mut gathered = start();
        let interrupted = self.ask(request, buffer, deadline, |body| visit(&mut gathered, body))?;
        if interrupted {
            gathered = start();
            self.ask(request, buffer, deadline, |body| visit(&mut gathered, body))?;
        }
        Ok(gathered)
    }

    fn ask(
        &self,
        request: &[u8],
        buffer: &mut [u8],
        deadline: Instant,
        mut visit: impl FnMut(&[u8]) -> Option<()>,
    ) -> Result<bool, Error> {
        send(&self.socket, request, SendFlags::empty()).map_err(failed)?;
        let mut interrupted = false;
        loop {
            if Instant::now() >= deadline {
                return Err(Error::Late);
            }
            let received = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((received, _)) => received,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(Error::Late),
                Err(errno) => return Err(failed(errno)),
            };
            let bytes = &buffer[..received];
            for message in netlink::messages(bytes) {
                let Some((message, inconsistent)) = message else {
                    return Err(Error::malformed(Path::new(INTERFACE), bytes));
                };
                interrupted |= inconsistent;
                match message {
                    Message::Socket(body) => {
                        visit(body).ok_or_else(|| Error::malformed(Path::new(INTERFACE), body))?;
                    }
                    Message::End(None) => return Ok(interrupted),
                    Message::End(Some(code)) => {
                        let errno = Errno::from_raw_os_error(code);
                        return Err(match errno {
                            Errno::NOENT => refused(errno),
                            errno => failed(errno),
                        });
                    }
                }
            }
        }
    }
}

fn refused(errno: Errno) -> Error {
    Error::Unavailable(match errno {
        Errno::NOENT => format!(
            "{INTERFACE} lacks a protocol ({errno}): its listeners are known without their units; \
             load the kernel modules tcp_diag and udp_diag"
        ),
        errno => format!(
            "{INTERFACE} is refused ({errno}): listeners are known without their units; add \
             AF_NETLINK to RestrictAddressFamilies= of the exporter's unit"
        ),
    })
}

fn failed(errno: Errno) -> Error {
    Error::io(Path::new(INTERFACE))(errno.into())
}

/// The kernel fills at most 32 KiB at a time, and less if less can be received.
pub(super) const BUFFER: usize = 32 * 1024;

const INTERFACE: &str = "NETLINK_SOCK_DIAG";

/// The states of a connection whose socket the kernel knows the cgroup of.
const STATES: [(u8, &str); 7] = [
    (1, "established"),
    (2, "syn_sent"),
    (4, "fin_wait_1"),
    (5, "fin_wait_2"),
    (8, "close_wait"),
    (9, "last_ack"),
    (11, "closing"),
];
