//! The rules, each tested on a service with the changes that PID 1's signals make.

mod gaps;
mod journal_reconciliation;

use std::time::Duration;

use super::*;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::value::{InvocationId, Timestamp};
use crate::systemd::unit::{Detail, Service};
use crate::unit_filter::Selection;

/// A service and its ledger.
struct Case {
    ledger: Ledger,
    unit: Arc<Unit>,
    clock: u64,
    /// When PID 1 last reloaded its configuration.
    reloaded_at: Option<Timestamp>,
}

impl Case {
    fn new() -> Self {
        let mut unit = Unit::fresh("x.service".into(), UnitKind::Service, true);
        unit.active_state = Some(intern("inactive"));
        (unit.state_change, unit.inactive_enter) = (Some(Timestamp(0)), Some(Timestamp(0)));
        let mut ledger = Ledger::default();
        ledger.open(&unit);
        let mut case = Self { ledger, unit: Arc::new(unit), clock: 0, reloaded_at: None };
        case.service(None, |service| service.restart = Some(intern("always")));
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
        self.ledger.observe(&Change { before, after: self.unit.clone() }, gap, self.reloaded_at);
    }

    /// A change of the state or sub-state, with the times that PID 1 sets.
    fn state(&mut self, active: &str, sub: &str) {
        self.clock += 1;
        let now = Some(Timestamp(self.clock * 1_000_000));
        self.change(None, |unit| {
            let is_running = |state: &str| !["inactive", "failed"].contains(&state);
            if unit.active_state.as_deref().is_some_and(is_running) && !is_running(active) {
                unit.inactive_enter = now;
            }
            unit.state_change = now;
            unit.active_state = Some(intern(active));
            unit.sub_state = Some(intern(sub));
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

    /// The main process exits; `result` is the result of the service.
    fn end(&mut self, gap: Option<Gap>, result: &str) {
        self.clock += 1;
        let now = Timestamp(self.clock * 1_000_000);
        self.service(gap, |service| ended(service, now, result));
    }

    fn restart(&mut self, gap: Option<Gap>, by: u64) {
        self.service(gap, |service| service.restarts = service.restarts.map(|old| old + by));
    }

    /// systemd plans a restart, and refuses the start at the limit.
    fn hit_start_limit(&mut self) {
        self.state("activating", "auto-restart");
        self.restart(None, 1);
        self.state("inactive", "dead");
        self.state("failed", "failed");
    }

    #[track_caller]
    fn assert(&self, failures: &[(&str, u64)], exits: u64, restarts: u64) {
        let (_, counters) = self.ledger.counters().next().unwrap();
        let expected: BTreeMap<_, _> =
            failures.iter().map(|(result, count)| (intern(result), *count)).collect();
        assert_eq!(totals(&counters.failures_by_result), expected);
        assert_eq!(counters.failures.total, expected.values().sum::<u64>());
        let ended: u64 = counters.main_exits.values().map(|exits| exits.total).sum();
        assert_eq!((ended, counters.restarts), (exits, restarts));
    }

    fn start_limit_hit(&self) -> bool {
        self.ledger.counters().next().unwrap().1.start_limit_hit
    }
}

fn began(service: &mut Service) {
    service.result = Some(intern("success"));
    service.main_exit_monotonic = Some(Timestamp(0));
}

fn ended(service: &mut Service, now: Timestamp, result: &str) {
    service.result = Some(intern(result));
    service.exit_code = Some(1);
    service.exit_status = Some(3);
    service.main_exit = Some(now);
    service.main_exit_monotonic = Some(now);
}

#[test]
fn each_crash_counts_once_with_cause_and_restart() {
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
fn failures_of_pid_one_itself_count_once_per_run() {
    let mut case = Case::new();
    for run in 1..=3 {
        case.change(None, |unit| {
            unit.invocation_id = Some(InvocationId([run; 16]));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            service.result = Some(intern("resources"));
        });
        // a further signal of the same run
        case.state("failed", "failed");
    }
    case.assert(&[("resources", 3)], 0, 0);
    assert_eq!(case.ledger.host().failures["resources"], 3);

    // the same in a loop: the restart is counted before the start that fails
    let mut case = Case::new();
    for run in 1..=3 {
        case.restart(None, u64::from(run > 1));
        case.change(None, |unit| {
            unit.invocation_id = Some(InvocationId([run; 16]));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            service.result = Some(intern("resources"));
        });
        case.state("activating", "auto-restart");
    }
    case.assert(&[("resources", 3)], 0, 2);
    assert_eq!(case.ledger.host().failures["unknown"], 0);

    // the run begins before its failure is signalled: no refused start
    let mut case = Case::new();
    for run in 1..=3 {
        case.state("inactive", "dead");
        case.change(None, |unit| unit.invocation_id = Some(InvocationId([run; 16])));
        case.service(None, |service| service.result = Some(intern("resources")));
        case.state("failed", "failed");
        assert!(!case.start_limit_hit());
        case.state("activating", "auto-restart");
    }
    case.assert(&[("resources", 3)], 0, 0);
}

#[test]
fn skipped_run_is_no_failure_and_no_event() {
    let mut case = Case::new();
    for run in 1..=3 {
        case.change(None, |unit| {
            unit.invocation_id = Some(InvocationId([run; 16]));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            service.result = Some(intern("exec-condition"));
        });
        case.state("inactive", "dead");
    }
    case.assert(&[], 0, 0);
    assert_eq!(case.ledger.events().count(), 0);
    assert_eq!(case.ledger.counters().next().unwrap().1.starts, 3);
    // the failure after a skipped run counts
    case.start();
    case.end(None, "exit-code");
    case.assert(&[("exit-code", 1)], 1, 0);
}

#[test]
fn exit_and_restart_in_one_change_leave_nothing_unknown() {
    let mut case = Case::new();
    case.start();
    case.service(None, |service| {
        ended(service, Timestamp(9), "signal");
        service.restarts = Some(1);
    });
    case.assert(&[("signal", 1)], 1, 1);
}

#[test]
fn watchdog_failure_and_exit_count_once() {
    let mut case = Case::new();
    case.start();
    case.service(None, |service| service.result = Some(intern("watchdog")));
    case.end(None, "watchdog");
    case.restart(None, 1);
    case.start();
    case.assert(&[("watchdog", 1)], 1, 1);
}

#[test]
fn missed_exits_are_unknown_except_the_last() {
    let mut case = Case::new();
    case.start();
    // three exits: the last one is seen, and its restart is yet to come
    case.service(Some(Gap::Reconnect), |service| {
        ended(service, Timestamp(9), "exit-code");
        service.restarts = Some(2);
    });
    case.restart(None, 1);
    case.assert(&[("exit-code", 1), ("unknown", 2)], 1, 3);

    // three exits, all followed by restarts
    let mut case = Case::new();
    case.start();
    case.service(Some(Gap::Reconnect), |service| service.restarts = Some(3));
    case.assert(&[("unknown", 3)], 0, 3);
    assert_eq!(case.ledger.host().lost["reconnect"], 3);
}

#[test]
fn restart_counted_twice_by_reload_has_one_exit() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.restart(None, 1);
    case.start();
    case.assert(&[("exit-code", 1)], 1, 2);

    // the same, but only the state afterwards is seen
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
fn reset_of_nrestarts_keeps_counters() {
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
fn start_limit_is_hit_by_refused_start_not_by_stop() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.hit_start_limit();
    assert!(case.start_limit_hit());
    case.start();
    assert!(!case.start_limit_hit());

    case.state("deactivating", "stop-sigterm");
    case.end(None, "exit-code");
    case.state("failed", "failed");
    assert!(!case.start_limit_hit());
}

#[test]
fn counters_outlive_units_unless_blank() {
    let retention =
        Retention { unloaded_for: Duration::from_secs(60), max_unloaded: 2, max_events: 8 };
    let mut ledger = Ledger::new(retention);
    let begun = Instant::now();
    for name in ["a.service", "b.service", "c.service", "blank.service"] {
        let mut unit = Unit::fresh(name.into(), UnitKind::Service, true);
        unit.active_state = Some(intern("inactive"));
        ledger.open(&unit);
        let before = Arc::new(unit.clone());
        unit.active_state =
            Some(intern(if name == "blank.service" { "inactive" } else { "active" }));
        ledger.observe(&Change { before, after: Arc::new(unit) }, None, None);
        ledger.unload(&name.into(), begun);
    }
    let names = |ledger: &Ledger| {
        ledger.counters().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&ledger), "b.service c.service");
    // a unit that is loaded and unloaded repeatedly displaces no other
    for _ in 0..5 {
        ledger.open(&Unit::fresh("c.service".into(), UnitKind::Service, true));
        ledger.unload(&"c.service".into(), begun);
    }
    assert_eq!(names(&ledger), "b.service c.service");
    ledger.expire(begun + Duration::from_secs(61));
    assert_eq!(names(&ledger), "");
}

#[test]
fn events_are_limited_and_newest_first() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.state("activating", "auto-restart");
    case.restart(None, 1);
    case.start();
    case.end(None, "success");
    case.hit_start_limit();
    let kinds: Vec<_> = case.ledger.events().map(|event| event.kind).collect();
    let all = [
        EventKind::StartLimitHit,
        EventKind::Restarted,
        EventKind::Exited,
        EventKind::Restarted,
        EventKind::Failed,
    ];
    assert_eq!(kinds, all);
    let first = case.ledger.events().last().unwrap().clone();
    assert_eq!((&*first.unit, first.invocation_id), ("x.service", Some(InvocationId([1; 16]))));
    assert_eq!((first.cause.as_deref(), first.status.as_deref()), (Some("exit-code"), Some("3")));
    assert_eq!(first.at, Timestamp(3_000_000).system_time());

    case.ledger.retention.max_events = 2;
    case.start();
    case.end(None, "signal");
    let kinds: Vec<_> = case.ledger.events().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Failed, EventKind::StartLimitHit]);
}

