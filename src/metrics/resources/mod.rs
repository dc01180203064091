//! Resource usage and limits of each unit, from its cgroup.

mod cpu;
mod effective;
mod io;
mod memory;
mod pressure;
mod tasks;

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;
use crate::source::Limit;
use crate::source::cgroup::Cgroup;
use crate::systemd::unit::name::UnitKind;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let title = "Resources, from control groups";
    if !out.subject(Subject { collector: "cgroup", title }) {
        return Ok(());
    }
    cpu::families(snapshot, out)?;
    memory::families(snapshot, out)?;
    effective::families(snapshot, out)?;
    io::families(snapshot, out)?;
    pressure::families(snapshot, out)?;
    tasks::families(snapshot, out)?;
    layout(snapshot, out)
}

fn layout(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "systemd_cgroup_layout_info",
            kind: Gauge,
            per: Per::Host,
            help: "cgroup layout of the host: unified (v2), hybrid, legacy (v1); constant 1. Pressure metrics need v2.",
            source: "/sys/fs/cgroup, kinds of file systems",
            profile: Profile::Fleet,
            labels: ["layout"],
        },
        {
            let layout = snapshot.cgroup_layout;
            layout.map(|layout| ([layout.name()], true))
        },
    )
}

/// Each cgroup, with the name and type of its unit.
fn cgroups(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &'static str, &Cgroup)> {
    let units = snapshot.cgroups.iter().flat_map(|readings| &readings.units);
    units.filter_map(|(name, cgroup)| Some((&**name, UnitKind::of(name)?.as_str(), cgroup)))
}

fn per_unit<T>(
    snapshot: &Snapshot,
    value: impl Fn(&Cgroup) -> Option<T>,
) -> impl Iterator<Item = ([&str; 2], T)> {
    cgroups(snapshot).filter_map(move |(name, kind, cgroup)| Some(([name, kind], value(cgroup)?)))
}

fn limits(
    snapshot: &Snapshot,
    limit: impl Fn(&Cgroup) -> Option<Limit>,
) -> impl Iterator<Item = ([&str; 2], u64)> {
    per_unit(snapshot, move |cgroup| limit(cgroup)?.number())
}
