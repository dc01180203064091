//! Connections of unprivileged users to the buses of a machine, private buses, and a fake systemd.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use futures_util::StreamExt;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use crate::support::{Exporter, Machine};

/// The uid of `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// Connects to the bus whose socket is at `path` inside the machine, as this user.
pub(crate) async fn connect(machine: &Machine, path: &str, uid: u32) -> Connection {
    let path = Path::new(path);
    // /proc/PID/root is not accessible to the user, but a directory that root has opened is
    let dir = path.parent().expect("a directory").to_str().expect("text");
    let dir = File::open(machine.path(dir)).expect("the directory of the bus");
    let socket = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let socket = Path::new(&socket).join(path.file_name().expect("a name"));
    // user ids are per thread; this thread ends after the connection
    let connect = move || {
        set_thread_res_uid(None, Some(Uid::from_raw(uid)), None).expect("setresuid");
        UnixStream::connect(socket).expect("the bus")
    };
    let stream = thread::spawn(connect).join().expect("a connection");
    let connection = zbus::connection::Builder::unix_stream(stream).user_id(uid).build();
    connection.await.expect("a connection to the bus")
}

/// Starts a private bus with these rules, without PID 1 on it; returns the path of its socket.
pub(crate) fn bus(machine: &Machine, name: &str, rules: &str, properties: &[&str]) -> String {
    let (socket, file) = (format!("/run/{name}/bus"), format!("/run/{name}/bus.conf"));
    let limit = "<limit name='max_message_size'>134217728</limit>\
                 <limit name='max_incoming_bytes'>536870912</limit>\
                 <limit name='max_outgoing_bytes'>536870912</limit>";
    machine.write(
        &file,
        format!(
            "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' \
             'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>\n\
             <busconfig><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow user='*'/><allow own='*'/>{rules}</policy>{limit}\
             </busconfig>\n"
        ),
    );
    machine.ok(&["chmod", "777", &format!("/run/{name}")]);
    let unit = format!("--unit={name}");
    let mut command = vec!["systemd-run", "--quiet", &unit];
    command.extend(properties.iter().flat_map(|property| ["--property", property]));
    let config = format!("--config-file={file}");
    command.extend(["--", "/usr/bin/dbus-daemon", "--nofork", "--nopidfile", &config]);
    machine.ok(&command);
    crate::support::eventually("the bus has a socket", || {
        machine.path(&socket).exists().then_some(())
    });
    socket
}

/// Signals and calls are allowed; replies only to a call, as on every bus.
pub(crate) const DEFAULT_POLICY: &str = "<allow send_destination='*'/><allow receive_sender='*'/>";

/// Owns systemd's name and replies to each call with the result of `reply`; no reply if it is `None`.
pub(crate) async fn fake_systemd(
    connection: Connection,
    reply: impl Fn(&str, &Message) -> Option<Message> + Send + 'static,
) {
    let calls = MessageStream::from(&connection);
    connection.request_name("org.freedesktop.systemd1").await.expect("systemd's name");
    tokio::spawn(async move {
        let mut calls = calls;
        while let Some(Ok(call)) = calls.next().await {
            if call.message_type() != Type::MethodCall {
                continue;
            }
            let member = call.header().member().map(ToString::to_string).unwrap_or_default();
            if let Some(reply) = reply(&member, &call) {
                let _ = connection.send(&reply).await;
            }
        }
    });
}

/// An entry of the reply to `ListUnits`.
pub(crate) type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    zbus::OwnedObjectPath,
    u32,
    String,
    zbus::OwnedObjectPath,
);

/// An active unit in the reply to `ListUnits`.
pub(crate) fn listed_unit(name: &str, description: &str) -> ListedUnit {
    let path = zbus::OwnedObjectPath::try_from("/org/freedesktop/systemd1/unit/x").expect("a path");
    let [loaded, active, running] = ["loaded", "active", "running"].map(str::to_owned);
    let (name, text) = (name.to_owned(), description.to_owned());
    (name, text, loaded, active, running, String::new(), path.clone(), 0, String::new(), path)
}

/// The unique name of an exporter's connection to the system bus.
pub(crate) fn connection_of(machine: &Machine, exporter: &Exporter) -> String {
    connections_of(machine, exporter).swap_remove(0)
}

/// The unique names of all its connections to the system bus.
pub(crate) fn connections_of(machine: &Machine, exporter: &Exporter) -> Vec<String> {
    let names = machine.ok(&["busctl", "--system", "--json=short", "list", "--unique"]);
    let names: Vec<serde_json::Value> = serde_json::from_str(&names).expect("JSON");
    let of_exporter = names.iter().filter(|row| row["unit"] == exporter.unit());
    of_exporter.map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}
