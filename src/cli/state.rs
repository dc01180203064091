//! Restores the state that the exporter saved before its restart, and its position in the journal.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{info, warn};

use super::args::Args;
use crate::source::journal::{JournalOptions, JournalStart};
use crate::state_file::{Boot, FoundState, StateFile};
use crate::systemd::state::Shared;
use crate::unit_filter::Selection;

/// The file of the state, and from where the journal is read.
#[derive(Debug, Default)]
pub(super) struct RestoredState {
    pub(super) file: Option<Arc<StateFile>>,
    pub(super) journal: JournalStart,
}

/// Restores the state of this boot, or has the exporter count from the boot on at its first start.
pub(super) fn restore(args: &Args, shared: &Shared) -> RestoredState {
    let Some(directory) = directory(args) else {
        info!(
            "no --state.directory and no RuntimeDirectory=: a restart of the exporter resets its counters"
        );
        return RestoredState::default();
    };
    let boot = match Boot::current(&args.procfs) {
        Ok(boot) => boot,
        Err(error) => {
            warn!(%error, "failed to read the boot id: a restart of the exporter resets its counters");
            return RestoredState::default();
        }
    };
    let file = StateFile::new(&directory, boot);
    let path = file.path().display().to_string();
    let mut restored = RestoredState::default();
    match file.read() {
        FoundState::Restorable(state) => {
            state.systemd.restore(&mut shared.lock());
            file.mark_restored();
            let journal = state.journal.map(Arc::new);
            restored.journal = journal.map_or(JournalStart::AtEnd, JournalStart::Resumed);
            info!(path, "restored the state; counters continue");
        }
        FoundState::FirstStart => {
            shared.lock().count_from_boot();
            restored.journal = JournalStart::FromBoot;
            info!(path, "first start in this boot; counting from the boot on");
        }
        FoundState::Unusable(error) => {
            warn!(path, %error, "failed to restore the state; counters start at 0");
        }
    }
    restored.file = Some(Arc::new(file));
    restored
}

impl Args {
    /// The locations of the journal, and the units whose messages are counted by name.
    #[must_use]
    pub fn journal(&self, selection: Selection) -> JournalOptions {
        JournalOptions {
            persistent: "/var/log/journal".into(),
            volatile: "/run/log/journal".into(),
            machine_id: "/etc/machine-id".into(),
            boot_id: self.procfs.join("sys/kernel/random/boot_id"),
            selection,
            keep_for: self.keep_unloaded,
            keep: self.keep_unloaded_max,
            start: JournalStart::default(),
        }
    }
}

/// `--state.directory`, or the first directory of `RuntimeDirectory=`.
fn directory(args: &Args) -> Option<PathBuf> {
    let runtime = || {
        let directories = std::env::var("RUNTIME_DIRECTORY").ok()?;
        let first = directories.split(':').next().filter(|first| !first.is_empty())?;
        Some(PathBuf::from(first))
    };
    args.state_directory.clone().or_else(runtime)
}
