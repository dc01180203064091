//! The rules in a real Prometheus that scrapes a real systemd with failing units.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::promql::rules;
use super::support::{Machine, Prometheus, eventually};

#[test]
fn failures_alert_and_nothing_else_does_behind_keep_yml() {
    let keep = fs::read_to_string(rules::directory().join("keep.yml")).unwrap();
    let relabeling = keep.lines().map(|line| format!("  {line}\n")).collect::<String>();
    failures_alert_and_nothing_else_does("default", &relabeling);
}

#[test]
fn failures_alert_and_nothing_else_does_in_fleet_profile() {
    failures_alert_and_nothing_else_does("fleet", "");
}

/// Runs failing units, and Prometheus with all rules and a scrape job with these additional lines.
fn failures_alert_and_nothing_else_does(profile: &str, scrape_settings: &str) {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let machine = Machine::options().bind(examples, "/opt/examples").boot();
    machine.ok(&["systemctl", "link", "/opt/examples/services/crashing.service"]);
    machine.units(&[
        ("bad.service", "[Service]\nExecStart=/bin/false\n"),
        ("hopeless.service", "[Service]\nExecStart=/bin/false\nRestart=on-failure\n"),
        // active, and does not listen
        ("laravel-reverb.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
        ("well.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
    ]);
    let exporter = machine.exporter(&[
        &format!("--profile={profile}"),
        "--expect-unit=absent.service",
        "--expect-listener=laravel-reverb.service:tcp:6001",
    ]);
    for path in rules::paths() {
        let name = path.file_name().unwrap().to_str().unwrap();
        machine.write(
            &format!("/run/rules/{name}"),
            rules::sped_up(&fs::read_to_string(&path).unwrap()),
        );
    }
    let prometheus = machine.prometheus(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [/run/rules/*.yml]\n\
         scrape_configs:\n- job_name: hosts\n  static_configs:\n  - targets: ['127.0.0.1:{}']\n\
         {scrape_settings}",
        exporter.port()
    ));
    eventually("Prometheus has scraped", || prometheus.query("unit_exporter_build_info").pop());

    machine.exec(&["systemctl", "start", "crashing", "bad", "hopeless", "laravel-reverb", "well"]);
    let start = Instant::now();
    let expected: BTreeSet<(String, String)> = [
        ("SystemdServiceCrashLooping", "crashing.service"),
        ("SystemdServiceStartLimitHit", "hopeless.service"),
        ("SystemdUnitFailed", "bad.service"),
        ("SystemdUnitMissing", "absent.service"),
        ("SystemdListenerMissing", "laravel-reverb.service"),
    ]
    .map(|(alert, unit)| (alert.to_owned(), unit.to_owned()))
    .into();
    let mut seen = BTreeSet::new();
    while !seen.is_superset(&expected) {
        assert!(start.elapsed() < LIMIT, "not all within {LIMIT:?}: {seen:?}");
        for alert in firing(&prometheus) {
            let line = format!("{alert:?} after {:.0?}", start.elapsed());
            if seen.insert(alert) {
                println!("{line}");
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(seen, expected, "something else alerts too");

    let groups = prometheus.api("rules", &[])["groups"].as_array().unwrap().clone();
    let mut evaluated = 0;
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert_eq!(rule["lastError"].as_str().unwrap_or(""), "", "{rule:#}");
        evaluated += 1;
    }
    let written = rules::files()
        .iter()
        .flat_map(|file| &file.groups)
        .map(|group| group.rules.len())
        .sum::<usize>();
    assert_eq!(evaluated, written);
    println!("{evaluated} rules evaluated, none with an error");
}

/// Without severity info: those alerts may come and go.
fn firing(prometheus: &Prometheus<'_>) -> Vec<(String, String)> {
    let alerts = prometheus.api("alerts", &[])["alerts"].as_array().cloned().unwrap_or_default();
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    let labels = firing.map(|alert| &alert["labels"]).filter(|labels| labels["severity"] != "info");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels.map(|labels| (text(&labels["alertname"]), text(&labels["name"]))).collect()
}

const LIMIT: Duration = Duration::from_secs(120);
