//! Following the journal: at each scrape, and in between, so that nothing is deleted unread.

use std::time::{Duration, Instant};

use super::Read;
use crate::kept::Kept;
use crate::source::journal::{Journal, Options, Reading};
use crate::systemd::state::Shared;

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

/// Reads what has come every second, without end.
pub(super) async fn follow(kept: Kept<Journal>, options: Options, shared: Shared) {
    loop {
        let (options, shared) = (options.clone(), shared.clone());
        let deadline = Instant::now() + INTERVAL;
        let read =
            move |journal: &mut Journal| journal.follow(deadline, |name| is_loaded(&shared, name));
        // what fails here fails at the next scrape too, and is told there
        let _ = kept.read(move || Journal::open(&options), read).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// As long as the mirror is not filled, no unit is known to be unloaded.
fn is_loaded(shared: &Shared, name: &str) -> bool {
    let state = shared.lock();
    !state.status.filled || state.mirror.unit(name).is_some()
}

/// journald may fill a file of the smallest size, and delete it, in so much time.
const INTERVAL: Duration = Duration::from_secs(1);
