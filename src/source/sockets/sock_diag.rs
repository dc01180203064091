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
use super::fair_limit::{FairLimit, ListenerKey, SocketId, SocketTally};
use super::filter::ListenerFilter;
use super::netlink::{self, InetSocket, NetlinkMessage, UnixSocket};
use super::socket_activation::Activation;
use crate::source::Error;

/// TCP connections by cgroup and state.
pub(super) type ConnectionCounts = BTreeMap<(u64, &'static str), u64>;

/// A netlink socket connected to the kernel.
#[derive(Debug)]
pub(super) struct SockDiag {
    socket: OwnedFd,
}

impl SockDiag {
    /// [`Error::Unavailable`] if this process has no access to netlink.
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

    /// Listeners by the owner of the cgroup that they were made in. [`Error::Unavailable`] if the
    /// kernel has no such dump.
    pub(super) fn listeners<'a, O: Ord>(
        &self,
        protocol: Protocol,
        buffer: &mut [u8],
        filter: &'a ListenerFilter,
        owner_of: &impl Fn(Option<u64>) -> O,
        deadline: Instant,
    ) -> Result<FairLimit<'a, O>, Error> {
        let state = if protocol.is_udp() { netlink::CLOSE } else { netlink::LISTEN };
        let request = netlink::inet_request(protocol, state);
        let start = || filter.dump_limit();
        self.dump(&request, buffer, deadline, start, |listeners, body| {
            let socket = InetSocket::parse(body)?;
            let identity = SocketId::Cookie(socket.cookie);
            if !filter.accepts(protocol, socket.port, identity) {
                return Some(());
            }
            let mut tally = SocketTally::one(identity, socket.inode, socket.drops);
            if !protocol.is_udp() {
                tally.queue = Some(socket.receive_queue.into());
                tally.limit = Some(socket.send_queue.into());
            }
            let (owner, port, address) = (owner_of(socket.cgroup), socket.port, socket.address);
            listeners.add(ListenerKey { owner, protocol, port, address }, tally);
            Some(())
        })
    }

    /// Counts TCP connections.
    pub(super) fn connections(
        &self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> Result<ConnectionCounts, Error> {
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

    /// An interface's name; `None` if it no longer exists.
    pub(super) fn interface(&self, index: u32) -> Option<String> {
        netdevice::index_to_name(&self.socket, index).ok()
    }

    /// Requests a dump, and calls `visit` for every socket with the value of `start`. Repeats the
    /// request once where a change interrupted the dump.
    fn dump<T>(
        &self,
        request: &[u8],
        buffer: &mut [u8],
        deadline: Instant,
        start: impl Fn() -> T,
        visit: impl Fn(&mut T, &[u8]) -> Option<()>,
    ) -> Result<T, Error> {
        let mut listeners = start();
        let interrupted =
            self.request(request, buffer, deadline, |body| visit(&mut listeners, body))?;
        if interrupted {
            listeners = start();
            self.request(request, buffer, deadline, |body| visit(&mut listeners, body))?;
        }
        Ok(listeners)
    }

    /// Requests a dump; returns whether a change interrupted it.
    fn request(
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
                    NetlinkMessage::Socket(body) => {
                        visit(body).ok_or_else(|| Error::malformed(Path::new(INTERFACE), body))?;
                    }
                    NetlinkMessage::End(None) => return Ok(interrupted),
                    NetlinkMessage::End(Some(code)) => {
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
            "{INTERFACE} lacks a protocol ({errno}): its listeners are exported without units; \
             load the kernel modules tcp_diag and udp_diag"
        ),
        errno => format!(
            "{INTERFACE} is not permitted ({errno}): listeners are exported without units; add \
             AF_NETLINK to RestrictAddressFamilies= of the exporter's unit"
        ),
    })
}

fn failed(errno: Errno) -> Error {
    Error::io(Path::new(INTERFACE))(errno.into())
}

/// Bytes. The kernel sends at most 32 KiB at a time, and no more than the buffer holds.
pub(super) const BUFFER_SIZE: usize = 32 * 1024;

const INTERFACE: &str = "NETLINK_SOCK_DIAG";

/// The states in which a connection's socket has a cgroup.
const STATES: [(u8, &str); 7] = [
    (1, "established"),
    (2, "syn_sent"),
    (4, "fin_wait_1"),
    (5, "fin_wait_2"),
    (8, "close_wait"),
    (9, "last_ack"),
    (11, "closing"),
];
