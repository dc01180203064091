//! The rule files in alerts/, parsed as Prometheus parses them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::{Deserialize, Serialize};

/// One file: groups of rules.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its groups; the rules of a group are evaluated in order.
    pub groups: Vec<Group>,
}

/// A rule group.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Unique in its file.
    pub name: String,
    /// Evaluation interval, if not Prometheus's global one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Its rules, in order of evaluation.
    pub rules: Vec<Rule>,
}

/// A recording rule or an alerting rule.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The alert's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// The name of the recorded series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The expression.
    pub expr: String,
    /// How long the condition has to hold before the alert fires.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// How long the alert keeps firing after the condition has cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<String>,
    /// Labels that the rule adds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Summary, description and runbook URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// All rule files; files that record series precede files that use them.
pub fn files() -> Vec<File> {
    paths().iter().map(|path| read(path)).collect()
}

/// Paths of the rule files.
pub fn paths() -> Vec<PathBuf> {
    FILES.iter().map(|name| directory().join(name)).filter(|path| path.exists()).collect()
}

/// The directory of the rules.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts")
}

/// The rules with every duration divided by 30, so that a test does not take an hour.
pub fn sped_up(rules: &str) -> String {
    let half = Regex::new(r"\b(\d+)m30s\b").expect("an expression");
    let rules = half.replace_all(rules, |found: &regex::Captures<'_>| {
        format!("{}s", 2 * found[1].parse::<u64>().expect("a number") + 1)
    });
    let rules = &*rules;
    let duration = Regex::new(r"\b(\d+)([mhd])\b").expect("an expression");
    let shorter = duration.replace_all(rules, |found: &regex::Captures<'_>| {
        let unit = match &found[2] {
            "m" => 60,
            "h" => 3600,
            _ => 86400,
        };
        format!("{}s", found[1].parse::<u64>().expect("a number") * unit / 30)
    });
    shorter.into_owned()
}

/// All alerting rules, each with its group.
pub fn alerts() -> Vec<(Group, Rule)> {
    let groups = files().into_iter().flat_map(|file| file.groups);
    let pairs = groups.flat_map(|group| {
        let rules = group.rules.clone();
        rules.into_iter().map(move |rule| (group.clone(), rule))
    });
    pairs.filter(|(_, rule)| rule.alert.is_some()).collect()
}

/// The tests of the rules, by file.
pub fn tests() -> Vec<(PathBuf, Tests)> {
    let entries = fs::read_dir(directory().join("tests")).expect("a directory of tests");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// A promtool test file: the fields that are used here.
#[derive(Debug, Deserialize)]
pub struct Tests {
    /// Its cases.
    pub tests: Vec<Test>,
}

/// One case: input series and expected results.
#[derive(Debug, Deserialize)]
pub struct Test {
    /// Its name, a sentence.
    pub name: String,
    /// The input series.
    pub input_series: Vec<Input>,
    /// Expected alerts.
    #[serde(default)]
    pub alert_rule_test: Vec<AlertTest>,
    /// Expected query results.
    #[serde(default)]
    pub promql_expr_test: Vec<QueryTest>,
}

/// One series.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// Its name and labels.
    pub series: String,
}

/// The alerts with one name that fire at a time.
#[derive(Debug, Deserialize)]
pub struct AlertTest {
    /// The alert's name.
    pub alertname: String,
    /// The alerts that fire.
    pub exp_alerts: Vec<Alert>,
}

/// A firing alert.
#[derive(Debug, Deserialize)]
pub struct Alert {
    /// Its labels.
    pub exp_labels: BTreeMap<String, String>,
}

/// The result of a query at a time.
#[derive(Debug, Deserialize)]
pub struct QueryTest {
    /// The query.
    pub expr: String,
    /// Its result.
    pub exp_samples: Vec<serde_json::Value>,
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const FILES: [&str; 3] = ["systemd-lists.yml", "systemd-rules.yml", "systemd-alerts.yml"];
