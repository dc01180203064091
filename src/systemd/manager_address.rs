//! The addresses of service managers: PID 1 on the system bus, a user manager on that user's bus.

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

/// The address of a service manager.
#[derive(Clone, Debug)]
pub enum ManagerAddress {
    /// The bus at this address: of PID 1, or of the manager of the exporter's own user.
    Bus(String),
    /// The bus of another user, which accepts connections from that user only.
    UserBus {
        /// The user.
        uid: u32,
        /// The socket of the bus.
        socket: PathBuf,
    },
}

impl ManagerAddress {
    /// A builder for a connection to the bus.
    pub(super) async fn builder(&self, coalescing: &Coalescing) -> zbus::Result<Builder<'_>> {
        match self {
            Self::Bus(address) => {
                let address: Address = address.parse()?;
                let socket = match address.transport() {
                    Transport::Unix(unix) => match unix.path() {
                        UnixSocket::File(path) => {
                            SocketAddrUnix::new(path).map_err(io::Error::from)?
                        }
                        UnixSocket::Abstract(name) => {
                            SocketAddrUnix::new_abstract_name(name.as_bytes())
                                .map_err(io::Error::from)?
                        }
                        _ => return Ok(Builder::address(address)),
                    },
                    // rare, and without coalescing
                    _ => return Ok(Builder::address(address)),
                };
                builder(connect_here(&socket)?, coalescing)
            }
            Self::UserBus { uid, socket } => {
                let stream = connect_as(*uid, socket).await?;
                Ok(builder(stream, coalescing)?.user_id(*uid))
            }
        }
    }

    /// Whether a process of this user may own the manager's name.
    pub(super) fn trusts(&self, manager: u32) -> bool {
        match self {
            Self::Bus(_) => manager == 0 || manager == geteuid().as_raw(),
            Self::UserBus { uid, .. } => manager == *uid,
        }
    }
}

impl Display for ManagerAddress {
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

fn builder(stream: UnixStream, coalescing: &Coalescing) -> zbus::Result<Builder<'static>> {
    let socket = CoalescingSocket::new(stream, coalescing.clone())?;
    Ok(Builder::socket(socket.halves()?))
}
