//! The journal: what each unit logs, by priority; its core dumps; what journald dropped.
//!
//! The files that journald writes are followed from when this was opened, by reading alone: no
//! memory is mapped, for they may be cut short at any time. Several are read at once, /var and
//! /run, those of the users too: a service with User= logs into one of them.

mod directory;
mod entry;
pub mod exits;
mod field;
mod file;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod read_buffer;
mod tail;
#[cfg(test)]
mod tests;
mod totals;

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

pub use totals::{Counts, Priority};

use super::Error;
use crate::source::journal::exits::JournalExits;
use crate::systemd::unit::value::Timestamp;
use crate::unit_filter::Selection;
use directory::{Folder, Name};
use entry::Reader;
use file::{Fault, File, Inode};
use format::{Id, Stamp};
use tail::{Followed, Span};
use totals::Totals;

/// Where the journal is, and what of it is counted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where journald keeps it across reboots: `/var/log/journal`.
    pub persistent: PathBuf,
    /// Where it keeps it otherwise: `/run/log/journal`.
    pub volatile: PathBuf,
    /// Names the directory in either: `/etc/machine-id`.
    pub machine_id: PathBuf,
    /// Names this boot, until journald is seen to name it otherwise: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: PathBuf,
    /// The units that are counted by name.
    pub selection: Selection,
    /// How long counts of a unit that is not loaded are kept after it last logged.
    pub keep_for: Duration,
    /// And of how many such units at most, the latest.
    pub keep: usize,
}

/// The journal since it was opened.
#[derive(Debug)]
pub struct Journal {
    folder: Folder,
    boot_id: Id,
    /// `CLOCK_MONOTONIC` when it was opened, in microseconds, as entries have it.
    since: u64,
    files: Vec<Followed>,
    /// Files read to their end; an archive may come up under another name and inode.
    finished: VecDeque<Id>,
    /// When journald wrote to /run: what /var has of those times are copies of what was there.
    volatile_spans: VecDeque<Span>,
    refused: VecDeque<Inode>,
    reader: Reader,
    totals: Totals,
    progress: Progress,
    opened: u32,
}

/// What has been counted since the journal was opened.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// By unit, in the order of names.
    pub units: Vec<(Arc<str>, Counts)>,
    /// Entries of any origin, selected units or not, by priority.
    pub messages: [u64; Priority::ALL.len()],
    /// Kernel messages that were overwritten before journald read them.
    pub missed: u64,
    /// How reading goes.
    pub progress: Progress,
    /// Why it is not all there is; `None` if it is.
    pub shortfall: Option<String>,
}

/// How reading goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that are followed.
    pub files: usize,
    /// Entries that there are and that have not been read yet.
    pub waiting: u64,
    /// Entries that could not be understood or read.
    pub unreadable: u64,
    /// Files that were found damaged.
    pub damaged: u64,
}

