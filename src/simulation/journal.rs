//! The journal of the model: what PID 1 logs, as far as journald has written it.

use super::service::Exit;

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A unit's run ended: SD_MESSAGE_UNIT_SUCCESS or SD_MESSAGE_UNIT_FAILURE_RESULT.
    Exit { unit: usize, invocation: u64, result: &'static str },
    /// "Main process exited": SD_MESSAGE_UNIT_PROCESS_EXIT.
    MainExit { invocation: u64, exit: Exit },
    /// "Scheduled restart job": SD_MESSAGE_UNIT_RESTART_SCHEDULED.
    Restart { unit: usize, invocation: u64 },
    /// journald was started: entries may be missing.
    Gap,
}

/// The journal of this boot.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// With the time at which journald wrote each, in microseconds of `CLOCK_MONOTONIC`.
    entries: Vec<(u64, Record)>,
    /// How late journald is, in microseconds.
    pub(super) delay: u64,
    pub(super) is_down: bool,
    /// Whether an entry was lost.
    pub(super) lost: bool,
}

impl Journal {
    pub(super) fn log(&mut self, now: u64, record: Record) {
        if self.is_down {
            self.lost = true;
        } else {
            self.push(now, record);
        }
    }

    /// journald starts, and logs that it did.
    pub(super) fn start(&mut self, now: u64) {
        if std::mem::take(&mut self.is_down) {
            self.push(now, Record::Gap);
        }
    }

    fn push(&mut self, now: u64, record: Record) {
        // in the order of the socket
        let last = self.entries.last().map_or(0, |(at, _)| *at);
        self.entries.push(((now + self.delay).max(last), record));
    }

    /// The entries from this position on that are written.
    pub(super) fn read(&self, from: usize, now: u64) -> impl Iterator<Item = &(u64, Record)> {
        self.entries.iter().skip(from).take_while(move |(at, _)| *at <= now)
    }
}
