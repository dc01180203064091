//! Annotations, runbooks, the table of alerts in README.md, and the mixin's JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::promql::{Vocabulary, rules};

#[test]
fn alerts_have_severity_and_four_annotations() {
    let mut names = BTreeSet::new();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.as_deref().unwrap();
        let label_names: Vec<&str> = rule.labels.keys().map(String::as_str).collect();
        assert_eq!(label_names, ["severity"], "{name}");
        let severity = &*rule.labels["severity"];
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        assert!(names.insert((name.to_owned(), severity.to_owned())), "{name} is there twice");
        assert!(name.starts_with("Systemd") || name.starts_with("UnitExporter"), "{name}");

        let keys: Vec<&str> = rule.annotations.keys().map(String::as_str).collect();
        assert_eq!(keys, ["dashboard_url", "description", "runbook_url", "summary"], "{name}");
    }
}

#[test]
fn annotations_use_only_labels_of_the_alert() {
    let vocabulary = Vocabulary::of_the_project();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.as_deref().unwrap();
        let labels = vocabulary.labels_of(&rule.expr);
        for text in rule.annotations.values() {
            for mention in text.split("$labels.").skip(1) {
                let end = mention.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let label = &mention[..end.unwrap_or(mention.len())];
                assert!(labels.contains(label), "{name}: no label {label} in {labels:?}");
            }
        }
    }
}

/// Alertmanager groups by alert name: the whole group needs the same summary.
#[test]
fn summary_is_one_constant_sentence() {
    let mut summaries = BTreeMap::new();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.unwrap();
        let summary = rule.annotations["summary"].clone();
        assert!(!summary.contains("{{"), "{name}: {summary}");
        assert!(is_sentence(&summary) && !summary.contains(". "), "{name}: {summary}");
        let first = summaries.entry(name.clone()).or_insert_with(|| summary.clone());
        assert_eq!(*first, summary, "{name}: two summaries");
    }
}

#[test]
fn description_names_unit_and_host() {
    let vocabulary = Vocabulary::of_the_project();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.as_deref().unwrap();
        let description = &rule.annotations["description"];
        assert!(is_sentence(description), "{name}: {description}");
        let first = description.split(' ').next().unwrap();
        assert!(!PRONOUNS.contains(&first), "{name}: {description}");
        let labels = vocabulary.labels_of(&rule.expr);
        for label in ["instance", "name"] {
            let named = description.contains(&format!("{{{{ $labels.{label} }}}}"));
            assert_eq!(named, labels.contains(label), "{name}: {label}: {description}");
        }
    }
}

