//! The metrics of each profile, compared with the metrics that rules, dashboards and runbooks read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use promql_parser::parser::parse;
use serde_json::Value;

use unit_exporter::collector::Profile;
use unit_exporter::metrics::{Kind, MetricReference, Reference};

use super::promql::{each, rules, selector};
use super::texts::{self, up_to_date};

#[test]
fn minimal_profile_has_metrics_of_most_alerts() {
    for (group, rule) in rules::alerts() {
        if ["systemd-limits", "systemd-listeners"].contains(&&*group.name) {
            continue;
        }
        for name in metrics_of(&rule.expr) {
            let is_there = in_profile(&name, Profile::Minimal);
            assert!(is_there || DISPENSABLE.contains(&&*name), "{:?} needs {name}", rule.alert);
        }
    }
}

#[test]
fn fleet_profile_has_metrics_of_every_rule() {
    for rule in rules::files().iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules) {
        for name in metrics_of(&rule.expr) {
            assert!(in_profile(&name, Profile::Fleet), "{rule:?} needs {name}");
        }
    }
}

#[test]
fn default_metrics_are_inherited_or_read() {
    let read = read_by_rules_dashboards_and_runbooks();
    for row in Reference::collect().rows {
        let has_reason = row.is_inherited()
            || PURPOSE.contains(&row.name)
            || series_names(&row).any(|name| read.contains(&name));
        assert!(row.profile == Profile::Full || has_reason, "{} is read by nothing", row.name);
    }
}

#[test]
fn metrics_of_default_collectors_that_are_read_are_default() {
    let read = read_by_rules_dashboards_and_runbooks();
    for row in Reference::collect().rows {
        let is_read = series_names(&row).any(|name| read.contains(&name));
        let of_optional_collector =
            OPTIONAL.contains(&row.subject.collector) || row.name == "systemd_unit_processes";
        let is_default = row.profile <= Profile::Default;
        assert!(is_default || of_optional_collector || !is_read, "{} is read", row.name);
    }
}

#[test]
fn keep_yml_lists_the_metrics_that_are_read() {
    let declared = Reference::collect().rows;
    let declared: BTreeSet<String> = declared.iter().flat_map(series_names).collect();
    let read: Vec<String> =
        read_by_rules_dashboards_and_runbooks().intersection(&declared).cloned().collect();
    assert!(read.len() > 100);
    let rule = format!(
        "- source_labels: [__name__]\n  regex: up|scrape_.+|{}\n  action: keep\n",
        read.join("|")
    );
    up_to_date(&rules::directory().join("keep.yml"), &format!("{KEEP_HEADER}{rule}"));
}

#[test]
fn fleet_guide_lists_the_panels_without_data() {
    let mut beyond = BTreeSet::new();
    for row in Reference::collect().rows {
        if row.profile > Profile::Fleet {
            beyond.extend(series_names(&row));
        }
    }
    let mut rows = BTreeSet::new();
    for dashboard in dashboards() {
        let title = dashboard["title"].as_str().unwrap().replace("systemd / ", "");
        let mut panels = Vec::new();
        panels_reading(&beyond, &dashboard, &mut panels);
        if !panels.is_empty() {
            rows.insert(format!("| {title} | {} |\n", panels.join(", ")));
        }
    }
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleet.md");
    let text = fs::read_to_string(&guide).unwrap();
    let (before, after) = text.split_once(EMPTY_PANELS).expect("the table of panels");
    let end = after.find("\n\n").expect("a paragraph after the table");
    let rows: String = rows.into_iter().collect();
    let expected = format!("{before}{EMPTY_PANELS}{rows}{}", &after[end + 1..]);
    up_to_date(&guide, &expected);
}

/// The titles of the panels of which every query reads one of these series.
fn panels_reading(series: &BTreeSet<String>, panel: &Value, titles: &mut Vec<String>) {
    let queries = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let reads = |query: &Value| {
        let mut names = BTreeSet::new();
        words(query, &mut names);
        !names.is_disjoint(series)
    };
    if !queries.is_empty() && queries.iter().all(reads) {
        titles.push(panel["title"].as_str().unwrap().to_owned());
    }
    for panel in panel["panels"].as_array().into_iter().flatten() {
        panels_reading(series, panel, titles);
    }
}