impl Journal {
    /// Opens the journal at its end.
    ///
    /// # Errors
    /// Those of reading the ids of the machine and of its boot.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(Error::io(path));
        let id = |path: &PathBuf| {
            let text = read(path)?;
            format::id(&text).ok_or_else(|| Error::malformed(path, &text))
        };
        let (machine_id, boot_id) = (id(&options.machine_id)?, id(&options.boot_id)?);
        let mut journal = Self {
            folder: Folder::new(&options.persistent, &options.volatile, machine_id),
            boot_id,
            since: Timestamp::monotonic().0,
            files: Vec::new(),
            finished: VecDeque::new(),
            volatile_spans: VecDeque::new(),
            refused: VecDeque::new(),
            reader: Reader::default(),
            totals: Totals::new(options),
            progress: Progress::default(),
            opened: 0,
        };
        journal.look(true);
        Ok(journal)
    }

    /// Reads what has come since the last time, until `deadline` at the latest. `is_loaded` tells
    /// which units' counts stay however long they are silent.
    ///
    /// # Errors
    /// That there is no journal, or that it must not be read, and what to change.
    pub fn follow(
        &mut self,
        deadline: Instant,
        is_loaded: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        if self.totals.forget(Instant::now(), is_loaded) {
            self.reader.forget();
        }
        self.look(false);
        self.refresh();
        self.read(deadline);
        self.drop_finished();
        if self.files.is_empty() {
            return Err(Error::Unavailable(self.folder.why_nothing()));
        }
        Ok(())
    }

    /// What it has told of the ends of units' runs since that was last taken.
    pub fn take_exits(&mut self) -> JournalExits {
        self.totals.take_exits()
    }

    /// How many entries there are that have not been read yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.files.iter().map(Followed::waiting).sum()
    }

    /// What has been counted so far.
    pub fn reading(&self) -> Reading {
        let trouble = self.files.iter().find_map(Followed::trouble);
        let progress =
            Progress { files: self.files.len(), waiting: self.waiting(), ..self.progress };
        self.totals.reading(progress, self.folder.refusal().or(trouble))
    }

    /// Looks which files there are. Those there at first are followed from their end, later ones
    /// from their beginning.
    fn look(&mut self, first: bool) {
        self.files.iter_mut().for_each(Followed::look);
        let current = self.files.iter().filter(|followed| followed.is_current());
        let current: Vec<Inode> = current.map(Followed::inode).collect();
        for name in self.folder.list(|inode| current.contains(&inode), first) {
            match File::open(name.path(), self.opened) {
                Ok(Some(file)) => self.take(file, name, first),
                // gone again, or not written yet: next time
                Ok(None) => {}
                Err(fault) => self.refuse(&name, &fault),
            }
        }
    }

    fn take(&mut self, mut file: File, name: Name, first: bool) {
        self.opened += 1;
        self.folder.remember(&name);
        let is_known = self.files.iter().any(|followed| followed.id() == file.id());
        if is_known || self.finished.contains(&file.id()) {
            return;
        }
        if self.files.len() >= MOST_FILES {
            return self.folder.refuse(format!("more than {MOST_FILES} files at once"));
        }
        if first || file.ended_before(&self.boot_id, self.since) {
            file.skip_to_end();
        }
        debug!(file = %name.path().display(), from = file.position(), "following");
        self.files.push(Followed::new(file, name));
    }

    fn refuse(&mut self, name: &Name, fault: &Fault) {
        self.folder.refuse_at(name.path(), fault);
        let Fault::Damaged(_, inode) = fault else { return };
        self.folder.remember(name);
        if !self.refused.contains(inode) {
            remember(&mut self.refused, *inode);
            self.progress.damaged += 1;
        }
    }

    /// Looks how many entries each file has: those in /var first, so that of whatever they have
    /// from /run the original is known, too.
    fn refresh(&mut self) {
        let Self { files, reader, .. } = self;
        let (volatile, persistent): (Vec<_>, Vec<_>) =
            files.iter_mut().partition(|followed| followed.name().is_volatile());
        for followed in persistent.into_iter().chain(volatile) {
            followed.refresh(reader);
        }
    }

    fn read(&mut self, deadline: Instant) {
        let Self { files, reader, totals, progress, boot_id, since, volatile_spans, .. } = self;
        let spans = files.iter().filter_map(Followed::span);
        let spans: Vec<Span> = volatile_spans.iter().copied().chain(spans).collect();
        for followed in files {
            let is_copy = |at: u64| spans.iter().any(|(from, to)| (*from..=*to).contains(&at));
            let (is_volatile, is_live) = (followed.name().is_volatile(), followed.is_live());
            let boot = Cell::new(*boot_id);
            let counts = |stamp: &Stamp| {
                if is_live {
                    // a container's boot has an id of its own, and a sandbox may show the host's
                    boot.set(stamp.boot_id);
                }
                stamp.boot_id == boot.get()
                    && stamp.monotonic >= *since
                    && (is_volatile || !is_copy(stamp.monotonic))
            };
            progress.unreadable += followed.read(reader, deadline, counts, totals);
            progress.damaged += u64::from(followed.is_newly_damaged());
            *boot_id = boot.get();
        }
    }

    /// Lets go of files that journald has left and that have been read to their end, or cannot be.
    fn drop_finished(&mut self) {
        for followed in self.files.extract_if(.., |followed| followed.is_finished()) {
            debug!(file = %followed.name().path().display(), "read to its end");
            self.progress.unreadable += followed.waiting();
            remember(&mut self.finished, followed.id());
            if let Some(span) = followed.span() {
                remember(&mut self.volatile_spans, span);
            }
        }
    }
}

fn remember<T>(memory: &mut VecDeque<T>, value: T) {
    if memory.len() >= REMEMBERED {
        memory.pop_front();
    }
    memory.push_back(value);
}

/// journald itself has at most 1024 users' files open.
const MOST_FILES: usize = 1088;

/// More than are archived between two readings.
const REMEMBERED: usize = 256;
