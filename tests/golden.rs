//! Golden files: the scrape response of a fixture host in all formats (protobuf decoded), and the metrics reference, so that review shows
//! every change. `UPDATE=1 cargo test --test golden` rewrites them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use unit_exporter::collector::{COLLECTORS, Profile};
use unit_exporter::metrics::{Format, Kind, MetricsQuery, Per, Reference, RenderState, render};

mod fixture;
#[allow(dead_code, unreachable_pub)]
#[path = "support/protobuf.rs"]
mod protobuf;
#[allow(dead_code, unreachable_pub)]
#[path = "support/samples.rs"]
mod samples;

#[test]
fn fixture_host_renders_the_golden_responses() {
    for (format, file) in [
        (Format::Text, "tests/golden/metrics.txt"),
        (Format::OpenMetrics, "tests/golden/openmetrics.txt"),
    ] {
        assert_golden(file, &page(format, &everything()));
    }
    assert_golden("tests/golden/protobuf.txt", &protobuf::text(&protobuf_page()));
}

#[test]
fn protobuf_has_the_samples_of_the_text_format() {
    let text = samples::Samples::parse(&page(Format::Text, &everything())).0;
    let protobuf = protobuf::samples(&protobuf_page()).0;
    assert!(text.len() > 500, "{}", text.len());
    assert_eq!(text.len(), protobuf.len());
    for (text, protobuf) in text.iter().zip(&protobuf) {
        assert_eq!(text, protobuf);
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
    let small = MetricsQuery { max_family_series: 3, ..everything() };
    let remembered = Arc::default();
    let rendered = || {
        let body = render(&fixture::snapshot(), Format::Text, &small, &remembered).unwrap();
        String::from_utf8(body).unwrap()
    };
    let first = rendered();
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
    let second = rendered();
    assert_eq!(dropped(&second), Some("30".to_owned()));
}

#[test]
fn response_over_the_limit_has_a_smaller_profile() {
    let series = |query: &MetricsQuery, dropped: &Arc<RenderState>| {
        let body = render(&fixture::snapshot(), Format::Text, query, dropped).unwrap();
        let body = String::from_utf8(body).unwrap();
        body.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    let with = |profile: Profile, max_series: usize| MetricsQuery {
        metrics: profile.into(),
        max_series,
        max_family_series: usize::MAX,
        ..everything()
    };
    let sizes = [Profile::Full, Profile::Default, Profile::Fleet, Profile::Minimal]
        .map(|profile| series(&with(profile, usize::MAX), &Arc::default()).len());
    assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
    for (limit, expected) in [
        (sizes[0], Profile::Full),
        (sizes[0] - 60, Profile::Default),
        (sizes[1] - 60, Profile::Fleet),
    ] {
        let dropped = Arc::default();
        let limited = series(&with(Profile::Full, limit), &dropped);
        let expected = series(&with(expected, usize::MAX), &dropped);
        let is_of_a_unit = |line: &&String| line.starts_with("systemd_");
        let [limited, expected]: [Vec<_>; 2] =
            [&limited, &expected].map(|lines| lines.iter().filter(is_of_a_unit).collect());
        assert_eq!(limited, expected, "{limit}");
    }
    // below the smallest profile, the first families remain
    let cut = series(&with(Profile::Full, 50), &Arc::default());
    let of_units = cut.iter().filter(|line| line.starts_with("systemd_"));
    assert_eq!(of_units.count(), 50);
    let dropped = cut.iter().filter(|line| line.starts_with("unit_exporter_series_dropped_total"));
    // the limit applies to the metrics about the response, too
    assert!(dropped.count() > 20);
}

fn page(format: Format, selected: &MetricsQuery) -> String {
    let remembered = Arc::new(RenderState::default());
    let body = render(&fixture::snapshot(), format, selected, &remembered).unwrap();
    String::from_utf8(body).unwrap()
}

fn protobuf_page() -> Vec<u8> {
    render(&fixture::snapshot(), Format::Protobuf, &everything(), &Arc::default()).unwrap()
}

/// The series limit is one below the number of unit states, so that the response has a dropped series too.
fn everything() -> MetricsQuery {
    MetricsQuery {
        without: vec![],
        names: vec![],
        metrics: Profile::Full.into(),
        max_series: usize::MAX,
        max_family_series: 40,
    }
}

#[track_caller]
fn assert_golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    // version, revision and compiler differ between builds
    let text: String = text
        .lines()
        .map(|line| match line.split_once("_exporter_build_info{") {
            Some((name, _)) => format!("{name}_exporter_build_info{{…}} 1\n"),
            None if line.contains("rustc=") => "  …\n".to_owned(),
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
