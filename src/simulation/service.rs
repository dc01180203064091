//! A service of the model, and its states: src/core/service.c of systemd, in the order of its
//! functions. Times are microseconds of both clocks.

use std::collections::{BTreeMap, VecDeque};

use super::history::Version;
use super::journal::Record;
use super::pid1::{Dual, JobKind, Pid1};

/// A unit file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnitFile {
    pub(super) name: &'static str,
    /// `Type=`.
    pub(super) kind: Kind,
    /// `Restart=`.
    pub(super) restart: &'static str,
    /// `RestartSec=`, in microseconds.
    pub(super) restart_delay: u64,
    /// `SuccessExitStatus=`.
    pub(super) success: Option<i32>,
    /// `RestartForceExitStatus=`.
    pub(super) force: Option<i32>,
    /// `StartLimitBurst=`; 0 for none.
    pub(super) start_limit: usize,
    /// `StartLimitIntervalSec=`, in microseconds.
    pub(super) start_interval: u64,
    /// `RemainAfterExit=`.
    pub(super) remains: bool,
    /// Whether another unit refers to it, so that it stays loaded.
    pub(super) is_kept: bool,
    /// How its main process exits after SIGTERM.
    pub(super) on_term: Exit,
}

/// `Type=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Simple,
    /// With so many `ExecStart=`.
    Oneshot(usize),
    Forking,
    Notify,
}

/// How a process exits: `CLD_*` and the status or signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) status: i32,
}

/// The sub-states; those of one dispatch (stop-post, final-sigterm) are no states here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sub {
    Dead,
    Start,
    Running,
    Exited,
    StopSigterm,
    StopWatchdog,
    Failed,
    DeadBeforeAutoRestart,
    FailedBeforeAutoRestart,
    AutoRestart,
    AutoRestartQueued,
}

/// `ExecMain*` and one element of `ExecStart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) started: Dual,
    pub(super) exited: Dual,
    pub(super) exit: Option<Exit>,
}

/// A loaded service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) sub: Sub,
    pub(super) result: &'static str,
    pub(super) restarts: u32,
    flush_restarts: bool,
    forbid_restart: bool,
    /// 0 before the first start.
    pub(super) invocation: u64,
    pub(super) main_pid: u32,
    control_pid: u32,
    pub(super) main: Process,
    pub(super) commands: Vec<Process>,
    command: usize,
    pub(super) state_change: Dual,
    pub(super) active_enter: Dual,
    pub(super) active_exit: Dual,
    pub(super) inactive_enter: Dual,
    pub(super) inactive_exit: Dual,
    /// Whether the conditions were met when they were last checked, and when that was.
    pub(super) condition: (bool, Dual),
    /// When the auto-restart is due.
    pub(super) restart_due: Option<u64>,
    /// When the main process exits because of a signal of PID 1.
    pub(super) dies: Option<(u64, Exit)>,
    starts: VecDeque<u64>,
    /// The run after which a start was refused last.
    refused: u64,
    pub(super) job: Option<u32>,
    pub(super) is_announced: bool,
    pub(super) is_queued: bool,
}

/// The true number of each event of a unit since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) exits: BTreeMap<Exit, u64>,
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// Runs that ended without a failure.
    pub(super) clean_ends: u64,
    /// As PID 1 counts them.
    pub(super) restarts: u64,
    pub(super) starts: u64,
    pub(super) job_failures: BTreeMap<&'static str, u64>,
    /// Whether a job of the unit existed when it last became inactive.
    pub(super) ended_with_job: Option<bool>,
    /// Failures whose result `systemctl reset-failed` cleared before the run ended: the journal has no
    /// entry of them.
    pub(super) unlogged: BTreeMap<&'static str, u64>,
    /// Failures whose result `systemctl reset-failed` cleared.
    pub(super) reset_failures: u64,
    /// Restarts that PID 1 may count again with the same number, as `reset-failed` sends no signal.
    pub(super) reset_restarts: u64,
    /// The result that `reset-failed` cleared without a signal since.
    pub(super) stale_result: Option<&'static str>,
    /// Whether the unit is failed, and its last start was refused by the start limit. Not PID 1's flag,
    /// which a start that conditions skip changes, too.
    pub(super) start_limit_hit: bool,
}

