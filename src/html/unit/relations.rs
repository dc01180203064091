//! The relations of a unit to others.

use std::sync::Arc;

use super::super::phrases;
use super::super::unit_view::UnitView;
use super::super::writer::{Html, segment};
use super::{fact, multi_fact};
use crate::systemd::unit::Unit;
use crate::systemd::unit::dependencies::Relation;
use crate::systemd::unit::name::UnitKind;

pub(super) fn section(row: &UnitView<'_>, rows: &[UnitView<'_>], html: &mut Html) {
    let unit = row.unit;
    super::facts("Related units", html, |html| {
        multi_fact("Triggers", unit.triggers(), html, |name, html| link(name, rows, html));
        let triggered = |other: &&UnitView<'_>| other.unit.triggers().contains(&unit.name);
        multi_fact("Triggered by", rows.iter().filter(triggered), html, |other, html| {
            link(&other.unit.name, rows, html);
        });
        for (relation, name, inverse) in RELATIONS {
            let forward = dependencies(unit).filter(|(its, _)| *its == relation);
            multi_fact(name, forward, html, |(_, other), html| link(other, rows, html));
            let backward = |other: &&UnitView<'_>| {
                dependencies(other.unit).any(|(its, name)| its == relation && *name == unit.name)
            };
            multi_fact(
                inverse,
                rows.iter().filter(backward).take(MAX_UNITS),
                html,
                |other, html| {
                    link(&other.unit.name, rows, html);
                },
            );
        }
        if let Some(slice) = slice(unit) {
            fact("Slice", html, |html| link(slice, rows, html));
        }
        if unit.kind == UnitKind::Slice {
            let within = rows.iter().filter(|other| slice(other.unit) == Some(&unit.name));
            multi_fact("Units in the slice", within.take(MAX_UNITS), html, |other, html| {
                link(&other.unit.name, rows, html);
            });
        }
        let sockets = row.listeners.iter().filter_map(|listener| listener.socket_unit.as_deref());
        let mut sockets: Vec<_> = sockets.filter(|socket| *socket != &*unit.name).collect();
        sockets.dedup();
        multi_fact("Socket unit", sockets, html, |socket, html| link(socket, rows, html));
    });
}

/// The dependencies of a service.
fn dependencies(unit: &Unit) -> impl Iterator<Item = (Relation, &Arc<str>)> {
    unit.service().into_iter().flat_map(|service| service.dependencies.iter())
}

/// The slice that contains the cgroup of the unit.
fn slice(unit: &Unit) -> Option<&str> {
    let (parents, _) = unit.control_group.as_deref()?.rsplit_once('/')?;
    match parents.rsplit('/').next()? {
        "" if unit.control_group.as_deref() == Some("/") => None,
        "" => Some("-.slice"),
        // a service, if it manages this part of the tree (Delegate=)
        parent => Some(parent).filter(|parent| parent.ends_with(".slice")),
    }
}

fn link(name: &str, rows: &[UnitView<'_>], html: &mut Html) {
    html.put("<a class=name href=\"").text(segment(name)).put("\">").text(name).put("</a>");
    let row = rows.iter().find(|row| *row.unit.name == *name);
    if let Some(state) = row.and_then(|row| row.unit.active_state.as_deref()) {
        html.put(" ");
        phrases::state(state, html);
    }
}

const RELATIONS: [(Relation, &str, &str); 4] = [
    (Relation::Requires, "Requires", "Required by"),
    (Relation::BindsTo, "Binds to", "Bound by"),
    (Relation::Requisite, "Requisite", "Requisite of"),
    (Relation::Wants, "Wants", "Wanted by"),
];

/// The maximum number of units of a slice, or of one inverse relation.
const MAX_UNITS: usize = 50;
