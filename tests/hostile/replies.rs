//! T11 and T14: replies of a fake systemd on a private bus: forged, oversized, invalid.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use zbus::Variant;
use zbus::message::Message;

use crate::bus::runtime;
use crate::rogue_bus::{self, DEFAULT_POLICY, connect, fake_systemd, listed_unit};
use crate::support::{Exporter, Machine};
use crate::{assert_active, megabytes, resident};

/// dbus-daemon drops replies from anyone but the called connection, so the test implements the bus.
#[test]
fn forged_dbus_reply_is_ignored() {
    let machine = Machine::options().boot();
    let listener = UnixListener::bind(machine.path("/run/lax")).expect("a socket");
    let reply = |member: &str, serial: u32| {
        let call = Message::method_call("/", "X").build(&()).expect("a call");
        let from = |sender| {
            let reply = Message::method_return(&call.header()).reply_serial(serial.try_into().ok());
            reply.sender(sender)
        };
        let units = |name| vec![listed_unit(name, "")];
        let no_jobs =
            Vec::<(u32, &str, &str, &str, zbus::ObjectPath<'_>, zbus::ObjectPath<'_>)>::new();
        let replies = match member {
            "Hello" => vec![from(DRIVER).build(&":1.5")],
            "GetNameOwner" => vec![from(DRIVER).build(&SYSTEMD)],
            "GetConnectionUnixUser" => vec![from(DRIVER).build(&0_u32)],
            "AddMatch" => vec![from(DRIVER).build(&())],
            // the forged reply is the first
            "ListUnits" => vec![
                from(":1.66").build(&units("forged.service")),
                from(SYSTEMD).build(&units("honest.service")),
            ],
            "ListJobs" => vec![from(SYSTEMD).build(&no_jobs)],
            "Get" => vec![from(SYSTEMD).build(&Variant::from(""))],
            _ => vec![from(SYSTEMD).build(&())],
        };
        let replies = replies.into_iter().map(|reply| reply.expect("a reply"));
        replies.flat_map(|reply| reply.data().to_vec()).collect()
    };
    thread::spawn(move || serve(&listener.accept().expect("the exporter").0, reply));
    let exporter = machine.exporter(&["--dbus.address=unix:path=/run/lax"]);
    let samples = exporter.samples();
    assert_active(&samples, "honest.service");
    assert_eq!(samples.all("systemd_unit_state", &[("name", "forged.service")]).count(), 0);
    assert_eq!(samples.value("unit_exporter_dbus_untrusted_messages_total", &[]), Some(1.0));
}

/// Serves a bus to one client: replies to each call by its member and serial, until the client disconnects.
fn serve(mut client: &UnixStream, reply: impl Fn(&str, u32) -> Vec<u8>) {
    let mut line = Vec::new();
    while !line.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a client that authenticates");
        line.push(byte[0]);
        if line.ends_with(b"\r\n") && !line.ends_with(b"BEGIN\r\n") {
            let auth = line.windows(4).any(|word| word == b"AUTH");
            let response =
                if auth { "OK 0123456789abcdef0123456789abcdef\r\n" } else { "ERROR\r\n" };
            client.write_all(response.as_bytes()).expect("a client that reads");
            line.clear();
        }
    }
    loop {
        let mut head = [0; 16];
        if client.read_exact(&mut head).is_err() {
            return;
        }
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let fields = number(12).next_multiple_of(8) as usize;
        let mut rest = vec![0; fields + number(4) as usize];
        client.read_exact(&mut rest).expect("a whole message");
        // header field 3 (MEMBER) of type string: code, signature, length, text
        let at = rest.windows(4).position(|field| field == [3, 1, b's', 0]).expect("a member") + 8;
        let length = rest[at - 4] as usize;
        let member = String::from_utf8_lossy(&rest[at..at + length]).into_owned();
        if client.write_all(&reply(&member, number(8))).is_err() {
            return;
        }
    }
}

#[test]
fn oversized_or_invalid_replies_affect_only_units() {
    let machine = Machine::options().boot();
    let long = "x".repeat(20 << 20);
    for (name, reply) in [
        ("longtext", ListUnitsReply::Units(vec![listed_unit("big.service", &long)])),
        (
            "longname",
            ListUnitsReply::Units(vec![listed_unit(&format!("{}.service", &long[..1 << 20]), "")]),
        ),
        (
            "many",
            ListUnitsReply::Units(
                (0..100_000).map(|n| listed_unit(&format!("u{n}.service"), "")).collect(),
            ),
        ),
        ("longerror", ListUnitsReply::Error(long.clone())),
        ("wrongtype", ListUnitsReply::Text(long.clone())),
        ("noreply", ListUnitsReply::NoReply),
    ] {
        let socket = rogue_bus::bus(&machine, name, DEFAULT_POLICY, &[]);
        let runtime = runtime();
        runtime.block_on(async {
            let long = long.clone();
            fake_systemd(connect(&machine, &socket, 0).await, move |member, call| {
                reply.to(member, call, &long)
            })
            .await;
        });
        let address = format!("--dbus.address=unix:path={socket}");
        let exporter = machine.exporter_unit(&[], &[&address]);
        let pid = exporter.pid();
        let start = Instant::now();
        let mut slowest = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(8) {
            let sent = Instant::now();
            let samples = exporter.samples();
            slowest = slowest.max(sent.elapsed());
            assert!(samples.value("systemd_pid1_resident_memory_bytes", &[]).is_some(), "{name}");
        }
        let (now, peak) = resident(pid);
        let units = crate::units(&exporter.samples()).len();
        let log = exporter.log();
        eprintln!(
            "{name}: {units} units, scrapes took at most {slowest:?}, resident {}, peak {}, log {} bytes",
            megabytes(now),
            megabytes(peak),
            log.len()
        );
        assert!(slowest < Duration::from_secs(10), "{name}");
        assert!(log.len() < 100_000, "{name}: the log is flooded");
        assert_response_is_small(&exporter, name);
        assert!(peak < 256 << 20, "{name}: {}", megabytes(peak));
        drop(exporter);
        machine.ok(&["systemctl", "stop", name]);
    }
}

/// A reply to `ListUnits` or `ListUnitsByPatterns`.
enum ListUnitsReply {
    Units(Vec<rogue_bus::ListedUnit>),
    Error(String),
    Text(String),
    NoReply,
}

impl ListUnitsReply {
    fn to(&self, member: &str, call: &Message, long: &str) -> Option<Message> {
        let header = call.header();
        let reply = Message::method_return(&header);
        if !member.starts_with("ListUnits") {
            return match member {
                // a long property of the manager or of a unit
                "Get" => reply.build(&Variant::from(&long[..1 << 16])).ok(),
                _ => reply.build(&()).ok(),
            };
        }
        match self {
            Self::Units(units) => reply.build(units).ok(),
            Self::Error(text) => Message::error(&header, "a.b.C").build(text).ok(),
            Self::Text(text) => reply.build(text).ok(),
            Self::NoReply => None,
        }
    }
}

#[track_caller]
fn assert_response_is_small(exporter: &Exporter, name: &str) {
    let response = exporter.scrape();
    assert!(response.len() < 64 << 20, "{name}: a response of {} bytes", response.len());
    let longest = response.lines().map(str::len).max();
    assert!(longest < Some(8 << 10), "{name}: a line of {longest:?} bytes");
}

const DRIVER: &str = "org.freedesktop.DBus";
/// The unique name of PID 1.
const SYSTEMD: &str = ":1.0";
