//! The counts of one unit, and the rules by which two consecutive states make events.
//!
//! Conditions in systemd that the rules rest on:
//! - a main process that ended has a new, non-zero `ExecMainExitTimestampMonotonic`; a start sets
//!   it back to 0 and `Result` to success;
//! - `Result` is set once a run, by the first thing that went wrong: with the exit itself, before
//!   it (watchdog, timeouts: the exit follows), or without one (protocol, resources);
//! - `NRestarts` rises by one for each restart that `Restart=` makes, after the death that it
//!   follows, and falls to 0 on a manual start and on reset-failed;
//! - a start limit is hit where a service becomes failed that was about to be started; `Result`
//!   does not say so, unless the last run was a success or systemd is new: 262 sets `Result` back
//!   before it refuses the start, which is then a failure of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::event::{Event, What};
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::value::{InvocationId, Timestamp, Word};
use crate::systemd::unit::{Service, Unit};

/// The counts of one unit since the exporter knows it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The unit's kind.
    pub kind: Kind,
    /// Changes of ActiveState.
    pub state_changes: u64,
    /// Runs begun, by hand or by systemd.
    pub starts: u64,
    /// Runs of a service begun by `Restart=`.
    pub restarts: u64,
    /// Failures of a service.
    pub failures: Counted,
    /// The same by result.
    pub failures_by_result: BTreeMap<Word, u64>,
    /// Ends of a service's main process, by code and by status or signal name.
    pub main_exits: BTreeMap<(ExitCode, Word), Counted>,
    /// Jobs that failed, by result.
    pub job_failures: BTreeMap<Word, u64>,
    /// Times a timer elapsed.
    pub triggers: u64,
    /// Whether the start limit was hit and nothing has started the service since.
    pub given_up: bool,
    /// Since when the unit is unloaded; `None` while PID 1 has it.
    pub retired: Option<Instant>,
    /// Whether a death was seen that no restart has followed yet.
    dead: bool,
    /// Whether a death was taken for that before a restart though it may be the one after it.
    doubt: bool,
    /// Whether a restart was counted whose run has not begun.
    planned: bool,
}

/// A count, with what it last counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// How many.
    pub total: u64,
    /// The run last counted, its id as 32 hex digits, and when.
    pub last: Option<(Arc<str>, SystemTime)>,
}

/// How a main process ended: `ExecMainCode`, the `CLD_*` numbers of waitid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitCode {
    /// By itself.
    Exited,
    /// By a signal.
    Killed,
    /// By a signal, with a core dump.
    Dumped,
}

/// What may lie between two states.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    /// Whether a reload of PID 1's configuration does.
    pub(super) reload: bool,
    /// When the last one was, if that is known.
    pub(super) at: Option<Timestamp>,
}

/// What one observation adds beyond the account itself.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The result of a failure that was seen.
    pub(super) failure: Option<Word>,
    /// The run whose end was seen.
    pub(super) ended: Option<InvocationId>,
    /// Deaths that only restarts tell of.
    pub(super) unseen: u64,
    /// How many more there may have been, where a restart may have been counted twice.
    pub(super) more: u64,
    pub(super) events: Vec<Event>,
}