#[test]
fn jobs_count_for_host_and_failed_ones_for_unit() {
    let mut case = Case::new();
    let unit = case.unit.clone();
    for result in ["done", "timeout", "timeout", "canceled", "dependency"] {
        case.ledger.job_removed("x.service", Some(&unit), result);
    }
    case.ledger.job_removed("gone.service", None, "failed");
    let hidden = Unit::fresh("hidden.service".into(), UnitKind::Service, false);
    case.ledger.job_removed("hidden.service", Some(&hidden), "failed");
    let results = &case.ledger.host().job_results;
    assert_eq!((results["done"], results["timeout"], results["canceled"]), (1, 2, 1));
    assert_eq!((results["dependency"], results["failed"]), (1, 2));
    let (name, counters) = case.ledger.counters().next().unwrap();
    assert_eq!((&**name, case.ledger.counters().len()), ("x.service", 1));
    let job_failures = totals(&counters.job_failures);
    assert_eq!(job_failures, [(intern("timeout"), 2), (intern("dependency"), 1)].into());
    let causes: Vec<_> = case.ledger.events().map(|event| event.cause.as_deref()).collect();
    assert_eq!(causes, [Some("dependency"), Some("timeout"), Some("timeout")]);
    assert!(case.ledger.events().all(|event| event.kind == EventKind::JobFailed));
}

