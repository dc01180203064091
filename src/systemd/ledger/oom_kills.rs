//! Finds out which services the OOM killer killed, where systemd does not: with the memory controller
//! of cgroup v1, systemd reports only the signal.
//!
//! The kernel logs each OOM kill with the cgroup and the pid. The failure of a service whose main
//! process was killed by SIGKILL waits for the journal; until then its result is not counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::event::{EventKind, event};
use super::exit_code::{CLD_KILLED, ExitCode, SIGKILL};
use super::unit_counters::counter_of;
use crate::source::journal::exits::JournalOomKill;
use crate::systemd::unit::value::{InternedStr, InvocationId, Timestamp};
use crate::systemd::unit::{Service, Unit, serial};

/// The failure of a service whose main process was killed by SIGKILL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kill {
    #[serde(with = "serial::text")]
    pub(super) unit: Arc<str>,
    pub(super) run: Option<InvocationId>,
    /// The main process.
    pub(super) pid: Option<u32>,
    #[serde(with = "serial::wall_clock")]
    pub(super) at: SystemTime,
    /// When it was seen, on `CLOCK_MONOTONIC`.
    pub(super) seen: Timestamp,
}

/// Kills that wait for the journal, and the OOM kills read from it.
#[derive(Debug, Default)]
pub(super) struct OomKills {
    /// Whether systemd does not report OOM kills, but the journal does.
    pub(super) is_enabled: bool,
    pub(super) waiting: VecDeque<Kill>,
    pub(super) logged: VecDeque<JournalOomKill>,
}

/// Whether the main process was killed in a way that systemd may not know to be an OOM kill.
pub(super) fn is_kill(service: &Service, result: Option<&InternedStr>) -> bool {
    service.exit_code == Some(CLD_KILLED)
        && service.exit_status == Some(SIGKILL)
        && result.is_some_and(|result| result == "signal")
}

impl Kill {
    /// The kill of a service that is seen now.
    pub(super) fn of(
        unit: &Unit,
        service: &Service,
        run: Option<InvocationId>,
        at: SystemTime,
    ) -> Self {
        let (unit, seen) = (unit.name.clone(), Timestamp::monotonic());
        Self { unit, run, pid: service.exec_main_pid, at, seen }
    }
}

impl OomKills {
    /// Adds a kill; returns the oldest one once there are too many.
    pub(super) fn add(&mut self, kill: Kill) -> Option<Kill> {
        self.waiting.push_back(kill);
        if self.waiting.len() > MAX_WAITING { self.waiting.pop_front() } else { None }
    }

    pub(super) fn add_logged(&mut self, kills: Vec<JournalOomKill>) {
        if self.is_enabled {
            self.logged.extend(kills);
            let excess = self.logged.len().saturating_sub(MAX_WAITING);
            self.logged.drain(..excess);
        }
    }

    /// Removes the kills that have waited long enough, given that the journal has been read up to
    /// `read`; returns them with their result.
    pub(super) fn resolve(&mut self, read: Timestamp) -> Vec<(Kill, InternedStr)> {
        let Self { waiting, logged, .. } = self;
        let mut resolved = Vec::new();
        while let Some(kill) = waiting.front()
            && let Some(result) = result_of(kill, logged, read)
            && let Some(kill) = waiting.pop_front()
        {
            resolved.push((kill, result));
        }
        logged.retain(|kill| kill.at.0.saturating_add(MAX_AGE) > read.0);
        resolved
    }
}

impl Ledger {
    /// From now on, the result of a service killed by SIGKILL is counted only once the journal has
    /// been read: systemd reports OOM kills of cgroup v1 as signals.
    pub fn find_oom_kills_in_journal(&mut self) {
        self.oom_kills.is_enabled = true;
    }

    /// Counts the results of services killed by SIGKILL, once the journal has been read up to `read`.
    pub(super) fn count_kills(&mut self, read: Timestamp) {
        for (kill, result) in self.oom_kills.resolve(read) {
            self.count_kill(&kill, result);
        }
    }

    /// Counts the result of a service killed by SIGKILL.
    pub(super) fn count_kill(&mut self, kill: &Kill, result: InternedStr) {
        self.generation += 1;
        if let Some(counters) = self.counters.get_mut(&kill.unit) {
            counter_of(&mut Arc::make_mut(counters).failures_by_result, &result)
                .count(kill.run, kill.at);
        }
        *counter_of(&mut self.host.failures, &result) += 1;
        let status = Some(ExitCode::Killed.status(SIGKILL));
        let event = event(&kill.unit, kill.at, EventKind::Failed, Some(result), status, kill.run);
        // events of the last seconds may be later
        self.record(event);
        let events = self.events.make_contiguous();
        let recent = events.len().saturating_sub(MAX_REORDERED);
        events[recent..].sort_by_key(|event| event.at);
    }
}

/// The result of a kill; `None` if the journal may not have it yet.
fn result_of(
    kill: &Kill,
    logged: &mut VecDeque<JournalOomKill>,
    read: Timestamp,
) -> Option<InternedStr> {
    let is_same = |logged: &JournalOomKill| {
        logged.unit == kill.unit
            && Some(logged.pid) == kill.pid
            && logged.at.0.saturating_add(MAX_AGE) > kill.seen.0
    };
    match logged.iter().position(is_same) {
        Some(at) => {
            logged.remove(at);
            Some(InternedStr::Borrowed("oom-kill"))
        }
        None => (kill.seen.0.saturating_add(JOURNAL_DELAY) <= read.0)
            .then_some(InternedStr::Borrowed("signal")),
    }
}

/// How long the kernel's line may take to reach the journal, in microseconds: a host without memory is
/// slow.
const JOURNAL_DELAY: u64 = 5_000_000;

/// How much earlier than the exit the kernel's line may be, in microseconds: a process with much
/// memory takes a while to exit.
const MAX_AGE: u64 = 60_000_000;

/// Kills and lines that are remembered.
pub(super) const MAX_WAITING: usize = 4096;

/// Events among which a late one is put in order.
const MAX_REORDERED: usize = 64;
