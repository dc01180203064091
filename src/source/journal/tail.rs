//! A file that is followed.

use std::time::Instant;

use super::directory::FileName;
use super::entry::EntryReader;
use super::file::{FileError, Inode, JournalFile};
use super::format::{EntryStamp, Id128};
use super::totals::Totals;

/// The first and the last time, in microseconds of `CLOCK_MONOTONIC`.
pub(super) type TimeSpan = (u64, u64);

/// A file, the number of entries to read, and whether journald still writes to it.
#[derive(Debug)]
pub(super) struct Tail {
    file: JournalFile,
    name: FileName,
    /// The number of entries, as of [`Self::refresh`].
    end: u64,
    is_current: bool,
    /// Whether it is followed from its end, so that all entries read are new.
    from_end: bool,
    span: Option<TimeSpan>,
    error: Option<FileError>,
    was_corrupt: bool,
}

impl Tail {
    pub(super) fn new(file: JournalFile, name: FileName) -> Self {
        let (end, is_current) = (file.position(), name.is_current());
        let from_end = end > 0;
        Self { file, name, end, is_current, from_end, span: None, error: None, was_corrupt: false }
    }

    pub(super) fn id(&self) -> Id128 {
        self.file.id()
    }

    /// Whether it is the file that PID 1's messages are in.
    pub(super) fn is_of_system(&self) -> bool {
        self.name.is_of_system()
    }

    /// The boot of the last entry.
    pub(super) fn last_boot(&self) -> Id128 {
        self.file.header().tail_boot_id
    }

    /// The number of entries that have been read.
    pub(super) fn position(&self) -> u64 {
        self.file.position()
    }

    pub(super) fn inode(&self) -> Inode {
        self.file.inode()
    }

    pub(super) fn name(&self) -> &FileName {
        &self.name
    }

    /// Whether journald still wrote to the file, as of [`Self::check_path`].
    pub(super) fn is_current(&self) -> bool {
        self.is_current
    }

    /// Whether the entries read now were written while the file was followed.
    pub(super) fn is_live(&self) -> bool {
        self.is_current && self.from_end
    }

    /// For a file in /run, the times of its entries.
    pub(super) fn span(&self) -> Option<TimeSpan> {
        self.span
    }

    /// Entries that have not been read.
    pub(super) fn waiting(&self) -> u64 {
        self.end.saturating_sub(self.file.position())
    }

    /// Whether journald has closed the file, and no more of it can be read.
    pub(super) fn is_finished(&self) -> bool {
        !self.is_current && (self.waiting() == 0 || self.error.is_some())
    }

    /// Why the file cannot be read to its end.
    pub(super) fn problem(&self) -> Option<String> {
        Some(format!("{}: {}", self.name.path().display(), self.error.as_ref()?))
    }

    /// Checks whether journald still writes to the file.
    pub(super) fn check_path(&mut self) {
        self.is_current = self.name.is_current() && self.file.is_at(self.name.path());
    }

    /// Reads the number of entries.
    pub(super) fn refresh(&mut self, reader: &mut EntryReader) {
        match self.file.refresh() {
            Ok(end) => (self.end, self.error) = (end, None),
            Err(error) => self.error = Some(error),
        }
        if self.name.is_volatile() && self.end > 0 {
            let start = self.span.map(|(from, _)| from);
            let start = start.or_else(|| reader.first_monotonic(&self.file));
            self.span = start.map(|from| (from, self.file.header().tail_monotonic));
        }
    }

    /// Counts the entries up to the last refresh, and returns the number of those not decoded.
    pub(super) fn read(
        &mut self,
        reader: &mut EntryReader,
        deadline: Instant,
        is_counted: impl Fn(&EntryStamp) -> bool,
        totals: &mut Totals,
    ) -> u64 {
        if self.error.is_some() {
            return 0;
        }
        let outcome = reader.read(&mut self.file, self.end, deadline, is_counted, totals);
        self.error = outcome.error;
        outcome.unreadable
    }

    /// Whether the file is corrupt, and was not before.
    pub(super) fn is_newly_corrupt(&mut self) -> bool {
        let is_corrupt = matches!(self.error, Some(FileError::Corrupt(..)));
        is_corrupt && !std::mem::replace(&mut self.was_corrupt, true)
    }
}