#[test]
fn unselected_and_absent_units_have_no_counters() {
    let mut ledger = Ledger::default();
    let hidden = Arc::new(Unit::fresh("hidden.service".into(), UnitKind::Service, false));
    let mut absent = Unit::fresh("absent.service".into(), UnitKind::Service, true);
    (absent.load_state, absent.active_state) =
        (Some(intern("not-found")), Some(intern("inactive")));
    let absent = Arc::new(absent);
    for unit in [hidden, absent.clone()] {
        ledger.open(&unit);
        ledger.observe(&Change { before: unit.clone(), after: unit }, None, None);
    }
    assert_eq!(ledger.counters().len(), 0);
    // a running unit has counters, and keeps them when its file is removed
    let mut running = (*absent).clone();
    running.active_state = Some(intern("active"));
    let running = Arc::new(running);
    ledger.observe(&Change { before: absent.clone(), after: running.clone() }, None, None);
    ledger.observe(&Change { before: running, after: absent }, None, None);
    assert_eq!(ledger.counters().next().unwrap().1.state_changes, 2);
}

#[test]
fn counts_state_changes_starts_and_timer_triggers() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.start();
        case.state("inactive", "dead");
    }
    case.change(None, |unit| unit.invocation_id = Some(InvocationId::default()));
    case.state("inactive", "dead");
    let (_, counters) = case.ledger.counters().next().unwrap();
    assert_eq!((counters.starts, counters.state_changes), (3, 6));

    let mut case = Case::new();
    case.ledger = Ledger::default();
    case.unit = Arc::new(Unit::fresh("x.timer".into(), UnitKind::Timer, true));
    for micros in [5, 5, 6, 0, 7] {
        case.change(None, |unit| {
            let Detail::Timer(timer) = &mut unit.detail else { unreachable!() };
            timer.last_trigger = Some(Timestamp(1_000_000 + micros));
            timer.last_trigger_monotonic = Some(Timestamp(micros));
        });
    }
    // from the stamp file of a Persistent= timer
    case.change(None, |unit| {
        let Detail::Timer(timer) = &mut unit.detail else { unreachable!() };
        timer.last_trigger = Some(Timestamp(9));
    });
    assert_eq!(case.ledger.counters().next().unwrap().1.triggers, 3);
}

