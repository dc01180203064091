//! The page at `/unit/NAME`: all data of one unit.

mod details;
mod relations;

use super::human::{HumanBytes, HumanCount, HumanTime, pluralize};
use super::layout::{PageStatus, document};
use super::unit_view::{UnitView, unit_views};
use super::writer::{Html, segment};
use super::{StatusPage, View, phrases};
use crate::source::sockets::Protocol;
use crate::systemd::ledger::{Event, UnitCounters};
use crate::systemd::unit::name::{UnitKind, is_valid};

pub(super) fn page(view: &View<'_>, name: &str) -> StatusPage {
    let rows = unit_views(view);
    let has_name = |name| rows.iter().find(move |row| row.unit.names().any(|of| of == name));
    let row = rows.iter().find(|row| *row.unit.name == *name).or_else(|| has_name(name));
    let name = row.map_or(name, |row| &row.unit.name);
    let events: Vec<_> =
        view.events.iter().map(|event| &**event).filter(|event| *event.unit == *name).collect();
    if let Some(row) = row {
        let status = if row.needs_attention() { PageStatus::Problem } else { PageStatus::Ok };
        let html =
            document(view, &format!("{name} – {}", view.host.name), Some(ROOT), status, |html| {
                loaded(view, row, &rows, &events, html);
            });
        return StatusPage { html, found: true };
    }
    let accounts = view.snapshot.systemd.iter().flat_map(|systemd| &systemd.counters);
    let account = accounts.into_iter().find(|(loaded, _)| **loaded == *name);
    let title = format!("{name} – {}", view.host.name);
    let html = document(view, &title, Some(ROOT), PageStatus::Problem, |html| match account {
        Some((_, account)) => unloaded(view, name, account, &events, html),
        None => unknown(view, name, &rows, html),
    });
    StatusPage { html, found: account.is_some() }
}

