//! The expressions of the rules, and the PromQL in documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use promql_parser::parser::{BinaryExpr, Expr, parse, token};

use super::promql::{Vocabulary, each, rules};

#[test]
fn rules_query_existing_metrics() {
    let vocabulary = Vocabulary::of_the_project();
    let mut asked = 0;
    for rule in rules::files().iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules) {
        let objections = vocabulary.objections(&rule.expr);
        assert!(objections.is_empty(), "{rule:#?}\n{objections:#?}");
        asked += 1;
    }
    println!("{asked} rules");
    assert!(asked > 50, "{asked} rules");
}

#[test]
fn documents_query_existing_metrics() {
    let vocabulary = Vocabulary::of_the_project();
    let mut asked = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```promql\n").skip(1) {
            let block = block.split("```").next().unwrap();
            for expression in block.split("\n\n") {
                let objections = vocabulary.objections(expression);
                assert!(objections.is_empty(), "{}: {expression}\n{objections:#?}", path.display());
                asked += 1;
            }
        }
    }
    println!("{asked} expressions");
    assert!(asked > 30, "{asked} expressions");
}

#[test]
fn rule_tests_use_existing_metrics() {
    let vocabulary = Vocabulary::declared();
    let mut seen = BTreeSet::new();
    for (path, tests) in rules::tests() {
        for test in &tests.tests {
            for series in &test.input_series {
                let Ok(Expr::VectorSelector(selector)) = parse(&series.series) else {
                    panic!("{}: {}", path.display(), series.series)
                };
                let name = selector.name.as_deref().unwrap();
                let known = vocabulary.series(name).unwrap_or_else(|| panic!("{name}"));
                for matcher in &selector.matchers.matchers {
                    assert!(known.may_have(&matcher.name), "{}", series.series);
                }
                seen.insert(name.to_owned());
            }
        }
    }
    assert!(seen.len() > 30, "{seen:?}");
}

#[test]
fn recorded_names_are_level_metric_operation() {
    let vocabulary = Vocabulary::of_the_project();
    for rule in rules::files().iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules) {
        let Some(name) = &rule.record else { continue };
        let parts: Vec<&str> = name.split(':').collect();
        assert_eq!(parts.len(), 3, "{name}: level:metric:operation");
        assert!(parts[1].starts_with("systemd_") && !parts[1].ends_with("_total"), "{name}");
        let level: BTreeSet<String> = parts[0].split('_').map(str::to_owned).collect();
        let labels = vocabulary.labels_of(&rule.expr);
        if level.contains("instance") {
            assert!(labels.is_superset(&level), "{name}: {labels:?}");
        } else {
            assert_eq!(labels, level, "{name}");
        }
    }
}

/// Checks of pint, a linter of Prometheus rules.
#[test]
fn alerts_compare_wait_and_do_not_divide_by_zero() {
    for (group, rule) in rules::alerts() {
        let name = rule.alert.as_deref().unwrap();
        let parsed = parse(&rule.expr).unwrap();
        let (mut compares, mut absent) = (false, false);
        each(&parsed, &mut |part| match part {
            Expr::Binary(binary) => {
                compares |= binary.op.is_comparison_operator() && !binary.return_bool();
                assert!(!divides_by_zero(binary), "{name}: {} may be 0", binary.rhs);
            }
            Expr::Call(call) => absent |= call.func.name == "absent",
            Expr::Aggregate(aggregate) => {
                let fragile = [token::T_TOPK, token::T_BOTTOMK].contains(&aggregate.op.id());
                assert!(!fragile, "{name}: unstable series because of {}", aggregate.op);
            }
            _ => {}
        });
        assert!(compares || absent, "{name} fires always");
        let hold = rule.hold.as_deref().map_or(0, seconds);
        assert!(!absent || hold >= 120, "{name} fires when one scrape fails");
        assert_ne!(rule.hold.as_deref(), Some("0s"), "{name}: leave it out");
        let keep = rule.keep_firing_for.as_deref().map_or(0, seconds);
        assert!(hold + keep > 0, "{name} flaps");
        let interval = group.interval.as_deref().map_or(60, seconds);
        // a recorded value is returned for 5 minutes (lookback delta)
        assert!(interval < 300, "{}", group.name);
    }
}