#[test]
fn counters_are_blank_only_if_all_are_zero() {
    let blank = UnitCounters::new(UnitKind::Service);
    assert!(blank.is_blank());
    let counted = |count: fn(&mut UnitCounters)| {
        let mut counters = blank.clone();
        count(&mut counters);
        counters
    };
    for counters in [
        counted(|counters| counters.state_changes = 1),
        counted(|counters| counters.starts = 1),
        counted(|counters| counters.restarts = 1),
        counted(|counters| counters.failures.total = 1),
        counted(|counters| counters.triggers = 1),
        counted(|counters| {
            counters.job_failures.insert(intern("timeout"), Counted::default());
        }),
        counted(|counters| {
            counters.main_exits.insert((ExitCode::Exited, intern("0")), Counted::default());
        }),
    ] {
        assert!(!counters.is_blank(), "{counters:?}");
    }
}

#[test]
fn start_limit_hit_before_start_or_in_a_gap_is_found() {
    let [inactive, later] = [Timestamp(5), Timestamp(6)];
    for (result, restart, changed, start_limit_hit) in [
        ("exit-code", "always", later, true),
        ("exit-code", "always", inactive, false),
        // RestartForceExitStatus=, Upholds=, OnFailure= and manual starts
        ("exit-code", "no", later, true),
        ("start-limit-hit", "no", inactive, true),
        // PID 1 failed the run in the turn of its start
        ("resources", "no", later, false),
        ("resources", "on-abort", later, false),
        ("resources", "always", later, true),
    ] {
        for was_failed in [false, true] {
            let mut case = Case::new();
            case.change(None, |unit| {
                unit.state_change = None;
                unit.active_state = was_failed.then(|| intern("failed"));
            });
            case.change(Some(Gap::Reconnect), |unit| {
                unit.active_state = Some(intern("failed"));
                unit.inactive_enter = Some(inactive);
                let Detail::Service(service) = &mut unit.detail else { unreachable!() };
                service.result = Some(intern(result));
                service.restart = Some(intern(restart));
            });
            let by_result = [("start-limit-hit", "no"), ("resources", "always")];
            assert_eq!(case.start_limit_hit(), by_result.contains(&(result, restart)));
            case.unit = Arc::new(Unit { state_change: Some(changed), ..(*case.unit).clone() });
            case.ledger.state_change_read(&case.unit);
            assert_eq!(case.start_limit_hit(), start_limit_hit, "{result} {restart} {changed:?}");
            let events = case.ledger.events();
            let hits = events.filter(|event| event.kind == EventKind::StartLimitHit);
            assert_eq!(hits.count(), 0);
            // a reload changes nothing
            case.change(Some(Gap::Reload), |_| {});
            assert_eq!(case.start_limit_hit(), start_limit_hit, "{result} {restart} {changed:?}");
            case.start();
            assert!(!case.start_limit_hit());
        }
    }
}

