//! T11 and T14: answers that are forged, huge or nonsense, from a manager on a bus of the test's own.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use zbus::Variant;
use zbus::message::Message;

use crate::bus::runtime;
use crate::intruder::{self, USUAL, connect, manage, row};
use crate::support::{Exporter, Machine};
use crate::{assert_active, megabytes, resident};

/// dbus-daemon lets nobody answer who was not asked; so the bus itself is the test's.
#[test]
fn an_answer_that_somebody_else_forges_is_passed_over() {
    let machine = Machine::options().boot();
    let listener = UnixListener::bind(machine.path("/run/lax")).expect("a socket");
    let answer = |member: &str, serial: u32| {
        let call = Message::method_call("/", "X").build(&()).expect("a call");
        let to = |sender| {
            let reply = Message::method_return(&call.header()).reply_serial(serial.try_into().ok());
            reply.sender(sender)
        };
        let rows = |name| vec![row(name, "")];
        let nothing =
            Vec::<(u32, &str, &str, &str, zbus::ObjectPath<'_>, zbus::ObjectPath<'_>)>::new();
        let replies = match member {
            "Hello" => vec![to(DRIVER).build(&":1.5")],
            "GetNameOwner" => vec![to(DRIVER).build(&SYSTEMD)],
            "GetConnectionUnixUser" => vec![to(DRIVER).build(&0_u32)],
            "AddMatch" => vec![to(DRIVER).build(&())],
            // the forged answer is the first
            "ListUnits" => vec![
                to(":1.66").build(&rows("forged.service")),
                to(SYSTEMD).build(&rows("honest.service")),
            ],
            "ListJobs" => vec![to(SYSTEMD).build(&nothing)],
            "Get" => vec![to(SYSTEMD).build(&Variant::from(""))],
            _ => vec![to(SYSTEMD).build(&())],
        };
        let replies = replies.into_iter().map(|reply| reply.expect("a reply"));
        replies.flat_map(|reply| reply.data().to_vec()).collect()
    };
    thread::spawn(move || serve(&listener.accept().expect("the exporter").0, answer));
    let exporter = machine.exporter(&["--dbus.address=unix:path=/run/lax"]);
    let page = exporter.samples();
    assert_active(&page, "honest.service");
    assert_eq!(page.all("systemd_unit_state", &[("name", "forged.service")]).count(), 0);
    assert_eq!(page.value("systemd_exporter_foreign_messages_total", &[]), Some(1.0));
}

/// Is a bus to one client: answers each call, by its member and serial number, until the client goes.
fn serve(mut client: &UnixStream, answer: impl Fn(&str, u32) -> Vec<u8>) {
    let mut line = Vec::new();
    while !line.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a client that authenticates");
        line.push(byte[0]);
        if line.ends_with(b"\r\n") && !line.ends_with(b"BEGIN\r\n") {
            let auth = line.windows(4).any(|word| word == b"AUTH");
            let told = if auth { "OK 0123456789abcdef0123456789abcdef\r\n" } else { "ERROR\r\n" };
            client.write_all(told.as_bytes()).expect("a client that listens");
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
        // a field's code, its type, the length of its text
        let at = rest.windows(4).position(|field| field == [3, 1, b's', 0]).expect("a member") + 8;
        let length = rest[at - 4] as usize;
        let member = String::from_utf8_lossy(&rest[at..at + length]).into_owned();
        if client.write_all(&answer(&member, number(8))).is_err() {
            return;
        }
    }
}

#[test]
fn a_manager_that_answers_with_too_much_or_nonsense_costs_the_units_alone() {
    let machine = Machine::options().boot();
    let long = "x".repeat(20 << 20);
    for (name, what) in [
        ("longtext", Answer::Rows(vec![row("big.service", &long)])),
        ("longname", Answer::Rows(vec![row(&format!("{}.service", &long[..1 << 20]), "")])),
        ("many", Answer::Rows((0..100_000).map(|n| row(&format!("u{n}.service"), "")).collect())),
        ("longerror", Answer::Error(long.clone())),
        ("wrongtype", Answer::Text(long.clone())),
        ("silence", Answer::Silence),
    ] {
        let socket = intruder::bus(&machine, name, USUAL, &[]);
        let runtime = runtime();
        runtime.block_on(async {
            let long = long.clone();
            manage(connect(&machine, &socket, 0).await, move |member, call| {
                what.to(member, call, &long)
            })
            .await;
        });
        let address = format!("--dbus.address=unix:path={socket}");
        let exporter = machine.exporter_unit(&[], &[&address]);
        let pid = exporter.pid();
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(8) {
            let asked = Instant::now();
            let page = exporter.samples();
            longest = longest.max(asked.elapsed());
            assert!(page.value("systemd_pid1_threads", &[]).is_some(), "{name}");
        }
        let (now, most) = resident(pid);
        let units = crate::units(&exporter.samples()).len();
        let log = exporter.log();
        eprintln!(
            "{name}: {units} units, scrapes took at most {longest:?}, resident {}, at most {}, log {} bytes",
            megabytes(now),
            megabytes(most),
            log.len()
        );
        assert!(longest < Duration::from_secs(10), "{name}");
        assert!(log.len() < 100_000, "{name}: what others say fills the log");
        assert_page_is_small(&exporter, name);
        assert!(most < 256 << 20, "{name}: {}", megabytes(most));
        drop(exporter);
        machine.ok(&["systemctl", "stop", name]);
    }
}

/// What is answered to `ListUnits`, in either form.
enum Answer {
    Rows(Vec<intruder::Row>),
    Error(String),
    Text(String),
    Silence,
}

impl Answer {
    fn to(&self, member: &str, call: &Message, long: &str) -> Option<Message> {
        let header = call.header();
        let reply = Message::method_return(&header);
        if !member.starts_with("ListUnits") {
            return match member {
                // a property of the manager or of a unit, as long as may be
                "Get" => reply.build(&Variant::from(&long[..1 << 16])).ok(),
                _ => reply.build(&()).ok(),
            };
        }
        match self {
            Self::Rows(rows) => reply.build(rows).ok(),
            Self::Error(text) => Message::error(&header, "a.b.C").build(text).ok(),
            Self::Text(text) => reply.build(text).ok(),
            Self::Silence => None,
        }
    }
}

#[track_caller]
fn assert_page_is_small(exporter: &Exporter, name: &str) {
    let page = exporter.scrape();
    assert!(page.len() < 64 << 20, "{name}: a page of {} bytes", page.len());
    let longest = page.lines().map(str::len).max();
    assert!(longest < Some(8 << 10), "{name}: a line of {longest:?} bytes");
}

const DRIVER: &str = "org.freedesktop.DBus";
/// PID 1's connection.
const SYSTEMD: &str = ":1.0";
