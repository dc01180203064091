//! The table of units: what each one does and takes.

use super::View;
use super::human::{Bytes, Count, Lasting, Moment, Percent, units};
use super::phrases;
use super::table_query::{Column, Question};
use super::unit_view::Row;
use super::writer::{Html, segment};
use crate::systemd::unit::name::UnitKind;

pub(super) fn section(view: &View<'_>, rows: &[Row<'_>], question: &Question, html: &mut Html) {
    let picked = question.pick(rows);
    let shown = if question.all { picked.len() } else { picked.len().min(FIRST) };
    html.put("<section id=units aria-labelledby=units-title>\n<h2 id=units-title>Units</h2>\n");
    form(rows, question, html);
    html.put("<div id=table data-live>\n<p class=dim role=status id=count>");
    match (picked.len(), rows.len()) {
        (picked, all) if question.narrows() => {
            html.text(Count(picked as u64)).put(" of ").text(units(all, "unit", "units"));
        }
        (_, all) => {
            html.text(units(all, "unit", "units"));
        }
    }
    if shown < picked.len() {
        html.put(", the first ").text(Count(shown as u64)).put(" of them here");
    }
    html.put(".");
    if question.narrows() {
        let all = Question {
            column: question.column,
            reversed: question.reversed,
            ..Question::default()
        };
        html.put(" <a data-swap href=\"").text(all.query()).put("#units\">Show all kinds</a>");
    }
    html.put("</p>\n");
    if picked.is_empty() {
        html.put("<p class=calm>No unit is like that.</p></div></section>\n");
        return;
    }
    html.put("<table class=units>\n<caption>Units, with what they do and take. Restarts and failures are those since ");
    html.text(Moment(view.started)).put(", when this exporter was started.");
    if let Some(cpu) = view.cpu {
        html.put(" CPU is the average of the last ").text(Lasting(cpu.over));
        html.put("; 100 % is one processor.");
    }
    html.put("</caption>\n<thead><tr>");
    for column in Column::ALL {
        heading(view, question, column, html);
    }
    html.put("</thead>\n<tbody>\n");
    for row in &picked[..shown] {
        line(view, row, html);
    }
    html.put("</tbody></table>\n");
    if shown < picked.len() {
        let all = Question { all: true, ..question.clone() };
        html.put("<p><a data-swap href=\"").text(all.query()).put("#units\">Show all ");
        html.text(units(picked.len(), "unit", "units")).put("</a></p>\n");
    }
    html.put("</div></section>\n");
}