/// The committed dashboards.
fn dashboards() -> impl Iterator<Item = Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
}

/// Whether a profile has a metric; `up` is Prometheus's own.
fn in_profile(name: &str, profile: Profile) -> bool {
    let rows = Reference::collect().rows;
    let row = rows.iter().find(|row| series_names(row).any(|series| series == name));
    name == "up" || row.is_some_and(|row| row.profile <= profile)
}

/// The names that the series of a metric have.
fn series_names(row: &MetricReference) -> impl Iterator<Item = String> {
    let suffixes: &[&str] = match row.kind {
        Kind::Histogram => &["_bucket", "_count", "_sum"],
        _ => &[""],
    };
    suffixes.iter().map(|suffix| format!("{}{suffix}", row.name))
}

/// The exporter's metrics that an expression reads, also through recorded series.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let rules =
        rules::files().into_iter().flat_map(|file| file.groups).flat_map(|group| group.rules);
    let recorded: BTreeMap<String, String> =
        rules.filter_map(|rule| Some((rule.record?, rule.expr))).collect();
    let mut expressions = vec![expression.to_owned()];
    let mut names = BTreeSet::new();
    while let Some(expression) = expressions.pop() {
        let parsed = parse(&expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        each(&parsed, &mut |part| {
            let name = selector(part).and_then(|selector| selector.name.clone());
            let Some(name) = name else { return };
            match recorded.get(&name) {
                Some(expression) => expressions.push(expression.clone()),
                None => drop(names.insert(name)),
            }
        });
    }
    names
}

/// The names in all expressions of alerts, rules, panels, variables, annotations and runbooks.
fn read_by_rules_dashboards_and_runbooks() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rule in rules::files().iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules) {
        names.extend(metrics_of(&rule.expr));
    }
    dashboards().for_each(|dashboard| words(&dashboard, &mut names));
    for (_, runbook) in texts::runbooks() {
        words(&Value::String(runbook), &mut names);
    }
    names
}

/// All words in the strings of a document: metric names contain an underscore, as no other text does.
fn words(value: &Value, words_found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let words =
                text.split(|character: char| !(character.is_alphanumeric() || character == '_'));
            words_found.extend(words.map(str::to_owned));
        }
        Value::Array(values) => values.iter().for_each(|value| words(value, words_found)),
        Value::Object(values) => values.values().for_each(|value| words(value, words_found)),
        _ => (),
    }
}

/// The head of the table in docs/fleet.md.
const EMPTY_PANELS: &str =
    "| dashboard | panels without data in the profile `fleet` |\n| --- | --- |\n";

const KEEP_HEADER: &str = "\
# The metrics of unit-exporter that the rules in alerts/ and the dashboards read, for an agent that stores nothing else:
# in a scrape job below metric_relabel_configs, or below write_relabel_configs of a remote_write that has no other jobs.
# Generated: UPDATE=1 cargo test --test alerts
metric_relabel_configs:
";

/// Metrics without which an alert still works: a second condition for the same, or a guard against firing early.
const DISPENSABLE: [&str; 6] = [
    "up",
    "systemd_boot_time_seconds",
    "unit_exporter_truncated_units_total",
    "unit_exporter_truncated_listeners_total",
    "systemd_unit_kernel_oom_kills_total",
    "systemd_unit_memory_events_total",
];

/// Resources of each service's main process, one of the exporter's purposes; the names that Prometheus's client
/// libraries export for every program; the sum of units that are not exported one by one.
const PURPOSE: [&str; 6] = [
    "process_threads",
    "process_virtual_memory_bytes",
    "systemd_process_cpu_seconds_total",
    "systemd_process_open_fds",
    "systemd_process_resident_memory_bytes",
    "systemd_unit_instances",
];

/// Collectors that are off by default (and the processes by state, which `--collector.process` adds), although panels show their metrics where they are on.
const OPTIONAL: [&str; 4] = ["conditions", "dependencies", "security", "unit-files"];
