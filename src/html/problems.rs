//! The section on problems: failed, restarting, unloadable and missing units, and missing listeners.

use super::View;
use super::human::{HumanTime, pluralize};
use super::phrases;
use super::unit_view::UnitView;
use super::writer::{Html, segment};

pub(super) fn section(view: &View<'_>, rows: &[UnitView<'_>], html: &mut Html) {
    let mut urgent: Vec<_> = rows.iter().filter(|row| row.needs_attention()).collect();
    urgent.sort_by_key(|row| (row.urgency(), std::cmp::Reverse(row.since())));
    let units = view.snapshot.expected.iter().filter(|(_, missing)| *missing);
    let units: Vec<_> = units.map(|(name, _)| name).collect();
    let listeners = view.snapshot.listeners.iter().flat_map(|reading| &reading.expected);
    let listeners: Vec<_> =
        listeners.filter(|(_, missing)| *missing).map(|(expected, _)| expected).collect();

    html.put("<section id=attention data-live aria-labelledby=attention-title>\n");
    html.put("<h2 id=attention-title>Needs attention</h2>\n");
    if urgent.is_empty() && units.is_empty() && listeners.is_empty() {
        html.put(match view.snapshot.systemd {
            Some(_) => "<p class=empty>No unit has failed, and no expected unit or listener is missing.</p>",
            None => "<p class=empty>Unknown: no data from systemd yet.</p>",
        });
        html.put("</section>\n");
        return;
    }
    html.put("<ul class=cards>\n");
    for name in units {
        html.put("<li class=bad-edge><p><b class=name>").text(name);
        html.put("</b> <span class=bad>missing</span> expected (--expect-unit), but no unit file found.</p>");
    }
    for listener in listeners {
        html.put("<li class=bad-edge><p><b class=name>").text(listener);
        html.put("</b> <span class=bad>not listening</span> expected (--expect-listener).</p>");
    }
    for row in urgent.iter().take(MAX_CARDS) {
        card(view, row, html);
    }
    html.put("</ul>\n");
    if urgent.len() > MAX_CARDS {
        let more = pluralize((urgent.len() - MAX_CARDS) as u64, "more unit", "more units");
        html.put("<p><a data-swap href=\"?#units\">").text(more);
        html.put("</a> in the table below, most urgent first.</p>");
    }
    html.put("</section>\n");
}

fn card(view: &View<'_>, row: &UnitView<'_>, html: &mut Html) {
    let unit = row.unit;
    let restarting = row.is_restarting();
    html.put(if restarting { "<li class=busy-edge>" } else { "<li class=bad-edge>" });
    html.put("<p><a class=name href=\"unit/").text(segment(&unit.name)).put("\">");
    html.text(&unit.name).put("</a> ");
    phrases::state(state(row), html);
    if let Some(since) = row.since() {
        html.put(" <span class=dim>");
        HumanTime(since).write_relative(view.now, html);
        html.put("</span>");
    }
    html.put("<br>");
    match phrases::result(view, unit) {
        Some(result) => html.put("Result: ").text(result).put("."),
        None if unit.is("failed") => html.put("Result unknown; see the journal."),
        None if restarting => html.put("Waiting for an automatic restart (Restart=)."),
        None => html.put("The unit file cannot be loaded."),
    };
    if let Some(restarts) = row.restarts().filter(|restarts| *restarts > 0) {
        html.put(" ").text(pluralize(restarts, "restart", "restarts"));
        html.put(" since ").text(view.counting_began()).put(".");
    }
    html.put("</p>");
    match unit.run() {
        Some(run) => phrases::command(&phrases::run_journal(run), html),
        None if unit.is("failed") => phrases::command(&phrases::journal(&unit.name), html),
        None => phrases::command(&phrases::systemctl("status", &unit.name), html),
    }
    html.put("\n");
}

fn state<'a>(row: &'a UnitView<'_>) -> &'a str {
    if row.start_limit_hit() {
        return phrases::START_LIMIT_HIT;
    }
    if row.is_restarting() {
        return "restarting";
    }
    match row.unit.active_state.as_deref() {
        Some("failed") => "failed",
        _ => row.unit.load_state.as_deref().unwrap_or_default(),
    }
}

/// The table below has all units.
const MAX_CARDS: usize = 12;
