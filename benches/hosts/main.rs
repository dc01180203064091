//! The cost of a scrape for the whole host: this exporter, other exporters, systemd and the bus, at several sizes.
//!
//! Boots a private systemd with a number of units, starts every exporter in it as a unit, and scrapes them in
//! turn. CPU time is that of the processes. `cargo bench --bench hosts -- 100 1000` selects sizes, `-- rest 100`
//! measures each exporter alone, without scrapes; `AWAKE=40` lets 40 % of the running services run once a second;
//! `PEERS="name=command;…"` adds exporters, with `{port}` in the command; one named `build …` is another build of
//! this exporter, of which fill and crashes are measured, too. Needs root; includes Debian's node
//! exporter and process exporter if they are installed.

#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "a failure ends the measurement")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod cost;
mod floor;
mod following;
mod rest;
mod subject;
mod units;

use std::time::Duration;

use cost::Costs;
use floor::Floor;
use support::Machine;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100, 1000, 5000] } else { sizes };
    let only_rest = std::env::args().any(|word| word == "rest");
    for size in sizes {
        measure(size, only_rest);
    }
}

fn measure(size: usize, only_rest: bool) {
    let machine = Machine::options().boot();
    units::start(&machine, size);
    let mut subjects = subject::all(&machine);
    if only_rest {
        println!("\n## {size} units made\n");
        return rest::measure(&machine, &subjects);
    }
    // until the units have started and limits of processes are cached
    std::thread::sleep(SETTLE_TIME);
    let listed = machine.ok(&["systemctl", "list-units", "--all", "--no-legend"]).lines().count();
    println!("\n## {size} units made, {listed} on the host\n");

    // other exporters need seconds per scrape at this size
    let rounds = if size > 2000 { ROUNDS / 2 } else { ROUNDS };
    let idle = cost::idle(&machine, rounds, PAUSE);
    println!("Without scrapes, during one scrape interval: {idle}\n");
    for subject in &mut subjects {
        subject.warm_up();
    }
    let mut costs: Vec<Costs> = subjects.iter().map(|_| Costs::default()).collect();
    let mut floor = Floor::open(&machine, subjects[0].response());
    for _ in 0..rounds {
        for (subject, costs) in subjects.iter().zip(&mut costs) {
            costs.add(subject.scrape(PAUSE));
        }
        floor.scrape();
        std::thread::sleep(PAUSE);
    }
    println!("{}", cost::HEAD);
    let ours = costs[0].total();
    for (subject, costs) in subjects.iter().zip(&costs) {
        println!("{}", costs.row(&subject.name, ours));
    }
    println!("\nLower bound for {}: {floor}", subjects[0].name);
    println!(
        "{} / lower bound = {:.2}",
        subjects[0].name,
        costs[0].exporter().as_secs_f64() / floor.total().as_secs_f64()
    );
    println!(
        "\n16 parallel scrapers, three scrapes each: {}",
        subjects[0].scrape_in_parallel(16, 3)
    );
    for subject in subjects.iter().filter(|subject| subject.follows()) {
        println!("Initial fill, {}: {}", subject.name, following::fill(subject));
        println!("Crashes, {}: {}", subject.name, following::crashes(subject));
    }
    rest::measure(&machine, &subjects);
}

/// Scrapes per exporter.
const ROUNDS: usize = 20;

/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(200);

const SETTLE_TIME: Duration = Duration::from_secs(70);
