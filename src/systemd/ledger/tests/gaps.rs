//! Which death a restart follows, and what is unknown of deaths that were not seen.

use super::*;

/// A service that has crashed and whose restart systemd has planned, and counted.
pub(super) fn planned() -> Case {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.state("activating", "auto-restart");
    case.restart(None, 1);
    case
}

/// Restarts and starts it in one change.
pub(super) fn restarted_and_started(case: &mut Case, gap: Option<Gap>, by: u64) {
    case.service(gap, |service| {
        began(service);
        service.restarts = service.restarts.map(|old| old + by);
    });
}

#[test]
fn a_restart_follows_the_death_before_it_however_they_are_told() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    restarted_and_started(&mut case, None, 1);
    case.assert(&[("exit-code", 1)], 1, 1);
    // the next one is owed a death of its own
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // so is one after a start by hand
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.start();
    restarted_and_started(&mut case, Some(Gap::Reconnect), 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 1);

    // a clean end is a death, too
    let mut case = Case::new();
    case.start();
    case.end(None, "success");
    restarted_and_started(&mut case, None, 1);
    case.assert(&[], 1, 1);

    // and a counter that was reset goes on from there
    let mut case = planned();
    case.restart(None, 4);
    case.start();
    case.service(None, |service| {
        ended(service, Timestamp(9), "signal");
        service.restarts = Some(1);
    });
    case.assert(&[("exit-code", 1), ("signal", 1)], 2, 6);
}

