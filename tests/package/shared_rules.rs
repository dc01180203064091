//! The alerts for awesome-prometheus-alerts: in its format, and accepted by promtool.

use regex::Regex;
use serde_json::{Value, json};
use unit_exporter::metrics::Reference;

use super::*;

#[test]
fn promtool_accepts_the_rules_for_awesome_prometheus_alerts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/awesome-prometheus-alerts.yml");
    let text = fs::read_to_string(path).expect("the rules");
    let entry: Value = serde_saphyr::from_str(&text).expect("YAML");
    let entries = entry["rules"].as_array().expect("a list");
    let rules: Vec<Value> = entries
        .iter()
        .map(|rule| {
            let keys: BTreeSet<&str> =
                rule.as_object().expect("a map").keys().map(String::as_str).collect();
            let missing = ["name", "description", "query", "severity", "for"];
            assert!(missing.iter().all(|key| keys.contains(key)), "{rule}");
            json!({
                "alert": rule["name"].as_str().expect("a name").replace(' ', ""),
                "expr": rule["query"],
                "for": rule["for"],
                "labels": {"severity": rule["severity"]},
                "annotations": {"description": rule["description"]},
            })
        })
        .collect();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rules.yml");
    // JSON is YAML
    fs::write(&file, json!({"groups": [{"name": "systemd", "rules": rules}]}).to_string())
        .expect("a file");
    succeeds(Command::new("promtool").args(["check", "rules"]).arg(&file));

    let reference = Reference::collect();
    let names: BTreeSet<&str> = reference.rows.iter().map(|row| row.name).collect();
    let metric = Regex::new(r"\bsystemd_\w+").expect("a pattern");
    for entry in entries {
        for name in metric.find_iter(entry["query"].as_str().expect("a query")) {
            assert!(names.contains(name.as_str()), "{}", name.as_str());
        }
    }
}
