//! What somebody should look at, first of all.

use super::View;
use super::human::{Moment, units};
use super::phrases;
use super::unit_view::Row;
use super::writer::{Html, segment};

pub(super) fn section(view: &View<'_>, rows: &[Row<'_>], html: &mut Html) {
    let mut urgent: Vec<_> = rows.iter().filter(|row| row.needs_attention()).collect();
    urgent.sort_by_key(|row| (row.urgency(), std::cmp::Reverse(row.since())));
    let missing = view.snapshot.expected.iter().filter(|(_, missing)| *missing);
    let missing: Vec<_> = missing.map(|(name, _)| name).collect();
    let expected = view.snapshot.listeners.iter().flat_map(|reading| &reading.expected);
    let silent: Vec<_> = expected.filter(|(_, missing)| *missing).map(|(what, _)| what).collect();

    html.put("<section id=attention data-live aria-labelledby=attention-title>\n");
    html.put("<h2 id=attention-title>Needs attention</h2>\n");
    if urgent.is_empty() && missing.is_empty() && silent.is_empty() {
        html.put(match view.snapshot.systemd {
            Some(_) => "<p class=calm>Nothing. No unit has failed, and none is missing.</p>",
            None => "<p class=calm>Not known: systemd has not told its units.</p>",
        });
        html.put("</section>\n");
        return;
    }
    html.put("<ul class=cards>\n");
    for name in missing {
        html.put("<li class=bad-edge><p><b class=name>").text(name);
        html.put("</b> <span class=bad>missing</span> it must be there, and has no unit file.</p>");
    }
    for expectation in silent {
        html.put("<li class=bad-edge><p><b class=name>").text(expectation);
        html.put("</b> <span class=bad>silent</span> nobody listens there.</p>");
    }
    for row in urgent.iter().take(MOST) {
        card(view, row, html);
    }
    html.put("</ul>\n");
    if urgent.len() > MOST {
        let more = units(urgent.len() - MOST, "more unit", "more units");
        html.put("<p><a data-swap href=\"?#units\">").text(more);
        html.put("</a> in the table below, the most urgent first.</p>");
    }
    html.put("</section>\n");
}

fn card(view: &View<'_>, row: &Row<'_>, html: &mut Html) {
    let unit = row.unit;
    let calmer = row.is_restarting();
    html.put(if calmer { "<li class=busy-edge>" } else { "<li class=bad-edge>" });
    html.put("<p><a class=name href=\"unit/").text(segment(&unit.name)).put("\">");
    html.text(&unit.name).put("</a> ");
    phrases::state(word(row), html);
    if let Some(since) = row.since() {
        html.put(" <span class=dim>");
        Moment(since).ago(view.now, html);
        html.put("</span>");
    }
    html.put("<br>");
    match phrases::reason(unit) {
        Some(reason) => html.put("It ").text(reason).put("."),
        None if unit.is("failed") => html.put("Its journal may say why."),
        None => html.put("Its unit file cannot be used."),
    };
    if let Some(restarts) = row.restarts().filter(|restarts| *restarts > 0) {
        let restarts =
            units(usize::try_from(restarts).unwrap_or(usize::MAX), "restart", "restarts");
        html.put(" ").text(restarts).put(" since this exporter was started.");
    }
    html.put("</p>");
    match unit.run() {
        Some(run) => phrases::command(&phrases::run_journal(run), html),
        None if unit.is("failed") => phrases::command(&phrases::journal(&unit.name), html),
        None => phrases::command(&phrases::systemctl("status", &unit.name), html),
    }
    html.put("\n");
}

fn word<'a>(row: &'a Row<'_>) -> &'a str {
    if row.given_up() {
        return "failed, given up";
    }
    if row.is_restarting() {
        return "restarting";
    }
    match row.unit.active_state.as_deref() {
        Some("failed") => "failed",
        _ => row.unit.load_state.as_deref().unwrap_or_default(),
    }
}

/// More cards than this nobody reads.
const MOST: usize = 12;
