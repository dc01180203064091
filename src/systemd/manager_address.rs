//! Where service managers are: PID 1 on the system bus, a user's manager on that user's own.

use std::fmt::{self, Display};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use tokio::sync::oneshot;
use zbus::connection::Builder;

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
    pub(super) async fn builder(&self) -> zbus::Result<Builder<'_>> {
        match self {
            Self::Bus(address) => Ok(Builder::address(&**address)),
            Self::OfUser { uid, socket } => {
                let stream = connect_as(*uid, socket).await?;
                Ok(Builder::unix_stream(stream).user_id(*uid))
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
    let to = SocketAddrUnix::new(socket)?;
    // not waiting for whoever does not accept
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_thread_res_uid(None, Some(Uid::from_raw(uid)), None).map_err(|error| {
        let text = format!("becoming uid {uid}: {error}; the exporter needs CAP_SETUID for that");
        io::Error::new(error.kind(), text)
    })?;
    connect(&stream, &to)?;
    Ok(stream.into())
}
