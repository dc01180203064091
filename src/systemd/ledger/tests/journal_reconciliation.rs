//! Failures that were missed, and are attributed by the journal.

use super::gaps::{planned, restarted_and_started};
use super::*;
use crate::source::journal::exits::{JournalExit, JournalExits};

fn exit(unit: &str, run: u8, result: &str, at: Timestamp) -> JournalExit {
    let (unit, run) = (unit.into(), InvocationId([run; 16]));
    JournalExit { unit, run, result: intern(result), at, main_exit: None, command: None }
}

fn journal_exits(exits: Vec<JournalExit>) -> JournalExits {
    JournalExits { exits, ..JournalExits::default() }
}

impl Case {
    fn reconcile(&mut self, exits: JournalExits, read: Timestamp, following: bool) {
        self.ledger.reconcile(&Mirror::new(Selection::default()), exits, read, following);
    }
}

/// A time in this many milliseconds.
fn after(millis: i64) -> Timestamp {
    Timestamp(Timestamp::monotonic().0.saturating_add_signed(1000 * millis))
}

/// A service that has crashed, counted with its first run, and been restarted `by` times in a gap.
fn restarted(gap: Gap, by: u64) -> Case {
    let mut case = Case::new();
    case.ledger.enable_reconciliation();
    case.start();
    case.end(None, "exit-code");
    case.state("activating", "auto-restart");
    restarted_and_started(&mut case, Some(gap), by);
    case
}

#[test]
fn missed_exits_wait_for_journal_then_are_unknown() {
    let mut case = restarted(Gap::Reconnect, 3);
    case.assert(&[("exit-code", 1)], 1, 3);
    let before = after(-1);
    case.reconcile(JournalExits::default(), after(900), true);
    case.assert(&[("exit-code", 1)], 1, 3);
    // an exit that was counted, one of another unit and a later one do not match
    let journal = vec![
        exit("x.service", 1, "exit-code", before),
        exit("y.service", 2, "timeout", before),
        exit("x.service", 3, "signal", before),
        exit("x.service", 4, "core-dump", after(1500)),
    ];
    let journal =
        JournalExits { exits: journal, last_gap: Some(before), ..JournalExits::default() };
    case.reconcile(journal, after(1100), true);
    case.assert(&[("exit-code", 1), ("signal", 1), ("unknown", 1)], 1, 3);
    let host = case.ledger.host();
    assert_eq!(host.lost["reconnect"], 1);
    assert_eq!((host.failures["signal"], host.failures["unknown"]), (1, 1));
    let event = case.ledger.events().next().unwrap();
    assert_eq!((event.kind, event.cause.as_deref()), (EventKind::Failed, Some("signal")));
    assert_eq!(event.invocation_id, Some(InvocationId([3; 16])));
    // the attribution is final
    let journal = journal_exits(vec![exit("x.service", 5, "signal", before)]);
    case.reconcile(journal, after(5000), true);
    case.assert(&[("exit-code", 1), ("signal", 1), ("unknown", 1)], 1, 3);
}

#[test]
fn missed_exit_may_reach_the_journal_late() {
    // of the run before the restart, or of the one that runs since
    for (run, failures) in [(1, [("signal", 1)]), (2, [("unknown", 1)])] {
        let mut case = Case::new();
        case.ledger.enable_reconciliation();
        case.start();
        case.change(Some(Gap::Reconnect), |unit| {
            unit.invocation_id = Some(InvocationId([2; 16]));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            service.restarts = Some(1);
        });
        let journal = journal_exits(vec![exit("x.service", run, "signal", after(500))]);
        case.reconcile(journal, after(1100), true);
        case.assert(&failures, 0, 1);
    }
}

#[test]
fn failures_of_an_outage_count_without_a_restart() {
    for (is_known, at, failures) in
        [(false, -10, 1), (true, -10, 0), (false, 500, 1), (false, 1500, 0)]
    {
        let mut case = Case::new();
        case.ledger.enable_reconciliation();
        case.start();
        if is_known {
            case.end(None, "success");
            // a clean exit is no failure that the journal reports
            let journal = journal_exits(vec![exit("x.service", 1, "success", after(-20))]);
            case.reconcile(journal, after(0), true);
        }
        case.ledger.begin_outage();
        assert!(!case.ledger.awaits_journal(), "it is over once signals are received");
        let result = if is_known { "success" } else { "timeout" };
        let journal = journal_exits(vec![exit("x.service", 1, result, after(at))]);
        case.reconcile(journal, after(5000), false);
        case.assert(&[], u64::from(is_known), 0);
        case.ledger.downtime_ended(after(0));
        assert!(case.ledger.awaits_journal());
        case.reconcile(JournalExits::default(), after(1600), true);
        assert_eq!(case.ledger.awaits_journal(), at == 1500, "a later one waits for its signal");
        case.assert(&[("timeout", 1)][..failures], u64::from(is_known), 0);
    }
}

#[test]
fn run_counted_before_a_restart_of_the_exporter_does_not_count_again() {
    let mut case = Case::new();
    case.ledger.enable_reconciliation();
    case.start();
    case.end(None, "exit-code");
    let saved = case.ledger.saved();
    case.ledger = Ledger::default();
    case.ledger.restore(saved, |_| true);
    case.ledger.enable_reconciliation();
    case.ledger.begin_outage();
    case.ledger.downtime_ended(after(0));
    let journal = journal_exits(vec![exit("x.service", 1, "exit-code", after(-10))]);
    case.reconcile(journal, after(1100), true);
    case.assert(&[("exit-code", 1)], 1, 0);
}