impl Sub {
    /// `ActiveState`: state_translation_table.
    pub(super) fn active(self) -> &'static str {
        match self {
            Self::Dead | Self::DeadBeforeAutoRestart => "inactive",
            Self::Start | Self::AutoRestart | Self::AutoRestartQueued => "activating",
            Self::Running | Self::Exited => "active",
            Self::StopSigterm | Self::StopWatchdog => "deactivating",
            Self::Failed | Self::FailedBeforeAutoRestart => "failed",
        }
    }

    /// `SubState`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Start => "start",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::StopSigterm => "stop-sigterm",
            Self::StopWatchdog => "stop-watchdog",
            Self::Failed => "failed",
            Self::DeadBeforeAutoRestart => "dead-before-auto-restart",
            Self::FailedBeforeAutoRestart => "failed-before-auto-restart",
            Self::AutoRestart => "auto-restart",
            Self::AutoRestartQueued => "auto-restart-queued",
        }
    }

    pub(super) fn is_inactive(self) -> bool {
        ["inactive", "failed"].contains(&self.active())
    }
}

impl Service {
    pub(super) fn new(commands: usize) -> Self {
        Self {
            sub: Sub::Dead,
            result: SUCCESS,
            restarts: 0,
            flush_restarts: false,
            forbid_restart: false,
            invocation: 0,
            main_pid: 0,
            control_pid: 0,
            main: Process::default(),
            commands: vec![Process::default(); commands],
            command: 0,
            state_change: Dual::default(),
            active_enter: Dual::default(),
            active_exit: Dual::default(),
            inactive_enter: Dual::default(),
            inactive_exit: Dual::default(),
            condition: (false, Dual::default()),
            restart_due: None,
            dies: None,
            starts: VecDeque::new(),
            refused: u64::MAX,
            job: None,
            is_announced: false,
            is_queued: false,
        }
    }
}

impl UnitFile {
    pub(super) fn commands(&self) -> usize {
        if let Kind::Oneshot(commands) = self.kind { commands } else { 1 }
    }

    /// is_clean_exit(), with the result of an exit that is not clean.
    fn result_of(&self, exit: Exit) -> &'static str {
        let is_daemon = !matches!(self.kind, Kind::Oneshot(_));
        match exit.code {
            1 if exit.status == 0 || self.success == Some(exit.status) => SUCCESS,
            1 => "exit-code",
            2 if is_daemon && [1, 2, 13, 15].contains(&exit.status) => SUCCESS,
            2 => "signal",
            _ => "core-dump",
        }
    }

    /// service_shall_restart(), but for `RestartPreventExitStatus=`.
    fn restarts_after(&self, service: &Service) -> bool {
        if service.forbid_restart {
            return false;
        }
        let exited = service.main.exit.filter(|exit| exit.code == 1).map(|exit| exit.status);
        if exited.is_some() && exited == self.force {
            let is_oneshot = matches!(self.kind, Kind::Oneshot(_));
            return !(is_oneshot && service.result == SUCCESS);
        }
        match self.restart {
            "always" => true,
            "on-success" => service.result == SUCCESS,
            "on-failure" => service.result != SUCCESS,
            "on-abnormal" => ![SUCCESS, "exit-code"].contains(&service.result),
            _ => false,
        }
    }
}

impl Pid1 {
    /// service_set_state() and unit_notify(): the times, the job, and then the signal.
    pub(super) fn set_state(&mut self, unit: usize, sub: Sub) {
        self.now += TICK;
        let now = self.now();
        let service = self.service(unit);
        let (was, is) = (service.sub, sub);
        service.sub = sub;
        // the timer is of the sub-state
        service.restart_due = None;
        let is_active = |sub: Sub| sub.active() == "active";
        service.state_change = now;
        match (was.is_inactive(), is.is_inactive()) {
            (true, false) => service.inactive_exit = now,
            (false, true) => service.inactive_enter = now,
            _ => {}
        }
        match (is_active(was), is_active(is)) {
            (false, true) => service.active_enter = now,
            (true, false) => service.active_exit = now,
            _ => {}
        }
        if !was.is_inactive() && is.is_inactive() {
            let has_job = service.job.is_some();
            self.truth[unit].ended_with_job = Some(has_job);
        }
        self.truth[unit].stale_result = None;
        self.truth[unit].start_limit_hit &= is == Sub::Failed;
        // at the beginning of unit_notify(), so that the end of a job sends the change first
        self.queue(unit);
        self.process_job(unit, is);
    }