impl Account {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            state_changes: 0,
            starts: 0,
            restarts: 0,
            failures: Counted::default(),
            failures_by_result: BTreeMap::new(),
            main_exits: BTreeMap::new(),
            job_failures: BTreeMap::new(),
            triggers: 0,
            given_up: false,
            retired: None,
            dead: false,
            doubt: false,
            planned: false,
        }
    }

    /// Whether nothing was ever counted.
    pub(super) fn is_blank(&self) -> bool {
        self.state_changes + self.starts + self.restarts + self.failures.total + self.triggers == 0
            && self.main_exits.is_empty()
            && self.job_failures.is_empty()
    }

    /// Counts what changed. Where something was missed, the states in between are not known.
    pub(super) fn observe(
        &mut self,
        before: &Unit,
        after: &Unit,
        missed: Option<Missed>,
        out: &mut Outcome,
    ) {
        if let (Some(was), Some(is)) = (&before.active_state, &after.active_state) {
            self.state_changes += u64::from(was != is);
        }
        if let (Some(was), Some(is)) = (before.invocation_id, after.invocation_id) {
            self.starts += u64::from(is.is_set() && was != is);
        }
        if let (Some(was), Some(is)) = (before.timer(), after.timer())
            && let (Some(was), Some(is)) = (was.last_trigger, is.last_trigger)
        {
            self.triggers += u64::from(is.set().is_some() && was != is);
        }
        if let (Some(was), Some(is)) = (before.service(), after.service()) {
            let died = self.died((before, was), (after, is), out);
            self.restarted(before, after, died, missed, out);
            self.giving_up(before, after, missed.is_some(), out);
        }
    }

    fn died(
        &mut self,
        (before, was): (&Unit, &Service),
        (after, is): (&Unit, &Service),
        out: &mut Outcome,
    ) -> bool {
        let exit = new_exit(was, is);
        let failed = new_failure(was, is);
        if exit.is_none() && failed.is_none() {
            return false;
        }
        let at = match exit {
            Some(_) => is.main_exit.and_then(Timestamp::set).map(Timestamp::system_time),
            None => None,
        };
        let at = at.unwrap_or_else(SystemTime::now);
        // where something was missed, it is the later one's
        let run = after.run().or(before.run());
        out.ended = run;
        let mut status = None;
        if let Some((code, name)) = exit {
            under(&mut self.main_exits, (code, name.clone()), (code, OTHER), MOST_EXITS)
                .count(run, at);
            status = Some(name);
        }
        if let Some(result) = failed {
            self.failed(result, run, at);
            out.failure = Some(result.clone());
        }
        let what = if failed.is_some() { What::Failed } else { What::Exited };
        let cause = failed.cloned();
        out.events.push(event(&before.name, at, what, cause, status, run));
        // the process of a run that failed before: the watchdog's victim, or a timeout's
        let same_death = failed.is_none() && is.result.as_deref() != Some("success");
        !same_death
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self, result: &Word, run: Option<InvocationId>, at: SystemTime) {
        self.failures.count(run, at);
        *by_word(&mut self.failures_by_result, result) += 1;
    }

    /// Counts failures of which nothing is known.
    pub(super) fn failed_unknown(&mut self, count: u64) {
        self.failures.total += count;
        *by_word(&mut self.failures_by_result, &UNKNOWN) += count;
    }

    /// Every restart follows a death of its own, and precedes the run that it begins. That tells of
    /// deaths that were not seen.
    fn restarted(
        &mut self,
        before: &Unit,
        after: &Unit,
        died: bool,
        missed: Option<Missed>,
        out: &mut Outcome,
    ) {
        let (Some(was), Some(is)) = (before.service(), after.service()) else { return };
        let deaths = u64::from(self.dead) + u64::from(died);
        let restarts = match (was.restarts, is.restarts) {
            (Some(old), Some(new)) if new >= old => new - old,
            (Some(_), Some(new)) => new,
            _ => 0,
        };
        let ended = is.main_exit_monotonic.and_then(Timestamp::set).is_some();
        let same_end = ended && was.main_exit_monotonic == is.main_exit_monotonic;
        let last = last_death(before, after);
        // a reload between planning a restart and making it: systemd plans, and counts, it again
        let reloaded = missed.filter(|missed| missed.reload);
        let twice = u64::from(reloaded.is_some_and(|missed| {
            let waited = missed.at.and_then(|at| waited(before, after, at));
            waited.unwrap_or(self.planned || (self.dead && last == LastDeath::Known))
        }));
        let unseen = match same_end {
            true => u64::from(self.doubt).min(restarts),
            false => {
                let one = u64::from(last == LastDeath::New && !died);
                let least = one.min(restarts.saturating_sub(deaths));
                restarts.saturating_sub(deaths + twice).max(least)
            }
        };
        let running = began(was, is);
        self.dead = deaths > restarts && !running;
        // after a gap, the death seen may be the one before the restart or the one after it: the
        // next change tells
        self.doubt = match restarts {
            0 => self.doubt && !running && !died,
            _ => missed.is_some() && died && deaths + twice <= restarts,
        };
        self.planned = match restarts {
            0 => self.planned && !running && !died,
            _ => ended && !self.dead && awaits_restart(after),
        };
        if restarts == 0 {
            return;
        }
        self.restarts += restarts;
        (out.unseen, out.more) = (unseen, twice);
        let run = before.run();
        out.events.push(event(&before.name, SystemTime::now(), What::Restarted, None, None, run));
    }

    fn giving_up(&mut self, before: &Unit, after: &Unit, gap: bool, out: &mut Outcome) {
        if !after.is("failed") {
            self.given_up = false;
            return;
        }
        if before.is("failed") {
            return;
        }
        // the job that restarts a service stops it first: auto-restart, inactive, then failed
        let waited = before.is("inactive")
            || before.sub_state.as_deref().is_some_and(|sub| sub.contains("auto-restart"));
        let restarting = waited && !gap && looks_given_up(after);
        // first seen as failed, or states in between not seen: the best that the present tells
        let guessed = (before.active_state.is_none() || gap) && looks_given_up(after);
        if restarting || guessed {
            self.given_up = true;
        }
        if restarting {
            let run = before.run();
            let cause = after.service().and_then(|service| service.result.clone());
            out.events.push(event(
                &before.name,
                SystemTime::now(),
                What::GivenUp,
                cause,
                None,
                run,
            ));
        }
    }
}

