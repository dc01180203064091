//! Conditions that skipped the last start of a unit.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::unit::value::Timestamp;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "conditions", title: "Conditions of units" }) {
        return Ok(());
    }
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);

    out.family(
        Family {
            name: "systemd_unit_condition_failed",
            kind: Gauge,
            per: Per::Unit,
            help: "1 if the last start of the unit was skipped because a Condition...= was not met (ConditionResult). Absent otherwise.",
            source: "D-Bus Unit.ConditionResult, ConditionTimestamp",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        units
            .filter(|unit| unit.conditions_met == Some(false))
            .filter(|unit| unit.conditions_checked.and_then(Timestamp::set).is_some())
            .map(|unit| ([&*unit.name, unit.kind.as_str()], true)),
    )
}
