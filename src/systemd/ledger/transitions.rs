//! Comparisons of two consecutive states of a service.

use super::exit_code::ExitCode;
use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp};
use crate::systemd::unit::{Service, Unit};

/// The run that ended between the two states: where signals were missed, the later one.
pub(super) fn last_run(before: &Unit, after: &Unit) -> Option<InvocationId> {
    after.run().or(before.run())
}

/// How the main process exited, if it exited between the two states.
pub(super) fn new_exit(was: &Service, is: &Service) -> Option<(ExitCode, InternedStr)> {
    let exit = is.main_exit_monotonic.and_then(Timestamp::set)?;
    if was.main_exit_monotonic? == exit {
        return None;
    }
    let code = ExitCode::from_number(is.exit_code?)?;
    Some((code, code.status(is.exit_status.unwrap_or(0))))
}

/// The result of a failure between the two states.
pub(super) fn new_failure<'s>(
    (before, was): (&Unit, &Service),
    (after, is): (&Unit, &'s Service),
) -> Option<&'s InternedStr> {
    let result = is.result.as_ref().filter(|result| is_failure(result))?;
    if was.result.as_ref()? != result {
        return Some(result);
    }
    // the same result as before: of a new run only if its main process exited again, or if PID 1
    // started the run and failed it in one turn, without any process
    let exited_again = was.main_exit_monotonic.and_then(Timestamp::set).is_some()
        && is.main_exit_monotonic.and_then(Timestamp::set).is_some()
        && was.main_exit_monotonic != is.main_exit_monotonic;
    let runs = before.run().zip(after.run());
    let ran_again = runs.is_some_and(|(before, after)| before != after);
    (exited_again || ran_again).then_some(result)
}

/// Whether a result is a failure. `exec-condition` is not: `ExecCondition=` has exited with a status
/// from 1 to 254, which skips the run. Its other exits have another result.
pub(super) fn is_failure(result: &str) -> bool {
    !["success", "exec-condition"].contains(&result)
}

/// Whether a run began between the two states: a start resets the exit and result of the run
/// before; `systemctl reset-failed` resets only the result.
pub(super) fn began((before, was): (&Unit, &Service), (after, is): (&Unit, &Service)) -> bool {
    let exited = |service: &Service| service.main_exit_monotonic.and_then(Timestamp::set).is_some();
    let failed = |service: &Service| service.result.as_deref() != Some("success");
    let is_same_run = before.run().is_some() && before.run() == after.run();
    (exited(was) && !exited(is)) || (failed(was) && !failed(is) && !is_same_run)
}

/// Whether a service exited between two states, judged by when it last left the state active.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastExit {
    /// Yes: the time is newer.
    Newer,
    /// No: the time is the same, and its processes are active from their start on.
    Same,
    /// Maybe, before it was active.
    Unknown,
}

/// Whether a restart was planned and not yet made at that time; `None` if the service may have
/// exited without a trace in its timestamps.
pub(super) fn is_restart_planned(before: &Unit, after: &Unit, at: Timestamp) -> Option<bool> {
    let (was, is) = (before.service()?, after.service()?);
    if last_exit(before, after) == LastExit::Unknown {
        return None;
    }
    let began = is.main_start.and_then(Timestamp::set)?;
    let delay = u64::try_from(is.restart_delay?.as_micros()).ok()?;
    let planned = |exit: Timestamp| Timestamp(exit.0.saturating_add(delay)) <= at;
    let exited = is.main_exit.and_then(Timestamp::set);
    // for the current or last run, and, if that has exited, for the next one
    let exit = if exited.is_some() { was.main_exit } else { after.active_exit };
    let before_run = exit.and_then(Timestamp::set).is_some_and(planned) && at <= began;
    Some(before_run || exited.is_some_and(planned))
}

pub(super) fn last_exit(before: &Unit, after: &Unit) -> LastExit {
    let (was, is) = (before.active_exit, after.active_exit);
    let begins_active = after
        .service()
        .and_then(|service| service.service_type.as_deref())
        .is_some_and(|kind| ["simple", "idle"].contains(&kind));
    match is.and_then(Timestamp::set) {
        Some(_) if was.is_some() && was != is => LastExit::Newer,
        Some(_) if was == is && begins_active => LastExit::Same,
        _ => LastExit::Unknown,
    }
}

/// Whether the run of a service has not ended.
pub(super) fn is_running(unit: &Unit) -> bool {
    !(unit.is("inactive") || unit.is("failed") || awaits_restart(unit))
}

/// Whether a restart may have been planned: not in `failed-before-auto-restart`.
pub(super) fn awaits_restart(unit: &Unit) -> bool {
    unit.sub_state.as_deref().is_some_and(|sub| sub.starts_with("auto-restart"))
}

/// Whether systemd may refuse to start the service, because of its start limit. The job that restarts
/// a service stops it first: auto-restart, inactive, then failed.
pub(super) fn may_be_refused(unit: &Unit) -> bool {
    let waits = unit.sub_state.as_deref().is_some_and(|sub| sub.contains("auto-restart"));
    waits || unit.is("inactive") || unit.is("failed")
}

/// Whether the unit has failed; since 254, services that are about to be restarted are failed for a
/// moment, too.
pub(super) fn has_failed_for_good(unit: &Unit) -> bool {
    unit.is("failed") && unit.sub_state.as_deref() != Some("failed-before-auto-restart")
}

/// Whether systemd refused to start the failed service, judged by its state alone. A run that fails makes
/// its unit inactive and failed at the same moment; a refused start makes only a new sub-state. Since 254
/// a refused restart is the end of the state auto-restart, which began when the process exited.
pub(super) fn was_refused(unit: &Unit) -> bool {
    let Some(service) = unit.service().filter(|_| has_failed_for_good(unit)) else { return false };
    let result = service.result.as_deref().unwrap_or_default();
    // if a restart follows a run that PID 1 fails, only a refused start ends in failed
    let restarts = || {
        let restart = service.restart.as_deref().unwrap_or_default();
        ["always", "on-failure", "on-abnormal"].contains(&restart)
    };
    let ended_auto_restart = || {
        let [exited, began, ended] = [service.main_exit, unit.inactive_exit, unit.inactive_enter]
            .map(|time| time.and_then(Timestamp::set).unwrap_or_default().0);
        exited > 0 && exited < began && began - exited < MAX_AUTO_RESTART_DELAY && began < ended
    };
    match result {
        "start-limit-hit" => true,
        "resources" => restarts(),
        _ => was_refused_later(unit) || ended_auto_restart(),
    }
}

/// The same, judged by a run that ended before.
pub(super) fn was_refused_later(unit: &Unit) -> bool {
    let result = unit.service().and_then(|service| service.result.as_deref());
    // a run that PID 1 fails in the turn of its start never leaves the state inactive
    result != Some("resources") && has_changed_while_inactive(unit)
}

/// Whether `systemctl reset-failed` made the unit inactive that had failed.
pub(super) fn was_reset(unit: &Unit) -> bool {
    unit.is("inactive") && has_changed_while_inactive(unit)
}

fn has_changed_while_inactive(unit: &Unit) -> bool {
    let times = unit.state_change.zip(unit.inactive_enter);
    times.is_some_and(|(change, inactive)| change > inactive)
}

/// From the exit of the main process to the state auto-restart, in microseconds. A start by hand that
/// fails before its main process usually comes later.
const MAX_AUTO_RESTART_DELAY: u64 = 100_000;
