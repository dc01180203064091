//! PID 1 is stopped: metrics from other sources stay fresh, the age of unit states is exported, and no crash is lost.

use std::thread;
use std::time::{Duration, Instant};

use crate::crashers::Crashers;
use crate::scrapes::{Scrape, Scrapes, TIMEOUT};
use crate::support::{Machine, eventually};

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