#[test]
fn only_a_reload_explains_a_restart_counted_twice_and_only_a_planned_one() {
    let mut case = planned();
    restarted_and_started(&mut case, None, 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    let mut case = Case::new();
    case.start();
    case.service(Some(Gap::Reload), |service| service.restarts = Some(1));
    case.assert(&[("unknown", 1)], 0, 1);

    // what happens to the unit meanwhile changes nothing
    let mut case = planned();
    case.state("activating", "auto-restart");
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.assert(&[("exit-code", 1)], 1, 2);

    // but once it runs it is planned no more
    let mut case = planned();
    case.start();
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // nor if it ran and died
    let mut case = planned();
    case.end(None, "exit-code");
    restarted_and_started(&mut case, Some(Gap::Reload), 2);
    case.assert(&[("exit-code", 2), ("unknown", 1)], 2, 3);

    // the death after it is seen, and the restart after that death comes later
    let mut case = planned();
    case.service(Some(Gap::Reload), |service| {
        ended(service, Timestamp(9), "exit-code");
        service.restarts = Some(2);
    });
    case.restart(None, 1);
    case.assert(&[("exit-code", 2)], 2, 3);
}

#[test]
fn when_a_service_left_active_tells_whether_it_died_unseen() {
    let dead = |kind: &str| {
        let mut case = Case::new();
        case.service(None, |service| service.service_type = Some(word(kind)));
        case.start();
        case.end(None, "exit-code");
        case.change(None, |unit| unit.active_exit = Some(Timestamp(1)));
        case
    };
    // planned, and counted, after what was seen last; and again after a reload
    let mut case = dead("simple");
    restarted_and_started(&mut case, Some(Gap::Reload), 2);
    case.assert(&[("exit-code", 1)], 1, 2);

    // nothing but a reload makes systemd count twice
    let mut case = dead("simple");
    restarted_and_started(&mut case, Some(Gap::Reconnect), 2);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // a service of another type may have died before it was active
    let mut case = dead("notify");
    restarted_and_started(&mut case, Some(Gap::Reload), 2);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // it died again
    let mut case = dead("simple");
    case.change(Some(Gap::Reload), |unit| {
        unit.active_exit = Some(Timestamp(2));
        let Detail::Service(service) = &mut unit.detail else { unreachable!() };
        began(service);
        service.restarts = Some(2);
    });
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // and after a restart that was planned before: once at least, even after a reload
    for (restarts, unknown) in [(1, 1), (2, 1), (3, 2)] {
        let mut case = planned();
        case.change(None, |unit| unit.active_exit = Some(Timestamp(1)));
        case.change(Some(Gap::Reload), |unit| {
            unit.active_exit = Some(Timestamp(2));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            began(service);
            service.restarts = service.restarts.map(|old| old + restarts);
        });
        case.assert(&[("exit-code", 1), ("unknown", unknown)], 1, 1 + restarts);
    }
}

#[test]
fn a_service_that_has_failed_awaits_no_restart_yet() {
    // so the restart that is told with its death is of one before it that was not seen
    for (state, sub, unknown) in [
        ("failed", "failed", 1),
        ("failed", "failed-before-auto-restart", 1),
        ("activating", "auto-restart", 0),
        ("activating", "auto-restart-queued", 0),
    ] {
        let mut case = Case::new();
        case.start();
        case.change(Some(Gap::Reconnect), |unit| {
            (unit.active_state, unit.sub_state) = (Some(word(state)), Some(word(sub)));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            ended(service, Timestamp(9), "exit-code");
            service.restarts = Some(1);
        });
        restarted_and_started(&mut case, Some(Gap::Reload), 1);
        let failures = [("exit-code", 1), ("unknown", unknown)];
        case.assert(&failures[..1 + usize::from(unknown > 0)], 1, 2);
    }
}

#[test]
fn when_the_reload_was_tells_whether_a_restart_was_planned_then() {
    let second = |seconds: u64| Timestamp(1_800_000_000_000_000 + seconds * 1_000_000);
    // it runs, and is restarted two seconds after it died
    let runs = || {
        let mut case = Case::new();
        case.service(None, |service| {
            service.service_type = Some(word("simple"));
            service.restart_delay = Some(Duration::from_secs(2));
            service.main_exit = Some(Timestamp(0));
        });
        case.change(None, |unit| unit.active_exit = Some(second(0)));
        case.start();
        case
    };
    let runs_again = |case: &mut Case, died: u64, restarts: u64| {
        case.change(Some(Gap::Reload), |unit| {
            unit.active_exit = Some(second(died));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            began(service);
            (service.main_start, service.main_exit) = (Some(second(15)), Some(Timestamp(0)));
            service.restarts = service.restarts.map(|old| old + restarts);
        });
    };
    // it died at 10 s, unseen, and runs since 15 s
    for (reload, unknown) in [(9, 2), (11, 2), (12, 1), (15, 1), (16, 2)] {
        let mut case = runs();
        case.reloaded = Some(second(reload));
        runs_again(&mut case, 10, 2);
        case.assert(&[("unknown", unknown)], 0, 2);
    }
    // it was seen to die at 10 s
    for (reload, unknown) in [(11, 1), (13, 0), (16, 1)] {
        let mut case = runs();
        case.service(None, |service| ended(service, second(10), "exit-code"));
        case.change(None, |unit| unit.active_exit = Some(second(10)));
        case.reloaded = Some(second(reload));
        runs_again(&mut case, 10, 2);
        let failures = [("exit-code", 1), ("unknown", unknown)];
        case.assert(&failures[..1 + usize::from(unknown > 0)], 1, 2);
    }
    // it died at 10 s, seen only now, and waits for its next run since
    for (reload, unknown) in [(11, 1), (13, 0)] {
        let mut case = runs();
        case.reloaded = Some(second(reload));
        case.change(Some(Gap::Reload), |unit| {
            (unit.active_exit, unit.sub_state) = (Some(second(10)), Some(word("auto-restart")));
            let Detail::Service(service) = &mut unit.detail else { unreachable!() };
            ended(service, second(10), "exit-code");
            service.main_start = Some(second(5));
            service.restarts = Some(2);
        });
        let failures = [("exit-code", 1), ("unknown", unknown)];
        case.assert(&failures[..1 + usize::from(unknown > 0)], 1, 2);
    }
}

#[test]
fn a_death_seen_after_a_gap_is_in_doubt_until_the_service_runs_again() {
    let doubtful = || {
        let mut case = Case::new();
        case.start();
        case.service(Some(Gap::Reconnect), |service| {
            ended(service, Timestamp(9), "exit-code");
            service.restarts = Some(1);
        });
        case.assert(&[("exit-code", 1)], 1, 1);
        case
    };
    // one more restart tells that there was one more death
    let mut case = doubtful();
    case.state("activating", "auto-restart");
    case.restart(None, 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    let mut case = doubtful();
    case.start();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.assert(&[("exit-code", 2)], 2, 2);

    let mut case = doubtful();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.assert(&[("exit-code", 2)], 2, 2);

    // a death that was seen before the gap is in none
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.restart(Some(Gap::Reconnect), 1);
    case.restart(None, 1);
    case.assert(&[("exit-code", 1)], 1, 2);
}

#[test]
fn the_host_has_the_sums() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    restarted_and_started(&mut case, None, 3);
    case.end(None, "exit-code");
    restarted_and_started(&mut case, Some(Gap::Drift), 2);
    case.ledger.reloaded();
    case.ledger.reloaded();
    let host = case.ledger.host();
    assert_eq!((host.failures["exit-code"], host.failures["unknown"]), (2, 3));
    assert_eq!((host.lost["coalesced"], host.lost["drift"], host.lost["reload"]), (2, 1, 0));
    assert_eq!(host.reloads, 2);
}
