//! T11 to T13: signals that users send over the system bus, and other buses.

use std::thread;
use std::time::{Duration, Instant};

use zbus::Connection;
use zbus::message::Message;

use crate::rogue_bus::{
    self, DEFAULT_POLICY, NOBODY, connect, connection_of, fake_systemd, listed_unit,
};
use crate::support::{Machine, eventually};
use crate::{SLEEP, assert_active, megabytes, resident};

/// A forged signal of PID 1 that a unit is loaded or unloaded, broadcast or to one connection.
pub(crate) fn forged(member: &str, unit: &str, to: Option<&str>) -> Message {
    let path = zbus::OwnedObjectPath::try_from("/org/freedesktop/systemd1/unit/x").expect("a path");
    let manager = "org.freedesktop.systemd1.Manager";
    let signal = Message::signal("/org/freedesktop/systemd1", manager, member);
    let signal = match to {
        Some(to) => signal.destination(to),
        None => signal,
    };
    signal.build(&(unit, path)).expect("a signal")
}

#[test]
fn forged_signal_flood_uses_bounded_memory_and_hides_no_crash() {
    let machine = Machine::options().boot();
    machine.units(&[("honest.service", SLEEP), ("crashing.service", CRASHING)]);
    machine.ok(&["systemctl", "start", "honest"]);
    let exporter = machine.exporter(&[]);
    let to = connection_of(&machine, &exporter);
    let pid = exporter.pid();
    exporter.scrape();
    let (before, _) = resident(pid);
    let flood = async |connection: Connection| {
        for n in 0..50_000 {
            for to in [Some(&*to), None] {
                let member = if n % 2 == 0 { "UnitNew" } else { "UnitRemoved" };
                let unit = if n % 2 == 0 { "forged.service" } else { "honest.service" };
                connection.send(&forged(member, unit, to)).await.expect("sending a signal");
            }
        }
        // the reply comes after the bus has read all signals
        let driver = "org.freedesktop.DBus";
        let reply = connection.call_method(Some(driver), "/", Some(driver), "GetId", &()).await;
        reply.expect("a reply");
    };
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            runtime().block_on(async { flood(connect(&machine, BUS, NOBODY).await).await })
        });
        let mut crashes = 0;
        while !flood.is_finished() {
            machine.exec(&["systemctl", "start", "crashing"]);
            crashes += 1;
            let sent = Instant::now();
            let samples = exporter.samples();
            slowest = slowest.max(sent.elapsed());
            assert_active(&samples, "honest.service");
        }
        flood.join().expect("a flood");
        eventually("every crash is counted", || {
            let labels = [("name", "crashing.service"), ("result", "core-dump")];
            let samples = exporter.samples();
            let core_dumps = samples.value("systemd_service_failures_by_result_total", &labels);
            let signal = [("name", "crashing.service"), ("result", "signal")];
            let signals = samples.value("systemd_service_failures_by_result_total", &signal);
            let sum = core_dumps.unwrap_or(0.0) + signals.unwrap_or(0.0);
            (sum == f64::from(crashes)).then_some(())
        });
        eprintln!("{crashes} crashes counted during the flood");
    });
    let samples = exporter.samples();
    let foreign = samples.value("unit_exporter_dbus_untrusted_messages_total", &[]);
    let (after, peak) = resident(pid);
    eprintln!(
        "100,000 signals in {:?}, {foreign:?} received, scrapes took at most {slowest:?}; resident {} before, {} after, {} peak",
        start.elapsed(),
        megabytes(before),
        megabytes(after),
        megabytes(peak)
    );
    assert!(foreign >= Some(50_000.0), "the unicast signals have not arrived: {foreign:?}");
    assert_eq!(samples.all("systemd_unit_state", &[("name", "forged.service")]).count(), 0);
    assert!(slowest < Duration::from_secs(10));
    assert!(peak < before + (64 << 20), "memory grows");
}

#[test]
fn signals_of_30_mib_use_bounded_memory() {
    let machine = Machine::options().boot();
    let limits = ["MemoryMax=256M", "OOMPolicy=stop"];
    let exporter = machine.exporter_unit(&limits, &[]).ready();
    let to = connection_of(&machine, &exporter);
    runtime().block_on(async {
        let connection = connect(&machine, BUS, NOBODY).await;
        let body = "x".repeat(30 << 20);
        for _ in 0..40 {
            let signal = Message::signal("/org/freedesktop/systemd1", "a.b", "C");
            let signal = signal.destination(&*to).build(&body).expect("a signal");
            connection.send(&signal).await.expect("sending a signal");
        }
    });
    eventually("all signals have arrived", || {
        let received = exporter.samples().value("unit_exporter_dbus_untrusted_messages_total", &[]);
        (received >= Some(40.0)).then_some(())
    });
    let (now, peak) = resident(exporter.pid());
    eprintln!("40 signals of 30 MiB: resident {}, peak {}", megabytes(now), megabytes(peak));
    assert!(peak < 256 << 20, "the service's limit");
}

#[test]
fn bus_addresses_in_environment_are_ignored() {
    let machine = Machine::options().boot();
    let elsewhere = "Environment=DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/elsewhere \
                     DBUS_STARTER_ADDRESS=unix:path=/run/elsewhere DBUS_SESSION_BUS_ADDRESS=unix:path=/run/elsewhere";
    let exporter = machine.exporter_unit(&[elsewhere], &[]).ready();
    assert_active(&exporter.samples(), "dbus.service");
}

#[test]
fn unprivileged_owner_of_systemd_name_is_rejected() {
    let machine = Machine::options().boot();
    let socket = rogue_bus::bus(&machine, "private", DEFAULT_POLICY, &["User=nobody"]);
    let runtime = runtime();
    runtime.block_on(async {
        let connection = connect(&machine, &socket, NOBODY).await;
        fake_systemd(connection, |member, call| {
            let reply = Message::method_return(&call.header());
            match member {
                "ListUnits" => reply.build(&vec![listed_unit("forged.service", "")]).ok(),
                _ => reply.build(&()).ok(),
            }
        })
        .await;
    });
    let address = format!("--dbus.address=unix:path={socket}");
    let exporter = machine.exporter_unit(&[], &[&address]);
    eventually("the owner is reported", || {
        exporter.get("/-/ready", &[]).text().contains("belongs to uid 65534").then_some(())
    });
    let samples = exporter.samples();
    assert_eq!(samples.all("systemd_unit_state", &[]).count(), 0);
    assert!(
        samples.value("systemd_pid1_resident_memory_bytes", &[]).is_some(),
        "other collectors are missing"
    );
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("threads")
}

/// `systemctl start` returns after the crash.
pub(crate) const CRASHING: &str = "[Unit]\nStartLimitIntervalSec=0\n\
    [Service]\nType=oneshot\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n";

pub(crate) const BUS: &str = "/run/dbus/system_bus_socket";