#[test]
fn one_unit_on_one_host_is_critical_only_if_listed() {
    let vocabulary = Vocabulary::of_the_project();
    for (_, rule) in rules::alerts() {
        if rule.labels["severity"] == "critical" {
            let labels = vocabulary.labels_of(&rule.expr);
            let one_unit = labels.contains("instance") && labels.contains("name");
            let listed = rule.expr.contains("instance_name:systemd_unit_critical:group");
            assert!(!one_unit || listed, "{rule:#?}");
        }
    }
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to_fire() {
    let mut fired: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut quiet: BTreeMap<String, usize> = BTreeMap::new();
    let mut anything = 0;
    for (_, file) in rules::tests() {
        for test in file.tests {
            for case in test.alert_rule_test {
                if case.exp_alerts.is_empty() {
                    *quiet.entry(case.alertname.clone()).or_default() += 1;
                }
                for alert in case.exp_alerts {
                    let severity = alert.exp_labels["severity"].clone();
                    *fired.entry((case.alertname.clone(), severity)).or_default() += 1;
                }
            }
            let none = test.promql_expr_test.iter().filter(|query| {
                query.expr.contains("ALERTS{alertstate=\"firing\"}") && query.exp_samples.is_empty()
            });
            anything += none.count();
        }
    }
    let alerts = rules::alerts();
    for (_, rule) in &alerts {
        let name = rule.alert.clone().unwrap();
        let key = (name.clone(), rule.labels["severity"].clone());
        assert!(fired.contains_key(&key), "no test in which {key:?} fires");
        let quick = rule.hold.is_none();
        assert!(quick || quiet.contains_key(&name), "no test in which {name} does not fire yet");
    }
    println!("{} alerts; {anything} tests in which none fires at all", alerts.len());
    assert!(anything >= 20, "{anything}");
}

#[test]
fn valid_expressions_have_no_objection() {
    let vocabulary = Vocabulary::of_the_project();
    for good in [
        "up == 0",
        "rate(systemd_unit_starts_total{type=\"service\"}[5m]) > 1",
        "sum without (result) (increase(systemd_host_service_failures_total[15m]))",
        "systemd_unit_tasks_current / ignoring (type) (systemd_unit_tasks_max > 0)",
        "systemd_unit_state{state=\"failed\"} * on (job, instance, name) group_left (service_type) systemd_unit_info",
        "count by (unit) (label_replace(systemd_version, \"unit\", \"$1\", \"version\", \"(.+)\"))",
        "job:systemd_hosts:count > 3",
        "histogram_quantile(0.9, sum by (le) (rate(unit_exporter_scrape_duration_seconds_bucket[5m])))",
    ] {
        assert_eq!(vocabulary.objections(good), [""; 0], "{good}");
    }
}

#[test]
fn invalid_expressions_have_one_objection_each() {
    let vocabulary = Vocabulary::of_the_project();
    for (bad, why) in [
        ("rate(", "does not parse"),
        ("systemd_unit_stat", "neither declared nor recorded"),
        ("{name=\"x\"}", "names no metric"),
        ("systemd_unit_state{service=\"x\"}", "has no label service"),
        ("systemd_unit_state{state=~\"failed\"}", "is the same as ="),
        ("systemd_unit_state{state=~\"^(failed|active)\"}", "is anchored anyway"),
        ("systemd_unit_starts_total > 3", "is a counter, and used on its own"),
        ("sum(systemd_unit_starts_total)", "is a counter, and used on its own"),
        ("max_over_time(systemd_unit_starts_total[5m])", "is a counter, and used max_over_time"),
        ("rate(systemd_units[5m])", "is no counter"),
        ("rate(systemd_unit_starts_total[1m])", "over less than"),
        ("sum by (service) (systemd_unit_state)", "no label service"),
        ("sum without (service) (systemd_unit_state)", "no label service"),
        ("systemd_version / on (name) systemd_units", "no label name"),
        ("systemd_version / ignoring (name) systemd_jobs", "no label name"),
        ("sort_by_label(up, \"job\")", "is not in Prometheus 2.42"),
    ] {
        let objections = vocabulary.objections(bad);
        assert!(objections.len() == 1 && objections[0].contains(why), "{bad}: {objections:?}");
    }
}

fn divides_by_zero(binary: &BinaryExpr) -> bool {
    if binary.op.id() != token::T_DIV {
        return false;
    }
    let mut divisor = &*binary.rhs;
    while let Expr::Paren(paren) = divisor {
        divisor = &paren.expr;
    }
    match divisor {
        Expr::Binary(inner) => !inner.op.is_comparison_operator(),
        Expr::Aggregate(aggregate) => aggregate.op.id() != token::T_COUNT,
        Expr::VectorSelector(selector) => {
            !selector.name.as_deref().is_some_and(|name| name.ends_with(":count"))
        }
        Expr::NumberLiteral(_) => false,
        _ => true,
    }
}

fn seconds(duration: &str) -> u64 {
    let number = &duration[..duration.len() - 1];
    let unit = match &duration[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        other => panic!("{duration}: {other}"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// README.md and the documents of docs/ and alerts/.
fn documents() -> Vec<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    for folder in ["docs", "docs/runbooks", "alerts"] {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found
}
