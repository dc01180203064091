//! Which exit a restart follows, and the causes of missed exits.

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
fn restart_follows_the_exit_before_it_in_any_signal_order() {
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    restarted_and_started(&mut case, None, 1);
    case.assert(&[("exit-code", 1)], 1, 1);
    // the next restart follows another exit
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // so does one after a manual start
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.start();
    restarted_and_started(&mut case, Some(Gap::Reconnect), 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 1);

    // a clean exit counts as an exit, too
    let mut case = Case::new();
    case.start();
    case.end(None, "success");
    restarted_and_started(&mut case, None, 1);
    case.assert(&[], 1, 1);

    // after a reset of NRestarts, counting continues from there
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
fn only_reload_of_planned_restart_explains_double_count() {
    let mut case = planned();
    restarted_and_started(&mut case, None, 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    let mut case = Case::new();
    case.start();
    case.service(Some(Gap::Reload), |service| service.restarts = Some(1));
    case.assert(&[("unknown", 1)], 0, 1);

    // other changes of the unit meanwhile make no difference
    let mut case = planned();
    case.state("activating", "auto-restart");
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.assert(&[("exit-code", 1)], 1, 2);

    // but once the unit runs, no restart is planned any more
    let mut case = planned();
    case.start();
    restarted_and_started(&mut case, Some(Gap::Reload), 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // nor if it ran and exited
    let mut case = planned();
    case.end(None, "exit-code");
    restarted_and_started(&mut case, Some(Gap::Reload), 2);
    case.assert(&[("exit-code", 2), ("unknown", 1)], 2, 3);

    // the exit after it is seen, and the restart after that exit comes later
    let mut case = planned();
    case.service(Some(Gap::Reload), |service| {
        ended(service, Timestamp(9), "exit-code");
        service.restarts = Some(2);
    });
    case.restart(None, 1);
    case.assert(&[("exit-code", 2)], 2, 3);
}

#[test]
fn active_exit_time_reveals_missed_exits() {
    let exited = |kind: &str| {
        let mut case = Case::new();
        case.service(None, |service| service.service_type = Some(intern(kind)));
        case.start();
        case.end(None, "exit-code");
        case.change(None, |unit| unit.active_exit = Some(Timestamp(1)));
        case
    };
    // planned, and counted, after the last signal; and again after a reload
    let mut case = exited("simple");
    restarted_and_started(&mut case, Some(Gap::Reload), 2);
    case.assert(&[("exit-code", 1)], 1, 2);

    // nothing but a reload makes systemd count twice
    let mut case = exited("simple");
    restarted_and_started(&mut case, Some(Gap::Reconnect), 2);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // a service of another type may have exited before it was active
    let mut case = exited("notify");
    restarted_and_started(&mut case, Some(Gap::Reload), 2);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // it exited again
    let mut case = exited("simple");
    case.change(Some(Gap::Reload), |unit| {
        unit.active_exit = Some(Timestamp(2));
        let Detail::Service(service) = &mut unit.detail else { unreachable!() };
        began(service);
        service.restarts = Some(2);
    });
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    // and after a restart that was planned before: at least once, even after a reload
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
fn failed_service_has_no_planned_restart() {
    // so the restart in the same change follows an earlier exit, which was missed
    for (state, sub, unknown) in [
        ("failed", "failed", 1),
        ("failed", "failed-before-auto-restart", 1),
        ("activating", "auto-restart", 0),
        ("activating", "auto-restart-queued", 0),
    ] {
        let mut case = Case::new();
        case.start();
        case.change(Some(Gap::Reconnect), |unit| {
            (unit.active_state, unit.sub_state) = (Some(intern(state)), Some(intern(sub)));
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
fn reload_time_decides_whether_restart_was_planned() {
    let second = |seconds: u64| Timestamp(1_800_000_000_000_000 + seconds * 1_000_000);
    // it runs, and is restarted two seconds after an exit
    let runs = || {
        let mut case = Case::new();
        case.service(None, |service| {
            service.service_type = Some(intern("simple"));
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
    // it exited at 10 s, unseen, and runs since 15 s
    for (reload, unknown) in [(9, 2), (11, 2), (12, 1), (15, 1), (16, 2)] {
        let mut case = runs();
        case.reloaded_at = Some(second(reload));
        runs_again(&mut case, 10, 2);
        case.assert(&[("unknown", unknown)], 0, 2);
    }
    // its exit at 10 s was seen
    for (reload, unknown) in [(11, 1), (13, 0), (16, 1)] {
        let mut case = runs();
        case.service(None, |service| ended(service, second(10), "exit-code"));
        case.change(None, |unit| unit.active_exit = Some(second(10)));
        case.reloaded_at = Some(second(reload));
        runs_again(&mut case, 10, 2);
        let failures = [("exit-code", 1), ("unknown", unknown)];
        case.assert(&failures[..1 + usize::from(unknown > 0)], 1, 2);
    }
    // it exited at 10 s, seen only now, and waits for its next run since
    for (reload, unknown) in [(11, 1), (13, 0)] {
        let mut case = runs();
        case.reloaded_at = Some(second(reload));
        case.change(Some(Gap::Reload), |unit| {
            (unit.active_exit, unit.sub_state) = (Some(second(10)), Some(intern("auto-restart")));
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
fn exit_after_gap_is_ambiguous_until_next_run() {
    let ambiguous = || {
        let mut case = Case::new();
        case.start();
        case.service(Some(Gap::Reconnect), |service| {
            ended(service, Timestamp(9), "exit-code");
            service.restarts = Some(1);
        });
        case.assert(&[("exit-code", 1)], 1, 1);
        case
    };
    // one more restart reveals one more exit
    let mut case = ambiguous();
    case.state("activating", "auto-restart");
    case.restart(None, 1);
    case.assert(&[("exit-code", 1), ("unknown", 1)], 1, 2);

    let mut case = ambiguous();
    case.start();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.assert(&[("exit-code", 2)], 2, 2);

    let mut case = ambiguous();
    case.end(None, "exit-code");
    case.restart(None, 1);
    case.assert(&[("exit-code", 2)], 2, 2);

    // an exit that was seen before the gap is unambiguous
    let mut case = Case::new();
    case.start();
    case.end(None, "exit-code");
    case.restart(Some(Gap::Reconnect), 1);
    case.restart(None, 1);
    case.assert(&[("exit-code", 1)], 1, 2);
}

#[test]
fn host_counters_are_sums() {
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
