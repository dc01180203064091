//! The rule files of alerts/, as Prometheus reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One file: groups of rules.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its groups; the rules of each are evaluated in their order.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated together.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Unique in its file.
    pub name: String,
    /// How often, if not as often as Prometheus is told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// One rule: it records a series, or alerts.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The alert's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// The recorded series' name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// What is asked.
    pub expr: String,
    /// How long it has to be so before the alert fires.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// How long the alert goes on when it is no more so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<String>,
    /// Labels that it adds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What a reader is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Every rule file, those first whose series the others use.
pub fn files() -> Vec<File> {
    paths().iter().map(|path| read(path)).collect()
}

/// Where they are.
pub fn paths() -> Vec<PathBuf> {
    FILES.iter().map(|name| directory().join(name)).filter(|path| path.exists()).collect()
}

/// The folder of rules.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts")
}

/// Every alert, with the group it is in.
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
    let entries = fs::read_dir(directory().join("tests")).expect("a folder of tests");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// A file of tests for promtool, as far as it is looked at here.
#[derive(Debug, Deserialize)]
pub struct Tests {
    /// Its cases.
    pub tests: Vec<Test>,
}

/// One case: series, and what comes of them.
#[derive(Debug, Deserialize)]
pub struct Test {
    /// A sentence.
    pub name: String,
    /// What is scraped.
    pub input_series: Vec<Input>,
    /// Alerts at a time.
    #[serde(default)]
    pub alert_rule_test: Vec<AlertTest>,
    /// Queries at a time.
    #[serde(default)]
    pub promql_expr_test: Vec<QueryTest>,
}

/// One series.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// Its name and labels.
    pub series: String,
}

/// Which alerts of a name fire at a time.
#[derive(Debug, Deserialize)]
pub struct AlertTest {
    /// The alert's name.
    pub alertname: String,
    /// Those that fire.
    pub exp_alerts: Vec<Alert>,
}

/// An alert that fires.
#[derive(Debug, Deserialize)]
pub struct Alert {
    /// With these labels.
    pub exp_labels: BTreeMap<String, String>,
}

/// What a query answers at a time.
#[derive(Debug, Deserialize)]
pub struct QueryTest {
    /// The query.
    pub expr: String,
    /// Its answer.
    pub exp_samples: Vec<serde_json::Value>,
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const FILES: [&str; 3] = ["systemd-lists.yml", "systemd-rules.yml", "systemd-alerts.yml"];