#[test]
fn signals_later_than_the_journal_do_not_count_again() {
    let mut case = Case::new();
    case.ledger.enable_reconciliation();
    case.ledger.begin_outage();
    case.ledger.downtime_ended(after(0));
    let runs =
        [1, 4, 7].map(|run| exit("x.service", run, "exit-code", after(100 * i64::from(run))));
    case.reconcile(journal_exits(runs.into()), after(1100), true);
    case.assert(&[("exit-code", 3)], 0, 0);
    for run in [1, 4, 7] {
        case.clock = run - 1;
        case.start();
        case.end(None, "exit-code");
        case.restart(None, 1);
    }
    case.assert(&[("exit-code", 3)], 3, 3);
    case.start();
    case.end(None, "exit-code");
    case.assert(&[("exit-code", 4)], 4, 3);
}

#[test]
fn journal_reveals_double_counted_restart() {
    let mut case = planned();
    case.ledger.enable_reconciliation();
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.reconcile(JournalExits::default(), after(1100), true);
    case.assert(&[("exit-code", 1)], 1, 2);

    let mut case = planned();
    case.ledger.enable_reconciliation();
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    let journal = vec![
        exit("x.service", 7, "watchdog", after(-1)),
        exit("x.service", 8, "watchdog", after(-1)),
    ];
    case.reconcile(journal_exits(journal), after(1100), true);
    // one more exit is possible, not two
    case.assert(&[("exit-code", 1), ("watchdog", 1)], 1, 2);
}

#[test]
fn failure_counts_for_the_run_seen_after_the_gap() {
    let mut case = Case::new();
    case.ledger.enable_reconciliation();
    case.start();
    case.change(Some(Gap::Reconnect), |unit| {
        unit.invocation_id = Some(InvocationId([9; 16]));
        let Detail::Service(service) = &mut unit.detail else { unreachable!() };
        ended(service, Timestamp(9), "signal");
        service.restarts = Some(2);
    });
    let journal = vec![
        exit("x.service", 1, "exit-code", after(-3)),
        exit("x.service", 9, "signal", after(-1)),
    ];
    case.reconcile(journal_exits(journal), after(1100), true);
    case.assert(&[("exit-code", 1), ("signal", 1)], 1, 2);
}

#[test]
fn failure_without_a_signal_counts_from_the_journal() {
    for following in [true, false] {
        let mut case = Case::new();
        case.ledger.enable_reconciliation();
        case.start();
        let journal = vec![exit("x.service", 2, "timeout", after(-70_000))];
        case.reconcile(journal_exits(journal), after(0), following);
        case.service(Some(Gap::Reconnect), |service| service.restarts = Some(1));
        case.reconcile(JournalExits::default(), after(1100), true);
        case.assert(&[("timeout", 1)], 0, 1);
    }
}

#[test]
fn complete_journal_rules_out_other_exits() {
    let now =
        Timestamp(u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
    // seconds from the last known state of the unit to the gap; whether the journal has its
    // failures
    for (gap, has_them, unknown) in
        [(None, true, 0), (Some(-2), true, 0), (Some(2), true, 1), (None, false, 1)]
    {
        let mut case = Case::new();
        case.ledger.enable_reconciliation();
        case.start();
        case.end(None, "exit-code");
        case.service(None, |service| service.main_exit = Some(Timestamp(now.0 - 10_000_000)));
        let seen = has_them.then(|| exit("x.service", 1, "exit-code", after(-10_000)));
        case.reconcile(journal_exits(seen.into_iter().collect()), after(0), true);
        restarted_and_started(&mut case, Some(Gap::Reload), 3);
        let mut journal = journal_exits(vec![exit("x.service", 2, "signal", after(-1))]);
        journal.last_gap = gap.map(|seconds| after(1000 * seconds - 10_000));
        case.reconcile(journal, after(1100), true);
        let mut expected = vec![("exit-code", 1), ("signal", 1)];
        expected.extend((unknown > 0).then_some(("unknown", unknown)));
        case.assert(&expected, 1, 3);
        assert_eq!(case.ledger.host().lost["reload"], unknown, "{gap:?} {has_them}");
    }
}

#[test]
fn clean_exit_in_journal_is_no_failure() {
    let mut case = Case::new();
    case.ledger.enable_reconciliation();
    case.start();
    restarted_and_started(&mut case, Some(Gap::Reconnect), 2);
    // the first one may be a manual stop: no restart follows it
    let journal = vec![
        exit("x.service", 7, "success", after(-3)),
        exit("x.service", 8, "success", after(-2)),
        exit("x.service", 9, "timeout", after(-1)),
        exit("x.mount", 10, "success", after(-1)),
    ];
    case.reconcile(journal_exits(journal), after(1100), true);
    case.assert(&[("timeout", 1)], 0, 2);
    assert_eq!(case.ledger.host().lost["reconnect"], 0);
    let what: Vec<_> = case.ledger.events().map(|event| event.kind).take(2).collect();
    assert_eq!(what, [EventKind::Exited, EventKind::Failed]);
}

#[test]
fn old_failures_of_a_downtime_are_kept_until_it_is_accounted_for() {
    let mut case = Case::new();
    case.ledger.enable_reconciliation();
    case.ledger.begin_downtime(Some(SystemTime::UNIX_EPOCH));
    case.state("inactive", "dead");
    let hours = |hours: i64| after(-hours * 3_600_000);
    let journal = vec![
        exit("x.service", 1, "exit-code", hours(30)),
        exit("x.service", 2, "signal", hours(1)),
        exit("x.service", 3, "exit-code", after(-1)),
    ];
    case.ledger.downtime_ended(after(0));
    // read in parts
    case.reconcile(journal_exits(journal), after(100), true);
    case.assert(&[], 0, 0);
    case.reconcile(JournalExits::default(), after(2000), true);
    case.assert(&[("exit-code", 2), ("signal", 1)], 0, 0);
}
