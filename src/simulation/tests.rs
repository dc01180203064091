//! Runs seeds, and histories that once found a bug.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::history::Op::*;
use super::history::{CLEAN, CRASH, FAILURE, History, Op, TERM, Version};
use super::service::{Kind, UnitFile};
use super::world::run;

/// Runs a seed; a failing one is shortened and printed.
fn check(seed: u64) -> u64 {
    let history = History::generate(seed, LENGTH);
    match run(&history) {
        Ok(events) => events,
        Err(difference) => {
            let short = history.shortened(|history| run(history).is_err());
            let shortened = run(&short).err().unwrap_or_default();
            panic!("seed {seed}: {difference}\n\nshortened: {shortened}\n{short:?}");
        }
    }
}

/// A history that once found a bug, on both versions and with each way to read files.
fn agrees(unit: UnitFile, operations: &[Op]) {
    for (version, watches_files) in [
        (Version::V252, false),
        (Version::V252, true),
        (Version::V262, false),
        (Version::V262, true),
    ] {
        let (units, operations) = (vec![unit], operations.to_vec());
        let history = History { version, watches_files, units, operations };
        assert_eq!(run(&history).err(), None, "{version:?} {watches_files}");
    }
}

/// A service with the settings that most histories have.
fn service(kind: Kind, restart: &'static str) -> UnitFile {
    UnitFile {
        name: "a.service",
        kind,
        restart,
        restart_delay: 100_000,
        success: None,
        force: None,
        start_limit: 0,
        start_interval: 10_000_000,
        remains: false,
        is_kept: true,
        on_term: TERM,
    }
}

/// The failure is in the journal; the states after the outage do not show it.
#[test]
fn failure_that_is_reset_during_an_outage_counts() {
    let unit = service(Kind::Notify, "no");
    agrees(unit, &[Start(0), Wait(0), BusDown(0), Timeout(0), Wait(50), ResetFailed(0)]);
    let unit = UnitFile { on_term: FAILURE, ..service(Kind::Simple, "no") };
    agrees(unit, &[Start(0), Wait(0), BusDown(0), Stop(0), Wait(50), ResetFailed(0)]);
}

#[test]
fn failures_between_manual_starts_during_an_outage_count() {
    let unit = service(Kind::Oneshot(1), "no");
    let failures = [Start(0), Wait(10), Exit(0, FAILURE), Wait(10)].repeat(3);
    agrees(unit, &[&[Wait(100), BusDown(0)], &failures[..]].concat());
}

/// Its entry is newer than the states of units that were read after the outage.
#[test]
fn failure_reaches_the_journal_after_the_states_were_read() {
    let unit = service(Kind::Forking, "always");
    let history = [
        Start(0),
        Wait(0),
        Timeout(0),
        Wait(300),
        JournalDelay(400),
        BusDown(255),
        Exit(0, FAILURE),
        Wait(1000),
        Exit(0, CRASH),
    ];
    agrees(unit, &history);
}

/// The signals of the job that started the service are read after the exit.
#[test]
fn exit_after_a_start_that_is_read_late_is_no_stop() {
    let unit = service(Kind::Simple, "no");
    agrees(unit, &[Start(0), Stall, Wait(0), Exit(0, CLEAN), Wait(100), Resume]);
    agrees(unit, &[Start(0), Wait(0), Restart(0), Wait(50), Reload, Exit(0, CLEAN)]);
    agrees(unit, &[Start(0), Wait(0), Restart(0), Wait(50), Reexec(false), Exit(0, CLEAN)]);
    let unit = UnitFile { is_kept: false, ..unit };
    agrees(unit, &[Stall, Start(0), Wait(0), Watchdog(0), Wait(100)]);
}

/// PID 1 announces the unit again, without values.
#[test]
fn stop_after_a_reexecution_is_no_exit() {
    let unit = service(Kind::Simple, "no");
    let stop = [Start(0), Wait(0), Stop(0), Wait(0)];
    agrees(unit, &[&stop[..], &[Throttle(true), Reexec(false), Exit(0, CLEAN)]].concat());
}

/// The journal has the failure before any state shows its restart, and may be incomplete then.
#[test]
fn failure_of_the_journal_is_revealed_once() {
    let unit = service(Kind::Simple, "always");
    let late = [Start(0), Wait(0), Stall, Exit(0, FAILURE), Wait(2000), BusDown(1), JournalDown];
    agrees(unit, &late);
    let unit = UnitFile { restart_delay: 2_000_000, ..unit };
    let failures = [Exit(0, FAILURE), Wait(2000), Exit(0, FAILURE)];
    agrees(unit, &[&[Start(0), BusDown(0), Wait(0)], &failures[..], &[JournalDown]].concat());
}

/// The journal can be read after the second one.
#[test]
fn unknown_failures_of_two_outages_count_once() {
    let unit = service(Kind::Simple, "on-failure");
    let history = [
        Start(0),
        Wait(0),
        JournalReadable(false),
        BusDown(2),
        Exit(0, FAILURE),
        BusUp,
        Wait(1000),
        BusDown(255),
        Exit(0, FAILURE),
        Wait(1000),
    ];
    agrees(unit, &history);
}