    /// Sets the result of the run, which is that of its first failure.
    fn fail(&mut self, unit: usize, result: &'static str) {
        let service = self.service(unit);
        if service.result == SUCCESS && result != SUCCESS {
            service.result = result;
            // starts that are refused one after the other fail once: no run is between them
            if result == START_LIMIT_HIT
                && std::mem::replace(&mut service.refused, service.invocation) == service.invocation
            {
                return;
            }
            *self.truth[unit].failures.entry(result).or_default() += 1;
        }
    }

    /// service_enter_dead()
    fn enter_dead(&mut self, unit: usize, result: &'static str, allow_restart: bool) {
        let allow_restart = allow_restart && self.job_kind(unit) != Some(JobKind::Stop);
        self.fail(unit, result);
        let file = self.files[unit];
        let version = self.version;
        let service = self.service(unit);
        let (invocation, result) = (service.invocation, service.result);
        let restarts = allow_restart && file.restarts_after(service);
        let is_success = result == SUCCESS;
        self.truth[unit].clean_ends += u64::from(is_success);
        // unit_log_success(), unit_log_failure()
        self.log(Record::Exit { unit, invocation, result });
        let end = if is_success { Sub::Dead } else { Sub::Failed };
        if restarts {
            let passing = match version {
                Version::V252 => end,
                Version::V262 if is_success => Sub::DeadBeforeAutoRestart,
                Version::V262 => Sub::FailedBeforeAutoRestart,
            };
            self.set_state(unit, passing);
            self.set_state(unit, Sub::AutoRestart);
            let due = self.now + file.restart_delay;
            self.service(unit).restart_due = Some(due);
        } else {
            self.service(unit).flush_restarts = true;
            self.set_state(unit, end);
        }
        self.service(unit).forbid_restart = false;
    }

    /// service_enter_signal(), with stop-post and final-sigterm, where no process is left.
    fn enter_signal(&mut self, unit: usize, sub: Sub, result: &'static str) {
        self.fail(unit, result);
        let (now, on_term) = (self.now, self.files[unit].on_term);
        let service = self.service(unit);
        if service.main_pid == 0 && service.control_pid == 0 {
            return self.enter_dead(unit, SUCCESS, true);
        }
        let exit = if sub == Sub::StopWatchdog { ABORT } else { on_term };
        service.dies = Some((now + EXIT_DELAY, exit));
        self.set_state(unit, sub);
    }

    /// service_enter_running()
    fn enter_running(&mut self, unit: usize, result: &'static str) {
        self.fail(unit, result);
        let remains = self.files[unit].remains;
        let service = self.service(unit);
        if service.result != SUCCESS {
            self.enter_signal(unit, Sub::StopSigterm, SUCCESS);
        } else if service.main_pid != 0 {
            self.set_state(unit, Sub::Running);
        } else if remains {
            self.set_state(unit, Sub::Exited);
        } else {
            self.enter_signal(unit, Sub::StopSigterm, SUCCESS);
        }
    }

    /// service_enter_start()
    fn enter_start(&mut self, unit: usize) {
        if self.spawn_fails[unit] {
            return self.enter_signal(unit, Sub::StopSigterm, "resources");
        }
        match self.files[unit].kind {
            Kind::Forking => {
                let pid = self.next_pid();
                self.service(unit).control_pid = pid;
                self.set_state(unit, Sub::Start);
            }
            Kind::Simple => {
                self.spawn_main(unit, 0);
                self.enter_running(unit, SUCCESS);
            }
            Kind::Oneshot(_) | Kind::Notify => {
                self.spawn_main(unit, 0);
                self.set_state(unit, Sub::Start);
            }
        }
    }

    /// service_spawn() and service_set_main_pidref(), which begins a new status of the main process.
    fn spawn_main(&mut self, unit: usize, command: usize) {
        let (pid, started) = (self.next_pid(), self.now());
        let service = self.service(unit);
        service.main_pid = pid;
        service.main = Process { pid, started, ..Process::default() };
        service.command = command;
        service.commands[command] = service.main;
    }

