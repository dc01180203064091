//! Reads the journal at each scrape and in between, so that no file is deleted unread.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Read;
use super::journal_changes::JournalChanges;
use super::state_saver::StateSaver;
use crate::scrape::blocking_source::BlockingSource;
use crate::source::Error;
use crate::source::journal::exits::JournalExits;
use crate::source::journal::{Journal, JournalOptions, JournalReading};
use crate::state_file::SavedState;
use crate::systemd::state::Shared;
use crate::systemd::unit::value::Timestamp;

/// Reads the new entries, and returns the counters; a reading that is incomplete has the reason beside
/// it.
pub(super) async fn journal(
    kept: &BlockingSource<Journal>,
    options: &JournalOptions,
    shared: &Shared,
    deadline: Instant,
) -> Read<(JournalReading, Option<String>)> {
    let (options, shared) = (options.clone(), shared.clone());
    let read = move |journal: &mut Journal| {
        journal.follow(deadline, |name| is_loaded(&shared, name))?;
        let reading = journal.reading();
        let shortfall = reading.shortfall.clone();
        Ok((reading, shortfall))
    };
    kept.read(move || Journal::open(&options), read).await
}

/// Reads the journal when it changes, on a separate thread.
#[derive(Clone, Debug)]
pub(super) struct JournalFollower {
    pub(super) kept: BlockingSource<Journal>,
    pub(super) options: JournalOptions,
    pub(super) shared: Shared,
    pub(super) saver: Option<Arc<StateSaver>>,
    /// Since when a read is under way.
    pub(super) reading: Arc<Mutex<Option<Instant>>>,
}

/// The result of one read.
struct Looked {
    /// The state, if it is to be saved.
    copied: Option<SavedState>,
    /// Whether all of the time before the start has been read.
    has_history: bool,
    /// The number of entries so far.
    entries: u64,
    directories: Vec<PathBuf>,
}

impl JournalFollower {
    /// Reads the new entries at most once a second, without end, sends the exits of units to the
    /// ledger, and saves the state while it changes.
    pub(super) async fn follow(self) {
        self.shared.lock().ledger.enable_reconciliation();
        let mut changes = JournalChanges::new();
        loop {
            let began = Instant::now();
            *self.reading() = Some(began);
            let looked = self.look().await;
            *self.reading() = None;
            let mut pause = READ_INTERVAL;
            match looked {
                Ok(Looked { copied, has_history, entries, directories }) => {
                    self.save(copied);
                    changes.read(entries, &directories);
                    if !has_history {
                        pause = HISTORY_STEP;
                    }
                }
                // this error occurs at the next scrape too, which logs it
                Err(_) => {
                    self.journal_unreadable();
                    changes.unreadable();
                }
            }
            sleep(pause.saturating_sub(began.elapsed())).await;
            changes.wait(self.next_look(began), &self.shared.journal_wanted).await;
        }
    }

    /// Counts what waits for the journal, without end, while [`Self::follow`] hangs in a file system.
    pub(super) async fn watch_for_hangs(self) {
        loop {
            sleep(READ_TIMEOUT).await;
            let since = *self.reading();
            if since.is_some_and(|since| since.elapsed() >= READ_TIMEOUT) {
                self.journal_unreadable();
            }
        }
    }

    /// When the journal is to be read although no change is reported.
    fn next_look(&self, last: Instant) -> Instant {
        let unsaved = self.saver.as_ref().and_then(|saver| saver.next_save());
        let slow = last + SLOW_READ_INTERVAL;
        match self.shared.lock().ledger.awaits_journal() {
            true => last,
            false => unsaved.map_or(slow, |at| at.min(slow)),
        }
    }

    fn journal_unreadable(&self) {
        let now = Timestamp::monotonic();
        reconcile(&self.shared, JournalExits::unreadable(now), now);
        let saver = self.saver.as_ref().filter(|saver| saver.is_due(0));
        self.save(saver.and_then(|saver| saver.copy(None)));
    }

    fn save(&self, copied: Option<SavedState>) {
        if let (Some(saver), Some(state)) = (&self.saver, copied) {
            drop(saver.write(state));
        }
    }

    fn reading(&self) -> MutexGuard<'_, Option<Instant>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) -> Result<Looked, Error> {
        let read = read_and_copy(&self.shared, self.saver.clone(), false);
        self.kept.read_here(|| Journal::open(&self.options), read).await
    }

    /// Reads the new entries before the process ends, and copies the state if it is complete; `None` if
    /// the journal cannot be read.
    pub(super) async fn read_at_end(self) -> Option<Option<SavedState>> {
        let read = read_and_copy(&self.shared, self.saver.clone(), true);
        let options = self.options;
        let read = timeout(READ_TIMEOUT, self.kept.read(move || Journal::open(&options), read));
        Some(read.await.ok()?.ok()?.ok()?.copied)
    }
}

/// Reads the new entries once, and copies the state if it is to be saved or `at_end`.
fn read_and_copy(
    shared: &Shared,
    saver: Option<Arc<StateSaver>>,
    at_end: bool,
) -> impl FnOnce(&mut Journal) -> Result<Looked, Error> + Send + use<> {
    let shared = shared.clone();
    let (began, deadline) = (Timestamp::monotonic(), Instant::now() + READ_INTERVAL);
    move |journal: &mut Journal| {
        journal.follow(deadline, |name| is_loaded(&shared, name))?;
        let mut has_history = journal.read_history(Instant::now() + HISTORY_STEP);
        let give_up = Instant::now() + MAX_END_DELAY;
        while at_end && !has_history && Instant::now() < give_up {
            std::thread::sleep(HISTORY_STEP);
            has_history = journal.read_history(Instant::now() + HISTORY_STEP);
        }
        let is_behind = journal.waiting() > 0 || !has_history;
        let late = if is_behind { BACKLOG_MICROS } else { 0 };
        reconcile(&shared, journal.take_exits(), Timestamp(began.0.saturating_sub(late)));
        let entries = journal.entries();
        // without it, the next start counts from the boot on again
        let saver = saver.filter(|saver| has_history && (at_end || saver.is_due(entries)));
        let copied = saver.and_then(|saver| saver.copy(Some((journal.saved(), entries))));
        Ok(Looked { copied, has_history, entries, directories: journal.directories() })
    }
}

/// Until the mirror is filled, it is not known which exits were missed.
pub(crate) fn reconcile(shared: &Shared, exits: JournalExits, read: Timestamp) {
    let state = &mut *shared.lock();
    if state.status.filled {
        state.ledger.reconcile(&state.mirror, exits, read, state.status.following);
    } else if state.status.counts_downtime {
        state.ledger.add_journal_exits(exits);
    }
}

/// Until the mirror is filled, every unit counts as loaded.
fn is_loaded(shared: &Shared, name: &str) -> bool {
    let state = shared.lock();
    !state.status.filled || state.mirror.unit(name).is_some()
}

/// The journal is read at most this often. journald can fill a file of the minimum size, and delete it,
/// in this time.
pub(crate) const READ_INTERVAL: Duration = Duration::from_secs(1);

/// How often the journal is read although no change is reported.
const SLOW_READ_INTERVAL: Duration = Duration::from_secs(10);

/// Reads from before the start hold the journal this long; a scrape may wait for it.
const HISTORY_STEP: Duration = Duration::from_millis(50);

/// How long an end right after the first start may be delayed by reading what was before it.
const MAX_END_DELAY: Duration = Duration::from_secs(3);

/// For a file system that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Microseconds by which the ledger waits longer for the journal while entries are unread.
pub(crate) const BACKLOG_MICROS: u64 = 30_000_000;
