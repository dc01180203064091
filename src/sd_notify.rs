//! Tells systemd how its service goes: that it is ready, reloads, stops, is alive, and what it sees.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::systemd::unit::value::Timestamp;

/// The socket on which systemd hears this service. Nothing is waited for: where systemd does not
/// read, or did not start this process at all, nothing is said.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// What systemd set up for this process; one that says nothing if it set up nothing.
    ///
    /// # Errors
    /// There is to be a socket and it cannot be reached, or the variables hold nonsense.
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
        let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, "WATCHDOG_USEC is no number");
        let watchdog = watchdog.map(|text| text.parse().map_err(bad)).transpose()?;
        Ok(Self { socket: Some(socket), watchdog: watchdog.map(Duration::from_micros) })
    }

    /// How long systemd waits for a sign of life before it ends the service; `None` if it does not
    /// look.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// It serves, at first or again after a reload.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// It reads its configuration again; [`Notify::ready`] has to follow.
    pub fn reloading(&self) {
        let Timestamp(micros) = Timestamp::monotonic();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It ends.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// It is alive.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// What `systemctl status` shows of it, in one line.
    pub fn status(&self, line: &str) {
        // a second line would be a message of its own
        let line = line.replace(char::is_control, " ");
        self.say(&format!("STATUS={line}"));
    }

    fn say(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, message, "systemd does not hear");
        }
    }
}

/// A path, or a name in the abstract namespace after an `@`.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name {
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "NOTIFY_SOCKET is no unix socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        socket.set_nonblocking(true).unwrap();
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_through_a_path_and_through_an_abstract_name() {
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
            assert_eq!(heard(&socket), "READY=1");
            notify.status("5 units\nMAINPID=1");
            assert_eq!(heard(&socket), "STATUS=5 units MAINPID=1");
            notify.reloading();
            let message = heard(&socket);
            let since = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(since.parse::<u64>().unwrap() > 0);
        }
    }

    #[test]
    fn one_who_does_not_listen_holds_up_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(&path.into_os_string(), None).unwrap();
        for _ in 0..10_000 {
            notify.alive();
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for name in ["", "vsock:2:1234", "relative/path"] {
            assert!(Notify::new(&name.into(), None).is_err(), "{name}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        assert!(Notify::new(&path.into_os_string(), Some("soon")).is_err());
    }
}
