//! Counts the exits of the commands of a oneshot: signals show only the last one's, which is that of
//! the main process.

use std::sync::Arc;

use super::Ledger;
use super::exit_code::ExitCode;
use super::unit_counters::UnitCounters;
use crate::systemd::mirror::Change;
use crate::systemd::unit::Unit;

impl Ledger {
    /// Counts the exits of the commands before the last one.
    pub fn commands_read(&mut self, change: &Change) {
        if let Some(counters) = self.counters.get_mut(&change.after.name) {
            self.generation += 1;
            Arc::make_mut(counters).count_commands(&change.before, &change.after);
        }
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
