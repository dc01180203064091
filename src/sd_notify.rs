//! Notifications to systemd (sd_notify(3)): ready, reloading, stopping, watchdog, status.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::systemd::unit::value::Timestamp;

/// The notification socket. Sending never blocks: if systemd does not read, or did not start this
/// process, notifications are dropped.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// The socket of `NOTIFY_SOCKET`; without that variable, all notifications are dropped.
    ///
    /// # Errors
    /// The socket cannot be reached, or a variable is invalid.
    pub fn from_env() -> io::Result<Self> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(Self::default()) };
        let own = std::process::id().to_string();
        let is_ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == own);
        let watchdog = std::env::var("WATCHDOG_USEC").ok().filter(|_| is_ours);
        Self::new(&name, watchdog.as_deref())
    }

    fn new(name: &OsString, watchdog: Option<&str>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(name.as_bytes())?)?;
        // PID 1 may be stopped, with its queue full
        socket.set_nonblocking(true)?;
        let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, "WATCHDOG_USEC is not a number");
        let watchdog = watchdog.map(|text| text.parse().map_err(bad)).transpose()?;
        Ok(Self { socket: Some(socket), watchdog: watchdog.map(Duration::from_micros) })
    }

    /// How long systemd waits for a keep-alive before it kills the service (`WatchdogSec=`); `None`
    /// without a watchdog.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service is ready, after its start or a reload.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The service reloads its configuration; [`Notify::ready`] must follow.
    pub fn reloading(&self) {
        let Timestamp(micros) = Timestamp::monotonic();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The service stops.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Watchdog keep-alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The status text in `systemctl status`, one line.
    pub fn status(&self, line: &str) {
        // systemd would read a second line as another assignment
        let line = line.replace(char::is_control, " ");
        self.send(&format!("STATUS={line}"));
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, message, "failed to send sd_notify message");
        }
    }
}

/// A path, or `@` and a name in the abstract namespace.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name {
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "NOTIFY_SOCKET is not a unix socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_nonblocking(true).unwrap();
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn sends_to_path_and_to_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("unit-exporter-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path), path.into_os_string()),
            (
                SocketAddr::from_abstract_name(&name).and_then(|at| UnixDatagram::bind_addr(&at)),
                format!("@{name}").into(),
            ),
        ];
        for (socket, name) in sockets {
            let socket = socket.unwrap();
            let notify = Notify::new(&name, Some("30000000")).unwrap();
            assert_eq!(notify.watchdog(), Some(Duration::from_secs(30)));
            notify.ready();
            assert_eq!(received(&socket), "READY=1");
            notify.status("5 units\nMAINPID=1");
            assert_eq!(received(&socket), "STATUS=5 units MAINPID=1");
            notify.reloading();
            let message = received(&socket);
            let since = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(since.parse::<u64>().unwrap() > 0);
        }
    }

    #[test]
    fn full_notify_socket_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _unread = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(&path.into_os_string(), None).unwrap();
        for _ in 0..10_000 {
            notify.alive();
        }
    }

    #[test]
    fn rejects_invalid_variables() {
        for name in ["", "vsock:2:1234", "relative/path"] {
            assert!(Notify::new(&name.into(), None).is_err(), "{name}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        assert!(Notify::new(&path.into_os_string(), Some("soon")).is_err());
    }
}
