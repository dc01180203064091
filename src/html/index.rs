//! The status page at `/`: an overview of the host.

use std::collections::BTreeMap;
use std::time::Duration;

use super::human::{HumanCount, HumanDuration, HumanTime, pluralize};
use super::layout::{PageStatus, document};
use super::table_query::TableQuery;
use super::unit_view::{UnitView, unit_views};
use super::writer::Html;
use super::{View, health, phrases, problems, table, timeline};
use crate::systemd::manager::STAGES;
use crate::systemd::snapshot::SystemdSnapshot;
use crate::systemd::unit::value::Timestamp;

pub(super) fn page(view: &View<'_>, query: &TableQuery) -> String {
    let rows = unit_views(view);
    let problem = rows.iter().any(UnitView::needs_attention) || view.snapshot.systemd.is_none();
    let status = if problem { PageStatus::Problem } else { PageStatus::Ok };
    let failed = rows.iter().filter(|row| row.unit.is("failed")).count();
    let title = match failed {
        0 => view.host.name.clone(),
        _ => format!("{failed} failed – {}", view.host.name),
    };
    document(view, &title, None, status, |html| {
        html.put("<main id=main>\n");
        header(view, &rows, query, html);
        problems::section(view, &rows, html);
        timeline::section(view, html);
        table::section(view, &rows, query, html);
        health::section(view, html);
        html.put("</main>");
    })
}

fn header(view: &View<'_>, rows: &[UnitView<'_>], query: &TableQuery, html: &mut Html) {
    html.put("<header id=host data-live>\n<h1>").text(&view.host.name).put("</h1>\n");
    let Some(systemd) = &view.snapshot.systemd else {
        let trouble = view.snapshot.status.trouble.as_deref();
        html.put("<p class=note role=status><span class=bad>No data from systemd yet</span> ");
        html.text(trouble.unwrap_or("initial read of the units in progress"));
        html.put("</p>\n<p class=facts>Linux ").text(&view.host.kernel).put("</p></header>\n");
        return;
    };
    facts(view, systemd, html);
    if let Some(trouble) = &view.snapshot.status.trouble {
        html.put("<p class=note role=status><span class=busy>systemd is not responding</span> ");
        html.text(trouble).put(". Unit states are ");
        html.text(HumanDuration(view.snapshot.silence(view.now).unwrap_or_default()))
            .put(" old.</p>\n");
    }
    html.put("<ul class=tiles aria-label=\"Units by state\">");
    for (state, count) in &states(rows) {
        let selected = query.state == *state;
        let filter = if selected { "" } else { state };
        let filter = TableQuery { state: filter.to_owned(), ..TableQuery::default() };
        html.put("<li><a data-swap href=\"").text(filter.url()).put("#units\"");
        html.put(if selected { " aria-current=true" } else { "" }).put(" class=\"tile ");
        html.put(if *count == 0 { "idle" } else { phrases::class(state) }).put("\"><b>");
        html.text(HumanCount(*count as u64)).put("</b> ").text(state).put("</a>");
    }
    let jobs = systemd.waiting_jobs + systemd.running_jobs;
    html.put("<li><span class=\"tile idle\"><b>").text(HumanCount(jobs));
    html.put("</b> ").put(if jobs == 1 { "systemd job" } else { "systemd jobs" });
    if let Some(oldest) = systemd.oldest_job {
        let age = view.now.duration_since(oldest).unwrap_or_default();
        html.put(" <small>oldest ").text(HumanDuration(age)).put("</small>");
    }
    html.put("</span></ul></header>\n");
}

/// Counts the units in each state: failed first, then transitional states, active and inactive.
fn states<'a>(rows: &'a [UnitView<'_>]) -> Vec<(&'a str, usize)> {
    let mut counts: BTreeMap<&str, usize> = ["active", "failed", "inactive"].map(|s| (s, 0)).into();
    for row in rows {
        *counts.entry(row.unit.active_state.as_deref().unwrap_or("unknown")).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(state, _)| match *state {
        "failed" => 0,
        "active" => 2,
        "inactive" => 3,
        _ => 1,
    });
    counts
}

/// One line of facts about the host and its systemd.
fn facts(view: &View<'_>, systemd: &SystemdSnapshot, html: &mut Html) {
    let manager = &systemd.manager;
    html.put("<p class=facts>");
    if let Some(state) = &manager.system_state {
        phrases::state(state, html);
        html.put(" ");
    }
    if let Some(version) = &manager.version {
        html.put("<span>systemd ").text(version).put("</span> ");
    }
    html.put("<span>Linux ").text(&view.host.kernel).put("</span> ");
    if let Some(kind) = manager.virtualization.as_deref().filter(|kind| !kind.is_empty()) {
        html.put("<span>").text(kind).put("</span> ");
    }
    let stage = |name: &str| {
        let at = STAGES.iter().position(|stage| *stage == name)?;
        manager.boot.get(at)
    };
    let booted = ["Kernel", "Userspace"].into_iter().find_map(|name| stage(name)?.time?.set());
    if let Some(booted) = booted {
        html.put("<span>booted ");
        HumanTime(booted.system_time()).write(view.now, html);
        html.put("</span> ");
    }
    // the monotonic clock starts with the kernel; a container has the host's clock
    let reached = |name| stage(name).and_then(|stage| stage.monotonic?.set());
    let kernel = stage("Kernel").and_then(|stage| stage.time?.set());
    let start = if kernel.is_some() { Some(Timestamp(0)) } else { reached("Userspace") };
    if let (Some(Timestamp(start)), Some(Timestamp(end))) = (start, reached("Finish")) {
        let took = Duration::from_micros(end.saturating_sub(start));
        html.put("<span>boot took ").text(HumanDuration(took)).put("</span> ");
    }
    if !manager.tainted.is_empty() {
        html.put("<span>tainted: ").text(manager.tainted.join(", ")).put("</span> ");
    }
    let known: u64 = systemd.active_states.values().sum();
    let excluded = known.saturating_sub(systemd.units.len() as u64);
    if excluded > 0 {
        html.put("<span>").text(pluralize(excluded, "more unit", "more units"));
        html.put(" excluded, such as devices</span>");
    }
    html.put("</p>\n");
}
