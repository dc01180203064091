//! The dashboards: the committed JSON is current, follows the rules of Grafana's linter and of the
//! project, and its queries return data from a real Prometheus.

#![allow(clippy::unwrap_used)]

#[path = "../../dashboards/generate/mod.rs"]
mod generate;
mod grafana;
mod house;
mod json;
mod linter;
mod live;
#[path = "../promql/mod.rs"]
mod promql;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;

use json::{substituted, targets, text, variables};
use linter::{Exclusions, RULES};
use promql::Vocabulary;

#[test]
fn committed_dashboards_are_current() {
    for dashboard in generate::all() {
        let path = folder().join(format!("{}.json", dashboard.uid));
        let json = serde_json::to_string_pretty(&dashboard).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &json).unwrap();
        }
        // as values: the order of fields depends on the features of serde_json
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let committed: Value = serde_json::from_str(&committed).unwrap_or_default();
        let same = committed == serde_json::to_value(&dashboard).unwrap();
        assert!(same, "{path:?}: to update: UPDATE=1 cargo test --test dashboards");
    }
}

#[test]
fn expressions_use_declared_metrics_and_labels() {
    let vocabulary = Vocabulary::of_the_project();
    let mut checked = 0;
    for dashboard in committed() {
        let of_panels = targets(&dashboard).map(|(_, target)| text(&target["expr"]).to_owned());
        let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
        let of_annotations = annotations.filter_map(|one| Some(one["expr"].as_str()?.to_owned()));
        let of_variables = variables(&dashboard).filter_map(|variable| {
            let inside = variable["query"]["query"].as_str()?.strip_prefix("label_values(")?;
            let (selector, label) = inside.strip_suffix(')')?.rsplit_once(", ")?;
            (label != "cluster").then(|| format!("count by ({label}) ({selector})"))
        });
        for expression in of_panels.chain(of_annotations).chain(of_variables) {
            // an external label of Prometheus
            let scraped = substituted(&expression).replace(r#"cluster=~".*","#, "");
            let objections = vocabulary.objections(&scraped.replace(r#"cluster=~".*""#, ""));
            assert!(objections.is_empty(), "{}: {expression}\n{objections:#?}", dashboard["title"]);
            checked += 1;
        }
    }
    println!("{checked} expressions");
    assert!(checked > 200, "{checked}");
}

#[test]
fn dashboards_pass_grafanas_linter() {
    let file = std::fs::read_to_string(folder().join(".lint")).unwrap();
    let Exclusions { exclusions } = serde_saphyr::from_str(&file).unwrap();
    let mut used = 0;
    for dashboard in committed() {
        for (rule, check) in RULES {
            let excluded = exclusions.get(rule);
            let objections: Vec<_> = check(&dashboard)
                .into_iter()
                .filter(|objection| {
                    let entries = excluded.into_iter().flat_map(|excluded| &excluded.entries);
                    let mut same = entries.filter(|entry| {
                        entry.dashboard == text(&dashboard["title"])
                            && entry.panel == objection.panel
                            && Some(&entry.target_idx)
                                == objection.target.map(|at| at.to_string()).as_ref()
                    });
                    let excluded = same.next().is_some();
                    used += usize::from(excluded);
                    !excluded
                })
                .collect();
            assert!(objections.is_empty(), "{rule}: {}: {objections:#?}", dashboard["title"]);
        }
    }
    let entries: usize = exclusions.values().map(|excluded| excluded.entries.len()).sum();
    assert_eq!(used, entries, "unused exclusion in dashboards/.lint");
    assert!(exclusions.values().all(|excluded| excluded.reason.len() > 20));
}

#[test]
fn each_linter_rule_detects_a_violation() {
    type Violate = fn(&mut Value);
    let violations: [(&str, Violate); 17] = [
        ("template-datasource-rule", |dashboard| {
            dashboard["templating"]["list"][0]["name"] = "ds".into()
        }),
        ("template-job-rule", |dashboard| {
            dashboard["templating"]["list"][2]["multi"] = false.into()
        }),
        ("template-instance-rule", |dashboard| {
            dashboard["templating"]["list"][3]["allValue"] = ".*".into()
        }),
        ("template-label-promql-rule", |dashboard| {
            dashboard["templating"]["list"][2]["query"]["query"] = "label_values(up{, job)".into();
        }),
        ("template-on-time-change-reload-rule", |dashboard| {
            dashboard["templating"]["list"][3]["refresh"] = 1.into();
        }),
        ("panel-datasource-rule", |dashboard| {
            dashboard["panels"][1]["datasource"]["uid"] = "prom".into()
        }),
        ("panel-title-description-rule", |dashboard| {
            dashboard["panels"][1]["description"] = "".into()
        }),
        ("panel-units-rule", |dashboard| {
            dashboard["panels"][1]["fieldConfig"]["defaults"]["unit"] = "parsecs".into();
        }),
        ("panel-no-targets-rule", |dashboard| dashboard["panels"][1]["targets"] = Value::Null),
        ("target-promql-rule", |dashboard| expression(dashboard, "sum(")),
        ("target-rate-interval-rule", |dashboard| expression(dashboard, "rate(x[5m])")),
        ("target-job-rule", |dashboard| expression(dashboard, r#"up{instance=~"$instance"}"#)),
        ("target-instance-rule", |dashboard| expression(dashboard, r#"up{job=~"$job"}"#)),
        ("target-counter-agg-rule", |dashboard| {
            expression(dashboard, "x_total - increase(y_total[1h])")
        }),
        ("uneditable-dashboard", |dashboard| dashboard["editable"] = true.into()),
        ("target-logql-rule", |dashboard| {
            dashboard["panels"][1]["datasource"]["type"] = "loki".into()
        }),
        ("target-logql-auto-rule", |dashboard| {
            expression(dashboard, "count_over_time(x[$__auto])")
        }),
    ];
    let good = &committed()[1];
    for ((rule, check), (violated, violate)) in RULES.into_iter().zip(violations) {
        assert_eq!(rule, violated);
        assert_eq!(check(good), [], "{rule}");
        let mut bad = good.clone();
        violate(&mut bad);
        assert_ne!(check(&bad), [], "{rule} does not detect it");
    }
}

fn expression(dashboard: &mut Value, expression: &str) {
    dashboard["panels"][1]["targets"][0]["expr"] = expression.into();
}

/// The committed dashboards.
fn committed() -> Vec<Value> {
    let read = |uid| std::fs::read_to_string(folder().join(format!("{uid}.json")));
    generate::all()
        .iter()
        .map(|dashboard| serde_json::from_str(&read(dashboard.uid).unwrap()).unwrap())
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}