#[test]
fn every_runbook_has_the_same_sections() {
    let mut read = BTreeSet::new();
    for name in severities().keys() {
        let path = root().join(format!("docs/runbooks/{name}.md"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {name}");
        let expected: Vec<String> =
            [title].into_iter().chain(SECTIONS.map(|section| format!("## {section}"))).collect();
        assert_eq!(headings, expected, "{name}");
        assert!(section(&text, "Diagnosis").contains("```"), "{name}: no command or query");
        assert!(section(&text, "Mitigation").starts_with("1. "), "{name}: no numbered steps");
        assert!(text.lines().count() < 80, "{name}: too long for the night");
        read.insert(path);
    }
    let entries = fs::read_dir(root().join("docs/runbooks")).unwrap();
    let there: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(there, read, "a runbook without an alert");
}

#[test]
fn placeholders_are_explained_alike_in_all_runbooks() {
    let mut explanations = BTreeSet::new();
    let mut of_users = BTreeSet::new();
    for (name, text) in runbooks() {
        let line = text.lines().nth(2).unwrap().to_owned();
        assert!(line.starts_with("> `HOST` is "), "{name}: {line}");
        for placeholder in ["INSTANCE", "UNIT", "PORT", "JOB"] {
            assert!(line.contains(&format!("`{placeholder}`")), "{name}: {placeholder}");
        }
        explanations.insert(line);
        of_users
            .extend(text.lines().filter(|line| line.contains("`manager_user`")).map(str::to_owned));
        // instance contains the port, the name of the host does not
        assert!(!text.contains("instance=\"HOST\""), "{name}");
    }
    assert_eq!(explanations.len(), 1, "{explanations:#?}");
    assert_eq!(of_users.len(), 1, "{of_users:#?}");
}

#[test]
fn runbooks_have_the_severity_and_time_of_their_alert() {
    let severities = severities();
    let stated = Regex::new("(?m)^(?:- )?`([a-z]+)`: ").unwrap();
    for (name, text) in runbooks() {
        let stated: BTreeSet<String> = stated
            .captures_iter(section(&text, "Severity"))
            .map(|found| found[1].to_owned())
            .collect();
        assert_eq!(stated, severities[&name], "{name}");
    }
    for (_, rule) in rules::alerts() {
        let (Some(name), Some(hold)) = (rule.alert, rule.hold) else { continue };
        let (number, unit) = hold.split_at(hold.len() - 1);
        let unit = [("m", "minutes"), ("h", "hours"), ("d", "day")]
            .into_iter()
            .find_map(|(short, long)| (short == unit).then_some(long));
        let time = format!("{number} {}", unit.unwrap());
        let text = runbook(&name);
        assert!(section(&text, "Meaning").contains(&time), "{name}: {time}");
    }
}

#[test]
fn runbooks_silence_the_alert_by_its_labels() {
    let vocabulary = Vocabulary::of_the_project();
    for (_, rule) in rules::alerts() {
        let name = rule.alert.unwrap();
        let text = runbook(&name);
        let command = silence(&text);
        let matchers: Vec<(&str, &str)> = command
            .split(' ')
            .filter(|word| !word.starts_with("--"))
            .filter_map(|word| word.split_once('='))
            .collect();
        assert_eq!(matchers[0], ("alertname", &*name));
        let matched: BTreeSet<&str> = matchers[1..].iter().map(|(label, _)| *label).collect();
        let labels = vocabulary.labels_of(&rule.expr);
        assert!(matched.iter().all(|label| labels.contains(*label)), "{name}: {matched:?}");
        for label in ["instance", "name"] {
            assert_eq!(matched.contains(label), labels.contains(label), "{name}: {matched:?}");
        }
    }
}

#[test]
fn runbooks_and_readme_name_only_existing_alerts_and_files() {
    let alerts = severities();
    let alert = Regex::new(r"\b(?:Systemd|UnitExporter)[A-Z][a-z]\w+").unwrap();
    let link = Regex::new(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)").unwrap();
    let readme = fs::read_to_string(root().join("alerts/README.md")).unwrap();
    let runbooks = runbooks().into_iter().map(|(_, text)| ("docs/runbooks", text));
    for (folder, text) in runbooks.chain([("alerts", readme)]) {
        for found in alert.find_iter(&text) {
            assert!(alerts.contains_key(found.as_str()), "{folder}: {}", found.as_str());
        }
        for found in link.captures_iter(&text) {
            assert!(root().join(folder).join(&found[1]).exists(), "{folder}: {}", &found[1]);
        }
    }
}

#[test]
fn every_dashboard_url_leads_to_a_dashboard_of_ours() {
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
fn readme_has_every_alert_with_severity_and_time() {
    let text = fs::read_to_string(root().join("alerts/README.md")).unwrap();
    let rows: Vec<&str> =
        text.lines().filter(|line| line.contains("](../docs/runbooks/")).collect();
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
        assert!(row.starts_with(start) && row.ends_with(end), "{row}\nexpected: {start} … {end}");
    }
}

/// `UPDATE=1 cargo test --test alerts` writes the URLs of runbooks, from `runbookURLPattern` in
/// mixin.libsonnet, into the rules and their tests, and the rules as JSON for the mixin.
#[test]
fn urls_and_json_are_up_to_date() {
    let pattern = runbook_url_pattern();
    let tests = rules::tests().into_iter().map(|(path, _)| path);
    for path in rules::paths().into_iter().chain(tests) {
        let text = fs::read_to_string(&path).unwrap();
        up_to_date(&path, &with_runbook_urls(&text, &pattern));
    }
    for (_, rule) in rules::alerts() {
        let url = pattern.replace("%s", rule.alert.as_deref().unwrap());
        assert_eq!(rule.annotations["runbook_url"], url);
    }

    let groups = rules::files().into_iter().flat_map(|file| file.groups);
    let (alerting, recording): (Vec<_>, Vec<_>) =
        groups.partition(|group| group.rules.iter().all(|rule| rule.alert.is_some()));
    for (name, groups) in [("alerts", alerting), ("rules", recording)] {
        let path = rules::directory().join(format!("mixin/{name}.json"));
        let json = serde_json::to_string_pretty(&rules::File { groups }).unwrap() + "\n";
        up_to_date(&path, &json);
    }
}

pub(super) fn up_to_date(path: &Path, expected: &str) {
    let text = fs::read_to_string(path).unwrap_or_default();
    if text != expected && std::env::var_os("UPDATE").is_some() {
        fs::write(path, expected).unwrap();
        return;
    }
    assert!(text == expected, "{}: UPDATE=1 cargo test --test alerts", path.display());
}

fn runbook_url_pattern() -> String {
    let mixin = fs::read_to_string(rules::directory().join("mixin/mixin.libsonnet")).unwrap();
    let value = mixin.split("runbookURLPattern: '").nth(1).expect("runbookURLPattern");
    value.split('\'').next().unwrap().to_owned()
}

/// The text of a rule file, or of tests of rules, in which each `runbook_url` is that of its alert.
fn with_runbook_urls(text: &str, pattern: &str) -> String {
    let mut alert = "";
    let mut lines = String::new();
    for line in text.lines() {
        let item = line.trim_start().trim_start_matches("- ");
        for key in ["alert: ", "alertname: "] {
            alert = item.strip_prefix(key).unwrap_or(alert);
        }
        if item.starts_with("runbook_url: ") {
            let indent = &line[..line.len() - item.len()];
            lines += &format!("{indent}runbook_url: {}\n", pattern.replace("%s", alert));
        } else {
            lines += line;
            lines.push('\n');
        }
    }
    lines
}

/// The severities of each alert.
fn severities() -> BTreeMap<String, BTreeSet<String>> {
    let mut severities: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, rule) in rules::alerts() {
        let severity = rule.labels["severity"].clone();
        severities.entry(rule.alert.unwrap()).or_default().insert(severity);
    }
    severities
}

/// The name and the text of every runbook.
pub(crate) fn runbooks() -> Vec<(String, String)> {
    severities()
        .into_keys()
        .map(|name| {
            let text = runbook(&name);
            (name, text)
        })
        .collect()
}

fn runbook(alert: &str) -> String {
    fs::read_to_string(root().join(format!("docs/runbooks/{alert}.md"))).unwrap()
}

/// The command of a runbook that silences its alert.
pub(crate) fn silence(runbook: &str) -> &str {
    let mut lines = section(runbook, "Silence").lines();
    lines.find_map(|line| line.strip_prefix("$ amtool silence add ")).expect("amtool silence add")
}

fn section<'a>(runbook: &'a str, heading: &str) -> &'a str {
    let (_, after) = runbook.split_once(&format!("\n## {heading}\n")).expect("a section");
    after.split("\n## ").next().unwrap().trim()
}

fn is_sentence(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase()) && text.ends_with('.')
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const SECTIONS: [&str; 7] =
    ["Severity", "Meaning", "Impact", "Diagnosis", "Mitigation", "Verification", "Silence"];
const PRONOUNS: [&str; 10] =
    ["It", "Its", "This", "That", "These", "They", "There", "Their", "What", "Which"];
const DASHBOARDS: [&str; 9] = [
    "systemd-fleet",
    "systemd-host",
    "systemd-unit",
    "systemd-crashes",
    "systemd-workers",
    "systemd-listeners",
    "systemd-timers",
    "systemd-boot",
    "systemd-exporter",
];
