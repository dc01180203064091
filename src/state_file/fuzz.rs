//! Fuzzing: a state file of any content.

use super::content::{Boot, SavedState};
use crate::fuzzing::page;
use crate::snapshot::Snapshot;
use crate::source::journal;
use crate::source::journal::exits::JournalExits;
use crate::systemd::ledger::Ledger;
use crate::systemd::mirror::Mirror;
use crate::systemd::saved::SavedSystemd;
use crate::systemd::snapshot::SystemdSnapshot;
use crate::systemd::state::Shared;
use crate::systemd::unit::value::Timestamp;
use crate::unit_filter::Selection;

/// A state that is restored can be counted on, exported, and saved again.
pub(crate) fn state(data: &[u8]) {
    let boot = Boot { id: "0".to_owned(), pid1_start: 0 };
    let Ok(saved) = SavedState::parse(data, &boot) else { return };
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    let state = &mut *shared.lock();
    let journal = saved.journal.as_ref().map(journal::fuzz::restored);
    saved.systemd.restore(state);
    let again = SavedState { systemd: SavedSystemd::of(state), journal: saved.journal };
    let content = again.to_bytes(&boot).expect("a state");
    SavedState::parse(&content, &boot).expect("the same state");
    state.status.filled = true;
    state.ledger.downtime_ended(Timestamp::monotonic());
    state.ledger.enable_reconciliation();
    state.ledger.reconcile(&state.mirror, JournalExits::default(), Timestamp(u64::MAX), true);
    let systemd = Some(SystemdSnapshot::copy(state, true));
    page(Snapshot { systemd, journal, ..Snapshot::default() });
}