impl Counted {
    fn count(&mut self, run: Option<InvocationId>, at: SystemTime) {
        self.total += 1;
        self.last = run.map(|run| (run.hex().into(), at));
    }
}

impl ExitCode {
    /// From `ExecMainCode`; `None` for codes that no ended process has.
    #[must_use]
    pub fn from_number(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Exited),
            2 => Some(Self::Killed),
            3 => Some(Self::Dumped),
            _ => None,
        }
    }

    /// As systemctl writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Killed => "killed",
            Self::Dumped => "dumped",
        }
    }

    /// The exit status as a number, or the signal's name.
    #[must_use]
    pub fn status(self, status: u64) -> Word {
        let signal = usize::try_from(status).ok().and_then(|number| SIGNALS.get(number)?.as_ref());
        match (self, signal) {
            (Self::Killed | Self::Dumped, Some(name)) => Word::Borrowed(name),
            _ => status.to_string().into(),
        }
    }
}

/// What a word is counted under: itself, while there is room for it.
pub(super) fn by_word<'c>(counts: &'c mut BTreeMap<Word, u64>, word: &Word) -> &'c mut u64 {
    under(counts, word.clone(), OTHER, MOST_WORDS)
}

/// A manager says what it likes, and one of a user may have new words forever.
fn under<K: Ord, V: Default>(counts: &mut BTreeMap<K, V>, key: K, other: K, most: usize) -> &mut V {
    let known = counts.len() < most || counts.contains_key(&key);
    counts.entry(if known { key } else { other }).or_default()
}

/// The result of a failure of which nothing is known.
pub(super) const UNKNOWN: Word = Word::Borrowed("unknown");

/// What is counted together, where there are too many words.
const OTHER: Word = Word::Borrowed("other");

/// Different results: systemd has some twelve.
const MOST_WORDS: usize = 64;

/// Different exits of a main process: 256 statuses, and the signals, with and without a core dump.
const MOST_EXITS: usize = 400;

/// How the main process ended, if it ended between the two.
fn new_exit(was: &Service, is: &Service) -> Option<(ExitCode, Word)> {
    let exit = is.main_exit_monotonic.and_then(Timestamp::set)?;
    if was.main_exit_monotonic? == exit {
        return None;
    }
    let code = ExitCode::from_number(is.exit_code?)?;
    Some((code, code.status(is.exit_status.unwrap_or(0))))
}

/// The result of a failure that happened between the two.
fn new_failure<'s>(was: &Service, is: &'s Service) -> Option<&'s Word> {
    let result = is.result.as_ref().filter(|result| *result != "success")?;
    if was.result.as_ref()? != result {
        return Some(result);
    }
    // the same result as before: of a new run only if its main process ended again
    let ended_again = was.main_exit_monotonic.and_then(Timestamp::set).is_some()
        && is.main_exit_monotonic.and_then(Timestamp::set).is_some()
        && was.main_exit_monotonic != is.main_exit_monotonic;
    ended_again.then_some(result)
}

