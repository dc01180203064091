//! The addresses of buses: the system bus, or the bus of a user.

use std::fmt::{self, Display};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use tokio::sync::oneshot;
use zbus::Address;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::Builder;

use super::wakeup_coalescing::{Coalescing, CoalescingSocket};

/// The address of a bus.
#[derive(Clone, Debug)]
pub enum BusAddress {
    /// The bus at this address: the system's, or that of the exporter's own user.
    Bus(String),
    /// The bus of another user, which accepts connections from that user only.
    UserBus {
        /// The user.
        uid: u32,
        /// The socket of the bus.
        socket: PathBuf,
    },
}

impl BusAddress {
    /// A builder for a connection to the bus.
    pub(crate) async fn builder(&self, coalescing: &Coalescing) -> zbus::Result<Builder<'_>> {
        match self {
            Self::Bus(address) => {
                let address: Address = address.parse()?;
                let unix = match address.transport() {
                    Transport::Unix(unix) => unix.path(),
                    // rare, and without coalescing; it cannot carry file descriptors
                    _ => return Ok(Builder::address(address)),
                };
                let socket = match unix {
                    UnixSocket::File(path) => SocketAddrUnix::new(path),
                    UnixSocket::Abstract(name) => {
                        SocketAddrUnix::new_abstract_name(name.as_bytes())
                    }
                    _ => {
                        let text = "the address of a bus needs unix:path= or unix:abstract=";
                        return Err(zbus::Error::Address(text.to_owned()));
                    }
                };
                let stream = connect_here(&socket.map_err(io::Error::from)?)?;
                builder(stream, coalescing, MAX_MESSAGE)
            }
            Self::UserBus { uid, socket } => {
                let stream = connect_as(*uid, socket).await?;
                Ok(builder(stream, coalescing, MAX_USER_MESSAGE)?.user_id(*uid))
            }
        }
    }

    /// Whether a process of this user may own the name of the bus's service manager.
    pub(crate) fn trusts(&self, manager: u32) -> bool {
        match self {
            Self::Bus(_) => manager == 0 || manager == geteuid().as_raw(),
            Self::UserBus { uid, .. } => manager == *uid,
        }
    }
}

impl Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(address) => f.write_str(address),
            Self::UserBus { socket, .. } => write!(f, "{}", socket.display()),
        }
    }
}

/// Connects as another user: the kernel records the effective user when a connection is made.
///
/// There is no timeout: if the thread hangs in a file system of that user, a retry would hang too.
async fn connect_as(uid: u32, socket: &Path) -> io::Result<UnixStream> {
    let (sender, receiver) = oneshot::channel();
    let socket = socket.to_owned();
    // user ids are per thread in the kernel; this thread ends after the call
    std::thread::Builder::new().name("connect-as".to_owned()).spawn(move || {
        // fails if the receiver was dropped
        let _ = sender.send(connect_here_as(uid, &socket));
    })?;
    receiver.await.map_err(io::Error::other)?
}

fn connect_here_as(uid: u32, socket: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let socket = unix_socket()?;
    set_thread_res_uid(None, Some(Uid::from_raw(uid)), None).map_err(|error| {
        let text = format!("failed to switch to uid {uid}: {error}; the exporter needs CAP_SETUID");
        io::Error::new(error.kind(), text)
    })?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

/// Connects as the exporter's user.
fn connect_here(address: &SocketAddrUnix) -> io::Result<UnixStream> {
    let socket = unix_socket()?;
    connect(&socket, address)?;
    Ok(socket.into())
}

/// A socket that does not block when the bus accepts no connections.
fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

fn builder(
    stream: UnixStream,
    coalescing: &Coalescing,
    max_message: u64,
) -> zbus::Result<Builder<'static>> {
    let socket = CoalescingSocket::new(stream, coalescing.clone(), max_message)?;
    Ok(Builder::socket(socket.halves()?))
}

/// The limit of dbus-daemon on the system bus.
const MAX_MESSAGE: u64 = 32 << 20;

/// The user may own all programs on that bus; a list of 2,000 units takes half of this.
const MAX_USER_MESSAGE: u64 = 1 << 20;
