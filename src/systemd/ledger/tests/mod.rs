//! The rules, each on a service changed as PID 1's signals would change it.

mod gaps;
mod journal_reconciliation;

use std::time::Duration;

use super::*;
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::value::{InvocationId, Timestamp};
use crate::systemd::unit::{Detail, Service};

/// A service and its ledger, changed as PID 1's signals would.
struct Case {
    ledger: Ledger,
    unit: Arc<Unit>,
    clock: u64,
    /// When PID 1 last reloaded its configuration.
    reloaded: Option<Timestamp>,
}

impl Case {
    fn new() -> Self {
        let mut unit = Unit::fresh("x.service".into(), Kind::Service, true);
        unit.active_state = Some(word("inactive"));
        let mut ledger = Ledger::default();
        ledger.open(&unit);
        let mut case = Self { ledger, unit: Arc::new(unit), clock: 0, reloaded: None };
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
        self.ledger.observe(&Change { before, after: self.unit.clone() }, gap, self.reloaded);
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

    /// systemd plans a restart, and refuses the start.
    fn give_up(&mut self) {
        self.state("activating", "auto-restart");
        self.restart(None, 1);
        self.state("inactive", "dead");
        self.state("failed", "failed");
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
    case.state("activating", "auto-restart");
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
    case.give_up();
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
    case.give_up();
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
        ledger.observe(&Change { before, after: Arc::new(unit) }, None, None);
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

#[test]
fn what_happened_is_told_the_newest_first_and_only_so_much_of_it() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.state("activating", "auto-restart");
    case.restart(None, 1);
    case.start();
    case.end(None, "success");
    case.give_up();
    let told: Vec<_> = case.ledger.events().map(|event| event.what).collect();
    let all = [What::GivenUp, What::Restarted, What::Exited, What::Restarted, What::Failed];
    assert_eq!(told, all);
    let first = case.ledger.events().last().unwrap().clone();
    assert_eq!((&*first.unit, first.invocation_id), ("x.service", Some(InvocationId([1; 16]))));
    assert_eq!((first.cause.as_deref(), first.status.as_deref()), (Some("exit-code"), Some("3")));
    assert_eq!(first.at, Timestamp(2_000_000).system_time());

    case.ledger.keep.events = 2;
    case.start();
    case.end(None, "signal");
    let told: Vec<_> = case.ledger.events().map(|event| event.what).collect();
    assert_eq!(told, [What::Failed, What::GivenUp]);
}

#[test]
fn a_job_counts_for_the_host_and_where_it_failed_for_its_unit() {
    let mut case = Case::new();
    let unit = case.unit.clone();
    for result in ["done", "timeout", "timeout", "canceled", "dependency"] {
        case.ledger.job_removed("x.service", Some(&unit), result);
    }
    case.ledger.job_removed("gone.service", None, "failed");
    let hidden = Unit::fresh("hidden.service".into(), Kind::Service, false);
    case.ledger.job_removed("hidden.service", Some(&hidden), "failed");
    let results = &case.ledger.host().job_results;
    assert_eq!((results["done"], results["timeout"], results["canceled"]), (1, 2, 1));
    assert_eq!((results["dependency"], results["failed"]), (1, 2));
    let (name, account) = case.ledger.accounts().next().unwrap();
    assert_eq!((&**name, case.ledger.accounts().len()), ("x.service", 1));
    assert_eq!(account.job_failures, [(word("timeout"), 2), (word("dependency"), 1)].into());
    let causes: Vec<_> = case.ledger.events().map(|event| event.cause.as_deref()).collect();
    assert_eq!(causes, [Some("dependency"), Some("timeout"), Some("timeout")]);
    assert!(case.ledger.events().all(|event| event.what == What::JobFailed));
}

#[test]
fn what_is_not_exported_or_not_there_has_no_account() {
    let mut ledger = Ledger::default();
    let hidden = Arc::new(Unit::fresh("hidden.service".into(), Kind::Service, false));
    let mut absent = Unit::fresh("absent.service".into(), Kind::Service, true);
    (absent.load_state, absent.active_state) = (Some(word("not-found")), Some(word("inactive")));
    let absent = Arc::new(absent);
    for unit in [hidden, absent.clone()] {
        ledger.open(&unit);
        ledger.observe(&Change { before: unit.clone(), after: unit }, None, None);
    }
    assert_eq!(ledger.accounts().len(), 0);
    // one that runs has, and keeps it when its file is removed
    let mut running = (*absent).clone();
    running.active_state = Some(word("active"));
    let running = Arc::new(running);
    ledger.observe(&Change { before: absent.clone(), after: running.clone() }, None, None);
    ledger.observe(&Change { before: running, after: absent }, None, None);
    assert_eq!(ledger.accounts().next().unwrap().1.state_changes, 2);
}

#[test]
fn changes_of_state_runs_and_elapsed_timers_are_counted() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.start();
        case.state("inactive", "dead");
    }
    case.change(None, |unit| unit.invocation_id = Some(InvocationId::default()));
    case.state("inactive", "dead");
    let (_, account) = case.ledger.accounts().next().unwrap();
    assert_eq!((account.starts, account.state_changes), (3, 6));

