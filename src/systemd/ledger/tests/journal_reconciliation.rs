//! What the journal tells of failures that were not seen.

use super::gaps::{planned, restarted_and_started};
use super::*;
use crate::source::journal::exits::{JournalExit, JournalExits};

fn told(unit: &str, run: u8, result: &str, at: Timestamp) -> JournalExit {
    JournalExit { unit: unit.into(), run: InvocationId([run; 16]), result: word(result), at }
}

fn news(exits: Vec<JournalExit>) -> JournalExits {
    JournalExits { exits, last_gap: None }
}

/// A moment so many milliseconds from now.
fn after(millis: i64) -> Timestamp {
    Timestamp(Timestamp::monotonic().0.saturating_add_signed(1000 * millis))
}

/// A service that has crashed, counted with its first run, and been restarted `by` times in a gap.
fn restarted(gap: Gap, by: u64) -> Case {
    let mut case = Case::new();
    case.ledger.hear_journal();
    case.start();
    case.end(None, "exit-code");
    case.state("activating", "auto-restart");
    restarted_and_started(&mut case, Some(gap), by);
    case
}

#[test]
fn what_was_not_seen_waits_for_the_journal_and_is_unknown_without_it() {
    let mut case = restarted(Gap::Reconnect, 3);
    case.assert(&[("exit-code", 1)], 1, 3);
    let before = after(-1);
    case.ledger.reconcile(JournalExits::default(), after(900), true);
    case.assert(&[("exit-code", 1)], 1, 3);
    // of the one that was counted, of another unit, and of later is no talk
    let journal = vec![
        told("x.service", 1, "exit-code", before),
        told("y.service", 2, "timeout", before),
        told("x.service", 3, "signal", before),
        told("x.service", 4, "core-dump", after(500)),
    ];
    let news = JournalExits { exits: journal, last_gap: Some(before) };
    case.ledger.reconcile(news, after(1100), true);
    case.assert(&[("exit-code", 1), ("signal", 1), ("unknown", 1)], 1, 3);
    let host = case.ledger.host();
    assert_eq!(host.lost["reconnect"], 1);
    assert_eq!((host.failures["signal"], host.failures["unknown"]), (1, 1));
    let event = case.ledger.events().next().unwrap();
    assert_eq!((event.what, event.cause.as_deref()), (What::Failed, Some("signal")));
    assert_eq!(event.invocation_id, Some(InvocationId([3; 16])));
    // once and for all
    let news = JournalExits { exits: vec![told("x.service", 5, "signal", before)], last_gap: None };
    case.ledger.reconcile(news, after(5000), true);
    case.assert(&[("exit-code", 1), ("signal", 1), ("unknown", 1)], 1, 3);
}

#[test]
fn the_journal_tells_whether_a_restart_was_counted_twice() {
    let mut case = planned();
    case.ledger.hear_journal();
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.ledger.reconcile(JournalExits::default(), after(1100), true);
    case.assert(&[("exit-code", 1)], 1, 2);

    let mut case = planned();
    case.ledger.hear_journal();
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    let journal = vec![
        told("x.service", 7, "watchdog", after(-1)),
        told("x.service", 8, "watchdog", after(-1)),
    ];
    case.ledger.reconcile(news(journal), after(1100), true);
    // one more there may have been, not two
    case.assert(&[("exit-code", 1), ("watchdog", 1)], 1, 2);
}

#[test]
fn a_failure_counts_for_the_run_that_is_known_after_the_gap() {
    let mut case = Case::new();
    case.ledger.hear_journal();
    case.start();
    case.change(Some(Gap::Reconnect), |unit| {
        unit.invocation_id = Some(InvocationId([9; 16]));
        let Detail::Service(service) = &mut unit.detail else { unreachable!() };
        ended(service, Timestamp(9), "signal");
        service.restarts = Some(2);
    });
    let journal = vec![
        told("x.service", 1, "exit-code", after(-3)),
        told("x.service", 9, "signal", after(-1)),
    ];
    case.ledger.reconcile(news(journal), after(1100), true);
    case.assert(&[("exit-code", 1), ("signal", 1)], 1, 2);
}

#[test]
fn what_the_journal_told_is_kept_while_signals_may_be_missing() {
    for following in [true, false] {
        let mut case = Case::new();
        case.ledger.hear_journal();
        case.start();
        let journal = vec![told("x.service", 2, "timeout", after(-70_000))];
        case.ledger.reconcile(news(journal), after(0), following);
        case.service(Some(Gap::Reconnect), |service| service.restarts = Some(1));
        case.ledger.reconcile(JournalExits::default(), after(1100), true);
        let result = if following { "unknown" } else { "timeout" };
        case.assert(&[(result, 1)], 0, 1);
    }
}

#[test]
fn a_journal_without_holes_tells_that_there_were_no_others() {
    let now =
        Timestamp(u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
    // seconds from the last that is known of the unit to the hole; whether the journal has its failures
    for (hole, has_them, unknown) in
        [(None, true, 0), (Some(-2), true, 0), (Some(2), true, 1), (None, false, 1)]
    {
        let mut case = Case::new();
        case.ledger.hear_journal();
        case.start();
        case.end(None, "exit-code");
        case.service(None, |service| service.main_exit = Some(Timestamp(now.0 - 10_000_000)));
        let seen = has_them.then(|| told("x.service", 1, "exit-code", after(-10_000)));
        case.ledger.reconcile(news(seen.into_iter().collect()), after(0), true);
        restarted_and_started(&mut case, Some(Gap::Reload), 3);
        let mut journal = news(vec![told("x.service", 2, "signal", after(-1))]);
        journal.last_gap = hole.map(|seconds| after(1000 * seconds - 10_000));
        case.ledger.reconcile(journal, after(1100), true);
        let mut expected = vec![("exit-code", 1), ("signal", 1)];
        expected.extend((unknown > 0).then_some(("unknown", unknown)));
        case.assert(&expected, 1, 3);
        assert_eq!(case.ledger.host().lost["reload"], unknown, "{hole:?} {has_them}");
    }
}

#[test]
fn a_clean_end_is_no_failure() {
    let mut case = Case::new();
    case.ledger.hear_journal();
    case.start();
    restarted_and_started(&mut case, Some(Gap::Reconnect), 2);
    // the first one by hand, say: no restart follows it
    let journal = vec![
        told("x.service", 7, "success", after(-3)),
        told("x.service", 8, "success", after(-2)),
        told("x.service", 9, "timeout", after(-1)),
        told("x.mount", 10, "success", after(-1)),
    ];
    case.ledger.reconcile(news(journal), after(1100), true);
    case.assert(&[("timeout", 1)], 0, 2);
    assert_eq!(case.ledger.host().lost["reconnect"], 0);
    let what: Vec<_> = case.ledger.events().map(|event| event.what).take(2).collect();
    assert_eq!(what, [What::Exited, What::Failed]);
}
