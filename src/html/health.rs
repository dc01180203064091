//! Whether the page can be believed: how each collector went, and how systemd is followed.

use super::View;
use super::human::{Bytes, Count, Lasting, Moment, Percent, units};
use super::writer::Html;
use crate::source::Error;

pub(super) fn section(view: &View<'_>, html: &mut Html) {
    let snapshot = view.snapshot;
    html.put("<section id=health data-live aria-labelledby=health-title>\n");
    html.put("<h2 id=health-title>Collectors</h2>\n<table class=plain>\n<caption>How reading this host went</caption>\n");
    html.put("<thead><tr><th scope=col>Collector<th scope=col>Outcome<th scope=col>Took<th scope=col>Last worked</thead>\n<tbody>");
    for attempt in &snapshot.attempts {
        html.put("<tr><th scope=row>").text(attempt.collector).put("<td>");
        match &attempt.error {
            None => html.put("<span class=good>works</span>"),
            Some(error) => html.put("<span class=bad>fails</span> ").text(error),
        };
        html.put("<td>").text(Lasting(attempt.took)).put("<td>");
        match attempt.last_success {
            Some(at) => Moment(at).ago(view.now, html),
            None => {
                html.put("never");
            }
        }
        html.put("\n");
    }
    for collector in view.off {
        html.put("<tr><th scope=row>").text(collector);
        html.put("<td><span class=idle>off</span><td><td>\n");
    }
    html.put("</tbody></table>\n<ul class=notes>");
    following(view, html);
    if let Some(cgroups) = &snapshot.cgroups {
        in_part(
            "control group files",
            cgroups.failures.count,
            cgroups.failures.first.as_ref(),
            html,
        );
        cut_short("control groups", cgroups.truncated, html);
    }
    if let Some(processes) = &snapshot.processes {
        in_part("processes", processes.failures.count, processes.failures.first.as_ref(), html);
        cut_short("units' processes", processes.truncated, html);
    }
    if let Some(listeners) = &snapshot.listeners {
        cut_short("listeners", listeners.truncated, html);
    }
    if let Some(pid1) = &snapshot.pid1 {
        html.put("<li>PID 1 has used ").text(Lasting(seconds(pid1.cpu_user + pid1.cpu_system)));
        html.put(" of CPU and holds ").text(Bytes(pid1.resident_bytes)).put(".\n");
    }
    if let (Some(own), Some(started)) = (&snapshot.own, snapshot.exporter.started) {
        let cpu = own.cpu_user + own.cpu_system;
        html.put("<li>This exporter has used ").text(Lasting(seconds(cpu)));
        html.put(" of CPU since ");
        Moment(started).both(view.now, html);
        let lived = view.now.duration_since(started).unwrap_or_default().as_secs_f64();
        if lived > 0.0 {
            html.put(", ").text(Percent(cpu / lived)).put(" of a processor");
        }
        html.put(", and holds ").text(Bytes(own.resident_bytes)).put(".\n");
    }
    html.put("</ul></section>\n");
}

fn following(view: &View<'_>, html: &mut Html) {
    let status = &view.snapshot.status;
    if status.following && status.trouble.is_none() {
        html.put("<li><span class=good>systemd's signals are followed</span>");
        if let Some(silence) = view.snapshot.silence(view.now) {
            html.put(", the last word ").text(Lasting(silence)).put(" ago");
        }
        html.put(".\n");
    } else {
        html.put("<li><span class=bad>systemd's signals are not followed</span> ");
        html.text(status.trouble.as_deref().unwrap_or("")).put("\n");
    }
    if status.reloading {
        html.put("<li><span class=busy>systemd is reloading</span>\n");
    }
    for (kind, why) in &status.unlisted {
        html.put("<li><span class=bad>").text(kind).put(" units cannot be listed</span> ");
        html.text(why).put("\n");
    }
    if status.disconnects > 0 {
        let times =
            units(usize::try_from(status.disconnects).unwrap_or(usize::MAX), "time", "times");
        html.put("<li>The bus was lost ").text(times).put(".\n");
    }
    let lost: u64 =
        view.snapshot.systemd.iter().flat_map(|systemd| systemd.host.lost.values()).sum();
    if lost > 0 {
        html.put("<li>")
            .text(Count(lost))
            .put(" deaths were told by systemd's count alone: their cause is unknown.\n");
    }
}

fn in_part(what: &'static str, failed: u64, first: Option<&Error>, html: &mut Html) {
    if let Some(first) = first {
        html.put("<li><span class=busy>").text(Count(failed)).put(" ").put(what);
        html.put(" could not be read</span> the first: ").text(first).put("\n");
    }
}

fn cut_short(what: &'static str, left_out: u64, html: &mut Html) {
    if left_out > 0 {
        html.put("<li><span class=busy>").text(Count(left_out)).put(" ").put(what);
        html.put(" were left out</span>\n");
    }
}

fn seconds(seconds: f64) -> std::time::Duration {
    std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