    let mut case = Case::new();
    case.ledger = Ledger::default();
    case.unit = Arc::new(Unit::fresh("x.timer".into(), Kind::Timer, true));
    for micros in [5, 5, 6, 0, 7] {
        case.change(None, |unit| {
            let Detail::Timer(timer) = &mut unit.detail else { unreachable!() };
            timer.last_trigger = Some(Timestamp(micros));
        });
    }
    assert_eq!(case.ledger.accounts().next().unwrap().1.triggers, 3);
}

#[test]
fn an_account_is_blank_only_if_nothing_was_counted() {
    let blank = Account::new(Kind::Service);
    assert!(blank.is_blank());
    let counted = |count: fn(&mut Account)| {
        let mut account = blank.clone();
        count(&mut account);
        account
    };
    for account in [
        counted(|account| account.state_changes = 1),
        counted(|account| account.starts = 1),
        counted(|account| account.restarts = 1),
        counted(|account| account.failures.total = 1),
        counted(|account| account.triggers = 1),
        counted(|account| account.job_failures = [(word("timeout"), 1)].into()),
        counted(|account| {
            account.main_exits.insert((ExitCode::Exited, word("0")), Counted::default());
        }),
    ] {
        assert!(!account.is_blank(), "{account:?}");
    }
}

#[test]
fn a_service_first_seen_failed_or_after_a_gap_is_judged_by_what_is_left() {
    for (known, gap, given_up) in [
        (false, None, true),
        (true, Some(Gap::Reconnect), true),
        (false, Some(Gap::Reconnect), true),
        (true, None, false),
    ] {
        let mut case = Case::new();
        case.service(None, |service| service.restarts = Some(2));
        case.change(None, |unit| unit.active_state = known.then(|| word("active")));
        case.change(gap, |unit| unit.active_state = Some(word("failed")));
        assert_eq!(case.given_up(), given_up, "{known} {gap:?}");
        assert_eq!(case.ledger.events().filter(|event| event.what == What::GivenUp).count(), 0);
    }
}

#[test]
fn an_end_is_told_by_its_code_and_its_status_or_signal() {
    let codes = [0, 1, 2, 3, 4].map(ExitCode::from_number);
    let [exited, killed, dumped] = [ExitCode::Exited, ExitCode::Killed, ExitCode::Dumped];
    assert_eq!(codes, [None, Some(exited), Some(killed), Some(dumped), None]);
    assert_eq!([exited, killed, dumped].map(ExitCode::as_str), ["exited", "killed", "dumped"]);
    for (code, status, told) in [
        (exited, 9, "9"),
        (killed, 9, "SIGKILL"),
        (dumped, 11, "SIGSEGV"),
        (killed, 34, "34"),
        (killed, 0, "0"),
    ] {
        assert_eq!(code.status(status), told);
    }
}

#[test]
fn only_what_systemd_would_restart_is_given_up() {
    for (restart, result, restarts, given_up) in [
        ("always", "exit-code", 1, true),
        ("always", "exit-code", 0, false),
        ("always", "start-limit-hit", 0, true),
        ("no", "exit-code", 1, false),
        ("no", "start-limit-hit", 0, false),
    ] {
        let mut case = Case::new();
        case.service(None, |service| {
            service.restart = Some(word(restart));
            service.result = Some(word(result));
            service.restarts = Some(restarts);
        });
        case.state("failed", "failed");
        assert_eq!(case.given_up(), given_up, "{restart} {result} {restarts}");
    }
}

#[test]
fn words_without_end_are_counted_as_other() {
    let mut case = Case::new();
    for number in 0..1000 {
        let result = format!("result-{number}");
        case.service(None, began);
        case.service(None, |service| {
            ended(service, Timestamp(number + 1), &result);
            service.exit_status = Some(number);
        });
        case.ledger.job_removed("x.service", Some(&case.unit), &result);
    }
    let (_, account) = case.ledger.accounts().next().unwrap();
    let host = case.ledger.host();
    let by_word = [&account.failures_by_result, &account.job_failures, &host.failures];
    for counts in by_word.into_iter().chain([&host.job_results]) {
        assert_eq!(counts.len(), 65);
        assert_eq!(counts.values().sum::<u64>(), 1000);
        assert_eq!(counts.get("result-1").copied(), Some(1));
    }
    assert_eq!(account.main_exits.len(), 401);
    assert_eq!(account.main_exits.values().map(|exits| exits.total).sum::<u64>(), 1000);
}
