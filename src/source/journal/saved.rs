//! The form of the counters and the position in the state file.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::file_limits::MAX_FILES;
use super::format::Id128;
use super::tail::TimeSpan;
use super::totals::{JournalCounts, Priority, ProcessExit, Totals};
use super::{Journal, JournalStart, MAX_REMEMBERED};
use crate::systemd::unit::serial;

/// The counters of the journal, and the position up to which its files have been read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedJournal {
    #[serde(with = "serial::hex")]
    boot_id: Id128,
    /// When the journal was first opened in this boot, as in entries.
    since: u64,
    /// When it was last read, as in entries.
    read: u64,
    files: Vec<SavedFile>,
    finished: Vec<SavedId>,
    volatile_spans: Vec<TimeSpan>,
    units: Vec<SavedCounts>,
    /// Exits of processes before those of their units: a restart may come between the two.
    #[serde(default)]
    process_exits: VecDeque<ProcessExit>,
    messages: [u64; Priority::ALL.len()],
    missed: u64,
    unreadable: u64,
    damaged: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedFile {
    #[serde(with = "serial::hex")]
    id: Id128,
    position: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedId(#[serde(with = "serial::hex")] Id128);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedCounts {
    pub(super) name: String,
    #[serde(default)]
    pub(super) is_group: bool,
    pub(super) counts: JournalCounts,
    #[serde(with = "serial::monotonic")]
    pub(super) last: Instant,
}

impl SavedJournal {
    /// The number of entries of a file that have been read; `None` if it was not followed.
    pub(super) fn position(&self, id: Id128) -> Option<u64> {
        Some(self.files.iter().find(|file| file.id == id)?.position)
    }

    /// When the journal was last read, in microseconds of `CLOCK_MONOTONIC`.
    pub(super) fn read(&self) -> u64 {
        self.read
    }
}

impl JournalStart {
    /// The counters and the position to continue from.
    #[must_use]
    pub fn saved(&self) -> Option<&SavedJournal> {
        match self {
            Self::Resumed(saved) => Some(saved),
            Self::AtEnd | Self::FromBoot => None,
        }
    }
}

impl Journal {
    /// A copy of the counters and the position, to be saved.
    #[must_use]
    pub fn saved(&self) -> SavedJournal {
        let (messages, missed) = self.totals.messages();
        let file = |tail: &super::Tail| SavedFile { id: tail.id(), position: tail.position() };
        let spans = self.files.iter().filter_map(super::Tail::span);
        SavedJournal {
            boot_id: self.boot_id,
            since: self.since,
            read: self.read,
            files: self.files.iter().map(file).collect(),
            finished: self.finished.iter().copied().map(SavedId).collect(),
            volatile_spans: self.volatile_spans.iter().copied().chain(spans).collect(),
            units: self.totals.saved_units().collect(),
            process_exits: self.totals.process_exits().clone(),
            messages,
            missed,
            unreadable: self.progress.unreadable,
            damaged: self.progress.damaged,
        }
    }

    /// Continues from a saved position; its files are found when they are listed.
    pub(super) fn resume(&mut self, saved: &SavedJournal) {
        (self.boot_id, self.since) = (saved.boot_id, saved.since);
        let oldest = saved.finished.len().saturating_sub(MAX_REMEMBERED);
        self.finished.extend(saved.finished.iter().skip(oldest).map(|id| id.0));
        let oldest = saved.volatile_spans.len().saturating_sub(MAX_REMEMBERED);
        self.volatile_spans.extend(saved.volatile_spans.iter().skip(oldest));
        self.progress.unreadable = saved.unreadable;
        self.progress.damaged = saved.damaged;
        self.totals.restore(saved);
    }

    /// Notes that messages may be missing where a file that was followed is gone.
    pub(super) fn check_for_deleted_files(&mut self, saved: &SavedJournal) {
        let is_here = |id| self.files.iter().any(|tail| tail.id() == id);
        if saved.files.iter().take(MAX_FILES).any(|file| !is_here(file.id)) {
            self.totals.gap(saved.read);
        }
    }
}

impl Totals {
    pub(super) fn restore(&mut self, saved: &SavedJournal) {
        self.set_messages(saved.messages, saved.missed);
        for (run, command, exit) in &saved.process_exits {
            self.process_exit(*run, command.clone(), exit.clone());
        }
        saved.units.iter().for_each(|unit| self.restore_unit(unit));
    }
}
