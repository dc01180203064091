//! The table of units: state and resource usage.

use super::View;
use super::human::{HumanBytes, HumanCount, HumanDuration, HumanTime, Percent, pluralize};
use super::phrases;
use super::table_query::{Column, TableQuery};
use super::unit_view::UnitView;
use super::writer::{Html, segment};
use crate::systemd::unit::name::UnitKind;

pub(super) fn section(view: &View<'_>, rows: &[UnitView<'_>], query: &TableQuery, html: &mut Html) {
    let selected = query.select(rows);
    let shown = if query.all { selected.len() } else { selected.len().min(MAX_ROWS) };
    html.put("<section id=units aria-labelledby=units-title>\n<h2 id=units-title>Units</h2>\n");
    form(rows, query, html);
    html.put("<div id=table data-live>\n<p class=dim role=status id=count>");
    match (selected.len(), rows.len()) {
        (selected, all) if query.is_filtered() => {
            html.text(HumanCount(selected as u64))
                .put(" of ")
                .text(pluralize(all as u64, "unit", "units"));
        }
        (_, all) => {
            html.text(pluralize(all as u64, "unit", "units"));
        }
    }
    if shown < selected.len() {
        html.put(", first ").text(HumanCount(shown as u64)).put(" shown");
    }
    html.put(".");
    if query.is_filtered() {
        let all =
            TableQuery { column: query.column, reversed: query.reversed, ..TableQuery::default() };
        html.put(" <a data-swap href=\"").text(all.url()).put("#units\">Clear filters</a>");
    }
    html.put("</p>\n");
    if selected.is_empty() {
        html.put("<p class=empty>No unit matches.</p></div></section>\n");
        return;
    }
    html.put("<table class=units>\n<caption>State and resource usage. Restarts and failures are counted since ");
    html.text(HumanTime(view.started)).put(", the start of the exporter.");
    if let Some(cpu) = view.cpu {
        html.put(" CPU is the average of the last ").text(HumanDuration(cpu.interval));
        html.put("; 100 % is one core.");
    }
    html.put("</caption>\n<thead><tr>");
    for column in Column::ALL {
        heading(view, query, column, html);
    }
    html.put("</thead>\n<tbody>\n");
    for row in &selected[..shown] {
        line(view, row, html);
    }
    html.put("</tbody></table>\n");
    if shown < selected.len() {
        let all = TableQuery { all: true, ..query.clone() };
        html.put("<p><a data-swap href=\"").text(all.url()).put("#units\">Show all ");
        html.text(pluralize(selected.len() as u64, "unit", "units")).put("</a></p>\n");
    }
    html.put("</div></section>\n");
}