/// The end of the run before the outage is older than the job.
#[test]
fn start_that_pid_1_fails_during_an_outage_ends_with_its_job() {
    let unit = service(Kind::Simple, "no");
    let history =
        [Start(0), Wait(0), SpawnFails(0, true), Exit(0, FAILURE), BusDown(0), Start(0), Wait(0)];
    agrees(unit, &history);
}

/// The first of two signals shows the result, and the second one, which is lost, the run.
#[test]
fn failure_counts_once_if_half_of_its_signals_is_lost() {
    let unit = service(Kind::Simple, "no");
    let history = [Start(0), Wait(0), Exit(0, FAILURE), SpawnFails(0, true), Restart(0), Stall];
    agrees(unit, &[&history[..], &[Wait(0), BusDown(1)]].concat());
}

/// The restart follows the exit, although its result is reset.
#[test]
fn exit_that_is_reset_before_its_restart_is_known() {
    let unit = service(Kind::Simple, "always");
    agrees(unit, &[Start(0), Wait(0), Exit(0, FAILURE), ResetFailed(0), JournalDown, Start(0)]);
}

/// The exporter is started again before the journal can be read.
#[test]
fn failure_that_counted_as_unknown_counts_once() {
    let unit = service(Kind::Simple, "on-failure");
    let history = [
        BusDown(255),
        Start(0),
        Wait(0),
        Exit(0, FAILURE),
        BusUp,
        JournalReadable(false),
        Wait(2000),
    ];
    agrees(unit, &[&history[..], &[Terminate]].concat());
    agrees(unit, &[&history[..], &[Wait(120_000)]].concat());
}

/// The run that PID 1 fails ends the one before it in the same change.
#[test]
fn restart_after_a_failed_start_follows_that_failure() {
    let unit = service(Kind::Simple, "always");
    let history =
        [Start(0), Wait(0), JournalReadable(false), SpawnFails(0, true), Restart(0), Wait(500)];
    agrees(unit, &history);
}

/// The exporter connects right after the end, and does not know the job.
#[test]
fn end_before_jobs_are_listed_is_unknown() {
    let unit = service(Kind::Notify, "no");
    agrees(unit, &[Terminate, Restart(0), Wait(0), Exit(0, FAILURE)]);
}

/// The first signal of a unit, UnitNew, has no values; the second one reports an end before it.
#[test]
fn run_of_a_new_unit_ends_with_its_job() {
    let unit = UnitFile { is_kept: false, ..service(Kind::Notify, "no") };
    agrees(unit, &[Throttle(true), Start(0), Wait(0), Exit(0, FAILURE)]);
}

/// The first process of a forking service exits with success, and leaves no main process.
#[test]
fn run_without_a_main_process_is_no_failure() {
    let unit = service(Kind::Forking, "always");
    agrees(unit, &[Start(0), Wait(0), Exit(0, TERM), Wait(3000)]);
}

#[test]
fn counters_equal_the_truth_for_random_histories() {
    for seed in 0..SEEDS {
        check(seed);
    }
}

/// `make simulate`: `SEEDS` seeds from `SEED` on.
#[test]
#[ignore = "make simulate"]
fn simulate() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SEED").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(if number("SEED").is_some() { 1 } else { 10_000 });
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // a failing thread ends the scope with its panic
    let events: u64 = std::thread::scope(|scope| {
        let run = || {
            let mut events = 0;
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds {
                    return events;
                }
                events += check(seed);
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().map(|thread| thread.join().expect("no difference")).sum()
    });
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "{seeds} histories without a difference, {events} events in {seconds:.1} s: {:.0} histories \
         and {:.0} events a second",
        seeds as f64 / seconds,
        events as f64 / seconds,
    );
}

/// All kinds of differences among `SEEDS` seeds from `SEED` on, one shortened history each.
#[test]
#[ignore = "for work on the simulation"]
fn survey() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, seeds) = (number("SEED").unwrap_or(0), number("SEEDS").unwrap_or(1000));
    let mut kinds: std::collections::BTreeMap<String, Vec<u64>> = Default::default();
    let kind_of = |difference: &str| {
        let line = difference.lines().next().unwrap_or_default();
        let line = line.split_once("service: ").map_or(line, |(_, rest)| rest);
        line.chars().filter(|it| !it.is_ascii_digit()).collect::<String>()
    };
    for seed in first..first + seeds {
        let history = History::generate(seed, LENGTH);
        if let Err(difference) = run(&history) {
            kinds.entry(kind_of(&difference)).or_default().push(seed);
        }
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, seeds)| std::cmp::Reverse(seeds.len()));
    for (kind, seeds) in kinds {
        let history = History::generate(seeds[0], LENGTH);
        let same = |history: &History| run(history).is_err_and(|error| kind_of(&error) == kind);
        let short = history.shortened(same);
        eprintln!("=== {} seeds, {:?}: {kind}", seeds.len(), &seeds[..seeds.len().min(5)]);
        eprintln!("{}\n{short:?}", run(&short).unwrap_err());
    }
}

/// Operations of a history.
const LENGTH: usize = 40;

/// Histories of each run of the tests.
const SEEDS: u64 = 60;
