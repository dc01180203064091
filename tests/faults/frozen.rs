//! PID 1 or a thread of the exporter is stopped: metrics from other sources stay fresh, the age of unit states is exported, and no crash is lost.

use std::thread;
use std::time::{Duration, Instant};

use crate::crashers::Crashers;
use crate::scrapes::{Scrape, Scrapes, TIMEOUT};
use crate::support::{Exporter, FrozenThread, Machine, eventually, in_time};

#[test]
fn frozen_pid1_fails_no_scrape_and_loses_no_crash() {
    let length = Duration::from_secs(if crate::long() { 60 } else { 15 });
    let machine = &Machine::options().boot();
    // as in the shipped unit: a frozen PID 1 receives no watchdog pings
    let exporter = &machine.exporter_unit(&["WatchdogSec=10s"], &[]).ready();
    let pid = exporter.pid();
    let crashers = Crashers::start(machine, &["0.2", "0.5", "1", "2", "3", "5", "8", "30"]);
    thread::sleep(Duration::from_secs(5));

    let frozen = machine.freeze();
    let begun = Instant::now();
    let (scrapes, ()) =
        Scrapes::during(exporter, Duration::from_millis(500), || thread::sleep(length));
    drop(frozen);
    let thawed = Instant::now();
    let recovered = loop {
        let scrape = Scrape::of(exporter);
        let received = scrape.age < scrape.at - begun;
        if received && scrape.failed.is_empty() && scrape.age < Duration::from_secs(2) {
            break thawed.elapsed();
        }
        assert!(thawed.elapsed() < Duration::from_secs(30), "{scrape:?}\n{}", exporter.log());
        thread::sleep(Duration::from_millis(50));
    };
    let before = scrapes.0.iter().take_while(|scrape| !scrape.failed.contains("units"));
    let failed_after = before.last().map(|scrape| scrape.at + scrape.took - begun);
    let oldest = scrapes.0.iter().map(|scrape| scrape.age).max().unwrap_or_default();
    let (count, longest) = (scrapes.0.len(), scrapes.longest());
    eprintln!(
        "PID 1 stopped for {length:?}: {count} scrapes, the longest {longest:?}; the oldest state {oldest:?}; \
         the collector failed after {failed_after:?} and recovered {recovered:?} after the stop"
    );
    assert!(longest < TIMEOUT, "{longest:?}");
    let wrong = scrapes.failed_but(&["units"]);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(scrapes.0.iter().all(|scrape| scrape.units > 10));
    // The age is exported at once; the collector fails only when the silence is too long for a pause.
    assert!(oldest + Duration::from_secs(3) > length, "{oldest:?}");
    if crate::long() {
        assert!(scrapes.0.last().is_some_and(|last| last.failed.contains("units")));
    }
    // 5 s on an idle machine
    assert!(recovered < Duration::from_secs(15), "{recovered:?}");

    thread::sleep(Duration::from_secs(3));
    crashers.stop_crashing();
    let accounts = crashers.accounts(exporter);
    let crashes: u64 = accounts.iter().map(|(_, account)| account.crashes).sum();
    eprintln!("{crashes} crashes: {accounts:?}");
    for (name, account) in &accounts {
        assert_eq!((account.unaccounted(), account.unknown), (0, 0), "{name}: {account:?}");
    }
    let page = exporter.samples();
    let lost = page.all("unit_exporter_events_lost_total", &[]).map(|lost| lost.value);
    assert_eq!(lost.sum::<f64>(), 0.0, "events were lost");
    eventually("the exporter's pid is unchanged", || (exporter.pid() == pid).then_some(()));
}

#[test]
fn frozen_follower_is_reported_within_half_a_minute() {
    let machine = &Machine::options().boot();
    let exporter = &machine.exporter(&[]);
    let frozen = FrozenThread::of(exporter.pid(), "follow");
    let begun = Instant::now();
    while health(exporter) == (Some(1.0), Some(1.0), 200) {
        assert!(begun.elapsed() < Duration::from_secs(60), "reported as healthy");
        thread::sleep(Duration::from_millis(200));
    }
    eprintln!("reported {:?} after the thread was stopped", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?}", begun.elapsed());
    assert_eq!(health(exporter), (Some(0.0), Some(0.0), 503));
    let log = exporter.log();
    assert!(log.contains("no message from systemd for 30s"), "{log}");
    drop(frozen);
    eventually("the exporter is healthy again", || {
        (health(exporter) == (Some(1.0), Some(1.0), 200)).then_some(())
    });
}

#[test]
fn watchdog_restarts_an_exporter_with_a_frozen_thread() {
    let machine = &Machine::options().boot();
    let properties = ["WatchdogSec=10s", "Restart=always", "RestartSec=100ms"];
    let exporter = &machine.exporter_unit(&properties, &[]).ready();
    let pid = exporter.pid();
    let frozen = FrozenThread::of(pid, "follow");
    let begun = Instant::now();
    let killed = in_time(|| exporter.log().contains("Watchdog timeout").then_some(()));
    assert!(killed.is_some(), "{}", exporter.log());
    eprintln!("killed {:?} after the thread was stopped, WatchdogSec=10s", begun.elapsed());
    // the kernel waits for the tracer of the dead thread
    drop(frozen);
    assert!(exporter.log().contains("the thread that follows systemd hangs"), "{}", exporter.log());
    eventually("the new process is ready", || {
        let ready = machine.get(exporter.port(), "/-/ready", &[]).ok()?;
        (ready.status == 200).then_some(())
    });
    assert_ne!(exporter.pid(), pid);
}

/// Success of the collector `units`, whether signals are received, and the status code of the readiness.
fn health(exporter: &Exporter) -> (Option<f64>, Option<f64>, u16) {
    let page = exporter.samples();
    let success = page.value("unit_exporter_collector_success", &[("collector", "units")]);
    let subscribed = page.value("unit_exporter_dbus_subscribed", &[]);
    (success, subscribed, exporter.get("/-/ready", &[]).status)
}
