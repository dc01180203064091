//! Whether the journal has changed since it was read.

use std::path::PathBuf;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::sleep_until;
use tracing::debug;

use crate::directory_watcher::DirectoryWatcher;

/// Waits for changes of the journal, as far as the kernel reports them.
///
/// A network file system reports none: before the first report, and after entries of which there was
/// none, the journal is read without waiting.
pub(super) struct JournalChanges {
    watcher: Option<DirectoryWatcher>,
    are_reported: bool,
    /// Whether a directory was not watched yet when the journal was read.
    is_new: bool,
    is_readable: bool,
    /// Entries as of the last read.
    entries: u64,
    /// Whether the last read found entries although no change was reported.
    is_unreported: bool,
    /// Whether the last wait ended without a report.
    is_by_clock: bool,
}

impl JournalChanges {
    pub(super) fn new() -> Self {
        let watcher = DirectoryWatcher::new().inspect_err(|error| {
            debug!(%error, "failed to watch the journal; reading it every second");
        });
        Self {
            watcher: watcher.ok(),
            are_reported: false,
            is_new: false,
            is_readable: true,
            entries: 0,
            is_unreported: false,
            is_by_clock: false,
        }
    }

    /// Notes that the journal has been read, and watches its directories.
    pub(super) fn read(&mut self, entries: u64, directories: &[PathBuf]) {
        self.is_readable = true;
        self.is_unreported = self.is_by_clock && entries > self.entries;
        self.entries = entries;
        let Some(watcher) = &mut self.watcher else { return };
        self.is_new = false;
        for directory in directories {
            self.is_new |= watcher.watch(directory).unwrap_or(false);
        }
    }

    /// Notes that the journal could not be read.
    pub(super) fn unreadable(&mut self) {
        (self.is_readable, self.is_new) = (false, false);
    }

    /// Waits for a change, until `at` at the latest, or until `wanted`. To be called later than
    /// journald delays its reports, a quarter of a second, after the journal was read.
    pub(super) async fn wait(&mut self, at: Instant, wanted: &Notify) {
        let mut is_changed = false;
        if let Some(watcher) = &mut self.watcher {
            is_changed = watcher.take(|_| ());
        }
        self.are_reported = is_changed || (self.are_reported && !self.is_unreported);
        let is_blind = self.is_readable && !self.are_reported;
        if !(is_changed || self.is_new || is_blind) {
            let changed = async {
                match &self.watcher {
                    Some(watcher) => watcher.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => is_changed = true,
                () = wanted.notified() => {}
                () = sleep_until(at.into()) => {}
            }
        }
        self.is_by_clock = !is_changed;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::write;
    use std::time::Duration;

    use super::*;

    const MAX_WAIT: Duration = Duration::from_millis(200);

    /// Waits for at most [`MAX_WAIT`]; returns whether it waited that long.
    async fn waits(changes: &mut JournalChanges) -> bool {
        let began = Instant::now();
        changes.wait(began + MAX_WAIT, &Notify::new()).await;
        began.elapsed() >= MAX_WAIT
    }

    #[tokio::test]
    async fn waits_only_while_changes_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().to_owned()];
        let mut changes = JournalChanges::new();
        for entries in [0, 0, 1, 1] {
            changes.read(entries, &paths);
            assert!(!waits(&mut changes).await, "nothing has been reported");
        }
        write(directory.path().join("system.journal"), "1").unwrap();
        changes.read(2, &paths);
        assert!(!waits(&mut changes).await, "it has changed");
        changes.read(2, &paths);
        assert!(waits(&mut changes).await);
        changes.read(2, &paths);
        assert!(waits(&mut changes).await, "nothing to report");
        changes.read(3, &paths);
        assert!(!waits(&mut changes).await, "an entry without a report");
        changes.read(3, &paths);
        assert!(!waits(&mut changes).await, "no report since");
    }

    #[tokio::test]
    async fn entries_that_are_reported_late_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().to_owned()];
        let mut changes = JournalChanges::new();
        changes.read(0, &paths);
        write(directory.path().join("system.journal"), "1").unwrap();
        assert!(!waits(&mut changes).await);
        changes.read(1, &paths);
        assert!(waits(&mut changes).await);
        changes.read(2, &paths);
        write(directory.path().join("system.journal"), "2").unwrap();
        assert!(!waits(&mut changes).await);
        changes.read(2, &paths);
        assert!(waits(&mut changes).await);
    }

    #[tokio::test]
    async fn change_and_demand_end_the_wait() {
        let directory = tempfile::tempdir().unwrap();
        let mut changes = JournalChanges::new();
        changes.unreadable();
        changes.read(0, &[directory.path().to_owned()]);
        changes.unreadable();
        assert!(waits(&mut changes).await, "an unreadable journal is read again later");
        let wanted = Notify::new();
        wanted.notify_one();
        let began = Instant::now();
        changes.wait(began + 10 * MAX_WAIT, &wanted).await;
        let written = async {
            tokio::time::sleep(MAX_WAIT / 4).await;
            write(directory.path().join("system.journal"), "1").unwrap();
        };
        tokio::join!(changes.wait(began + 10 * MAX_WAIT, &wanted), written);
        assert!(began.elapsed() < 5 * MAX_WAIT);
    }
}