fn form(rows: &[Row<'_>], question: &Question, html: &mut Html) {
    html.put("<form id=filter role=search action=\"#units\">\n<label>Name <input id=q type=search name=q value=\"");
    html.text(&question.text).put("\" autocomplete=off spellcheck=false maxlength=255></label>\n");
    let mut states: Vec<_> =
        rows.iter().filter_map(|row| row.unit.active_state.as_deref()).collect();
    states.sort_unstable();
    states.dedup();
    html.put("<label>State <select id=state name=state>");
    options(&states, &question.state, html);
    let has = |kind: &UnitKind| rows.iter().any(|row| row.unit.kind == *kind);
    let kinds: Vec<_> = UnitKind::ALL.into_iter().filter(has).map(UnitKind::as_str).collect();
    html.put("</select></label>\n<label>Kind <select id=type name=type>");
    options(&kinds, &question.kind, html);
    html.put("</select></label>\n");
    // an unchanged order goes along
    html.put("<input type=hidden id=sort name=sort value=\"");
    html.text(question.sort().unwrap_or_default()).put("\">");
    html.put("<button>Filter</button></form>\n");
}

fn options(all: &[&str], chosen: &str, html: &mut Html) {
    html.put("<option value=\"\">all");
    for option in all {
        html.put("<option");
        html.put(if *option == chosen { " selected" } else { "" });
        html.put(">").text(option);
    }
}

fn heading(view: &View<'_>, question: &Question, column: Column, html: &mut Html) {
    let by = question.by(column);
    html.put("<th scope=col");
    if question.column == column {
        let ascending = column.ascends() != question.reversed;
        html.put(if ascending { " aria-sort=ascending" } else { " aria-sort=descending" });
    }
    html.put("><a data-swap id=sort-").put(column.word()).put(" href=\"").text(by.query());
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

/// End tags that HTML lets one leave out are left out: with 5,000 units they count.
fn line(view: &View<'_>, row: &Row<'_>, html: &mut Html) {
    let unit = row.unit;
    html.put("<tr><th scope=row><a href=\"unit/").text(segment(&unit.name)).put("\">");
    html.text(&unit.name).put("</a><td>");
    let active = unit.active_state.as_deref().unwrap_or("unknown");
    phrases::state(active, html);
    if let Some(sub) = unit.sub_state.as_deref().filter(|sub| *sub != active) {
        html.put(" <small>").text(sub).put("</small>");
    }
    if row.given_up() {
        html.put(" <small class=bad>given up</small>");
    }
    if let Some(load) = unit.load_state.as_deref().filter(|load| *load != "loaded") {
        html.put(" <small class=busy>").text(load).put("</small>");
    }
    if unit.needs_reload == Some(true) {
        html.put(" <small class=busy>wants a daemon-reload</small>");
    }
    html.put("<td>");
    if let Some(since) = row.since() {
        Moment(since).ago(view.now, html);
    }
    count(row.restarts(), html);
    count(row.failures(), html);
    html.put("<td>");
    match (view.cpu, row.share, row.cpu()) {
        (Some(_), Some(share), _) => {
            faint(share == 0.0, Percent(share), html);
        }
        (None, _, Some(cpu)) => {
            html.text(Lasting(cpu));
        }
        _ => {}
    }
    html.put("<td>");
    if let Some(memory) = row.memory() {
        html.text(Bytes(memory));
    }
    count(row.tasks(), html);
    count(row.files(), html);
    html.put("<td>");
    listens(row, html);
    html.put("\n");
}

fn count(number: Option<u64>, html: &mut Html) {
    html.put("<td>");
    if let Some(number) = number {
        faint(number == 0, Count(number), html);
    }
}

/// Nothing much is shown faintly, so that what is something stands out.
fn faint(is_zero: bool, amount: impl std::fmt::Display, html: &mut Html) {
    if is_zero {
        html.put("<i>").text(amount).put("</i>");
    } else {
        html.text(amount);
    }
}

fn listens(row: &Row<'_>, html: &mut Html) {
    let mut separator = "";
    for listener in row.listeners.iter().take(SOME) {
        html.put(separator).text(listener.protocol.name().trim_end_matches('6')).put(" ");
        let address = &*listener.address;
        let everywhere = matches!(address, "*" | "0.0.0.0" | "::");
        if !everywhere && address.contains(':') {
            html.put("[").text(address).put("]");
        } else if !everywhere {
            html.text(address);
        }
        html.put(":").text(&listener.port);
        waiting(listener.accept_queue.unwrap_or(0), html);
        separator = ", ";
    }
    for listener in row.unix.iter().take(SOME.saturating_sub(row.listeners.len())) {
        html.put(separator).text(&listener.path);
        waiting(listener.accept_queue, html);
        separator = ", ";
    }
    let left = (row.listeners.len() + row.unix.len()).saturating_sub(SOME);
    if left > 0 {
        html.put(" <small>and ").text(left).put(" more</small>");
    }
}

fn waiting(queue: u64, html: &mut Html) {
    if queue > 0 {
        html.put(" <small class=busy>").text(Count(queue)).put(" waiting</small>");
    }
}

/// Lines without asking for all: more than anybody looks through, and quick everywhere.
const FIRST: usize = 250;

/// Listeners in a line.
const SOME: usize = 3;