fn loaded(
    view: &View<'_>,
    row: &UnitView<'_>,
    rows: &[UnitView<'_>],
    events: &[&Event],
    html: &mut Html,
) {
    let unit = row.unit;
    html.put("<main id=main>\n<header id=host data-live>\n<h1 class=name>").text(&unit.name);
    html.put("</h1>\n<p class=facts>");
    phrases::state(unit.active_state.as_deref().unwrap_or("unknown"), html);
    if let Some(sub) = &unit.sub_state {
        html.put(" <span>").text(sub).put("</span>");
    }
    if row.start_limit_hit() {
        html.put(" <span class=bad>start limit hit: systemd will not restart it</span>");
    }
    if let Some(since) = row.since() {
        html.put(" <span>since ");
        HumanTime(since).write(view.now, html);
        html.put("</span>");
    }
    html.put("</p>\n");
    if let Some(result) = phrases::result(view, unit).filter(|_| row.needs_attention()) {
        html.put("<p class=note><span class=bad>Result: ").text(result).put("</span></p>\n");
    }
    html.put("</header>\n");
    commands(row, html);
    html.put("<div id=facts data-live class=columns>\n");
    details::sections(view, row, html);
    relations::section(row, rows, html);
    html.put("</div>\n<div id=more data-live>\n");
    listeners(row, html);
    history(view, events, html);
    html.put("</div>\n</main>");
}

fn commands(row: &UnitView<'_>, html: &mut Html) {
    let name = &row.unit.name;
    html.put("<section aria-label=Commands class=commands>\n");
    if let Some(run) = row.unit.run() {
        html.put("<p><span class=dim>Journal of the last run</span> ");
        phrases::command(&phrases::run_journal(run), html);
        html.put("</p>\n");
    }
    html.put("<p><span class=dim>Full journal</span> ");
    phrases::command(&phrases::journal(name), html);
    html.put("</p>\n<p><span class=dim>Status</span> ");
    phrases::command(&phrases::systemctl("status", name), html);
    html.put("</p>\n<p><span class=dim>Unit files</span> ");
    phrases::command(&phrases::systemctl("cat", name), html);
    html.put("</p>\n</section>\n");
}

fn listeners(row: &UnitView<'_>, html: &mut Html) {
    if row.listeners.is_empty() && row.unix.is_empty() {
        return;
    }
    html.put(
        "<section aria-labelledby=listens><h2 id=listens>Listens on</h2>\n<table class=\"plain sockets\">\n",
    );
    html.put("<caption>Listening sockets; waiting connections are not accepted yet</caption>\n");
    html.put("<thead><tr><th scope=col>Protocol<th scope=col>Address<th scope=col>Port<th scope=col>Waiting<th scope=col>Dropped<th scope=col>Sockets</thead>\n<tbody>");
    for listener in &row.listeners {
        html.put("<tr><td>").text(listener.protocol.name()).put("<td>").text(&listener.address);
        if listener.address == "*" && listener.protocol == Protocol::Tcp6 {
            html.put(" <small>IPv4 too</small>");
        }
        html.put("<td>").text(&listener.port).put("<td>");
        if let Some(waiting) = listener.accept_queue {
            queue(waiting, listener.accept_queue_limit, html);
        }
        html.put("<td>");
        if let Some(drops) = listener.drops {
            html.put(if drops > 0 { "<span class=busy>" } else { "<span>" });
            html.text(HumanCount(drops)).put("</span>");
        }
        html.put("<td>").text(HumanCount(listener.sockets)).put("\n");
    }
    for listener in &row.unix {
        html.put("<tr><td>unix<td colspan=2>").text(&listener.path).put("<td>");
        queue(listener.accept_queue, Some(listener.accept_queue_limit), html);
        html.put("<td><td>1\n");
    }
    html.put("</tbody></table></section>\n");
}

fn queue(waiting: u64, limit: Option<u64>, html: &mut Html) {
    html.put(if waiting > 0 { "<span class=busy>" } else { "<span>" }).text(HumanCount(waiting));
    html.put("</span>");
    if let Some(limit) = limit {
        html.put(" of ").text(HumanCount(limit));
    }
}

fn history(view: &View<'_>, events: &[&Event], html: &mut Html) {
    html.put("<section aria-labelledby=history><h2 id=history>Events</h2>\n");
    if events.is_empty() {
        html.put("<p class=empty>None since ").text(view.counting_began()).put(", ");
        HumanTime(view.counted_since()).write(view.now, html);
        html.put(".</p></section>\n");
        return;
    }
    html.put("<table class=plain>\n<caption>Recent events, newest first</caption>\n<thead><tr><th scope=col>Time<th scope=col>Event</thead>\n<tbody>");
    for event in events {
        html.put("<tr><td>");
        HumanTime(event.at).write(view.now, html);
        html.put("<td><span class=").put(class(event)).put(">").text(phrases::event(event));
        html.put("</span>");
        phrases::before_start(event, html);
        html.put(" ");
        if event.invocation_id.is_some() {
            phrases::command(&phrases::event_journal(event), html);
        }
        html.put("\n");
    }
    html.put("</tbody></table></section>\n");
}

fn class(event: &Event) -> &'static str {
    if super::timeline::is_crash(event) { "bad" } else { "idle" }
}

/// A unit that systemd has unloaded, while the exporter still has its counters.
fn unloaded(
    view: &View<'_>,
    name: &str,
    account: &UnitCounters,
    events: &[&Event],
    html: &mut Html,
) {
    html.put("<main id=main>\n<header><h1 class=name>").text(name).put("</h1>\n");
    html.put("<p class=facts><span class=idle>no longer loaded</span> <span>Its counters are kept for a limited time.</span></p></header>\n");
    html.put("<div class=columns>");
    details::counters(view, account, html);
    html.put("</div>\n");
    history(view, events, html);
    html.put("</main>");
}

