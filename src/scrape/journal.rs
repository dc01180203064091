//! Reads the journal at each scrape and in between, so that no file is deleted unread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Read;
use super::state_saver::StateSaver;
use crate::scrape::blocking_source::BlockingSource;
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

/// Reads the new entries every second, without end, sends the exits of units to the ledger, and saves
/// the state while it changes.
pub(super) async fn follow(
    kept: BlockingSource<Journal>,
    options: JournalOptions,
    shared: Shared,
    saver: Option<Arc<StateSaver>>,
) {
    shared.lock().ledger.enable_reconciliation();
    loop {
        let began = Timestamp::monotonic();
        let copied = read_and_copy(&kept, &options, &shared, saver.clone(), false).await;
        let has_history = copied.as_ref().is_none_or(|(_, has_history)| *has_history);
        // an error here occurs at the next scrape too, which logs it
        let copied = copied.map(|(copied, _)| copied).unwrap_or_else(|| {
            reconcile(&shared, JournalExits::unreadable(began), began);
            saver.as_ref().filter(|saver| saver.is_due(0)).and_then(|saver| saver.copy(None))
        });
        if let (Some(saver), Some(state)) = (&saver, copied) {
            drop(saver.write(state));
        }
        sleep(if has_history { READ_INTERVAL } else { HISTORY_STEP }).await;
    }
}

/// Reads the new entries once, and copies the state if it is to be saved or `at_end`. Returns also
/// whether all of the time before the start has been read; `None` if the journal cannot be read.
pub(super) async fn read_and_copy(
    kept: &BlockingSource<Journal>,
    options: &JournalOptions,
    shared: &Shared,
    saver: Option<Arc<StateSaver>>,
    at_end: bool,
) -> Option<(Option<SavedState>, bool)> {
    let (options, shared) = (options.clone(), shared.clone());
    let (began, deadline) = (Timestamp::monotonic(), Instant::now() + READ_INTERVAL);
    let read = move |journal: &mut Journal| {
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
        Ok((copied, has_history))
    };
    let read = timeout(READ_TIMEOUT, kept.read(move || Journal::open(&options), read)).await;
    read.ok()?.ok()?.ok()
}

/// Until the mirror is filled, it is not known which exits were missed.
fn reconcile(shared: &Shared, exits: JournalExits, read: Timestamp) {
    let state = &mut *shared.lock();
    if state.status.filled {
        state.ledger.reconcile(exits, read, state.status.following);
    } else if state.status.counts_downtime {
        state.ledger.add_journal_exits(exits);
    }
}

/// Until the mirror is filled, every unit counts as loaded.
fn is_loaded(shared: &Shared, name: &str) -> bool {
    let state = shared.lock();
    !state.status.filled || state.mirror.unit(name).is_some()
}

/// journald can fill a file of the minimum size, and delete it, in this time.
pub(super) const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Reads from before the start hold the journal this long; a scrape may wait for it.
const HISTORY_STEP: Duration = Duration::from_millis(50);

/// How long an end right after the first start may be delayed by reading what was before it.
const MAX_END_DELAY: Duration = Duration::from_secs(3);

/// For a file system that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Microseconds by which the ledger waits longer for the journal while entries are unread.
const BACKLOG_MICROS: u64 = 30_000_000;
