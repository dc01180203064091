//! Following the journal: at each scrape, and in between, so that nothing is deleted unread.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Read;
use crate::scrape::blocking_source::Kept;
use crate::source::journal::exits::JournalExits;
use crate::source::journal::{Journal, Options, Reading};
use crate::systemd::state::Shared;
use crate::systemd::unit::value::Timestamp;

/// Reads what has come, and gives all that was counted; it may fall short of all there is, and
/// then says why.
pub(super) async fn journal(
    kept: &Kept<Journal>,
    options: &Options,
    shared: &Shared,
    deadline: Instant,
) -> Read<(Reading, Option<String>)> {
    let (options, shared) = (options.clone(), shared.clone());
    let read = move |journal: &mut Journal| {
        journal.follow(deadline, |name| is_loaded(&shared, name))?;
        let reading = journal.reading();
        let shortfall = reading.shortfall.clone();
        Ok((reading, shortfall))
    };
    kept.read(move || Journal::open(&options), read).await
}

/// Reads what has come every second, without end, and hands on what it tells of units' ends.
pub(super) async fn follow(kept: Kept<Journal>, options: Options, shared: Shared) {
    shared.lock().ledger.hear_journal();
    loop {
        let (options, reading) = (options.clone(), shared.clone());
        let (began, deadline) = (Timestamp::monotonic(), Instant::now() + INTERVAL);
        let read = move |journal: &mut Journal| {
            journal.follow(deadline, |name| is_loaded(&reading, name))?;
            let late = if journal.waiting() > 0 { BACKLOG } else { 0 };
            reconcile(&reading, journal.take_exits(), Timestamp(began.0.saturating_sub(late)));
            Ok(())
        };
        let read = timeout(PATIENCE, kept.read(move || Journal::open(&options), read)).await;
        // what fails here fails at the next scrape too, and is told there
        if !matches!(read, Ok(Ok(Ok(())))) {
            reconcile(&shared, JournalExits::unreadable(began), began);
        }
        sleep(INTERVAL).await;
    }
}

/// Until the mirror is filled, nothing is missed.
fn reconcile(shared: &Shared, exits: JournalExits, read: Timestamp) {
    let state = &mut *shared.lock();
    if state.status.filled {
        state.ledger.reconcile(exits, read, state.status.following);
    }
}

/// As long as the mirror is not filled, no unit is known to be unloaded.
fn is_loaded(shared: &Shared, name: &str) -> bool {
    let state = shared.lock();
    !state.status.filled || state.mirror.unit(name).is_some()
}

/// journald may fill a file of the smallest size, and delete it, in so much time.
const INTERVAL: Duration = Duration::from_secs(1);

/// A file system may hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// For so long, in microseconds, what waits for the journal waits until more of it has been read.
const BACKLOG: u64 = 30_000_000;
