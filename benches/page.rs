//! Rendering a scrape response: the copy of a snapshot, both formats, and the lower bound of the text format.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use unit_exporter::collector::Profile;
use unit_exporter::metrics::{DroppedSeries, Format, MetricsQuery, render};
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
    for format in FORMATS {
        let page = write(&snapshot(), format, &Arc::default());
        println!("{format:?}: {} series, {:.1} MB", series(&page), page.len() as f64 / 1e6);
    }
    divan::main();
}

/// The first response, without a cache.
#[divan::bench(args = FORMATS, sample_count = 50)]
fn first(bencher: Bencher<'_, '_>, format: Format) {
    let snapshot = snapshot();
    let samples = series(&write(&snapshot, format, &Arc::default()));
    bencher
        .counter(ItemsCount::new(samples))
        .bench_local(|| write(&snapshot, format, &Arc::default()).len());
}

/// Repeated, while nothing changes.
#[divan::bench(args = FORMATS, sample_count = 50)]
fn again(bencher: Bencher<'_, '_>, format: Format) {
    let (snapshot, remembered) = (snapshot(), Arc::default());
    let samples = series(&write(&snapshot, format, &remembered));
    bencher
        .counter(ItemsCount::new(samples))
        .bench_local(|| write(&snapshot, format, &remembered).len());
}

/// Repeated, while one unit in a hundred changes before each response, a different one each time.
#[divan::bench(args = FORMATS, sample_count = 50)]
fn changing(bencher: Bencher<'_, '_>, format: Format) {
    let (shared, remembered) = (units(), Arc::default());
    let mut round = 0;
    let mut write = || {
        round += 1;
        for number in (round % 100..UNITS).step_by(100) {
            let active = Variant::from(["failed", "active"][usize::from(number % 2 == 0)]);
            shared.lock().mirror.change(&name(number), |unit| {
                unit.set(Interface::Unit, "ActiveState", &active);
            });
        }
        write(&copied(&shared), format, &remembered)
    };
    let samples = series(&write());
    bencher.counter(ItemsCount::new(samples)).bench_local(|| write().len());
}

/// The same lines with prepared text: copies names and labels, formats numbers.
#[divan::bench(sample_count = 50)]
fn plain_writer(bencher: Bencher<'_, '_>) {
    let page = write(&snapshot(), Format::Text, &Arc::default());
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
    let shared = units();
    bencher.bench_local(|| SystemdSnapshot::copy(&shared.lock(), false).units.len());
}

fn write(snapshot: &Arc<Snapshot>, format: Format, remembered: &Arc<DroppedSeries>) -> String {
    let selected = MetricsQuery {
        without: Vec::new(),
        names: Vec::new(),
        profile: Profile::default(),
        max_series: usize::MAX,
    };
    render(snapshot, format, &selected, remembered).expect("written to memory")
}

fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

fn snapshot() -> Arc<Snapshot> {
    copied(&units())
}

fn copied(units: &Shared) -> Arc<Snapshot> {
    let systemd = SystemdSnapshot::copy(&units.lock(), false);
    Arc::new(Snapshot { systemd: Some(systemd), ..Snapshot::default() })
}

fn units() -> Shared {
    let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
    {
        let state = &mut *shared.lock();
        state.status.filled = true;
        for number in 0..UNITS {
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

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];
