//! An ordinary user's connections to the buses of a machine, and a manager that is not systemd.

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

/// Nobody in particular.
pub(crate) const NOBODY: u32 = 65534;

/// Connects to the bus whose socket is at `path` inside, as that user.
pub(crate) async fn connect(machine: &Machine, path: &str, uid: u32) -> Connection {
    let path = Path::new(path);
    // a user cannot pass through /proc/PID/root, but through what root has opened
    let folder = File::open(machine.path(path.parent().expect("a folder").to_str().expect("text")));
    let folder = folder.expect("the folder of the bus");
    let socket = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let socket = Path::new(&socket).join(path.file_name().expect("a name"));
    // the kernel has user ids by thread; this one ends with its own
    let connect = move || {
        set_thread_res_uid(None, Some(Uid::from_raw(uid)), None).expect("becoming a user");
        UnixStream::connect(socket).expect("the bus")
    };
    let stream = thread::spawn(connect).join().expect("a connection");
    let connection = zbus::connection::Builder::unix_stream(stream).user_id(uid).build();
    connection.await.expect("a connection to the bus")
}

/// A bus of the machine's own making, without PID 1 and with these rules; its socket's path.
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
    crate::support::eventually("the bus is there", || machine.path(&socket).exists().then_some(()));
    socket
}

/// Only replies that were asked for, as every bus has it; signals and calls as anybody likes.
pub(crate) const USUAL: &str = "<allow send_destination='*'/><allow receive_sender='*'/>";

/// Takes systemd's name and answers each call with what `answer` makes of it; `None` is silence.
pub(crate) async fn manage(
    connection: Connection,
    answer: impl Fn(&str, &Message) -> Option<Message> + Send + 'static,
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
            if let Some(reply) = answer(&member, &call) {
                let _ = connection.send(&reply).await;
            }
        }
    });
}

/// A row of an answer to `ListUnits`.
pub(crate) type Row = (
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

/// A unit that is active, as `ListUnits` tells of it.
pub(crate) fn row(name: &str, description: &str) -> Row {
    let path = zbus::OwnedObjectPath::try_from("/org/freedesktop/systemd1/unit/x").expect("a path");
    let [loaded, active, running] = ["loaded", "active", "running"].map(str::to_owned);
    let (name, text) = (name.to_owned(), description.to_owned());
    (name, text, loaded, active, running, String::new(), path.clone(), 0, String::new(), path)
}

/// The one connection that an exporter has to the system bus.
pub(crate) fn connection_of(machine: &Machine, exporter: &Exporter) -> String {
    let names = machine.ok(&["busctl", "--system", "--json=short", "list", "--unique"]);
    let names: Vec<serde_json::Value> = serde_json::from_str(&names).expect("JSON");
    let mut of_exporter = names.iter().filter(|row| row["unit"] == exporter.unit());
    let name = of_exporter.next().expect("a connection")["name"].as_str().expect("a name");
    name.to_owned()
}
