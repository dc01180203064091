//! The frame of every page: head, links, style and script.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::View;
use super::human::HumanDuration;
use super::writer::Html;

/// The status that the icon of a page shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PageStatus {
    Ok,
    Problem,
}

/// A document with the content that `body` writes. `home` is the relative link to the page at `/`,
/// `None` on that page: all links are relative, so that a proxy can serve the pages below any path.
pub(super) fn document(
    view: &View<'_>,
    title: &str,
    home: Option<&'static str>,
    status: PageStatus,
    body: impl FnOnce(&mut Html),
) -> String {
    let mut html = Html::default();
    let root = home.unwrap_or("./");
    html.put("<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n");
    html.put("<meta name=viewport content=\"width=device-width, initial-scale=1\">\n");
    html.put("<meta name=color-scheme content=\"light dark\">\n");
    html.put(match status {
        PageStatus::Ok => ICON_OK,
        PageStatus::Problem => ICON_PROBLEM,
    });
    html.put("<title>").text(title).put("</title>\n<style>").put(STYLE).put("</style>\n");
    html.put("</head>\n<body>\n<a class=skip href=\"#main\">Skip to content</a>\n");
    html.put("<nav class=bar aria-label=Pages>");
    match home {
        None => html.put("<span class=home>unit-exporter</span>"),
        Some(home) => {
            html.put("<a class=home href=\"").put(home).put("\">← ");
            html.text(&view.host.name).put("</a>")
        }
    };
    html.put("<span id=live></span><ul>");
    html.put("<li><a href=\"").text(root).text(view.telemetry_path.trim_start_matches('/'));
    html.put("\">Metrics</a><li><a href=\"").text(root).put("api/v1/events\">Events</a>");
    html.put("<li><a href=\"").text(root).put("reference\">Reference</a></ul></nav>\n");
    body(&mut html);
    html.put("\n<footer><p>unit-exporter ").text(env!("CARGO_PKG_VERSION"));
    if let Some(took) = view.snapshot.attempts.iter().map(|attempt| attempt.took).max() {
        html.put(" · scraped in ").text(HumanDuration(took));
    }
    html.put("</footer>\n<script>").put(SCRIPT).put("</script>\n</body>\n</html>\n");
    html.into_string()
}

/// The header `Content-Security-Policy`: allows the inline style and script, and requests to this
/// server.
#[must_use]
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        )
    });
    &POLICY
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

const ICON_OK: &str = "<link rel=icon href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%232e8b57'/%3E%3C/svg%3E\">\n";
const ICON_PROBLEM: &str = "<link rel=icon href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23c8372d'/%3E%3C/svg%3E\">\n";
