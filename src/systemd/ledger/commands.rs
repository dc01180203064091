//! The exits of commands: signals show only those of the main process.
//!
//! Of a oneshot with several commands, the exits before the last one are counted. Where another
//! command failed, such as that of `ExecStartPre=`, the event names its property and exit status.

use std::sync::Arc;

use zbus::Variant;

use super::exit_code::ExitCode;
use super::transitions::{is_failure, new_exit, new_failure};
use super::unit_counters::UnitCounters;
use super::{Event, EventKind, Ledger};
use crate::source::journal::exits::JournalExit;
use crate::systemd::mirror::Change;
use crate::systemd::unit::properties::EXEC_START;
use crate::systemd::unit::value::{InternedStr, as_command_exits};
use crate::systemd::unit::{CommandExit, Unit};

impl Ledger {
    /// Counts the exits of the commands before the last one.
    pub fn commands_read(&mut self, change: &Change) {
        if let Some(counters) = self.counters.get_mut(&change.after.name) {
            self.generation += 1;
            Arc::make_mut(counters).count_commands(&change.before, &change.after);
        }
    }

    /// Adds the commands that failed, as the journal has them, to the events of the same runs: PID 1
    /// discards the exit at the next start, which may come within the delay of signals.
    pub(super) fn failed_commands_logged(&mut self, exits: &[JournalExit]) {
        for exit in exits.iter().filter(|exit| exit.command.is_some()) {
            let mut events = self.events.iter_mut().rev();
            let of_run = |event: &&mut Arc<Event>| {
                event.kind == EventKind::Failed && event.invocation_id == Some(exit.run)
            };
            // systemd has ended the main process after another command failed
            if let Some(event) = events.find(of_run).filter(|event| event.command.is_none()) {
                *event = Arc::new(Event::clone(event).of_command(exit.command.clone()));
                self.generation += 1;
            }
        }
    }

    /// The event with the command that failed, if the journal had it before.
    pub(super) fn with_logged_command(&self, event: Event) -> Event {
        if event.kind != EventKind::Failed || event.command.is_some() {
            return event;
        }
        let mut exits = self.reconciliation.journal_exits.iter().rev();
        let exit = exits.find(|exit| Some(exit.run) == event.invocation_id);
        event.of_command(exit.and_then(|exit| exit.command.clone()))
    }

    /// Adds the command that failed to the latest event of the unit that awaits one: its commands of
    /// this property were read after [`failed_command`] named the property.
    pub fn failed_command_read(&mut self, unit: &str, property: &str, value: &Variant<'_>) {
        let Some(property) = EXEC_PROPERTIES.into_iter().find(|known| *known == property) else {
            return;
        };
        let kind = match property {
            EXEC_RELOAD => EventKind::JobFailed,
            _ => EventKind::Failed,
        };
        let mut events = self.events.iter_mut().rev();
        let Some(event) = events.find(|event| event.kind == kind && *event.unit == *unit) else {
            return;
        };
        if !event.awaits_command() {
            return;
        }
        let is_timeout = event.cause.as_deref() == Some("timeout");
        let commands = as_command_exits(value);
        let last = commands.iter().rev().find(|command| command.started.set().is_some());
        let is_running = |command: &&CommandExit| command.monotonic.set().is_none();
        let Some(command) = last.filter(|last| last.failed() || (is_timeout && is_running(last)))
        else {
            return;
        };
        let event = Arc::make_mut(event);
        event.command = Some(InternedStr::Borrowed(property));
        // systemd ends a command that takes too long: its exit shows nothing
        let code = ExitCode::from_number(command.code).filter(|_| !is_timeout);
        event.status = code.map(|code| code.status(command.status));
        self.generation += 1;
    }
}

/// The property whose commands show why the service failed, or failed to reload, between two states.
/// `None` if no command but that of the main process can have failed.
#[must_use]
pub fn failed_command(before: &Unit, after: &Unit) -> Option<&'static str> {
    let (was, is) = (before.service()?, after.service()?);
    let reload = is.reload_result.as_deref().filter(|result| is_failure(result));
    if reload.is_some() && was.reload_result != is.reload_result {
        return Some(EXEC_RELOAD);
    }
    new_failure((before, was), (after, is)).filter(|_| new_exit(was, is).is_none())?;
    match before.sub_state.as_deref()? {
        "condition" => Some("ExecCondition"),
        "start-pre" => Some("ExecStartPre"),
        // a unit that has just been loaded may fail before its type is read
        "start" if is.service_type.as_deref().is_none_or(|kind| kind == "forking") => {
            Some(EXEC_START)
        }
        "start-post" => Some("ExecStartPost"),
        "stop" => Some("ExecStop"),
        "stop-post" => Some("ExecStopPost"),
        _ => None,
    }
}

/// The properties that [`failed_command`] returns.
const EXEC_PROPERTIES: [&str; 7] = [
    "ExecCondition",
    EXEC_RELOAD,
    EXEC_START,
    "ExecStartPost",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
];

const EXEC_RELOAD: &str = "ExecReload";

/// The code of a process that ended with an exit status.
const CLD_EXITED: u64 = 1;

impl CommandExit {
    /// Whether the command failed and, with it, the service.
    fn failed(&self) -> bool {
        let is_clean = self.code == CLD_EXITED && self.status == 0;
        self.monotonic.set().is_some() && !is_clean && !self.ignores_failure
    }
}

impl UnitCounters {
    fn count_commands(&mut self, before: &Unit, after: &Unit) {
        let (Some(was), Some(is)) = (before.service(), after.service()) else { return };
        let (Some(was), Some(commands)) = (&was.commands, &is.commands) else { return };
        for (index, command) in commands.iter().enumerate() {
            let before = was.get(index).map(|command| command.monotonic);
            let is_new = command.monotonic.set().is_some()
                && before != Some(command.monotonic)
                && is.main_exit_monotonic != Some(command.monotonic);
            let code = ExitCode::from_number(command.code).filter(|_| is_new);
            if let Some(code) = code {
                let at = command.at.system_time();
                self.count_main_exit(code, code.status(command.status), after.run(), at);
            }
        }
    }
}
