//! Templates of services: their instances by state, and the number that is expected.

use std::collections::BTreeMap;
use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::unit::Service;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::template::template_of;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let kind = UnitKind::Service.as_str();
    let templates = templates(snapshot);

    out.family(
        Family {
            name: "systemd_template_instances",
            kind: Gauge,
            per: Per::Unit,
            help: "Instances of a service template by active state; of templates in --expect-instances, and with two instances that have Restart=. Only active may be 0.",
            source: "D-Bus Unit.ActiveState, Service.Restart",
            profile: Profile::Minimal,
            labels: ["name", "type", "state"],
        },
        templates.iter().flat_map(|(name, states)| {
            states.iter().map(move |(state, count)| ([&**name, kind, *state], *count))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_template_expected_instances",
            kind: Gauge,
            per: Per::Unit,
            help: "Number of instances of the service template that should be active (--expect-instances).",
            source: "--expect-instances",
            profile: Profile::Minimal,
            labels: ["name", "type"],
        },
        snapshot.expected_instances.iter().map(|expected| {
            ([&*expected.template, kind], expected.count)
        }),
    )
}

/// The exported templates, and the number of their instances by state.
fn templates(snapshot: &Snapshot) -> BTreeMap<String, BTreeMap<&str, u64>> {
    let mut templates: BTreeMap<_, Template<'_>> = BTreeMap::new();
    for unit in snapshot.systemd.iter().flat_map(|systemd| &systemd.units) {
        let (Some(service), Some(template)) = (unit.service(), template_of(&unit.name)) else {
            continue;
        };
        let template = templates.entry(template).or_default();
        template.restarted += u32::from(Service::is_restarted(service));
        let state = unit.active_state.as_deref().unwrap_or_default();
        *template.states.entry(state).or_default() += 1;
    }
    let name = |(prefix, suffix): &(&str, &str)| format!("{prefix}@.{suffix}");
    let is_expected =
        |name: &str| snapshot.expected_instances.iter().any(|expected| *expected.template == *name);
    let mut exported: BTreeMap<String, BTreeMap<&str, u64>> = templates
        .into_iter()
        .map(|(key, template)| (name(&key), template))
        .filter(|(name, template)| template.restarted >= 2 || is_expected(name))
        .map(|(name, template)| (name, template.states))
        .collect();
    for expected in snapshot.systemd.iter().flat_map(|_| &snapshot.expected_instances) {
        exported.entry(expected.template.to_string()).or_default();
    }
    for states in exported.values_mut() {
        states.entry("active").or_default();
    }
    exported
}

#[derive(Default)]
struct Template<'s> {
    states: BTreeMap<&'s str, u64>,
    /// Instances with `Restart=`.
    restarted: u32,
}
