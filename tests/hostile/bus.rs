//! T11 to T13: what users send over the system bus, and other buses than that.

use std::thread;
use std::time::{Duration, Instant};

use zbus::Connection;
use zbus::message::Message;

use crate::intruder::{self, NOBODY, USUAL, connect, connection_of, manage, row};
use crate::support::{Machine, eventually};
use crate::{SLEEP, assert_active, megabytes, resident};

/// A signal as PID 1 sends it when a unit is loaded or unloaded; to everybody, or to one.
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
fn a_hundred_thousand_forged_signals_cost_no_memory_and_hide_no_crash() {
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
                connection.send(&forged(member, unit, to)).await.expect("room");
            }
        }
        // what was sent before is on its way once this is answered
        let driver = "org.freedesktop.DBus";
        let asked = connection.call_method(Some(driver), "/", Some(driver), "GetId", &()).await;
        asked.expect("an answer");
    };
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            runtime().block_on(async { flood(connect(&machine, BUS, NOBODY).await).await })
        });
        let mut crashes = 0;
        while !flood.is_finished() {
            machine.exec(&["systemctl", "start", "crashing"]);
            crashes += 1;
            let asked = Instant::now();
            let page = exporter.samples();
            longest = longest.max(asked.elapsed());
            assert_active(&page, "honest.service");
        }
        flood.join().expect("a flood");
        eventually("every crash is counted", || {
            let labels = [("name", "crashing.service"), ("result", "core-dump")];
            let page = exporter.samples();
            let counted = page.value("systemd_service_failures_by_result_total", &labels);
            let signal = [("name", "crashing.service"), ("result", "signal")];
            let other = page.value("systemd_service_failures_by_result_total", &signal);
            let sum = counted.unwrap_or(0.0) + other.unwrap_or(0.0);
            (sum == f64::from(crashes)).then_some(())
        });
        eprintln!("{crashes} crashes counted meanwhile");
    });
    let page = exporter.samples();
    let foreign = page.value("systemd_exporter_foreign_messages_total", &[]);
    let (after, most) = resident(pid);
    eprintln!(
        "100,000 signals in {:?}, {foreign:?} seen, scrapes took at most {longest:?}; resident {} before, {} after, {} at most",
        begun.elapsed(),
        megabytes(before),
        megabytes(after),
        megabytes(most)
    );
    assert!(foreign >= Some(50_000.0), "those to it alone arrive: {foreign:?}");
    assert_eq!(page.all("systemd_unit_state", &[("name", "forged.service")]).count(), 0);
    assert!(longest < Duration::from_secs(10));
    assert!(most < before + (64 << 20), "memory grows");
}

#[test]
fn signals_of_thirty_megabytes_do_not_fill_the_memory() {
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
            connection.send(&signal).await.expect("room");
        }
    });
    eventually("they have arrived", || {
        let seen = exporter.samples().value("systemd_exporter_foreign_messages_total", &[]);
        (seen >= Some(40.0)).then_some(())
    });
    let (now, most) = resident(exporter.pid());
    eprintln!("40 signals of 30 MiB: resident {}, at most {}", megabytes(now), megabytes(most));
    assert!(most < 256 << 20, "the service's limit");
}

#[test]
fn the_environment_does_not_lead_it_to_another_bus() {
    let machine = Machine::options().boot();
    let elsewhere = "Environment=DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/elsewhere \
                     DBUS_STARTER_ADDRESS=unix:path=/run/elsewhere DBUS_SESSION_BUS_ADDRESS=unix:path=/run/elsewhere";
    let exporter = machine.exporter_unit(&[elsewhere], &[]).ready();
    assert_active(&exporter.samples(), "dbus.service");
}

#[test]
fn who_has_systemds_name_on_a_bus_of_their_own_is_not_believed() {
    let machine = Machine::options().boot();
    let socket = intruder::bus(&machine, "theirs", USUAL, &["User=nobody"]);
    let runtime = runtime();
    runtime.block_on(async {
        let connection = connect(&machine, &socket, NOBODY).await;
        manage(connection, |member, call| {
            let reply = Message::method_return(&call.header());
            match member {
                "ListUnits" => reply.build(&vec![row("forged.service", "")]).ok(),
                _ => reply.build(&()).ok(),
            }
        })
        .await;
    });
    let address = format!("--dbus.address=unix:path={socket}");
    let exporter = machine.exporter_unit(&[], &[&address]);
    eventually("it says so", || {
        exporter.get("/-/ready", &[]).text().contains("belongs to uid 65534").then_some(())
    });
    let page = exporter.samples();
    assert_eq!(page.all("systemd_unit_state", &[]).count(), 0);
    assert!(page.value("systemd_pid1_threads", &[]).is_some(), "what else there is is told");
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("threads")
}

/// Starting it waits for its end.
pub(crate) const CRASHING: &str = "[Unit]\nStartLimitIntervalSec=0\n\
    [Service]\nType=oneshot\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n";

pub(crate) const BUS: &str = "/run/dbus/system_bus_socket";
