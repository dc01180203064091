//! The journal: messages of each unit by priority, core dumps, messages that journald dropped.
//!
//! The files of journald are followed from the time of opening, with read() only: a mapped file that
//! is truncated would raise SIGBUS. All files in /var and /run are read, also those of users: a
//! service with User= logs into one of them.

mod directory;
mod entry;
pub mod exits;
mod field;
mod file;
mod file_limits;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod history;
mod index;
mod oom_kill;
mod read_buffer;
mod saved;
mod tail;
#[cfg(test)]
mod tests;
mod totals;

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info};

pub use saved::SavedJournal;
pub use totals::{JournalCount, JournalCounts, Priority};

use super::Error;
use crate::source::journal::exits::JournalExits;
use crate::systemd::unit::value::{Timestamp, id128_to_hex};
use crate::unit_filter::Selection;
use directory::{FileName, JournalDirectory};
use entry::EntryReader;
use file::{FileError, Inode, JournalFile};
use format::{EntryStamp, Id128};
use history::History;
use tail::{Tail, TimeSpan};
use totals::Totals;

/// Paths of the journal, and limits of the counters.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The persistent journal: `/var/log/journal`.
    pub persistent: PathBuf,
    /// The volatile journal: `/run/log/journal`.
    pub volatile: PathBuf,
    /// The file with the name of the directory in either: `/etc/machine-id`.
    pub machine_id: PathBuf,
    /// The file with the boot id, unless journald uses another one: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: PathBuf,
    /// The units that have counters.
    pub selection: Selection,
    /// How long the counters of an unloaded unit are kept after its last message.
    pub keep_for: Duration,
    /// The maximum number of such units, the latest.
    pub keep: usize,
    /// From where the counters begin.
    pub start: JournalStart,
}

/// From where the counters of the journal begin.
#[derive(Clone, Debug, Default)]
pub enum JournalStart {
    /// With the entries after the opening.
    #[default]
    AtEnd,
    /// As before, but with the events of this boot from before the opening.
    FromBoot,
    /// With these counters, at this position.
    Resumed(Arc<SavedJournal>),
}

/// The journal since the time of opening.
#[derive(Debug)]
pub struct Journal {
    directory: JournalDirectory,
    machine_id: PathBuf,
    boot_id: Id128,
    /// `CLOCK_MONOTONIC` at the time of opening, in microseconds, as in entries.
    since: u64,
    /// When the last reading began, on the same clock.
    read: u64,
    files: Vec<Tail>,
    /// Files read to their end; journald may copy an archive to another name and inode.
    finished: VecDeque<Id128>,
    /// When journald wrote to /run: entries of those times in /var are copies of those in /run.
    volatile_spans: VecDeque<TimeSpan>,
    /// Files that could not be opened at the last listing.
    corrupt_files: HashSet<Inode>,
    reader: EntryReader,
    /// Events from before the opening that have not been read yet.
    history: Option<History>,
    totals: Totals,
    progress: Progress,
    opened: u32,
}

/// The counters since the journal was opened.
#[derive(Clone, Debug, Default)]
pub struct JournalReading {
    /// Counters by unit, sorted by name.
    pub units: Vec<(Arc<str>, JournalCounts)>,
    /// Entries of all units and of none by priority, regardless of the selection.
    pub messages: [u64; Priority::ALL.len()],
    /// Kernel messages that were overwritten before journald read them.
    pub missed: u64,
    /// The progress of reading.
    pub progress: Progress,
    /// Why the counters are incomplete; `None` if they are complete.
    pub shortfall: Option<String>,
}

/// The progress of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that are tail.
    pub files: usize,
    /// Entries that have not been read yet.
    pub waiting: u64,
    /// Entries that could not be decoded or read.
    pub unreadable: u64,
    /// Corrupt files.
    pub damaged: u64,
}

