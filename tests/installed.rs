//! What a user installs and copies: the unit file, and the first alert of README.md.
#![allow(clippy::disallowed_types)]

mod support;

use std::process::Command;

use support::{EXPORTER_INSIDE, machine};

#[test]
fn the_shipped_unit_has_all_the_rights_it_needs() {
    machine().ok(&["test", "-x", EXPORTER_INSIDE]);
    machine().write("etc/sysusers.d/unit-exporter.conf", SYSUSERS);
    machine().ok(&["systemd-sysusers"]);
    machine().unit("unit-exporter.service", UNIT);
    let verdict = machine().exec(&["systemd-analyze", "verify", "unit-exporter.service"]);
    assert_eq!(String::from_utf8_lossy(&verdict.stderr), "");
    machine().ok(&["systemctl", "start", "unit-exporter"]);
    let exporter = machine().exporter_of("unit-exporter.service", 9558);
    let page = exporter.samples();
    let collectors: Vec<_> = page.all("systemd_exporter_collector_success", &[]).collect();
    assert!(!collectors.is_empty());
    assert!(
        collectors.iter().all(|collector| collector.value == 1.0),
        "{collectors:#?}\n{}",
        exporter.log()
    );
    let itself = [("name", "unit-exporter.service"), ("state", "active")];
    assert_eq!(page.value("systemd_unit_state", &itself), Some(1.0));
    let owner = machine().ok(&["ps", "--no-headers", "-o", "user:32=", "-C", "unit-exporter"]);
    assert_eq!(owner.trim(), "unit-exporter");
}

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
const UNIT: &str = include_str!("../systemd/system/unit-exporter.service");
const SYSUSERS: &str = include_str!("../systemd/sysusers.d/unit-exporter.conf");
