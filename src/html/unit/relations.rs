//! What one unit has to do with others, as far as a scrape knows.

use std::sync::Arc;

use super::super::phrases;
use super::super::unit_view::Row;
use super::super::writer::{Html, segment};
use super::{fact, several};
use crate::systemd::unit::dependencies::Relation;
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::{Detail, Unit};

pub(super) fn section(row: &Row<'_>, rows: &[Row<'_>], html: &mut Html) {
    let unit = row.unit;
    super::facts("Related", html, |html| {
        several("Starts", triggers(unit), html, |name, html| link(name, rows, html));
        let triggered = |other: &&Row<'_>| triggers(other.unit).any(|name| name == &*unit.name);
        several("Started by", rows.iter().filter(triggered), html, |other, html| {
            link(&other.unit.name, rows, html);
        });
        for (relation, name, inverse) in RELATIONS {
            let of_it = needs(unit).filter(|(its, _)| *its == relation);
            several(name, of_it, html, |(_, other), html| link(other, rows, html));
            let on_it = |other: &&Row<'_>| {
                needs(other.unit).any(|(its, name)| its == relation && *name == unit.name)
            };
            several(inverse, rows.iter().filter(on_it).take(MOST), html, |other, html| {
                link(&other.unit.name, rows, html);
            });
        }
        if let Some(slice) = slice(unit) {
            fact("In the slice", html, |html| link(slice, rows, html));
        }
        if unit.kind == UnitKind::Slice {
            let within = rows.iter().filter(|other| slice(other.unit) == Some(&unit.name));
            several("Has in it", within.take(MOST), html, |other, html| {
                link(&other.unit.name, rows, html);
            });
        }
        let sockets = row.listeners.iter().filter_map(|listener| listener.socket_unit.as_deref());
        let mut sockets: Vec<_> = sockets.filter(|socket| *socket != &*unit.name).collect();
        sockets.dedup();
        several("Listens by", sockets, html, |socket, html| link(socket, rows, html));
    });
}

/// The units that a timer or a socket unit starts.
fn triggers(unit: &Unit) -> impl Iterator<Item = &str> {
    let (one, many) = match &unit.detail {
        Detail::Timer(timer) => (timer.unit.as_deref(), &[][..]),
        Detail::Socket(socket) => (None, &*socket.triggers),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(many.iter().map(|name| &**name))
}

/// What a service depends on.
fn needs(unit: &Unit) -> impl Iterator<Item = (Relation, &Arc<str>)> {
    unit.service().into_iter().flat_map(|service| service.dependencies.iter())
}

/// The slice that a unit's control group is in.
fn slice(unit: &Unit) -> Option<&str> {
    let (parents, _) = unit.control_group.as_deref()?.rsplit_once('/')?;
    match parents.rsplit('/').next()? {
        "" if unit.control_group.as_deref() == Some("/") => None,
        "" => Some("-.slice"),
        // or a service, in the part of the tree that is left to it
        parent => Some(parent).filter(|parent| parent.ends_with(".slice")),
    }
}

fn link(name: &str, rows: &[Row<'_>], html: &mut Html) {
    html.put("<a class=name href=\"").text(segment(name)).put("\">").text(name).put("</a>");
    let row = rows.iter().find(|row| *row.unit.name == *name);
    if let Some(state) = row.and_then(|row| row.unit.active_state.as_deref()) {
        html.put(" ");
        phrases::state(state, html);
    }
}

const RELATIONS: [(Relation, &str, &str); 4] = [
    (Relation::Requires, "Requires", "Required by"),
    (Relation::BindsTo, "Bound to", "Binds"),
    (Relation::Requisite, "Needs, running", "Needed by, running"),
    (Relation::Wants, "Wants", "Wanted by"),
];

/// Of a slice's units, and of those that need a unit.
const MOST: usize = 50;
