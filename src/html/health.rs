//! The section on the exporter: the result of each collector, and the connection to systemd.

use super::View;
use super::human::{HumanBytes, HumanCount, HumanDuration, HumanTime, Percent, pluralize};
use super::writer::Html;
use crate::source::Error;

pub(super) fn section(view: &View<'_>, html: &mut Html) {
    let snapshot = view.snapshot;
    html.put("<section id=health data-live aria-labelledby=health-title>\n");
    html.put("<h2 id=health-title>Collectors</h2>\n<table class=plain>\n<caption>Result of each collector in the last scrape</caption>\n");
    html.put("<thead><tr><th scope=col>Collector<th scope=col>Result<th scope=col>Duration<th scope=col>Last success</thead>\n<tbody>");
    for attempt in &snapshot.attempts {
        html.put("<tr><th scope=row>").text(attempt.collector).put("<td>");
        match &attempt.error {
            None => html.put("<span class=good>ok</span>"),
            Some(error) => html.put("<span class=bad>failed</span> ").text(error),
        };
        html.put("<td>").text(HumanDuration(attempt.took)).put("<td>");
        match attempt.last_success {
            Some(at) => HumanTime(at).write_relative(view.now, html),
            None => {
                html.put("never");
            }
        }
        html.put("\n");
    }
    for collector in view.disabled {
        html.put("<tr><th scope=row>").text(collector);
        html.put("<td><span class=idle>disabled</span><td><td>\n");
    }
    html.put("</tbody></table>\n<ul class=notes>");
    subscription(view, html);
    if let Some(cgroups) = &snapshot.cgroups {
        read_errors("cgroup files", cgroups.failures.count, cgroups.failures.first.as_ref(), html);
        skipped("cgroups", cgroups.truncated, html);
    }
    if let Some(processes) = &snapshot.processes {
        read_errors("processes", processes.failures.count, processes.failures.first.as_ref(), html);
        skipped("processes of units", processes.truncated, html);
    }
    if let Some(listeners) = &snapshot.listeners {
        skipped("listeners", listeners.truncated, html);
    }
    if let Some(pid1) = &snapshot.pid1 {
        html.put("<li>PID 1 has used ")
            .text(HumanDuration(seconds(pid1.cpu_user + pid1.cpu_system)));
        html.put(" of CPU time; resident memory: ")
            .text(HumanBytes(pid1.resident_bytes))
            .put(".\n");
    }
    if let (Some(own), Some(started)) = (&snapshot.own, snapshot.exporter.started) {
        let cpu = own.cpu_user + own.cpu_system;
        html.put("<li>The exporter has used ").text(HumanDuration(seconds(cpu)));
        html.put(" of CPU time since ");
        HumanTime(started).write(view.now, html);
        let uptime = view.now.duration_since(started).unwrap_or_default().as_secs_f64();
        if uptime > 0.0 {
            html.put(", ").text(Percent(cpu / uptime)).put(" of a core");
        }
        html.put("; resident memory: ").text(HumanBytes(own.resident_bytes)).put(".\n");
    }
    html.put("</ul></section>\n");
}

fn subscription(view: &View<'_>, html: &mut Html) {
    let status = &view.snapshot.status;
    if status.following && status.trouble.is_none() {
        html.put("<li><span class=good>receiving D-Bus signals from systemd</span>");
        if let Some(silence) = view.snapshot.silence(view.now) {
            html.put(", last message ").text(HumanDuration(silence)).put(" ago");
        }
        html.put(".\n");
    } else {
        html.put("<li><span class=bad>not receiving D-Bus signals from systemd</span> ");
        html.text(status.trouble.as_deref().unwrap_or("")).put("\n");
    }
    if status.reloading {
        html.put("<li><span class=busy>systemd is reloading</span>\n");
    }
    for (kind, error) in &status.unlisted {
        html.put("<li><span class=bad>").text(kind).put(" units cannot be listed</span> ");
        html.text(error).put("\n");
    }
    if status.disconnects > 0 {
        html.put("<li>The D-Bus connection was lost ");
        html.text(pluralize(status.disconnects, "time", "times")).put(".\n");
    }
    let lost: u64 =
        view.snapshot.systemd.iter().flat_map(|systemd| systemd.host.lost.values()).sum();
    if lost > 0 {
        html.put("<li>").text(pluralize(lost, "service failure", "service failures"));
        html.put(" of unknown cause, detected only by systemd's restart counter (NRestarts).\n");
    }
}

fn read_errors(what: &'static str, failed: u64, first: Option<&Error>, html: &mut Html) {
    if let Some(first) = first {
        html.put("<li><span class=busy>failed to read ").text(HumanCount(failed)).put(" ");
        html.put(what).put("</span>; first error: ").text(first).put("\n");
    }
}

fn skipped(what: &'static str, count: u64, html: &mut Html) {
    if count > 0 {
        html.put("<li><span class=busy>").text(HumanCount(count)).put(" ").put(what);
        html.put(" skipped</span>\n");
    }
}

fn seconds(seconds: f64) -> std::time::Duration {
    std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
