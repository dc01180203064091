//! The rules, each on a service changed as PID 1's signals would change it.

use std::time::Duration;

use super::*;
use crate::systemd::name::Kind;
use crate::systemd::unit::{Detail, Service};
use crate::systemd::value::{InvocationId, Timestamp};

/// A service and its ledger, changed as PID 1's signals would.
struct Case {
    ledger: Ledger,
    unit: Arc<Unit>,
    clock: u64,
}

impl Case {
    fn new() -> Self {
        let mut unit = Unit::fresh("x.service".into(), Kind::Service, true);
        unit.active_state = Some(word("inactive"));
        let mut ledger = Ledger::default();
        ledger.open(&unit);
        let mut case = Self { ledger, unit: Arc::new(unit), clock: 0 };
        case.service(None, |service| service.restart = Some(word("always")));
        case
    }

    fn service(&mut self, gap: Option<Gap>, change: impl FnOnce(&mut Service)) {
        self.change(gap, |unit| {
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            change(service);
        });
    }

    fn change(&mut self, gap: Option<Gap>, change: impl FnOnce(&mut Unit)) {
        let before = self.unit.clone();
        change(Arc::make_mut(&mut self.unit));
        self.ledger.observe(&Change { before, after: self.unit.clone() }, gap);
    }

    fn state(&mut self, active: &str, sub: &str) {
        self.change(None, |unit| {
            unit.active_state = Some(word(active));
            unit.sub_state = Some(word(sub));
        });
    }

    fn start(&mut self) {
        self.clock += 1;
        let run = self.clock;
        self.service(None, began);
        self.change(None, |unit| {
            unit.invocation_id = Some(InvocationId([u8::try_from(run).unwrap(); 16]))
        });
        self.state("active", "running");
    }

    /// The main process ends; `result` is what its end makes of the service.
    fn end(&mut self, gap: Option<Gap>, result: &str) {
        self.clock += 1;
        let now = Timestamp(self.clock * 1_000_000);
        self.service(gap, |service| ended(service, now, result));
    }

    fn restart(&mut self, gap: Option<Gap>, by: u64) {
        self.service(gap, |service| service.restarts = service.restarts.map(|old| old + by));
    }

    #[track_caller]
    fn assert(&self, failures: &[(&str, u64)], exits: u64, restarts: u64) {
        let (_, account) = self.ledger.accounts().next().unwrap();
        let expected: BTreeMap<_, _> =
            failures.iter().map(|(result, count)| (word(result), *count)).collect();
        assert_eq!(account.failures_by_result, expected);
        assert_eq!(account.failures.total, expected.values().sum::<u64>());
        let ended: u64 = account.main_exits.values().map(|exits| exits.total).sum();
        assert_eq!((ended, account.restarts), (exits, restarts));
    }

    fn given_up(&self) -> bool {
        self.ledger.accounts().next().unwrap().1.given_up
    }
}

fn began(service: &mut Service) {
    service.result = Some(word("success"));
    service.main_exit_monotonic = Some(Timestamp(0));
}

fn ended(service: &mut Service, now: Timestamp, result: &str) {
    service.result = Some(word(result));
    service.exit_code = Some(1);
    service.exit_status = Some(3);
    service.main_exit = Some(now);
    service.main_exit_monotonic = Some(now);
}

#[test]
fn every_crash_counts_once_with_its_cause_and_its_restart() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.start();
        case.end(None, "exit-code");
        case.restart(None, 1);
    }
    case.start();
    case.end(None, "success");
    case.assert(&[("exit-code", 3)], 4, 3);
}

#[test]
fn a_death_told_together_with_its_restart_is_no_unknown_one() {
    let mut case = Case::new();
    case.start();
    case.service(None, |service| {
        ended(service, Timestamp(9), "signal");
        service.restarts = Some(1);
    });
    case.assert(&[("signal", 1)], 1, 1);
}