fn unknown(view: &View<'_>, name: &str, rows: &[UnitView<'_>], html: &mut Html) {
    html.put("<main id=main>\n<header><h1>Unit not found</h1></header>\n<p>");
    if name.is_empty() {
        html.put("The URL must contain a unit name: <code>/unit/nginx.service</code>.");
    } else if UnitKind::of(name).is_none() {
        html.put("<b class=name>").text(name).put(
            "</b> is not a complete unit name: its type is missing, such as <code>.service</code>.",
        );
    } else if !is_valid(name) {
        html.put("<b class=name>").text(name).put("</b> is not a valid unit name: it has characters other than letters, digits and <code>:-_.\\@</code>, or too many.");
    } else {
        html.put("systemd has not loaded <b class=name>").text(name);
        html.put("</b>, or the exporter excludes it (<code>--systemd.collector.unit-include</code>, <code>--systemd.collector.unit-exclude</code>).");
    }
    html.put("</p>\n");
    if view.snapshot.systemd.is_none() {
        html.put("<p>No data from systemd yet: ");
        html.text(
            view.snapshot
                .status
                .trouble
                .as_deref()
                .unwrap_or("initial read of the units in progress"),
        );
        html.put(".</p>\n");
    }
    let similar = similar(name, rows);
    if !similar.is_empty() {
        html.put("<p>Similar names:</p>\n<ul>");
        for row in &similar {
            html.put("<li><a class=name href=\"").text(segment(&row.unit.name)).put("\">");
            html.text(&row.unit.name).put("</a> ");
            phrases::state(row.unit.active_state.as_deref().unwrap_or("unknown"), html);
            html.put("\n");
        }
        html.put("</ul>\n");
    }
    html.put("<p><a href=\"").put(ROOT).put("\">All units of this host</a></p>\n</main>");
}

/// Units with similar names.
fn similar<'r, 'a>(name: &str, rows: &'r [UnitView<'a>]) -> Vec<&'r UnitView<'a>> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem.split('@').next().unwrap_or(stem).to_lowercase();
    if stem.len() < 2 {
        return Vec::new();
    }
    let is_similar = |row: &&UnitView<'_>| {
        let other = row.unit.name.to_lowercase();
        let other_stem = other.rsplit_once('.').map_or(&*other, |(stem, _)| stem);
        other.contains(&stem) || (other_stem.len() > 3 && stem.contains(other_stem))
    };
    rows.iter().filter(is_similar).take(MAX_SIMILAR).collect()
}

/// Writes a name and its value.
fn fact(name: &'static str, html: &mut Html, value: impl FnOnce(&mut Html)) {
    html.put("<dt>").put(name).put("<dd>");
    value(html);
    html.put("\n");
}

/// Writes a name and its value, unless the value is unknown.
fn optional_fact<T: std::fmt::Display>(name: &'static str, value: Option<T>, html: &mut Html) {
    if let Some(value) = value {
        fact(name, html, |html| {
            html.text(value);
        });
    }
}

/// Writes a name and its values, unless there are none.
fn multi_fact<T>(
    name: &'static str,
    values: impl IntoIterator<Item = T>,
    html: &mut Html,
    mut value: impl FnMut(T, &mut Html),
) {
    for (at, each) in values.into_iter().enumerate() {
        match at {
            0 => html.put("<dt>").put(name).put("<dd>"),
            _ => html.put("<br>"),
        };
        value(each, html);
        html.put("\n");
    }
}

/// Writes a list of facts under a heading, unless it is empty.
fn facts(title: &'static str, html: &mut Html, list: impl FnOnce(&mut Html)) {
    let mut inner = Html::default();
    list(&mut inner);
    if !inner.is_empty() {
        html.put("<section><h2>").put(title).put("</h2>\n<dl>\n").append(inner);
        html.put("</dl></section>\n");
    }
}

/// Draws a part of a whole as a bar.
fn bar(part: u64, whole: u64, html: &mut Html) {
    if whole > 0 {
        let thousandths = u128::from(part) * 1000 / u128::from(whole);
        let part = thousandths.min(1000);
        html.put(" <svg class=\"bar").put(if part > 850 { " full" } else { "" });
        html.put("\" viewBox=\"0 0 1000 8\" preserveAspectRatio=none aria-hidden=true><rect class=rail width=1000 height=8 /><rect width=");
        html.text(part).put(" height=8 /></svg>");
    }
}

fn bytes_of(part: u64, whole: Option<u64>, html: &mut Html) {
    html.text(HumanBytes(part));
    if let Some(whole) = whole {
        html.put(" of ").text(HumanBytes(whole));
        bar(part, whole, html);
    }
}

fn count_of(part: u64, whole: Option<u64>, html: &mut Html) {
    html.text(HumanCount(part));
    if let Some(whole) = whole {
        html.put(" of ").text(HumanCount(whole));
        bar(part, whole, html);
    }
}

fn times(count: u64) -> String {
    pluralize(count, "time", "times")
}

const ROOT: &str = "../";

const MAX_SIMILAR: usize = 8;