fn form(rows: &[UnitView<'_>], query: &TableQuery, html: &mut Html) {
    html.put("<form id=filter role=search action=\"#units\">\n<label>Name <input id=q type=search name=q value=\"");
    html.text(&query.text).put("\" autocomplete=off spellcheck=false maxlength=255></label>\n");
    let mut states: Vec<_> =
        rows.iter().filter_map(|row| row.unit.active_state.as_deref()).collect();
    states.sort_unstable();
    states.dedup();
    html.put("<label>State <select id=state name=state>");
    options(&states, &query.state, html);
    let has = |kind: &UnitKind| rows.iter().any(|row| row.unit.kind == *kind);
    let kinds: Vec<_> = UnitKind::ALL.into_iter().filter(has).map(UnitKind::as_str).collect();
    html.put("</select></label>\n<label>Type <select id=type name=type>");
    options(&kinds, &query.kind, html);
    html.put("</select></label>\n");
    // keeps the order when a filter changes
    html.put("<input type=hidden id=sort name=sort value=\"");
    html.text(query.sort().unwrap_or_default()).put("\">");
    html.put("<button>Filter</button></form>\n");
}

fn options(all: &[&str], selected: &str, html: &mut Html) {
    html.put("<option value=\"\">all");
    for option in all {
        html.put("<option");
        html.put(if *option == selected { " selected" } else { "" });
        html.put(">").text(option);
    }
}

fn heading(view: &View<'_>, query: &TableQuery, column: Column, html: &mut Html) {
    let sorted = query.sorted_by(column);
    html.put("<th scope=col");
    if query.column == column {
        let ascending = column.ascends() != query.reversed;
        html.put(if ascending { " aria-sort=ascending" } else { " aria-sort=descending" });
    }
    html.put("><a data-swap id=sort-").put(column.as_str()).put(" href=\"").text(sorted.url());
    html.put("#units\">").put(match column {
        Column::Name => "Unit",
        Column::State => "State",
        Column::Since => "Since",
        Column::Restarts => "Restarts",
        Column::Failures => "Failures",
        Column::Cpu if view.cpu.is_none() => "CPU time",
        Column::Cpu => "CPU",
        Column::Memory => "Memory",
        Column::Tasks => "Tasks",
        Column::Files => "Files",
        Column::Listens => "Listens on",
    });
    html.put("</a>");
}

/// Without the end tags that HTML makes optional: they add up with 5,000 units.
fn line(view: &View<'_>, row: &UnitView<'_>, html: &mut Html) {
    let unit = row.unit;
    html.put("<tr><th scope=row><a href=\"unit/").text(segment(&unit.name)).put("\">");
    html.text(&unit.name).put("</a><td>");
    let active = unit.active_state.as_deref().unwrap_or("unknown");
    phrases::state(active, html);
    if let Some(sub) = unit.sub_state.as_deref().filter(|sub| *sub != active) {
        html.put(" <small>").text(sub).put("</small>");
    }
    if row.start_limit_hit() {
        html.put(" <small class=bad>start limit hit</small>");
    }
    if let Some(load) = unit.load_state.as_deref().filter(|load| *load != "loaded") {
        html.put(" <small class=busy>").text(load).put("</small>");
    }
    if unit.needs_reload == Some(true) {
        html.put(" <small class=busy>needs daemon-reload</small>");
    }
    html.put("<td>");
    if let Some(since) = row.since() {
        HumanTime(since).write_relative(view.now, html);
    }
    count(row.restarts(), html);
    count(row.failures(), html);
    html.put("<td>");
    match (view.cpu, row.cpu_cores, row.cpu_time()) {
        (Some(_), Some(cores), _) => {
            amount(cores == 0.0, Percent(cores), html);
        }
        (None, _, Some(cpu)) => {
            html.text(HumanDuration(cpu));
        }
        _ => {}
    }
    html.put("<td>");
    if let Some(memory) = row.memory() {
        html.text(HumanBytes(memory));
    }
    count(row.tasks(), html);
    count(row.open_files(), html);
    html.put("<td>");
    listens(row, html);
    html.put("\n");
}

fn count(number: Option<u64>, html: &mut Html) {
    html.put("<td>");
    if let Some(number) = number {
        amount(number == 0, HumanCount(number), html);
    }
}

/// Zeros are dimmed, so that other values stand out.
fn amount(is_zero: bool, value: impl std::fmt::Display, html: &mut Html) {
    if is_zero {
        html.put("<i>").text(value).put("</i>");
    } else {
        html.text(value);
    }
}

fn listens(row: &UnitView<'_>, html: &mut Html) {
    let mut separator = "";
    for listener in row.listeners.iter().take(MAX_LISTENERS) {
        html.put(separator).text(listener.protocol.name().trim_end_matches('6')).put(" ");
        let address = &*listener.address;
        let any_address = matches!(address, "*" | "0.0.0.0" | "::");
        if !any_address && address.contains(':') {
            html.put("[").text(address).put("]");
        } else if !any_address {
            html.text(address);
        }
        html.put(":").text(&listener.port);
        waiting(listener.accept_queue.unwrap_or(0), html);
        separator = ", ";
    }
    for listener in row.unix.iter().take(MAX_LISTENERS.saturating_sub(row.listeners.len())) {
        html.put(separator).text(&listener.path);
        waiting(listener.accept_queue, html);
        separator = ", ";
    }
    let more = (row.listeners.len() + row.unix.len()).saturating_sub(MAX_LISTENERS);
    if more > 0 {
        html.put(" <small>and ").text(more).put(" more</small>");
    }
}

fn waiting(queue: u64, html: &mut Html) {
    if queue > 0 {
        html.put(" <small class=busy>").text(HumanCount(queue)).put(" waiting</small>");
    }
}

/// Units shown without `all`: this many render fast on any device.
const MAX_ROWS: usize = 250;

/// Listeners in one row.
const MAX_LISTENERS: usize = 3;
