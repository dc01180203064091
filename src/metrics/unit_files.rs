//! Enablement state and preset of unit files.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "unit-files", title: "Unit files" }) {
        return Ok(());
    }
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);

    out.family(
        Family {
            name: "systemd_unit_file_info",
            kind: Gauge,
            per: Per::Unit,
            help: "Enablement state of the unit file and the preset of the distribution (UnitFileState, UnitFilePreset); constant 1.",
            source: "D-Bus Unit.UnitFileState, UnitFilePreset, one unit per second",
            profile: Profile::Full,
            labels: ["name", "type", "unit_file_state", "preset"],
        },
        units.filter_map(|unit| {
            // a unit without a file has an empty state
            let state = unit.file_state.as_deref().filter(|state| !state.is_empty())?;
            let preset = unit.file_preset.as_deref().unwrap_or_default();
            Some(([&*unit.name, unit.kind.as_str(), state, preset], true))
        }),
    )
}
