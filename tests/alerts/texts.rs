//! What a reader is told: annotations, runbooks, the table of alerts, and the same rules as JSON.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::promql::{Vocabulary, rules};

#[test]
fn every_alert_says_what_it_is_what_to_read_and_where_to_look() {
    let vocabulary = Vocabulary::of_the_project();
    let mut names = BTreeSet::new();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.as_deref().unwrap();
        let label_names: Vec<&str> = rule.labels.keys().map(String::as_str).collect();
        assert_eq!(label_names, ["severity"], "{name}");
        let severity = &*rule.labels["severity"];
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        assert!(names.insert((name.to_owned(), severity.to_owned())), "{name} is there twice");
        assert!(name.starts_with("Systemd"), "{name}");

        let keys: Vec<&str> = rule.annotations.keys().map(String::as_str).collect();
        assert_eq!(keys, ["dashboard_url", "description", "runbook_url", "summary"], "{name}");
        assert!(!rule.annotations["summary"].ends_with('.'), "{name}: a headline");
        assert!(!rule.annotations["summary"].contains("$value"), "{name}: a headline that stays");
        assert!(rule.annotations["description"].ends_with('.'), "{name}: sentences");

        let there = vocabulary.labels_of(&rule.expr);
        for text in rule.annotations.values() {
            for mention in text.split("$labels.").skip(1) {
                let end = mention.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let label = &mention[..end.unwrap_or(mention.len())];
                assert!(there.contains(label), "{name}: no label {label} in {there:?}");
            }
        }
    }
}

#[test]
fn every_runbook_is_where_its_alert_says_and_has_the_four_parts() {
    let mut named = BTreeSet::new();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.as_deref().unwrap();
        assert_eq!(rule.annotations["runbook_url"], format!("{BASE}docs/runbooks/{name}.md"));
        let path = root().join(format!("docs/runbooks/{name}.md"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {name}");
        let expected = [&*title, "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"];
        assert_eq!(headings, expected, "{name}");
        let diagnosis = text.split("## Diagnosis").nth(1).unwrap().split("## ").next().unwrap();
        assert!(diagnosis.contains("```"), "{name}: no command to type");
        assert!(text.lines().count() < 80, "{name}: too long for the night");
        named.insert(path);
    }
    let entries = fs::read_dir(root().join("docs/runbooks")).unwrap();
    let there: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(there, named, "a runbook without an alert");
}

#[test]
fn every_dashboard_that_an_alert_leads_to_is_one_of_ours() {
    for (_, rule) in rules::alerts() {
        let url = &rule.annotations["dashboard_url"];
        let path = url.strip_prefix("/d/").expect("a path in Grafana");
        let uid = path.split('?').next().unwrap();
        assert!(DASHBOARDS.contains(&uid), "{url}");
        let file = root().join("dashboards").join(format!("{uid}.json"));
        if file.parent().is_some_and(Path::exists) {
            let dashboard = fs::read_to_string(&file).unwrap();
            let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
            assert_eq!(dashboard["uid"], uid);
        }
        for variable in path.split(['?', '&']).skip(1) {
            let name = variable.split('=').next().unwrap();
            assert!(["var-job", "var-instance", "var-name"].contains(&name), "{url}");
            assert!(variable.ends_with(" | urlquery }}"), "{url}: not escaped");
        }
    }
}

#[test]
fn the_readme_of_alerts_has_every_alert_its_severity_and_its_time() {
    let text = fs::read_to_string(root().join("alerts/README.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| [Systemd")).collect();
    let mut expected = Vec::new();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.as_deref().unwrap();
        let hold = rule.hold.as_deref().unwrap_or("at once");
        expected.push((
            format!("| [{name}](../docs/runbooks/{name}.md) | {} |", rule.labels["severity"]),
            format!("| {hold} |"),
        ));
    }
    assert_eq!(rows.len(), expected.len());
    for (row, (start, end)) in rows.iter().zip(&expected) {
        assert!(row.starts_with(start) && row.ends_with(end), "{row}\nought to be {start} … {end}");
    }
}

/// For mixins. `UPDATE=1 cargo test --test alerts` rewrites it.
#[test]
fn the_rules_are_the_same_as_json() {
    let files = rules::files();
    let (alerting, recording): (Vec<_>, Vec<_>) = files
        .into_iter()
        .flat_map(|file| file.groups)
        .partition(|group| group.rules.iter().all(|rule| rule.alert.is_some()));
    for (name, groups) in [("alerts", alerting), ("rules", recording)] {
        let path = rules::directory().join(format!("mixin/{name}.json"));
        let json = serde_json::to_string_pretty(&rules::File { groups }).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &json).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == json, "{}: UPDATE=1 cargo test --test alerts", path.display());
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the files of a published version can be read, by the name of the package.
const BASE: &str = concat!("https://docs.rs/crate/", env!("CARGO_PKG_NAME"), "/latest/source/");
const DASHBOARDS: [&str; 8] = [
    "systemd-fleet",
    "systemd-host",
    "systemd-unit",
    "systemd-crashes",
    "systemd-listeners",
    "systemd-timers",
    "systemd-boot",
    "systemd-exporter",
];
