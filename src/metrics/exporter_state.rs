//! The state file, which lets counters continue after a restart of the exporter.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithExporter;
use super::{Family, Per, Sink};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let state = &snapshot.exporter.state;

    out.family(
        Family {
            name: "unit_exporter_state_restored",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the counters continue those from before the restart of the exporter. 0 at the first start in a boot, and without a valid state file.",
            source: "the exporter: its state file",
            profile: Profile::Default,
            labels: [],
        },
        [([], state.restored)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_state_saves_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Completed saves of the state file. At most one in 5 s, none while nothing changes.",
            source: "the exporter: its state file",
            profile: Profile::Default,
            labels: [],
        },
        [([], state.saves)],
    )?;

    out.family(
        Family {
            name: "unit_exporter_state_failed_saves_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Failed saves of the state file; the log has the first error. A restart of the exporter may lose counts.",
            source: "the exporter: its state file",
            profile: Profile::Default,
            labels: [],
        },
        [([], state.failed_saves)],
    )
}