    /// service_enter_restart(), by its timer.
    pub(super) fn enter_restart(&mut self, unit: usize) {
        self.service(unit).restart_due = None;
        if self.job_kind(unit) == Some(JobKind::Stop) {
            return;
        }
        let kind = match self.version {
            Version::V252 => JobKind::Restart,
            Version::V262 => JobKind::Start,
        };
        self.add_job(unit, kind);
        let service = self.service(unit);
        service.restarts += 1;
        service.flush_restarts = false;
        let invocation = service.invocation;
        self.truth[unit].restarts += 1;
        self.log(Record::Restart { unit, invocation });
        if self.version == Version::V262 {
            self.set_state(unit, Sub::AutoRestartQueued);
        }
        self.queue(unit);
    }

    /// unit_start() and service_start(): the result of the job, if it ends at once.
    pub(super) fn start(&mut self, unit: usize) -> Started {
        let (now, version, file) = (self.now(), self.version, self.files[unit]);
        let are_conditions_met = self.conditions[unit];
        let sub = self.service(unit).sub;
        match sub.active() {
            "active" => return Started::Ended("done"),
            "deactivating" => return Started::Waits,
            _ => {}
        }
        if sub.active() != "activating" {
            self.service(unit).condition = (are_conditions_met, now);
            self.queue(unit);
            if !are_conditions_met {
                let is_within = self.is_below_start_limit(unit);
                return Started::Ended(if is_within { "done" } else { "failed" });
            }
        }
        match (sub, version) {
            (Sub::Start, _) => return Started::Runs,
            (Sub::AutoRestart, Version::V252) => return Started::Waits,
            // a manual start makes the restart at once
            (Sub::AutoRestart, Version::V262) => {
                self.enter_restart(unit);
                return Started::Waits;
            }
            _ => {}
        }
        // service_can_start()
        if !self.is_below_start_limit(unit) {
            if version == Version::V262 {
                self.service(unit).result = SUCCESS;
            }
            self.enter_dead(unit, START_LIMIT_HIT, false);
            self.truth[unit].start_limit_hit = true;
            return Started::Ended("failed");
        }
        let invocation = self.next_invocation();
        let service = self.service(unit);
        service.invocation = invocation;
        service.forbid_restart = false;
        let flush = match version {
            Version::V252 => service.flush_restarts,
            Version::V262 => sub != Sub::AutoRestartQueued,
        };
        if flush {
            service.restarts = 0;
        }
        service.flush_restarts = false;
        service.result = SUCCESS;
        service.main = Process::default();
        service.commands = vec![Process::default(); file.commands()];
        self.truth[unit].starts += 1;
        self.truth[unit].start_limit_hit = false;
        self.queue(unit);
        self.enter_start(unit);
        // PID 1 failed the run, which left the unit inactive: not at its first run
        if self.service(unit).sub.is_inactive() {
            let ended_with_job = &mut self.truth[unit].ended_with_job;
            *ended_with_job = ended_with_job.map(|_| true);
        }
        Started::Runs
    }

    /// unit_test_start_limit(): ratelimit_below().
    fn is_below_start_limit(&mut self, unit: usize) -> bool {
        let (now, file) = (self.now, self.files[unit]);
        let service = self.service(unit);
        if file.start_limit == 0 {
            return true;
        }
        if service.starts.front().is_none_or(|begin| begin + file.start_interval < now) {
            service.starts.clear();
        }
        let is_below = service.starts.len() < file.start_limit;
        if is_below {
            service.starts.push_back(now);
        }
        is_below
    }

    /// unit_stop() and service_stop().
    pub(super) fn stop(&mut self, unit: usize) -> Started {
        let service = self.service(unit);
        if service.sub.is_inactive() {
            return Started::Ended("done");
        }
        service.forbid_restart = true;
        match service.sub {
            Sub::AutoRestart | Sub::AutoRestartQueued => self.set_state(unit, Sub::Dead),
            Sub::Start | Sub::Running | Sub::Exited | Sub::StopWatchdog => {
                self.enter_signal(unit, Sub::StopSigterm, SUCCESS);
            }
            _ => {}
        }
        Started::Runs
    }