#[test]
fn restart_refused_before_start_is_found_since_254() {
    // the run exits at 100 ms; systemd 257
    for (result, restart, began, ended, start_limit_hit) in [
        ("exit-code", "always", 100_300, 300_000, true),
        // RestartForceExitStatus=
        ("exit-code", "no", 100_300, 300_000, true),
        // not restarted, or ended by `systemctl stop`: the run began before it exited
        ("exit-code", "always", 50_000, 101_000, false),
        // a start by hand whose ExecStartPre= failed
        ("exit-code", "always", 900_000, 950_000, false),
        // PID 1 failed the last run
        ("resources", "always", 900_000, 950_000, true),
        ("resources", "no", 900_000, 950_000, false),
    ] {
        let mut case = Case::new();
        case.change(Some(Gap::Downtime), |unit| {
            unit.active_state = Some(intern("failed"));
            unit.inactive_exit = Some(Timestamp(began));
            unit.inactive_enter = Some(Timestamp(ended));
            unit.state_change = None;
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            service.result = Some(intern(result));
            service.restart = Some(intern(restart));
            service.main_exit = Some(Timestamp(100_000));
        });
        case.unit = Arc::new(Unit { state_change: Some(Timestamp(ended)), ..(*case.unit).clone() });
        case.ledger.state_change_read(&case.unit);
        assert_eq!(case.start_limit_hit(), start_limit_hit, "{result} {restart} {began}");
    }
}

#[test]
fn refused_start_of_a_failed_service_is_a_start_limit_hit() {
    for result in ["exit-code", "resources"] {
        let mut case = Case::new();
        case.service(None, |service| service.restart = Some(intern("no")));
        case.start();
        case.end(None, result);
        case.state("failed", "failed");
        assert!(!case.start_limit_hit());
        // the same run: no start
        for _ in 0..2 {
            case.state("failed", "failed");
            assert!(case.start_limit_hit());
            case.service(None, |service| service.status_errno = Some(1));
            assert!(case.start_limit_hit());
        }
        let hits = |case: &Case| {
            let events = case.ledger.events();
            events.filter(|event| event.kind == EventKind::StartLimitHit).count()
        };
        assert_eq!(hits(&case), 1);
        // another run that PID 1 fails at once, so that no signal shows it running
        case.change(None, |unit| {
            unit.invocation_id = Some(InvocationId([99; 16]));
            unit.state_change = Some(Timestamp(u64::MAX - 1));
            unit.inactive_enter = Some(Timestamp(u64::MAX - 1));
        });
        assert!(!case.start_limit_hit());
        assert_eq!(hits(&case), 1);
    }
}

#[test]
fn exit_has_code_and_status_or_signal_name() {
    let codes = [0, 1, 2, 3, 4].map(ExitCode::from_number);
    let [exited, killed, dumped] = [ExitCode::Exited, ExitCode::Killed, ExitCode::Dumped];
    assert_eq!(codes, [None, Some(exited), Some(killed), Some(dumped), None]);
    assert_eq!([exited, killed, dumped].map(ExitCode::as_str), ["exited", "killed", "dumped"]);
    for (code, status, expected) in [
        (exited, 9, "9"),
        (killed, 9, "SIGKILL"),
        (dumped, 11, "SIGSEGV"),
        (killed, 31, "SIGSYS"),
        (killed, 32, "32"),
        (killed, 33, "33"),
        (killed, 34, "SIGRTMIN+0"),
        (killed, 35, "SIGRTMIN+1"),
        (dumped, 64, "SIGRTMIN+30"),
        (killed, 65, "65"),
        (exited, 35, "35"),
        (killed, 0, "0"),
    ] {
        assert_eq!(code.status(status), expected);
    }
}

#[test]
fn results_beyond_the_limit_count_as_other() {
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
    let (_, counters) = case.ledger.counters().next().unwrap();
    let host = case.ledger.host();
    let by_result = [&counters.failures_by_result, &counters.job_failures].map(totals);
    for counts in by_result.iter().chain([&host.failures, &host.job_results]) {
        assert_eq!(counts.len(), 65);
        assert_eq!(counts.values().sum::<u64>(), 1000);
        assert_eq!(counts.get("result-1").copied(), Some(1));
    }
    assert_eq!(counters.main_exits.len(), 401);
    assert_eq!(counters.main_exits.values().map(|exits| exits.total).sum::<u64>(), 1000);
}

fn totals(counters: &BTreeMap<InternedStr, Counted>) -> BTreeMap<InternedStr, u64> {
    counters.iter().map(|(result, counted)| (result.clone(), counted.total)).collect()
}
