//! The page at `/unit/NAME`: everything known of one unit.

mod details;
mod relations;

use super::human::{Bytes, Count, Moment, units};
use super::layout::{Mood, document};
use super::unit_view::{Row, rows};
use super::writer::{Html, segment};
use super::{Page, View, phrases};
use crate::source::sockets::Protocol;
use crate::systemd::ledger::{Event, UnitCounters};
use crate::systemd::unit::name::{UnitKind, is_valid};

pub(super) fn page(view: &View<'_>, name: &str) -> Page {
    let rows = rows(view);
    let events: Vec<_> =
        view.events.iter().map(|event| &**event).filter(|event| *event.unit == *name).collect();
    if let Some(row) = rows.iter().find(|row| *row.unit.name == *name) {
        let mood = if row.needs_attention() { Mood::Unwell } else { Mood::Well };
        let html =
            document(view, &format!("{name} – {}", view.host.name), Some(ROOT), mood, |html| {
                known(view, row, &rows, &events, html);
            });
        return Page { html, found: true };
    }
    let accounts = view.snapshot.systemd.iter().flat_map(|systemd| &systemd.counters);
    let account = accounts.into_iter().find(|(known, _)| **known == *name);
    let title = format!("{name} – {}", view.host.name);
    let html = document(view, &title, Some(ROOT), Mood::Unwell, |html| match account {
        Some((_, account)) => unloaded(view, name, account, &events, html),
        None => unknown(view, name, &rows, html),
    });
    Page { html, found: account.is_some() }
}

fn known(view: &View<'_>, row: &Row<'_>, rows: &[Row<'_>], events: &[&Event], html: &mut Html) {
    let unit = row.unit;
    html.put("<main id=main>\n<header id=host data-live>\n<h1 class=name>").text(&unit.name);
    html.put("</h1>\n<p class=facts>");
    phrases::state(unit.active_state.as_deref().unwrap_or("unknown"), html);
    if let Some(sub) = &unit.sub_state {
        html.put(" <span>").text(sub).put("</span>");
    }
    if row.given_up() {
        html.put(" <span class=bad>given up: systemd will not restart it again</span>");
    }
    if let Some(since) = row.since() {
        html.put(" <span>since ");
        Moment(since).both(view.now, html);
        html.put("</span>");
    }
    html.put("</p>\n");
    if let Some(reason) = phrases::reason(unit).filter(|_| row.needs_attention()) {
        html.put("<p class=note><span class=bad>It ").text(reason).put("</span></p>\n");
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

fn commands(row: &Row<'_>, html: &mut Html) {
    let name = &row.unit.name;
    html.put("<section aria-label=Commands class=commands>\n");
    if let Some(run) = row.unit.run() {
        html.put("<p><span class=dim>its last run in the journal</span> ");
        phrases::command(&phrases::run_journal(run), html);
        html.put("</p>\n");
    }
    html.put("<p><span class=dim>its whole journal</span> ");
    phrases::command(&phrases::journal(name), html);
    html.put("</p>\n<p><span class=dim>its state</span> ");
    phrases::command(&phrases::systemctl("status", name), html);
    html.put("</p>\n<p><span class=dim>its files</span> ");
    phrases::command(&phrases::systemctl("cat", name), html);
    html.put("</p>\n</section>\n");
}

fn listeners(row: &Row<'_>, html: &mut Html) {
    if row.listeners.is_empty() && row.unix.is_empty() {
        return;
    }
    html.put(
        "<section aria-labelledby=listens><h2 id=listens>Listens on</h2>\n<table class=\"plain sockets\">\n",
    );
    html.put(
        "<caption>Listening sockets; who waits has connected and was not accepted yet</caption>\n",
    );
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
            html.text(Count(drops)).put("</span>");
        }
        html.put("<td>").text(Count(listener.sockets)).put("\n");
    }
    for listener in &row.unix {
        html.put("<tr><td>unix<td colspan=2>").text(&listener.path).put("<td>");
        queue(listener.accept_queue, Some(listener.accept_queue_limit), html);
        html.put("<td><td>1\n");
    }
    html.put("</tbody></table></section>\n");
}

fn queue(waiting: u64, limit: Option<u64>, html: &mut Html) {
    html.put(if waiting > 0 { "<span class=busy>" } else { "<span>" }).text(Count(waiting));
    html.put("</span>");
    if let Some(limit) = limit {
        html.put(" of ").text(Count(limit));
    }
}

fn history(view: &View<'_>, events: &[&Event], html: &mut Html) {
    html.put("<section aria-labelledby=history><h2 id=history>What happened</h2>\n");
    if events.is_empty() {
        html.put("<p class=calm>Nothing since this exporter was started, ");
        Moment(view.started).both(view.now, html);
        html.put(".</p></section>\n");
        return;
    }
    html.put("<table class=plain>\n<caption>The latest events, the newest first</caption>\n<thead><tr><th scope=col>When<th scope=col>What</thead>\n<tbody>");
    for event in events {
        html.put("<tr><td>");
        Moment(event.at).both(view.now, html);
        html.put("<td><span class=").put(weight(event)).put(">").text(phrases::happening(event));
        html.put("</span> ");
        if event.invocation_id.is_some() {
            phrases::command(&phrases::journal_of(event), html);
        }
        html.put("\n");
    }
    html.put("</tbody></table></section>\n");
}

fn weight(event: &Event) -> &'static str {
    if super::timeline::is_crash(event) { "bad" } else { "idle" }
}

