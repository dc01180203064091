//! The status pages: an overview of the host, one page per unit, and the metric reference.
//!
//! Pure functions from the data of a scrape to HTML. A page is self-contained: style and script are
//! inline, and all content is there without the script.

mod cpu_usage;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod health;
mod human;
mod index;
mod layout;
mod phrases;
mod problems;
mod reference;
mod table;
mod table_query;
mod timeline;
mod unit;
mod unit_view;
mod writer;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use cpu_usage::{CpuUsage, CpuUsageTracker};
pub use layout::policy;

use crate::snapshot::Snapshot;
use crate::systemd::ledger::Event;
use table_query::TableQuery;

/// The data that the pages show.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The host.
    pub host: &'a HostInfo,
    /// The time of the request.
    pub now: SystemTime,
    /// When the exporter started.
    pub started: SystemTime,
    /// The data of the scrape.
    pub snapshot: &'a Snapshot,
    /// Recent events, newest first.
    pub events: &'a [Arc<Event>],
    /// The CPU usage of each unit; `None` before there are two readings.
    pub cpu: Option<&'a CpuUsage>,
    /// The disabled collectors.
    pub disabled: &'a [&'static str],
    /// The path of the metrics.
    pub telemetry_path: &'a str,
}

impl View<'_> {
    /// Since when events and failures are counted: the boot or, without a state of the exporter before
    /// its restart, its start.
    fn counted_since(&self) -> SystemTime {
        let host = self.snapshot.systemd.as_ref().map(|systemd| systemd.host.since);
        host.map_or(self.started, |since| since.min(self.started))
    }

    /// The event at [`Self::counted_since`].
    fn counting_began(&self) -> &'static str {
        let earlier = self.started.duration_since(self.counted_since()).unwrap_or_default();
        if earlier > START_TIME { "counting began" } else { "the exporter started" }
    }
}

/// Longer than the exporter takes from its start to its first counter.
const START_TIME: Duration = Duration::from_secs(1);

/// The host, as the kernel names it.
#[derive(Clone, Debug, Default)]
pub struct HostInfo {
    /// The host name.
    pub name: String,
    /// The release of the kernel.
    pub kernel: String,
}

/// A request path that has a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageRoute {
    /// `/`: the overview of the host.
    Status,
    /// `/unit/NAME`: one unit, which may not exist.
    Unit(String),
    /// `/reference`: the metric reference.
    Reference,
}

/// A rendered page.
#[derive(Clone, Debug)]
pub struct StatusPage {
    /// The document.
    pub html: String,
    /// False if the page says that the unit does not exist.
    pub found: bool,
}

impl HostInfo {
    /// The host that the exporter runs on.
    #[must_use]
    pub fn here() -> Self {
        let uname = rustix::system::uname();
        Self {
            name: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
        }
    }
}

impl PageRoute {
    /// The page of a percent-encoded path; `None` if no page has that path.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Status),
            "/reference" => Some(Self::Reference),
            _ => {
                let name = path.strip_prefix("/unit/").filter(|name| !name.contains('/'))?;
                let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
                Some(Self::Unit(name.into_owned()))
            }
        }
    }
}

/// Renders a page. `query` has the decoded keys and values of the URL.
#[must_use]
pub fn page(route: &PageRoute, query: &[(String, String)], view: &View<'_>) -> StatusPage {
    match route {
        PageRoute::Status => {
            StatusPage { html: index::page(view, &TableQuery::parse(query)), found: true }
        }
        PageRoute::Unit(name) => unit::page(view, name),
        PageRoute::Reference => StatusPage { html: reference::page(view), found: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_selects_unit_in_any_percent_encoding() {
        let unit = |name: &str| Some(PageRoute::Unit(name.to_owned()));
        for (path, route) in [
            ("/", Some(PageRoute::Status)),
            ("/reference", Some(PageRoute::Reference)),
            ("/unit/nginx.service", unit("nginx.service")),
            ("/unit/a%5Cx2db.swap", unit("a\\x2db.swap")),
            ("/unit/a\\x2db.swap", unit("a\\x2db.swap")),
            ("/unit/getty%40tty1.service", unit("getty@tty1.service")),
            ("/unit/%ff%3Cb%3E", unit("\u{fffd}<b>")),
            ("/unit/", unit("")),
            ("/unit", None),
            ("/unit/a/b.service", None),
            ("/unit/../metrics", None),
            ("/reference/", None),
            ("/%72eference", None),
            ("/units", None),
        ] {
            assert_eq!(PageRoute::parse(path), route, "{path}");
        }
    }
}
