//! The page at `/reference`: the meaning of every metric.

use super::View;
use super::human::pluralize;
use super::layout::{PageStatus, document};
use super::writer::Html;
use crate::metrics::{BaseUnit, Kind, MetricReference, Reference, Resets};

pub(super) fn page(view: &View<'_>) -> String {
    let rows = Reference::collect().rows;
    document(view, "Metric reference", Some("./"), PageStatus::Ok, |html| {
        html.put("<main id=main>\n<header><h1>Metric reference</h1>\n<p class=facts><span>");
        html.text(pluralize(rows.len() as u64, "metric", "metrics"));
        html.put("</span> <span>A value that the host does not provide is absent, not 0.</span></p></header>\n");
        for subject in rows.chunk_by(|a, b| a.subject.title == b.subject.title) {
            section(subject, html);
        }
        html.put("</main>");
    })
}

fn section(rows: &[MetricReference], html: &mut Html) {
    let Some(first) = rows.first() else { return };
    html.put("<section><h2>")
        .text(first.subject.title)
        .put("</h2>\n<p class=dim>Collector: <code>");
    html.text(first.subject.collector).put("</code></p>\n<dl class=metrics>\n");
    for row in rows {
        html.put("<dt id=\"").text(row.name).put("\"><code>").text(row.name).put("</code>");
        for label in &row.labels {
            html.put(" <small>").text(label).put("</small>");
        }
        html.put("<dd>").text(row.help).put(" <span class=dim>").put(match row.kind {
            Kind::Counter(Resets::WithExporter) => "Counter, resets with the exporter",
            Kind::Counter(Resets::WithUnit) | Kind::InheritedCounter(_) => {
                "Counter, resets with the unit"
            }
            Kind::Counter(Resets::WithProcess) => "Counter, resets with the process",
            Kind::Counter(Resets::WithBoot) => "Counter, resets at reboot",
            Kind::Gauge => "Gauge",
            Kind::Histogram => "Histogram",
        });
        html.put(match row.unit {
            BaseUnit::None => "",
            BaseUnit::Bytes => ", bytes",
            BaseUnit::Seconds => ", seconds",
            BaseUnit::Ratio => ", ratio",
        });
        html.put(". ").text(row.source).put("</span>\n");
    }
    html.put("</dl></section>\n");
}
