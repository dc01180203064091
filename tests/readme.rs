//! What a user copies from README.md: the first alert, and the names of metrics.
#![allow(clippy::disallowed_types)]

use std::process::Command;

#[test]
fn prometheus_accepts_the_first_alert() {
    let alert = README
        .split_once("## The first alert")
        .and_then(|(_, rest)| rest.split("```").nth(1))
        .expect("a block");
    let rules = alert.strip_prefix("yaml\n").expect("YAML");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rules.yml");
    std::fs::write(&file, rules).expect("a file");
    let output = Command::new("promtool").args(["check", "rules"]).arg(&file).output();
    let output = output.expect("promtool is needed: apt-get install prometheus");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("2 rules found"), "{output:?}");
}

#[test]
fn every_metric_that_the_readme_names_exists() {
    let words =
        README.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let names: Vec<&str> =
        words.filter(|word| word.starts_with("systemd_") && *word != "systemd_exporter").collect();
    assert!(names.len() > 5);
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    let reference = std::fs::read_to_string(reference).expect("docs/METRICS.md");
    let unknown: Vec<&str> = names.into_iter().filter(|name| !reference.contains(name)).collect();
    assert!(unknown.is_empty(), "not in docs/METRICS.md: {unknown:?}");
}

const README: &str = include_str!("../README.md");
