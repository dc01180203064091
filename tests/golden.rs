//! Golden files: the scrape response of a fixture host in both formats, and the metrics reference, so that review shows
//! every change. `UPDATE=1 cargo test --test golden` rewrites them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use unit_exporter::collector::{COLLECTORS, Profile};
use unit_exporter::metrics::{DroppedSeries, Format, Kind, MetricsQuery, Per, Reference, render};

mod fixture;

#[test]
fn fixture_host_renders_the_golden_responses() {
    for (format, file) in [
        (Format::Text, "tests/golden/metrics.txt"),
        (Format::OpenMetrics, "tests/golden/openmetrics.txt"),
    ] {
        assert_golden(file, &page(format, &everything()));
    }
}

#[test]
fn exposes_exactly_the_declared_families() {
    let page = page(Format::Text, &everything());
    let exposed: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let reference = Reference::collect();
    let declared: BTreeSet<_> = reference.rows.iter().map(|row| row.name).collect();
    assert_eq!(exposed, declared);
}

#[test]
fn metrics_reference_is_current() {
    assert_golden("docs/METRICS.md", &Reference::collect().markdown());
}

#[test]
fn declarations_follow_the_naming_rules() {
    let rows = Reference::collect().rows;
    let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "a name is declared twice");
    for row in rows {
        let name = row.name;
        let counter = matches!(row.kind, Kind::Counter(_));
        assert_eq!(name.ends_with("_total"), counter, "{name}");
        let is_of_units = !matches!(row.per, Per::Host | Per::Manager);
        assert_eq!(row.labels.first() == Some(&"name"), is_of_units, "{name}: {:?}", row.per);
        assert!(row.help.ends_with('.'), "{name}: HELP must end with a full stop");
        assert!(row.help.len() <= 160, "{name}: the help text has {} characters", row.help.len());
        for text in [row.help, row.source] {
            assert!(!text.contains(['\n', '\\', '|', '"']), "{name}: needs escaping");
        }
        let known = COLLECTORS.iter().any(|known| known.name == row.subject.collector);
        assert!(known, "{name}: {:?}", row.subject);
    }
}

#[test]
fn selects_by_collector_and_by_family() {
    let without = MetricsQuery { without: vec!["units", "exporter"], ..everything() };
    let page = page(Format::Text, &without);
    assert!(!page.contains("systemd_unit_state{"));
    assert!(!page.contains("systemd_exporter_"));
    assert!(page.contains("systemd_service_restart_total{"));

    let one = MetricsQuery { names: vec!["systemd_failed_units".to_owned()], ..everything() };
    let page = self::page(Format::OpenMetrics, &one);
    assert_eq!(page.lines().count(), 4, "{page}");
}

#[test]
fn minimal_profile_has_its_families_and_no_zero_states() {
    let minimal = MetricsQuery { metrics: Profile::Minimal.into(), ..everything() };
    let page = page(Format::Text, &minimal);
    let states = page.lines().filter(|line| line.starts_with("systemd_unit_state{"));
    assert!(states.clone().count() > 5);
    assert!(states.clone().all(|line| line.ends_with(" 1")), "{page}");
    assert!(page.contains("systemd_service_restart_total{"));
    assert!(!page.contains("systemd_service_main_process_pid{"));
    assert!(!page.contains("unit_exporter_scrape_duration_seconds"));
    // a family selected by name is exported in any profile
    let names = vec!["systemd_service_main_process_pid".to_owned()];
    let one = self::page(Format::Text, &MetricsQuery { names, ..minimal });
    assert!(one.contains("systemd_service_main_process_pid{"));
}

#[test]
fn series_limit_keeps_first_series_and_counts_dropped() {
    let small = MetricsQuery { max_series: 3, ..everything() };
    let remembered = Arc::default();
    let first = render(&fixture::snapshot(), Format::Text, &small, &remembered).unwrap();
    let states = first.lines().filter(|line| line.starts_with("systemd_unit_state{"));
    assert_eq!(states.count(), 3);
    let dropped = |page: &str| {
        let line = page.lines().find(|line| {
            line.starts_with(
                "unit_exporter_series_dropped_total{family=\"systemd_boot_time_seconds\"}",
            )
        });
        line.map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
    };
    // the limit also applies to this family: it has room for the first three families that dropped series
    assert_eq!(dropped(&first), Some("15".to_owned()));
    let second = render(&fixture::snapshot(), Format::Text, &small, &remembered).unwrap();
    assert_eq!(dropped(&second), Some("30".to_owned()));
}

fn page(format: Format, selected: &MetricsQuery) -> String {
    let remembered = Arc::new(DroppedSeries::default());
    render(&fixture::snapshot(), format, selected, &remembered).unwrap()
}

/// The series limit is one below the number of unit states, so that the response has a dropped series too.
fn everything() -> MetricsQuery {
    MetricsQuery { without: vec![], names: vec![], metrics: Profile::Full.into(), max_series: 40 }
}

#[track_caller]
fn assert_golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    // version, revision and compiler differ between builds
    let text: String = text
        .lines()
        .map(|line| match line.split_once("_exporter_build_info{") {
            Some((name, _)) => format!("{name}_exporter_build_info{{…}} 1\n"),
            None => format!("{line}\n"),
        })
        .collect();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if golden != text {
        let at = golden.lines().zip(text.lines()).position(|(was, is)| was != is);
        let line = at.unwrap_or_else(|| golden.lines().count().min(text.lines().count()));
        panic!(
            "{file}, line {}:\n  file: {:?}\n  now:  {:?}\nif intended: UPDATE=1 cargo test --test golden",
            line + 1,
            golden.lines().nth(line),
            text.lines().nth(line)
        );
    }
}
