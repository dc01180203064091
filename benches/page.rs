//! Rendering a scrape response: the copy of a snapshot, all formats, gzip, and the lower bound of the text format.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use flate2::Compression;
use flate2::write::GzEncoder;
use unit_exporter::collector::Profile;
use unit_exporter::metrics::{Format, MetricsQuery, RenderState, render};
use unit_exporter::snapshot::Snapshot;
use unit_exporter::systemd::ledger::Ledger;
use unit_exporter::systemd::mirror::{ListedUnit, Mirror};
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::unit::properties::Interface;
use unit_exporter::systemd::unit::value::intern;
use unit_exporter::unit_filter::Selection;
use zbus::Variant;

fn main() {
    let text = write(&copied(&units(UNITS)), Format::Text, &Arc::default());
    println!("{} series", series(&text));
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        let page = write(&copied(&units(UNITS)), format, &Arc::default());
        let (plain, gzip) = (page.len() as f64 / 1e6, compress(&page).len() as f64 / 1e6);
        println!("{format:?}: {plain:.1} MB, {gzip:.2} MB with gzip");
    }
    divan::main();
}

/// One response.
#[derive(Clone, Copy)]
struct Case {
    units: u64,
    /// Share of the units that change before each response.
    percent: u64,
    format: Format,
    gzip: bool,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gzip = if self.gzip { ", gzip" } else { "" };
        write!(f, "{} units, {} %, {:?}{gzip}", self.units, self.percent, self.format)
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for units in [1_000, 5_000] {
        for percent in [0, 1, 20] {
            cases.push(Case { units, percent, format: Format::Text, gzip: false });
            cases.push(Case { units, percent, format: Format::OpenMetrics, gzip: true });
            cases.push(Case { units, percent, format: Format::Protobuf, gzip: false });
            cases.push(Case { units, percent, format: Format::Protobuf, gzip: true });
        }
    }
    cases
}

#[divan::bench(args = cases(), sample_count = 50)]
fn response(bencher: Bencher<'_, '_>, case: Case) {
    let (shared, dropped) = (units(case.units), Arc::default());
    let mut round = 0;
    let mut next = || {
        round += 1;
        change(&shared, case, round);
        copied(&shared)
    };
    let samples = series(&write(&next(), Format::Text, &dropped));
    bencher.counter(ItemsCount::new(samples)).with_inputs(next).bench_local_values(|snapshot| {
        let plain = write(&snapshot, case.format, &dropped);
        if case.gzip { compress(&plain).len() } else { plain.len() }
    });
}

/// Changes a share of the units, a different one in each round.
fn change(shared: &Shared, case: Case, round: u64) {
    let Some(step) = 100_u64.checked_div(case.percent) else { return };
    for number in (round % step..case.units).step_by(usize::try_from(step).unwrap_or(1)) {
        let active =
            Variant::from(["failed", "active"][usize::from((round / step).is_multiple_of(2))]);
        shared.lock().mirror.change(&name(number), |unit| {
            unit.set(Interface::Unit, "ActiveState", &active);
        });
    }
}

fn compress(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::new(1));
    encoder.write_all(plain).expect("written to memory");
    encoder.finish().expect("written to memory")
}

/// The same lines with prepared text: copies names and labels, formats numbers.
#[divan::bench(sample_count = 50)]
fn plain_writer(bencher: Bencher<'_, '_>) {
    let page = write(&copied(&units(UNITS)), Format::Text, &Arc::default());
    let page = str::from_utf8(&page).expect("UTF-8");
    let lines: Vec<(&str, u64)> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(start, value)| (start, value.len() as u64 * 1_000_003))
        .collect();
    bencher.counter(ItemsCount::new(lines.len())).bench_local(|| {
        let mut body = String::new();
        for (start, value) in &lines {
            body.push_str(start);
            body.push(' ');
            body.push_str(itoa::Buffer::new().format(*value));
            body.push('\n');
        }
        body.len()
    });
}

/// The copy of unit cache and counters that a scrape makes under their lock.
#[divan::bench(sample_count = 50)]
fn copy(bencher: Bencher<'_, '_>) {
    let shared = units(UNITS);
    bencher.bench_local(|| SystemdSnapshot::copy(&shared.lock(), false).units.len());
}

fn write(snapshot: &Arc<Snapshot>, format: Format, remembered: &Arc<RenderState>) -> Vec<u8> {
    let selected = MetricsQuery {
        without: Vec::new(),
        names: Vec::new(),
        metrics: Profile::default().into(),
        max_series: usize::MAX,
        max_family_series: usize::MAX,
    };
    render(snapshot, format, &selected, remembered).expect("written to memory")
}

fn series(page: &[u8]) -> usize {
    let page = str::from_utf8(page).expect("UTF-8");
    page.lines().filter(|line| !line.starts_with('#')).count()
}

fn copied(units: &Shared) -> Arc<Snapshot> {
    let systemd = SystemdSnapshot::copy(&units.lock(), false);
    Arc::new(Snapshot { systemd: Some(systemd), ..Snapshot::default() })
}

fn units(count: u64) -> Shared {
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    {
        let state = &mut *shared.lock();
        state.status.filled = true;
        for number in 0..count {
            let name = name(number);
            let (load_state, active_state) = (intern("loaded"), intern("active"));
            let listed =
                ListedUnit { name, load_state, active_state, sub_state: intern("running") };
            state.mirror.list(&listed);
            for property in TIMES {
                let micros = Variant::U64(1_763_900_000_123_456 + number);
                state.mirror.change(&listed.name, |unit| {
                    unit.set(Interface::Unit, property, &micros);
                });
            }
            let unit = state.mirror.unit(&listed.name).cloned();
            state.ledger.open(&unit.expect("just listed"));
        }
    }
    shared
}

fn name(number: u64) -> String {
    format!("bench-instance\\x2d{number}.service")
}

/// Enough for 100,000 series.
const UNITS: u64 = 6_000;

const TIMES: [&str; 4] = [
    "ActiveEnterTimestamp",
    "ActiveExitTimestamp",
    "InactiveEnterTimestamp",
    "InactiveExitTimestamp",
];
