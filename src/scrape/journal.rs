//! Reads the journal at each scrape and in between, so that no file is deleted unread.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Read;
use crate::scrape::blocking_source::BlockingSource;
use crate::source::journal::exits::JournalExits;
use crate::source::journal::{Journal, JournalOptions, JournalReading};
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

/// Reads the new entries every second, without end, and sends the exits of units to the ledger.
pub(super) async fn follow(kept: BlockingSource<Journal>, options: JournalOptions, shared: Shared) {
    shared.lock().ledger.enable_reconciliation();
    loop {
        let (options, reading) = (options.clone(), shared.clone());
        let (began, deadline) = (Timestamp::monotonic(), Instant::now() + READ_INTERVAL);
        let read = move |journal: &mut Journal| {
            journal.follow(deadline, |name| is_loaded(&reading, name))?;
            let late = if journal.waiting() > 0 { BACKLOG_MICROS } else { 0 };
            reconcile(&reading, journal.take_exits(), Timestamp(began.0.saturating_sub(late)));
            Ok(())
        };
        let read = timeout(READ_TIMEOUT, kept.read(move || Journal::open(&options), read)).await;
        // an error here occurs at the next scrape too, which logs it
        if !matches!(read, Ok(Ok(Ok(())))) {
            reconcile(&shared, JournalExits::unreadable(began), began);
        }
        sleep(READ_INTERVAL).await;
    }
}

/// Until the mirror is filled, no exit can have been missed.
fn reconcile(shared: &Shared, exits: JournalExits, read: Timestamp) {
    let state = &mut *shared.lock();
    if state.status.filled {
        state.ledger.reconcile(exits, read, state.status.following);
    }
}

/// Until the mirror is filled, every unit counts as loaded.
fn is_loaded(shared: &Shared, name: &str) -> bool {
    let state = shared.lock();
    !state.status.filled || state.mirror.unit(name).is_some()
}

/// journald can fill a file of the minimum size, and delete it, in this time.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// For a file system that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Microseconds by which the ledger waits longer for the journal while entries are unread.
const BACKLOG_MICROS: u64 = 30_000_000;