impl Journal {
    /// Opens the journal at its end.
    ///
    /// # Errors
    /// Those of reading the machine id and the boot id.
    pub fn open(options: &JournalOptions) -> Result<Self, Error> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(Error::io(path));
        let id = |path: &PathBuf| {
            let text = read(path)?;
            format::parse_id(&text).ok_or_else(|| Error::malformed(path, &text))
        };
        let machine_id = id(&options.machine_id)?;
        let boot_id = id(&options.boot_id).map_err(|error| {
            let remedy = "journal messages are not counted; set ProcSubset=all, or mount /proc";
            Error::Unavailable(format!("failed to read the boot ID: {error}; {remedy}"))
        })?;
        let now = Timestamp::monotonic().0;
        let mut journal = Self {
            directory: JournalDirectory::new(&options.persistent, &options.volatile, machine_id),
            machine_id: options.machine_id.clone(),
            boot_id,
            since: now,
            read: now,
            files: Vec::new(),
            finished: VecDeque::new(),
            volatile_spans: VecDeque::new(),
            corrupt_files: HashSet::new(),
            reader: EntryReader::default(),
            history: None,
            totals: Totals::new(options),
            progress: Progress::default(),
            opened: 0,
        };
        match &options.start {
            JournalStart::AtEnd => journal.list(&Listing::First),
            JournalStart::FromBoot => {
                journal.list(&Listing::First);
                let (boot_id, until) = (journal.boot_of_entries(), journal.since);
                journal.history = Some(History::new(boot_id, until, journal.directory.all()));
            }
            JournalStart::Resumed(saved) => {
                journal.resume(saved);
                journal.list(&Listing::Resumed(saved));
                journal.check_for_deleted_files(saved);
            }
        }
        Ok(journal)
    }

    /// Reads the new entries, until `deadline` at the latest. The counters of units for which
    /// `is_loaded` holds are kept.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no journal, or no permission to read it.
    pub fn follow(
        &mut self,
        deadline: Instant,
        is_loaded: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        if self.totals.evict(Instant::now(), is_loaded) {
            self.reader.clear_cache();
        }
        self.read = Timestamp::monotonic().0;
        self.list(&Listing::Next);
        self.refresh();
        self.read_files(deadline);
        self.drop_finished();
        if self.files.is_empty() {
            return Err(Error::Unavailable(self.directory.why_no_files()));
        }
        Ok(())
    }

    /// Reads events from before the opening, until `deadline` at the latest. Returns whether all have
    /// been read. The last entries from before the opening may not have been written yet when it was
    /// opened.
    pub fn read_history(&mut self, deadline: Instant) -> bool {
        let Self { history: Some(history), reader, totals, .. } = self else { return true };
        if Timestamp::monotonic().0 < self.since.saturating_add(WRITE_DELAY_MICROS) {
            return false;
        }
        if history.read(reader, totals, deadline) {
            self.history = None;
            self.reader.clear_cache();
        }
        self.history.is_none()
    }

    /// The boot of the latest entry: a sandbox may show another boot id than that of journald.
    fn boot_of_entries(&self) -> Id128 {
        let mut current = self.files.iter().filter(|tail| tail.is_current());
        let latest = current.find(|tail| tail.is_of_system());
        latest.map_or(self.boot_id, Tail::last_boot)
    }

    /// The exits of units since the last call.
    pub fn take_exits(&mut self) -> JournalExits {
        self.totals.take_exits()
    }

    /// The number of entries that have not been read yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.files.iter().map(Tail::waiting).sum()
    }

    /// The number of entries that have been counted.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.totals.messages().0.iter().sum()
    }

    /// The counters.
    pub fn reading(&self) -> JournalReading {
        let problem = self.files.iter().find_map(Tail::problem);
        let progress =
            Progress { files: self.files.len(), waiting: self.waiting(), ..self.progress };
        self.totals.reading(progress, self.directory.problem().or(problem))
    }

    /// Lists the files.
    fn list(&mut self, listing: &Listing<'_>) {
        self.check_machine_id();
        self.files.iter_mut().for_each(Tail::check_path);
        let current = self.files.iter().filter(|tail| tail.is_current());
        let current: Vec<Inode> = current.map(Tail::inode).collect();
        let first = matches!(listing, Listing::First);
        let known = std::mem::take(&mut self.corrupt_files);
        for name in self.directory.list(|inode| current.contains(&inode), first) {
            // an archived file may be one that is followed
            if name.is_current() && !self.has_room(&name) {
                self.record_limit();
                continue;
            }
            match JournalFile::open(name.path(), self.opened) {
                Ok(Some(file)) => self.follow_file(file, name, listing),
                // removed, or not written yet
                Ok(None) => {}
                Err(error) => self.record_problem(&name, &error, &known),
            }
        }
        // with little time, the most important files are read
        self.files.sort_by_key(|tail| tail.name().rank());
    }

    /// Follows the journal of a new machine ID, too: journald uses it from its next start on.
    fn check_machine_id(&mut self) {
        // while the file is being replaced, the known ID stays valid
        let text = std::fs::read(&self.machine_id).unwrap_or_default();
        if let Some(id) = format::parse_id(&text)
            && self.directory.add_machine_id(id)
        {
            let machine_id = id128_to_hex(id);
            info!(machine_id, "the machine ID has changed; also reading the journal of the new ID");
        }
    }

    fn follow_file(&mut self, mut file: JournalFile, name: FileName, listing: &Listing<'_>) {
        self.opened += 1;
        self.directory.remember(&name);
        let is_known = self.files.iter().any(|tail| tail.id() == file.id());
        if is_known || self.finished.contains(&file.id()) {
            return;
        }
        let (mut position, mut since) = (None, self.since);
        if let Listing::Resumed(saved) = listing {
            (position, since) = (saved.position(file.id()), saved.read());
        }
        let is_old = position.is_none() && file.ended_before(&self.boot_id, since);
        if is_old && !name.is_current() {
            return;
        }
        if !self.has_room(&name) {
            return self.record_limit();
        }
        match position {
            Some(position) => file.skip(position),
            None if is_old || matches!(listing, Listing::First) => file.skip_to_end(),
            None => {}
        }
        debug!(file = %name.path().display(), from = file.position(), "following journal file");
        self.files.push(Tail::new(file, name));
    }

    /// Records why a file cannot be opened; counts it unless it is among the `known` corrupt ones.
    fn record_problem(&mut self, name: &FileName, error: &FileError, known: &HashSet<Inode>) {
        self.directory.record_problem_at(name.path(), error);
        let FileError::Corrupt(_, inode) = error else { return };
        self.directory.remember(name);
        if self.corrupt_files.insert(*inode) && !known.contains(inode) {
            self.progress.damaged += 1;
        }
    }

    /// Reads the number of entries of each file: those in /var first, so that for each copy from /run
    /// the original is known too.
    fn refresh(&mut self) {
        let Self { files, reader, .. } = self;
        let (volatile, persistent): (Vec<_>, Vec<_>) =
            files.iter_mut().partition(|tail| tail.name().is_volatile());
        for tail in persistent.into_iter().chain(volatile) {
            tail.refresh(reader);
        }
    }

    fn read_files(&mut self, deadline: Instant) {
        let Self { files, reader, totals, progress, boot_id, since, volatile_spans, .. } = self;
        let spans = files.iter().filter_map(Tail::span);
        let spans: Vec<TimeSpan> = volatile_spans.iter().copied().chain(spans).collect();
        for tail in files {
            let is_copy = |at: u64| spans.iter().any(|(from, to)| (*from..=*to).contains(&at));
            let (is_volatile, is_live) = (tail.name().is_volatile(), tail.is_live());
            let boot = Cell::new(*boot_id);
            let is_counted = |stamp: &EntryStamp| {
                if is_live {
                    // a container has its own boot id, but a sandbox may show that of the host
                    boot.set(stamp.boot_id);
                }
                stamp.boot_id == boot.get()
                    && stamp.monotonic >= *since
                    && (is_volatile || !is_copy(stamp.monotonic))
            };
            progress.unreadable += tail.read(reader, deadline, is_counted, totals);
            progress.damaged += u64::from(tail.is_newly_corrupt());
            *boot_id = boot.get();
        }
    }

    /// Closes the files that journald has closed and that have been read to their end, or cannot be.
    fn drop_finished(&mut self) {
        for tail in self.files.extract_if(.., |tail| tail.is_finished()) {
            debug!(file = %tail.name().path().display(), "closing journal file");
            self.progress.unreadable += tail.waiting();
            remember(&mut self.finished, tail.id());
            if let Some(span) = tail.span() {
                remember(&mut self.volatile_spans, span);
            }
        }
    }
}

/// From where the files that are listed are followed.
enum Listing<'a> {
    /// From their end: the first listing.
    First,
    /// From where they were read to, new ones from their beginning: the first listing after the
    /// exporter was restarted.
    Resumed(&'a SavedJournal),
    /// From their beginning: they are new.
    Next,
}

/// Appends a value; drops the oldest beyond the limit.
fn remember<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() >= MAX_REMEMBERED {
        values.pop_front();
    }
    values.push_back(value);
}

/// How long journald may take to write an entry.
const WRITE_DELAY_MICROS: u64 = 1_000_000;

/// Files or times: more than journald archives between two readings.
const MAX_REMEMBERED: usize = 256;