/// Whether a run began between the two: a start resets what the run before it left.
fn began(was: &Service, is: &Service) -> bool {
    let ended = |service: &Service| service.main_exit_monotonic.and_then(Timestamp::set).is_some();
    let failed = |service: &Service| service.result.as_deref() != Some("success");
    (ended(was) && !ended(is)) || (failed(was) && !failed(is))
}

/// What a service's last leaving of the state active tells of deaths between the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastDeath {
    /// There is one that was not there before.
    New,
    /// There is none: its processes are active from their beginning.
    Known,
    /// There may be one before it was active.
    Open,
}

/// Whether a restart was planned and not yet made at that time; `None` if the service may have died
/// without that being seen in its times.
fn waited(before: &Unit, after: &Unit, at: Timestamp) -> Option<bool> {
    let (was, is) = (before.service()?, after.service()?);
    if last_death(before, after) == LastDeath::Open {
        return None;
    }
    let began = is.main_start.and_then(Timestamp::set)?;
    let delay = u64::try_from(is.restart_delay?.as_micros()).ok()?;
    let planned = |death: Timestamp| Timestamp(death.0.saturating_add(delay)) <= at;
    let ended = is.main_exit.and_then(Timestamp::set);
    // for the present run or the last one, and, if that has ended, for the next one
    let death = if ended.is_some() { was.main_exit } else { after.active_exit };
    let before_run = death.and_then(Timestamp::set).is_some_and(planned) && at <= began;
    Some(before_run || ended.is_some_and(planned))
}

fn last_death(before: &Unit, after: &Unit) -> LastDeath {
    let (was, is) = (before.active_exit, after.active_exit);
    let begins_active = after
        .service()
        .and_then(|service| service.service_type.as_deref())
        .is_some_and(|kind| ["simple", "idle"].contains(&kind));
    match is.and_then(Timestamp::set) {
        Some(_) if was.is_some() && was != is => LastDeath::New,
        Some(_) if was == is && begins_active => LastDeath::Known,
        _ => LastDeath::Open,
    }
}

/// Whether a restart may have been planned: not in `failed-before-auto-restart`.
fn awaits_restart(unit: &Unit) -> bool {
    unit.sub_state.as_deref().is_some_and(|sub| sub.starts_with("auto-restart"))
}

fn looks_given_up(unit: &Unit) -> bool {
    unit.service().is_some_and(|service| {
        let refused = service.result.as_deref() == Some("start-limit-hit");
        // of a unit that was just loaded it is not known yet, but that it was restarted is
        service.restart.as_deref().is_none_or(|restart| restart != "no")
            && (refused || service.restarts.is_some_and(|restarts| restarts > 0))
    })
}

pub(super) fn event(
    unit: &Arc<str>,
    at: SystemTime,
    what: What,
    cause: Option<Word>,
    status: Option<Word>,
    invocation_id: Option<InvocationId>,
) -> Event {
    Event { at, unit: unit.clone(), what, cause, status, invocation_id }
}

/// By number, as signal(7) has them on Linux (not Alpha, MIPS or PA-RISC).
const SIGNALS: [Option<&str>; 32] = [
    None,
    Some("SIGHUP"),
    Some("SIGINT"),
    Some("SIGQUIT"),
    Some("SIGILL"),
    Some("SIGTRAP"),
    Some("SIGABRT"),
    Some("SIGBUS"),
    Some("SIGFPE"),
    Some("SIGKILL"),
    Some("SIGUSR1"),
    Some("SIGSEGV"),
    Some("SIGUSR2"),
    Some("SIGPIPE"),
    Some("SIGALRM"),
    Some("SIGTERM"),
    Some("SIGSTKFLT"),
    Some("SIGCHLD"),
    Some("SIGCONT"),
    Some("SIGSTOP"),
    Some("SIGTSTP"),
    Some("SIGTTIN"),
    Some("SIGTTOU"),
    Some("SIGURG"),
    Some("SIGXCPU"),
    Some("SIGXFSZ"),
    Some("SIGVTALRM"),
    Some("SIGPROF"),
    Some("SIGWINCH"),
    Some("SIGIO"),
    Some("SIGPWR"),
    Some("SIGSYS"),
];
