//! The functions that `fuzz/` runs, and `cargo test` over the corpus: one for each format that comes from
//! the host or from a client. A function panics where a promise is broken.

#[expect(dead_code, unreachable_pub, reason = "the tests' own reader, which has more")]
#[path = "../tests/support/protobuf.rs"]
mod protobuf;
#[expect(dead_code, unreachable_pub, reason = "the tests' own reader, which has more")]
#[path = "../tests/support/samples.rs"]
mod samples;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use crate::collector::Profile;
use crate::fuzzing::samples::{Sample, Samples};
use crate::html;
use crate::html::{HostInfo, PageRoute, View};
use crate::metrics::{Format, MetricsQuery, RenderState, render};
use crate::snapshot::Snapshot;
use crate::source::{cgroup, dbus_daemons, journal, process, sockets};
use crate::{bus, http, state_file, systemd};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its program in `fuzz/targets` and of its folder in
/// `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 16] = [
    ("bodies", systemd::fuzz::bodies),
    ("cgroup", cgroup::fuzz::files),
    ("config", http::fuzz::config),
    ("daemons", dbus_daemons::fuzz::bodies),
    ("framing", bus::fuzz::framing),
    ("html", html::fuzz::html),
    ("http", http::fuzz::http),
    ("journal", journal::fuzz::file),
    ("labels", labels),
    ("names", systemd::fuzz::names),
    ("netlink", sockets::fuzz::netlink),
    ("process", process::fuzz::files),
    ("request", http::fuzz::request),
    ("sockets", sockets::fuzz::texts),
    ("state", state_file::fuzz::state),
    ("units", systemd::fuzz::units),
];

/// Runs one target; panics where it does not hold, and where there is none of that name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.expect("a target").1(data);
}

/// Bodies as they stand on the wire, one after another: what it is in one byte, its length in two.
pub(crate) fn bodies(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([what, low, high], rest) = data.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let body;
        (body, data) = rest.split_at(length);
        Some((*what, body))
    })
}

/// Label values of any text are on both pages as they were meant.
fn labels(data: &[u8]) {
    let texts: BTreeSet<String> = data
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let unix = texts.iter().zip(0..).map(|(text, accept_queue)| sockets::UnixListener {
        unit: text.as_str().into(),
        path: text.clone(),
        accept_queue,
        accept_queue_limit: u64::MAX,
    });
    let reading = sockets::ListenerReading { unix: Some(unix.collect()), ..Default::default() };
    for page in page(Snapshot { listeners: Some(reading), ..Snapshot::default() }) {
        let lengths = page.all("systemd_unix_listener_accept_queue_length", &[]);
        let exported: Vec<_> = lengths.map(|one| (one.label("name"), one.label("path"))).collect();
        let meant: Vec<_> = texts.iter().map(|text| (text.as_str(), text.as_str())).collect();
        assert_eq!(exported, meant);
    }
}

/// Renders a snapshot in all formats, which contain the same, and no series twice. The
/// pages for people can be made, too.
pub(crate) fn page(snapshot: Snapshot) -> [Samples; 3] {
    let snapshot = Arc::new(snapshot);
    let selected = MetricsQuery {
        without: Vec::new(),
        names: Vec::new(),
        metrics: Profile::Full.into(),
        max_series: 1000,
        max_family_series: 1000,
    };
    let pages = [Format::Text, Format::OpenMetrics, Format::Protobuf].map(|format| {
        let page = render(&snapshot, format, &selected, &Arc::new(RenderState::default()));
        let page = page.expect("a page");
        match format {
            Format::Protobuf => protobuf::samples(&page),
            _ => Samples::parse(str::from_utf8(&page).expect("UTF-8")),
        }
    });
    let [text, open, protobuf] = pages.each_ref().map(|page| sorted(&page.0));
    assert_eq!(text, open);
    assert_eq!(text, protobuf);
    for pair in text.windows(2) {
        assert!((&pair[0].0, &pair[0].1) != (&pair[1].0, &pair[1].1), "twice: {:?}", pair[0]);
    }
    people(&snapshot);
    pages
}

fn people(snapshot: &Snapshot) {
    let view = View {
        host: &HostInfo::default(),
        now: SystemTime::now(),
        started: SystemTime::UNIX_EPOCH,
        snapshot,
        events: &[],
        cpu: None,
        disabled: &[],
        telemetry_path: "/metrics",
    };
    let units = snapshot.systemd.iter().flat_map(|systemd| &systemd.units);
    let units = units.map(|unit| PageRoute::Unit(unit.name.to_string()));
    for route in units.take(2).chain([PageRoute::Status]) {
        assert!(!html::page(&route, &[], &view).html.is_empty());
    }
}

type Row = (String, Vec<(String, String)>, u64);

fn sorted(samples: &[Sample]) -> Vec<Row> {
    let rows = samples.iter().map(|Sample { name, labels, value }| {
        (name.clone(), labels.clone().into_iter().collect(), value.to_bits())
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::TARGETS;

    #[test]
    fn every_target_has_a_corpus_that_holds() {
        for (name, target) in TARGETS {
            let inputs = listed(&format!("fuzz/corpus/{name}"));
            assert!(!inputs.is_empty(), "fuzz/corpus/{name} is empty");
            for input in inputs {
                // said when it fails
                println!("{}", input.display());
                target(&fs::read(&input).unwrap());
            }
        }
    }

    #[test]
    fn every_program_and_corpus_has_its_target() {
        let targets: BTreeSet<_> = TARGETS.into_iter().map(|(name, _)| name.to_owned()).collect();
        for folder in ["fuzz/corpus", "fuzz/targets"] {
            let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
            let there: BTreeSet<_> = listed(folder).into_iter().map(stem).collect();
            assert_eq!(there, targets, "{folder}");
        }
    }

    fn listed(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = fs::read_dir(&folder);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}
