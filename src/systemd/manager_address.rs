//! Where service managers are: PID 1 on the system bus, a user's manager on that user's own.

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

/// Where a service manager is.
#[derive(Clone, Debug)]
pub enum Place {
    /// On the bus at this address: PID 1, or the manager of the exporter's own user.
    Bus(String),
    /// On the bus of another user, which takes connections from that user only.
    OfUser {
        /// The user.
        uid: u32,
        /// The socket of the bus.
        socket: PathBuf,
    },
}

impl Place {
    /// What begins a connection.
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
                over(connect_here(&socket)?, coalescing)
            }
            Self::OfUser { uid, socket } => {
                let stream = connect_as(*uid, socket).await?;
                Ok(over(stream, coalescing)?.user_id(*uid))
            }
        }
    }

    /// Whether a manager of this user may be there.
    pub(super) fn trusts(&self, manager: u32) -> bool {
        match self {
            Self::Bus(_) => manager == 0 || manager == geteuid().as_raw(),
            Self::OfUser { uid, .. } => manager == *uid,
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(address) => f.write_str(address),
            Self::OfUser { socket, .. } => write!(f, "{}", socket.display()),
        }
    }
}

/// Connects as another user: who that is, the kernel notes when a connection is made.
///
/// There is no limit in time: a thread that hangs, in a file system of that user's, would only be
/// followed by others.
async fn connect_as(uid: u32, socket: &Path) -> io::Result<UnixStream> {
    let (sender, receiver) = oneshot::channel();
    let socket = socket.to_owned();
    // the kernel has user ids by thread; this one ends with its own
    std::thread::Builder::new().name("connect-as".to_owned()).spawn(move || {
        // nobody waits any longer, then
        let _ = sender.send(connect_here_as(uid, &socket));
    })?;
    receiver.await.map_err(io::Error::other)?
}

fn connect_here_as(uid: u32, socket: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let socket = unix_socket()?;
    set_thread_res_uid(None, Some(Uid::from_raw(uid)), None).map_err(|error| {
        let text = format!("becoming uid {uid}: {error}; the exporter needs CAP_SETUID for that");
        io::Error::new(error.kind(), text)
    })?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

/// A connection of this user.
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

fn over(stream: UnixStream, coalescing: &Coalescing) -> zbus::Result<Builder<'static>> {
    let socket = CoalescingSocket::new(stream, coalescing.clone())?;
    Ok(Builder::socket(socket.halves()?))
}