#[test]
fn the_watchdogs_victim_dies_once() {
    let mut case = Case::new();
    case.start();
    case.service(None, |service| service.result = Some(word("watchdog")));
    case.end(None, "watchdog");
    case.restart(None, 1);
    case.start();
    case.assert(&[("watchdog", 1)], 1, 1);
}

#[test]
fn what_happened_while_nobody_could_hear_is_unknown_but_for_the_last() {
    let mut case = Case::new();
    case.start();
    // three deaths: the last one is to be seen, and its restart is yet to come
    case.service(Some(Gap::Reconnect), |service| {
        ended(service, Timestamp(9), "exit-code");
        service.restarts = Some(2);
    });
    case.restart(None, 1);
    case.assert(&[("exit-code", 1), ("unknown", 2)], 1, 3);

    // three deaths, all followed by restarts
    let mut case = Case::new();
    case.start();
    case.service(Some(Gap::Reconnect), |service| service.restarts = Some(3));
    case.assert(&[("unknown", 3)], 0, 3);
    assert_eq!(case.ledger.host().lost["reconnect"], 3);
}

#[test]
fn a_restart_that_a_reload_makes_systemd_count_twice_had_one_death() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.restart(None, 1);
    case.start();
    case.assert(&[("exit-code", 1)], 1, 2);

    // the same, heard of only afterwards
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.service(Some(Gap::Reload), |service| {
        began(service);
        service.restarts = Some(2);
    });
    case.assert(&[("exit-code", 1)], 1, 2);
}

#[test]
fn a_reset_of_systemds_counter_takes_nothing_back() {
    let mut case = Case::new();
    for _ in 0..2 {
        case.start();
        case.end(None, "exit-code");
        case.restart(None, 1);
    }
    case.service(None, |service| service.restarts = Some(0));
    case.start();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.assert(&[("exit-code", 3)], 3, 3);
}

#[test]
fn given_up_is_a_refused_start_and_not_a_failure_by_hand() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.state("activating", "auto-restart");
    case.restart(None, 1);
    case.state("inactive", "dead");
    case.state("failed", "failed");
    assert!(case.given_up());
    case.start();
    assert!(!case.given_up());

    case.state("deactivating", "stop-sigterm");
    case.end(None, "exit-code");
    case.state("failed", "failed");
    assert!(!case.given_up());
}

#[test]
fn a_unit_just_loaded_is_given_up_though_its_settings_are_not_known_yet() {
    let mut case = Case::new();
    case.service(None, |service| service.restart = None);
    case.start();
    case.end(None, "exit-code");
    case.state("activating", "auto-restart");
    case.restart(None, 1);
    case.state("inactive", "dead");
    case.state("failed", "failed");
    assert!(case.given_up());
}

#[test]
fn accounts_outlive_their_units_for_a_while_unless_nothing_happened() {
    let keep = Keep { retired_for: Duration::from_secs(60), retired: 2, events: 8 };
    let mut ledger = Ledger::new(keep);
    let begun = Instant::now();
    for name in ["a.service", "b.service", "c.service", "blank.service"] {
        let mut unit = Unit::fresh(name.into(), Kind::Service, true);
        unit.active_state = Some(word("inactive"));
        ledger.open(&unit);
        let before = Arc::new(unit.clone());
        unit.active_state = Some(word(if name == "blank.service" { "inactive" } else { "active" }));
        ledger.observe(&Change { before, after: Arc::new(unit) }, None);
        ledger.unload(&name.into(), begun);
    }
    let names = |ledger: &Ledger| {
        ledger.accounts().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&ledger), "b.service c.service");
    // one that comes and goes pushes no other out
    for _ in 0..5 {
        ledger.open(&Unit::fresh("c.service".into(), Kind::Service, true));
        ledger.unload(&"c.service".into(), begun);
    }
    assert_eq!(names(&ledger), "b.service c.service");
    ledger.forget(begun + Duration::from_secs(61));
    assert_eq!(names(&ledger), "");
}
