//! What a scrape costs the whole host: this exporter, its peers, systemd and the bus, at several sizes.
//!
//! Boots a private systemd with so many units, starts every exporter in it as a unit, and scrapes them in
//! turn. CPU is what the processes' own clocks say. `cargo bench --bench hosts -- 100 1000` chooses sizes;
//! `PEERS="name=command;…"` adds exporters, whose command contains `{port}`. Needs root, and measures
//! Debian's node exporter and process exporter where they are installed.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "what fails here measures nothing"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod cost;
mod floor;
mod following;
mod subject;
mod units;

use std::time::Duration;

use cost::Costs;
use floor::Floor;
use support::Machine;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100, 1000, 5000] } else { sizes };
    for size in sizes {
        measure(size);
    }
}

fn measure(size: usize) {
    let machine = Machine::options().boot();
    units::start(&machine, size);
    let mut subjects = subject::all(&machine);
    // what follows a start is over: units settle, limits of processes are remembered
    std::thread::sleep(SETTLE);
    let listed = machine.ok(&["systemctl", "list-units", "--all", "--no-legend"]).lines().count();
    println!("\n## {size} units made, {listed} on the host\n");

    // peers take seconds for a scrape there
    let rounds = if size > 2000 { ROUNDS / 2 } else { ROUNDS };
    let idle = cost::idle(&machine, rounds, PAUSE);
    println!("Idle, a pause as long as one between scrapes: {idle}\n");
    for subject in &mut subjects {
        subject.warm_up();
    }
    let mut costs: Vec<Costs> = subjects.iter().map(|_| Costs::default()).collect();
    let mut floor = Floor::open(&machine, subjects[0].page());
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
    println!("\nThe floor under {}: {floor}", subjects[0].name);
    println!(
        "{} / floor = {:.2}",
        subjects[0].name,
        costs[0].exporter().as_secs_f64() / floor.total().as_secs_f64()
    );
    println!("\n16 at once, three times each: {}", subjects[0].crowded(16, 3));
    println!("Filled anew: {}", following::fill(&subjects[0]));
    println!("Following crashes: {}", following::crashes(&subjects[0]));
}

/// Scrapes of every exporter.
const ROUNDS: usize = 20;

/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(200);

const SETTLE: Duration = Duration::from_secs(70);
