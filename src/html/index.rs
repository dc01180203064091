//! The page at `/`: the host at a glance.

use std::collections::BTreeMap;
use std::time::Duration;

use super::human::{Count, Lasting, Moment, units};
use super::layout::{Mood, document};
use super::table_query::Question;
use super::unit_view::{Row, rows};
use super::writer::Html;
use super::{View, health, phrases, problems, table, timeline};
use crate::systemd::manager::STAGES;
use crate::systemd::snapshot::SystemdSnapshot;
use crate::systemd::unit::value::Timestamp;

pub(super) fn page(view: &View<'_>, question: &Question) -> String {
    let rows = rows(view);
    let unwell = rows.iter().any(Row::needs_attention) || view.snapshot.systemd.is_none();
    let mood = if unwell { Mood::Unwell } else { Mood::Well };
    let failed = rows.iter().filter(|row| row.unit.is("failed")).count();
    let title = match failed {
        0 => view.host.name.clone(),
        _ => format!("{failed} failed – {}", view.host.name),
    };
    document(view, &title, None, mood, |html| {
        html.put("<main id=main>\n");
        header(view, &rows, question, html);
        problems::section(view, &rows, html);
        timeline::section(view, html);
        table::section(view, &rows, question, html);
        health::section(view, html);
        html.put("</main>");
    })
}

fn header(view: &View<'_>, rows: &[Row<'_>], question: &Question, html: &mut Html) {
    html.put("<header id=host data-live>\n<h1>").text(&view.host.name).put("</h1>\n");
    let Some(systemd) = &view.snapshot.systemd else {
        let trouble = view.snapshot.status.trouble.as_deref();
        html.put("<p class=note role=status><span class=bad>systemd is not known yet</span> ");
        html.text(trouble.unwrap_or("its units are being read for the first time"));
        html.put("</p>\n<p class=facts>Linux ").text(&view.host.kernel).put("</p></header>\n");
        return;
    };
    facts(view, systemd, html);
    if let Some(trouble) = &view.snapshot.status.trouble {
        html.put("<p class=note role=status><span class=busy>systemd does not answer</span> ");
        html.text(trouble).put(". Units are shown as they were ");
        html.text(Lasting(view.snapshot.silence(view.now).unwrap_or_default())).put(" ago.</p>\n");
    }
    html.put("<ul class=tiles aria-label=\"Units by state\">");
    for (state, count) in &states(rows) {
        let chosen = question.state == *state;
        let asked = if chosen { "" } else { state };
        let asked = Question { state: asked.to_owned(), ..Question::default() };
        html.put("<li><a data-swap href=\"").text(asked.query()).put("#units\"");
        html.put(if chosen { " aria-current=true" } else { "" }).put(" class=\"tile ");
        html.put(if *count == 0 { "idle" } else { phrases::colour(state) }).put("\"><b>");
        html.text(Count(*count as u64)).put("</b> ").text(state).put("</a>");
    }
    let jobs = systemd.waiting_jobs + systemd.running_jobs;
    html.put("<li><span class=\"tile idle\"><b>").text(Count(jobs));
    html.put("</b> ").put(if jobs == 1 { "job" } else { "jobs" });
    if let Some(oldest) = systemd.oldest_job {
        let age = view.now.duration_since(oldest).unwrap_or_default();
        html.put(" <small>oldest ").text(Lasting(age)).put("</small>");
    }
    html.put("</span></ul></header>\n");
}

/// How many units are in each state: failed ones first, what changes next.
fn states<'a>(rows: &'a [Row<'_>]) -> Vec<(&'a str, usize)> {
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

/// One line of what the machine is.
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
        Moment(booted.system_time()).both(view.now, html);
        html.put("</span> ");
    }
    // the monotonic clock begins with the kernel; a container has none of its own
    let reached = |name| stage(name).and_then(|stage| stage.monotonic?.set());
    let kernel = stage("Kernel").and_then(|stage| stage.time?.set());
    let start = if kernel.is_some() { Some(Timestamp(0)) } else { reached("Userspace") };
    if let (Some(Timestamp(start)), Some(Timestamp(end))) = (start, reached("Finish")) {
        let took = Duration::from_micros(end.saturating_sub(start));
        html.put("<span>boot took ").text(Lasting(took)).put("</span> ");
    }
    if !manager.tainted.is_empty() {
        html.put("<span>tainted: ").text(manager.tainted.join(", ")).put("</span> ");
    }
    let known: u64 = systemd.active_states.values().sum();
    let shown = systemd.units.len();
    let hidden = usize::try_from(known).unwrap_or(shown).saturating_sub(shown);
    if hidden > 0 {
        html.put("<span>").text(units(hidden, "more unit is", "more units are"));
        html.put(" left out, such as devices</span>");
    }
    html.put("</p>\n");
}