/// What is left of a unit that systemd no longer has.
fn unloaded(
    view: &View<'_>,
    name: &str,
    account: &UnitCounters,
    events: &[&Event],
    html: &mut Html,
) {
    html.put("<main id=main>\n<header><h1 class=name>").text(name).put("</h1>\n");
    html.put("<p class=facts><span class=idle>not loaded any more</span> <span>What it did is kept for a while.</span></p></header>\n");
    html.put("<div class=columns>");
    details::counts(view, account, html);
    html.put("</div>\n");
    history(view, events, html);
    html.put("</main>");
}

fn unknown(view: &View<'_>, name: &str, rows: &[Row<'_>], html: &mut Html) {
    html.put("<main id=main>\n<header><h1>No such unit here</h1></header>\n<p>");
    if name.is_empty() {
        html.put("The address wants a unit's name: <code>/unit/nginx.service</code>.");
    } else if UnitKind::of(name).is_none() {
        html.put("<b class=name>").text(name).put("</b> is not the whole name of a unit: its kind is missing, as in <code>nginx.service</code>.");
    } else if !is_valid(name) {
        html.put("<b class=name>").text(name).put("</b> cannot be the name of a unit: it has other characters than letters, digits and <code>:-_.\\@</code>, or too many.");
    } else {
        html.put("systemd has not loaded <b class=name>").text(name);
        html.put("</b>, or the exporter leaves it out (<code>--systemd.collector.unit-include</code>, <code>--systemd.collector.unit-exclude</code>).");
    }
    html.put("</p>\n");
    if view.snapshot.systemd.is_none() {
        html.put("<p>The units are not known yet: ");
        html.text(view.snapshot.status.trouble.as_deref().unwrap_or("they are being read"));
        html.put(".</p>\n");
    }
    let near = near(name, rows);
    if !near.is_empty() {
        html.put("<p>Perhaps ").put(if near.len() == 1 { "this one" } else { "one of these" });
        html.put(":</p>\n<ul>");
        for row in &near {
            html.put("<li><a class=name href=\"").text(segment(&row.unit.name)).put("\">");
            html.text(&row.unit.name).put("</a> ");
            phrases::state(row.unit.active_state.as_deref().unwrap_or("unknown"), html);
            html.put("\n");
        }
        html.put("</ul>\n");
    }
    html.put("<p><a href=\"").put(ROOT).put("\">All units of this host</a></p>\n</main>");
}

/// Units whose names have something of this one's.
fn near<'r, 'a>(name: &str, rows: &'r [Row<'a>]) -> Vec<&'r Row<'a>> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let stem = stem.split('@').next().unwrap_or(stem).to_lowercase();
    if stem.len() < 2 {
        return Vec::new();
    }
    let alike = |row: &&Row<'_>| {
        let known = row.unit.name.to_lowercase();
        let known_stem = known.rsplit_once('.').map_or(&*known, |(stem, _)| stem);
        known.contains(&stem) || (known_stem.len() > 3 && stem.contains(known_stem))
    };
    rows.iter().filter(alike).take(8).collect()
}

/// A pair of the lists of facts.
fn fact(name: &'static str, html: &mut Html, value: impl FnOnce(&mut Html)) {
    html.put("<dt>").put(name).put("<dd>");
    value(html);
    html.put("\n");
}

/// A pair that is left out where the value is not known.
fn known_fact<T: std::fmt::Display>(name: &'static str, value: Option<T>, html: &mut Html) {
    if let Some(value) = value {
        fact(name, html, |html| {
            html.text(value);
        });
    }
}

/// One name with several values, unless there are none.
fn several<T>(
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

/// A list of facts under a heading, unless it is empty.
fn facts(title: &'static str, html: &mut Html, list: impl FnOnce(&mut Html)) {
    let mut inner = Html::default();
    list(&mut inner);
    if !inner.is_empty() {
        html.put("<section><h2>").put(title).put("</h2>\n<dl>\n").append(inner);
        html.put("</dl></section>\n");
    }
}

/// A part of a whole, drawn beside its number.
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
    html.text(Bytes(part));
    if let Some(whole) = whole {
        html.put(" of ").text(Bytes(whole));
        bar(part, whole, html);
    }
}

fn count_of(part: u64, whole: Option<u64>, html: &mut Html) {
    html.text(Count(part));
    if let Some(whole) = whole {
        html.put(" of ").text(Count(whole));
        bar(part, whole, html);
    }
}

fn times(count: u64) -> String {
    units(usize::try_from(count).unwrap_or(usize::MAX), "time", "times")
}

const ROOT: &str = "../";
