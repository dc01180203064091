//! The events of this boot from before the journal was opened, found by the files' indexes: reading
//! all entries of gigabytes would take minutes.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tracing::{debug, info};

use super::directory::FileName;
use super::entry::EntryReader;
use super::field::{
    CORE_DUMP, DROPPED, FAILURE, KERNEL, MISSED, PROCESS_EXIT, RESTART_SCHEDULED, STARTED,
};
use super::file::{FileError, JournalFile};
use super::format::{EntryStamp, Id128};
use super::index::{entries_with, first_entry_with};
use super::totals::Totals;
use crate::systemd::unit::value::id128_to_hex;

/// The progress of reading.
#[derive(Debug)]
pub(super) struct History {
    boot_id: Id128,
    /// When the journal was opened: later entries are followed.
    until: u64,
    /// Files that have not been looked up yet.
    unindexed: Vec<FileName>,
    files: Vec<JournalFile>,
    /// Entries to read, the first ones last.
    entries: Vec<FoundEntry>,
    is_sorted: bool,
    cpu: Duration,
}

/// The place of an entry.
#[derive(Clone, Copy, Debug)]
struct FoundEntry {
    file: usize,
    at: u64,
    /// Whether the kernel logged it: a firewall may log millions of lines, and OOM kills are few.
    by_kernel: bool,
}

impl History {
    pub(super) fn new(boot_id: Id128, until: u64, files: Vec<FileName>) -> Self {
        Self {
            boot_id,
            until,
            unindexed: files,
            files: Vec::new(),
            entries: Vec::new(),
            is_sorted: false,
            cpu: Duration::ZERO,
        }
    }

    /// Continues until the deadline. Returns whether all has been read.
    pub(super) fn read(
        &mut self,
        reader: &mut EntryReader,
        totals: &mut Totals,
        deadline: Instant,
    ) -> bool {
        let began = thread_cpu();
        let is_done = self.read_until(reader, totals, deadline);
        self.cpu += thread_cpu().saturating_sub(began);
        if !is_done && self.cpu >= MAX_CPU {
            info!(
                unread = self.entries.len(),
                "journal of this boot is too long; older events are not counted"
            );
            if self.entries.iter().any(|entry| !entry.by_kernel) {
                totals.gap(self.until);
            }
            return true;
        }
        if is_done {
            debug!(cpu = ?self.cpu, files = self.files.len(), "read the events of this boot");
        }
        is_done
    }

    fn read_until(
        &mut self,
        reader: &mut EntryReader,
        totals: &mut Totals,
        deadline: Instant,
    ) -> bool {
        while let Some(name) = self.unindexed.pop() {
            if let Err(error) = self.index(&name) {
                debug!(file = %name.path().display(), %error, "no index of journal file");
                totals.gap(self.until);
            }
            if Instant::now() >= deadline {
                return false;
            }
        }
        if !std::mem::replace(&mut self.is_sorted, true) {
            self.sort(reader);
        }
        // the newest entries first: the oldest are least missed
        while !self.entries.is_empty() {
            let chunk = self.entries.split_off(self.entries.len().saturating_sub(CHUNK));
            let is_wanted =
                |stamp: &EntryStamp| stamp.boot_id == self.boot_id && stamp.monotonic < self.until;
            for FoundEntry { file, at, by_kernel } in chunk {
                // an entry that cannot be read is one more that is missing
                let read = reader.read_event(&self.files[file], at, is_wanted, totals);
                if read.is_err() && !by_kernel {
                    totals.gap(self.until);
                }
            }
            if Instant::now() >= deadline {
                return self.entries.is_empty();
            }
        }
        true
    }

    /// Finds the entries of one file.
    fn index(&mut self, name: &FileName) -> Result<(), FileError> {
        let number = u32::try_from(self.files.len()).unwrap_or_default();
        let Some(file) = JournalFile::open(name.path(), FIRST_NUMBER.saturating_add(number))?
        else {
            return Ok(());
        };
        if self.files.iter().any(|other| other.id() == file.id()) {
            return Ok(());
        }
        let boot = format!("_BOOT_ID={}", id128_to_hex(self.boot_id));
        let Some(first) = first_entry_with(&file, boot.as_bytes())? else { return Ok(()) };
        for message in EVENTS {
            let by_kernel = message == KERNEL;
            let found = entries_with(&file, message, first)?.into_iter();
            let file = self.files.len();
            self.entries.extend(found.map(|at| FoundEntry { file, at, by_kernel }));
        }
        self.files.push(file);
        Ok(())
    }

    /// Sorts the entries by time, those of the kernel before all others: the files by the time of
    /// their first entry.
    fn sort(&mut self, reader: &mut EntryReader) {
        let first = |file: &JournalFile| reader.first_monotonic_of(file, &self.boot_id);
        let ages: Vec<u64> = self.files.iter().map(first).collect();
        self.entries.sort_by_key(|FoundEntry { file, at, by_kernel }| {
            (!by_kernel, ages[*file], *file, *at)
        });
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The messages that are counted as events, and those among which OOM kills are.
const EVENTS: [&[u8]; 8] =
    [FAILURE, PROCESS_EXIT, RESTART_SCHEDULED, CORE_DUMP, DROPPED, MISSED, STARTED, KERNEL];

/// CPU time for the whole history.
const MAX_CPU: Duration = Duration::from_millis(900);

/// Entries between two looks at the clock.
const CHUNK: usize = 256;

/// Numbers that no followed file has.
const FIRST_NUMBER: u32 = 1 << 31;