    /// service_reset_failed() and unit_reset_failed().
    pub(super) fn reset_failed(&mut self, unit: usize) {
        let service = self.service(unit);
        if service.sub == Sub::Failed {
            self.set_state(unit, Sub::Dead);
            self.truth[unit].ended_with_job = Some(true);
        }
        let service = self.service(unit);
        let (result, restarts) = (service.result, u64::from(service.restarts));
        let (is_signaled, sub) = (service.is_queued, service.sub);
        service.result = SUCCESS;
        service.restarts = 0;
        service.flush_restarts = false;
        service.starts.clear();
        let truth = &mut self.truth[unit];
        truth.reset_failures += u64::from(result != SUCCESS);
        if result != SUCCESS && sub.active() == "deactivating" {
            *truth.unlogged.entry(result).or_default() += 1;
        }
        if !is_signaled {
            truth.reset_restarts += restarts;
            truth.stale_result = truth.stale_result.or(Some(result));
        }
    }

    /// service_sigchld_event()
    pub(super) fn exited(&mut self, unit: usize, exit: Exit) {
        let (now, file) = (self.now(), self.files[unit]);
        let result = file.result_of(exit);
        let service = self.service(unit);
        service.dies = None;
        let is_main = service.main_pid != 0;
        let sub = service.sub;
        if is_main {
            service.main_pid = 0;
            (service.main.exited, service.main.exit) = (now, Some(exit));
            service.commands[service.command] = service.main;
            let invocation = service.invocation;
            *self.truth[unit].exits.entry(exit).or_default() += 1;
            // a success is logged as debug
            if result != SUCCESS {
                self.log(Record::MainExit { invocation, exit });
            }
        } else if service.control_pid != 0 {
            service.control_pid = 0;
        } else {
            return;
        }
        self.fail(unit, result);
        let next = self.service(unit).command + 1;
        let is_oneshot = matches!(file.kind, Kind::Oneshot(_));
        match sub {
            Sub::Start if is_oneshot && result == SUCCESS && next < file.commands() => {
                self.spawn_main(unit, next);
            }
            // a service that was never ready
            Sub::Start if file.kind == Kind::Notify => {
                let protocol = if result == SUCCESS { "protocol" } else { result };
                self.enter_signal(unit, Sub::StopSigterm, protocol);
            }
            Sub::Start | Sub::Running => self.enter_running(unit, result),
            Sub::StopSigterm | Sub::StopWatchdog => self.enter_dead(unit, result, true),
            _ => {}
        }
        self.queue(unit);
    }

    /// READY=1, or the end of the first process of a forking service, whose child is the main process.
    pub(super) fn ready(&mut self, unit: usize) {
        let kind = self.files[unit].kind;
        if self.service(unit).sub != Sub::Start {
            return;
        }
        match kind {
            Kind::Notify => self.enter_running(unit, SUCCESS),
            Kind::Forking => {
                self.service(unit).control_pid = 0;
                self.spawn_main(unit, 0);
                self.enter_running(unit, SUCCESS);
            }
            Kind::Simple | Kind::Oneshot(_) => {}
        }
    }

    /// service_dispatch_timer() in the state start.
    pub(super) fn start_timeout(&mut self, unit: usize) {
        if self.service(unit).sub == Sub::Start {
            self.enter_signal(unit, Sub::StopSigterm, "timeout");
        }
    }

    /// service_dispatch_watchdog()
    pub(super) fn watchdog(&mut self, unit: usize) {
        if self.service(unit).sub == Sub::Running {
            self.enter_signal(unit, Sub::StopWatchdog, "watchdog");
        }
    }

    /// service_coldplug(): after a reload, the timer of a restart is set again. Since 254 the
    /// sub-state shows that the restart was made.
    pub(super) fn coldplug(&mut self, unit: usize) {
        let delay = self.files[unit].restart_delay;
        let service = self.service(unit);
        if service.sub == Sub::AutoRestart {
            service.restart_due = Some(service.inactive_enter.monotonic + delay);
        }
    }
}

/// The state of a job after it was run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// The job ends with this result.
    Ended(&'static str),
    /// The job ends when the unit has reached a state.
    Runs,
    /// The job is run again after the next change of the unit (EAGAIN).
    Waits,
}

pub(super) const SUCCESS: &str = "success";

const START_LIMIT_HIT: &str = "start-limit-hit";

/// By SIGABRT, with a core dump.
const ABORT: Exit = Exit { code: 3, status: 6 };

/// How long each change of a state takes, in microseconds.
const TICK: u64 = 10;

/// How long a process takes to exit after a signal, in microseconds.
const EXIT_DELAY: u64 = 20_000;
