//! Units: state, time and number of state changes.

use std::collections::BTreeMap;
use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithBoot;
use super::{Family, Per, Sample, Sink, Subject, templates};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::systemd::unit::name::{UnitKind, type_of};
use crate::systemd::unit::value::Timestamp;
use crate::systemd::unit::{Detail, Unit as SystemdUnit};

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "units", title: "Units" }) {
        return Ok(());
    }
    let units = || snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    let wanted_inactive = || snapshot.systemd.iter().flat_map(|systemd| &systemd.wanted_inactive);
    let accounts = || snapshot.systemd.iter().flat_map(|systemd| &systemd.counters);

    out.family(
        Family {
            name: "systemd_unit_state",
            kind: Gauge,
            per: Per::Unit,
            help: "Whether the unit is in the given active state (ActiveState). Five states are 0 or 1; further ones appear only while current.",
            source: "D-Bus Unit.ActiveState",
            profile: Profile::Minimal,
            labels: ["name", "type", "state"],
        },
        units().flat_map(|unit| states(unit)),
    )?;

    let instances = instances(snapshot);
    out.family(
        Family {
            name: "systemd_unit_instances",
            kind: Gauge,
            per: Per::Unit,
            help: "Units with short-lived names by active state: connections by template, containers, their mounts and sessions by the common part of their names.",
            source: "D-Bus Unit.ActiveState",
            profile: Profile::Minimal,
            labels: ["name", "type", "state"],
        },
        instances
            .iter()
            .map(|((name, kind, state), count)| ([*name, kind.as_str(), *state], *count)),
    )?;

    out.family(
        Family {
            name: "systemd_unit_info",
            kind: Gauge,
            per: Per::Unit,
            help: "Mount type of mounts, Type= of services; constant 1.",
            source: "D-Bus Service.Type, Mount.Type",
            profile: Profile::Minimal,
            labels: ["name", "type", "mount_type", "service_type"],
        },
        units().filter_map(|unit| {
            let (mount, service) = match &unit.detail {
                Detail::Mount(mount) => (mount.file_system.as_deref()?, ""),
                Detail::Service(service) => ("", service.service_type.as_deref()?),
                _ => return None,
            };
            Some(([&unit.name, unit.kind.as_str(), mount, service], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_alias_info",
            kind: Gauge,
            per: Per::Unit,
            help: "Another name of the unit (Alias=, Names); constant 1. All other metrics have the primary name. Absent for units with one name.",
            source: "D-Bus Unit.Names",
            profile: Profile::Minimal,
            labels: ["name", "type", "alias"],
        },
        units().flat_map(|unit| {
            let [name, kind] = labels(unit);
            unit.aliases.iter().map(move |alias| ([name, kind, &**alias], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_start_time_seconds",
            kind: Gauge,
            per: Per::Unit,
            help: "Unix time at which the service became active (ActiveEnterTimestamp); 0 while it is not active. Services only.",
            source: "D-Bus Unit.ActiveEnterTimestamp",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        units().filter(|unit| unit.service().is_some()).filter_map(|unit| {
            let since = if unit.is("active") { unit.active_enter? } else { Timestamp(0) };
            Some((labels(unit), since))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_active_enter_time_seconds",
            kind: Gauge,
            per: Per::Unit,
            help: "Unix time at which the unit last became active (ActiveEnterTimestamp); 0 if never.",
            source: "D-Bus Unit.ActiveEnterTimestamp",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        times(snapshot, |unit| unit.active_enter),
    )?;

    out.family(
        Family {
            name: "systemd_unit_active_exit_time_seconds",
            kind: Gauge,
            per: Per::Unit,
            help: "Unix time at which the unit last left the active state (ActiveExitTimestamp); 0 if never.",
            source: "D-Bus Unit.ActiveExitTimestamp",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        times(snapshot, |unit| unit.active_exit),
    )?;

    out.family(
        Family {
            name: "systemd_unit_inactive_enter_time_seconds",
            kind: Gauge,
            per: Per::Unit,
            help: "Unix time at which the unit last became inactive (InactiveEnterTimestamp); 0 if never.",
            source: "D-Bus Unit.InactiveEnterTimestamp",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        times(snapshot, |unit| unit.inactive_enter),
    )?;

    out.family(
        Family {
            name: "systemd_unit_inactive_exit_time_seconds",
            kind: Gauge,
            per: Per::Unit,
            help: "Unix time at which the unit last left the inactive state (InactiveExitTimestamp); 0 if never.",
            source: "D-Bus Unit.InactiveExitTimestamp",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        times(snapshot, |unit| unit.inactive_exit),
    )?;

    out.family(
        Family {
            name: "systemd_unit_sub_state",
            kind: Gauge,
            per: Per::Unit,
            help: "Current sub-state of the unit (SubState); constant 1, current state only. Absent for devices, slices and targets, unless failed.",
            source: "D-Bus Unit.SubState",
            profile: Profile::Minimal,
            labels: ["name", "type", "sub_state"],
        },
        units().filter(|unit| unit.kind.has_own_sub_states() || unit.is("failed")).filter_map(|unit| {
            Some(([&unit.name, unit.kind.as_str(), unit.sub_state.as_deref()?], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_frozen",
            kind: Gauge,
            per: Per::Unit,
            help: "1 if the unit is frozen, 0 while it is being frozen or thawed (FreezerState). Absent while the unit's processes run.",
            source: "D-Bus Unit.FreezerState",
            profile: Profile::Default,
            labels: ["name", "type"],
        },
        units().filter_map(|unit| Some((labels(unit), unit.is_frozen()?))),
    )?;

    out.family(
        Family {
            name: "systemd_unit_load_state",
            kind: Gauge,
            per: Per::Unit,
            help: "Load state of the unit if it is not loaded: bad-setting, error, masked, not-found (LoadState); constant 1, current state only.",
            source: "D-Bus Manager.ListUnits",
            profile: Profile::Minimal,
            labels: ["name", "type", "load_state"],
        },
        units().filter_map(|unit| {
            let load = unit.load_state.as_deref().filter(|load| *load != "loaded")?;
            Some(([&unit.name, unit.kind.as_str(), load], true))
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_missing",
            kind: Gauge,
            per: Per::Unit,
            help: "Whether the expected unit (--expect-unit) is not loaded: it has no unit file, or it is stopped and no other unit needs it.",
            source: "D-Bus Manager.ListUnits",
            profile: Profile::Minimal,
            labels: ["name", "type"],
        },
        snapshot.expected.iter().map(|(name, missing)| ([&**name, type_of(name)], *missing)),
    )?;

    out.family(
        Family {
            name: "systemd_unit_need_daemon_reload",
            kind: Gauge,
            per: Per::Unit,
            help: "1 if the unit's files have changed since systemd loaded them (NeedDaemonReload): daemon-reload is required. Absent otherwise.",
            source: "D-Bus Unit.NeedDaemonReload, read when a unit file changes (inotify)",
            profile: Profile::Fleet,
            labels: ["name", "type"],
        },
        units().filter(|unit| unit.needs_reload == Some(true)).map(|unit| (labels(unit), true)),
    )?;

    out.family(
        Family {
            name: "systemd_units_needing_daemon_reload",
            kind: Gauge,
            per: Per::Manager,
            help: "Number of exported units whose files have changed since systemd loaded them (NeedDaemonReload).",
            source: "D-Bus Unit.NeedDaemonReload, read when a unit file changes (inotify)",
            profile: Profile::Minimal,
            labels: [],
        },
        snapshot.systemd.as_ref().map(|systemd| {
            let stale = systemd.units.iter().filter(|unit| unit.needs_reload == Some(true));
            ([], stale.count())
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_unmet_dependencies",
            kind: Gauge,
            per: Per::Unit,
            help: "Inactive units that the service depends on; not those that a condition skipped, completed oneshots and uninstalled Wants= or Upholds=. Absent if none.",
            source: "D-Bus Unit.Requires, BindsTo, Requisite, Wants, Upholds (systemd 249) and ActiveState, ConditionResult, Service.Result of those units",
            profile: Profile::Minimal,
            labels: ["name", "type", "relation"],
        },
        snapshot.systemd.iter().flat_map(|systemd| &systemd.unmet).map(
            |(name, relation, count)| {
                ([&**name, UnitKind::Service.as_str(), relation.as_str()], *count)
            },
        ),
    )?;

    out.family(
        Family {
            name: "systemd_unit_wanted_inactive",
            kind: Gauge,
            per: Per::Unit,
            help: "1 if an active target or service wants the unit, which is inactive without having been stopped on request. Absent otherwise, and if it failed.",
            source: "D-Bus Unit.Wants, Requires, Upholds of targets and services; ActiveState, InvocationID and ConditionResult of the unit; Manager.JobNew: whether a systemd job stopped it",
            profile: Profile::Minimal,
            labels: ["name", "type", "because"],
        },
        wanted_inactive().map(|unit| {
            ([&*unit.name, unit.kind.as_str(), unit.because.as_str()], true)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_units_wanted_inactive",
            kind: Gauge,
            per: Per::Manager,
            help: "Number of exported units that an active target or service wants and that are inactive without having been stopped on request.",
            source: "as systemd_unit_wanted_inactive",
            profile: Profile::Minimal,
            labels: [],
        },
        snapshot.systemd.as_ref().map(|systemd| ([], systemd.wanted_inactive.len())),
    )?;

    out.family(
        Family {
            name: "systemd_unit_state_changes_total",
            kind: Counter(WithBoot),
            per: Per::Unit,
            help: "Changes of the unit's active state, including those between scrapes.",
            source: "D-Bus PropertiesChanged: Unit.ActiveState",
            profile: Profile::Full,
            labels: ["name", "type"],
        },
        accounts().map(|(name, account)| {
            let labels = [&**name, account.kind.as_str()];
            Sample::since((labels, account.state_changes), account.seen_since)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_starts_total",
            kind: Counter(WithBoot),
            per: Per::Unit,
            help: "Number of times the unit was started (new InvocationID), including automatic restarts. Absent for devices, slices and targets.",
            source: "D-Bus PropertiesChanged: Unit.InvocationID",
            profile: Profile::Minimal,
            labels: ["name", "type"],
        },
        accounts()
            .filter(|(_, account)| account.kind.has_own_sub_states())
            .map(|(name, account)| {
                let labels = [&**name, account.kind.as_str()];
                Sample::since((labels, account.starts), account.since)
            }),
    )?;

    out.family(
        Family {
            name: "systemd_unit_job_failures_total",
            kind: Counter(WithBoot),
            per: Per::Unit,
            help: "systemd jobs of the unit that did not succeed, by result: failed, timeout, dependency and others. Absent if there were none.",
            source: "D-Bus Manager.JobRemoved",
            profile: Profile::Minimal,
            labels: ["name", "type", "result"],
        },
        accounts().flat_map(|(name, account)| {
            let kind = type_of(name);
            account.job_failures.iter().map(move |(result, failures)| {
                Sample::after(([&**name, kind, &**result], failures.total), failures.first)
            })
        }),
    )?;

    templates::families(snapshot, out)
}

/// The states that every unit has a series of; another state is added while a unit is in it.
const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

fn states(unit: &SystemdUnit) -> impl Iterator<Item = ([&str; 3], bool)> {
    let state = unit.active_state.as_deref().unwrap_or_default();
    let other = (!STATES.contains(&state) && !state.is_empty()).then_some(state);
    STATES
        .into_iter()
        .chain(other)
        .map(move |each| ([&*unit.name, unit.kind.as_str(), each], each == state))
}

/// The number of units with short-lived names, by the name and kind under which they are summed and
/// by state.
fn instances(snapshot: &Snapshot) -> BTreeMap<(&str, UnitKind, &str), u64> {
    let mut instances = BTreeMap::new();
    for unit in snapshot.systemd.iter().flat_map(|systemd| &systemd.short_lived) {
        let name = &**unit.exported_name();
        for ([_, _, state], is_in_it) in states(unit) {
            *instances.entry((name, unit.kind, state)).or_default() += u64::from(is_in_it);
        }
    }
    instances
}

fn labels(unit: &SystemdUnit) -> [&str; 2] {
    [&unit.name, unit.kind.as_str()]
}

fn times(
    snapshot: &Snapshot,
    time: impl Fn(&SystemdUnit) -> Option<Timestamp>,
) -> impl Iterator<Item = ([&str; 2], Timestamp)> {
    snapshot
        .systemd
        .iter()
        .flat_map(|systemd| &systemd.units)
        .filter_map(move |unit| Some((labels(unit), time(unit)?)))
}
