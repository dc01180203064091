//! Saves the state of the exporter while it changes, and at its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::Scraper;
use crate::clock;
use crate::source::journal::SavedJournal;
use crate::state_file::{SavedState, StateFile};
use crate::systemd::saved::SavedSystemd;
use crate::systemd::state::Shared;

/// Decides when to save, and saves on a separate thread: neither the reader of signals nor a scrape
/// waits for the file.
#[derive(Debug)]
pub(crate) struct StateSaver {
    file: Arc<StateFile>,
    shared: Shared,
    last: Mutex<LastSave>,
    is_writing: AtomicBool,
}

/// The state that was saved last.
#[derive(Debug, Default)]
struct LastSave {
    at: Option<Instant>,
    generation: u64,
    /// Entries of the journal that had been read.
    entries: u64,
    journal: Option<SavedJournal>,
}

impl StateSaver {
    /// Saves to this file. `journal` is the position that has been restored.
    pub(crate) fn new(
        file: Arc<StateFile>,
        shared: Shared,
        journal: Option<&SavedJournal>,
    ) -> Arc<Self> {
        let last = LastSave { journal: journal.cloned(), ..LastSave::default() };
        Arc::new(Self { file, shared, last: Mutex::new(last), is_writing: AtomicBool::new(false) })
    }

    /// Whether the state is to be saved now: it has changed, or many entries of the journal would be
    /// read again after a restart. `entries` is the number of those read.
    pub(crate) fn is_due(&self, entries: u64) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.is_some_and(|at| clock::instant().duration_since(at) < MIN_SAVE_INTERVAL)
            || self.is_writing.load(Ordering::Acquire)
        {
            return false;
        }
        let generation = self.generation();
        generation.is_some_and(|generation| generation != last.generation)
            || (generation.is_some() && entries > last.entries.saturating_add(MAX_UNSAVED_ENTRIES))
    }

    /// When a change that has not been saved may be; `None` without such a change.
    pub(crate) fn next_save(&self) -> Option<Instant> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_changed = self.generation().is_some_and(|generation| generation != last.generation);
        is_changed.then(|| last.at.map_or_else(clock::instant, |at| at + MIN_SAVE_INTERVAL))
    }

    /// A copy of the state with the position in the journal as of now or, without one, as of the last
    /// copy. `None` until the states of units have been read.
    pub(crate) fn copy(&self, journal: Option<(SavedJournal, u64)>) -> Option<SavedState> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation()?;
        let (position, entries) = journal.unzip();
        last.at = Some(clock::instant());
        last.generation = generation;
        last.entries = entries.unwrap_or(last.entries);
        last.journal = position.or(last.journal.take());
        let systemd = SavedSystemd::of(&self.shared.lock());
        Some(SavedState { systemd, journal: last.journal.clone() })
    }

    /// Writes a copy on a blocking thread.
    pub(super) fn write(self: &Arc<Self>, state: SavedState) -> JoinHandle<()> {
        let saver = self.clone();
        self.is_writing.store(true, Ordering::Release);
        spawn_blocking(move || {
            saver.file.save(&state);
            saver.is_writing.store(false, Ordering::Release);
        })
    }

    /// The generation of the ledger; `None` until the states of units have been read: the old file
    /// stays, and the time since then is an outage at the next start.
    fn generation(&self) -> Option<u64> {
        let state = self.shared.lock();
        state.status.filled.then(|| state.ledger.generation())
    }
}

impl Scraper {
    /// Saves the state while it changes, without end; [`Self::follow_journal`] does so, too.
    pub fn save_state_without_journal(&self) -> impl Future<Output = ()> + Send + use<> {
        save_without_journal(self.saver.clone())
    }

    /// Saves the state before the process ends.
    pub async fn save_state_at_end(&self) {
        let Some(saver) = self.saver.clone() else { return };
        // without the collector, nothing has been read
        let copied = match self.config.has_journal {
            true => {
                timeout(END_TIMEOUT, self.journal_follower().read_at_end()).await.ok().flatten()
            }
            false => None,
        };
        if let Some(state) = copied.unwrap_or_else(|| saver.copy(None)) {
            // a file system that hangs must not delay the end
            let _ = timeout(END_TIMEOUT, saver.write(state)).await;
        }
    }
}

/// Saves the state while it changes, without a journal.
pub(super) async fn save_without_journal(saver: Option<Arc<StateSaver>>) {
    let Some(saver) = saver else { return };
    loop {
        if saver.is_due(0)
            && let Some(state) = saver.copy(None)
        {
            drop(saver.write(state));
        }
        sleep(CHECK_INTERVAL).await;
    }
}

/// How long reading the journal, or writing the state, may delay the end of the process.
const END_TIMEOUT: Duration = Duration::from_secs(4);

/// How often changes are looked for without a journal.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The state is saved at most this often.
const MIN_SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// Entries of the journal: reading them again takes a few milliseconds.
const MAX_UNSAVED_ENTRIES: u64 = 10_000;
