//! The pages that people read: the host at a glance, each unit, and what the metrics mean.
//!
//! Pure functions from what a scrape knows to HTML. A page needs nothing but itself: its style and
//! its script stand in it, and it is complete without the script.

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
use std::time::SystemTime;

pub use cpu_usage::{Share, Shares};
pub use layout::policy;

use crate::snapshot::Snapshot;
use crate::systemd::ledger::Event;
use table_query::Question;

/// What the pages tell of.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The machine.
    pub host: &'a Host,
    /// When the page is made.
    pub now: SystemTime,
    /// When the exporter began to count.
    pub started: SystemTime,
    /// What a scrape knows.
    pub snapshot: &'a Snapshot,
    /// What happened last, the newest first.
    pub events: &'a [Arc<Event>],
    /// What each unit takes of the processors; `None` before there are two readings.
    pub cpu: Option<&'a Share>,
    /// The collectors that are off.
    pub off: &'a [&'static str],
    /// Where the metrics are.
    pub telemetry_path: &'a str,
}

/// The machine, by what the kernel calls it.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The kernel's release.
    pub kernel: String,
}

/// A page that there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/`: the host at a glance.
    Status,
    /// `/unit/NAME`: one unit, whether there is one of that name or not.
    Unit(String),
    /// `/reference`: what every metric means.
    Reference,
}

/// A page, complete.
#[derive(Clone, Debug)]
pub struct Page {
    /// The document.
    pub html: String,
    /// Whether it tells of what was asked for, rather than that there is no such thing.
    pub found: bool,
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let uname = rustix::system::uname();
        Self {
            name: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
        }
    }
}

impl Place {
    /// What is at a path, percent-encoded as it came; `None` for a path that no page has.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
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

/// The page at a place. `query` is the address's, decoded.
#[must_use]
pub fn page(place: &Place, query: &[(String, String)], view: &View<'_>) -> Page {
    match place {
        Place::Status => Page { html: index::page(view, &Question::new(query)), found: true },
        Place::Unit(name) => unit::page(view, name),
        Place::Reference => Page { html: reference::page(view), found: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_unit_however_it_is_encoded() {
        let unit = |name: &str| Some(Place::Unit(name.to_owned()));
        for (path, place) in [
            ("/", Some(Place::Status)),
            ("/reference", Some(Place::Reference)),
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
            assert_eq!(Place::at(path), place, "{path}");
        }
    }
}
