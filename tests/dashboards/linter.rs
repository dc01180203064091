//! The seventeen rules of Grafana's dashboard-linter, as implemented in its source.

use std::collections::BTreeMap;

use promql_parser::parser::{Expr, parse};
use serde::Deserialize;
use serde_json::Value;

use super::json::{RATE_INTERVAL, panels, substituted, text, variables};
use super::promql::{each, selector};

/// The name of a rule, and its objections to a dashboard.
pub(crate) type Rule = (&'static str, fn(&Value) -> Vec<Objection>);

/// A violation and its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    pub(crate) panel: String,
    pub(crate) target: Option<usize>,
    pub(crate) what: String,
}

pub(crate) const RULES: [Rule; 17] = [
    ("template-datasource-rule", |dashboard| {
        let good = variables(dashboard).any(|variable| {
            variable["type"] == "datasource"
                && ["datasource", "prometheus_datasource"].contains(&text(&variable["name"]))
                && ["Data source", "Prometheus data source"].contains(&text(&variable["label"]))
        });
        on_dashboard(!good, "no variable `datasource` labelled `Data source`")
    }),
    ("template-job-rule", |dashboard| {
        on_dashboard(!is_templated(dashboard, "job", "Job"), "no variable `job`")
    }),
    ("template-instance-rule", |dashboard| {
        on_dashboard(!is_templated(dashboard, "instance", "Instance"), "no variable `instance`")
    }),
    ("template-label-promql-rule", |dashboard| {
        let queries = variables(dashboard).filter(|variable| variable["type"] == "query");
        let bad = queries.filter(|variable| {
            let query = text(&variable["query"]["query"]);
            let selector = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(|inside| inside.rsplit_once(','));
            selector.is_none_or(|(selector, _)| parse(&substituted(selector)).is_err())
        });
        bad.map(|variable| objection("", None, &format!("{variable}"))).collect()
    }),
    ("template-on-time-change-reload-rule", |dashboard| {
        let queries = variables(dashboard).filter(|variable| variable["type"] == "query");
        let bad = queries.filter(|variable| variable["refresh"] != 2);
        bad.map(|variable| objection("", None, &format!("{variable}"))).collect()
    }),
    ("panel-datasource-rule", |dashboard| {
        let bad = |panel: &Value| {
            !["row", "text"].contains(&text(&panel["type"]))
                && panel["datasource"]["uid"] != "${datasource}"
        };
        on_panels(dashboard, bad, "a data source that is not the variable")
    }),
    ("panel-title-description-rule", |dashboard| {
        let bad = |panel: &Value| {
            with_values(panel)
                && (text(&panel["title"]).is_empty() || text(&panel["description"]).is_empty())
        };
        on_panels(dashboard, bad, "no title or no description")
    }),
    ("panel-units-rule", |dashboard| {
        let bad = |panel: &Value| {
            let unit = text(&panel["fieldConfig"]["defaults"]["unit"]);
            with_values(panel) && !UNITS.contains(&unit)
        };
        on_panels(dashboard, bad, "no unit, or one that Grafana does not know")
    }),
    ("panel-no-targets-rule", |dashboard| {
        let bad = |panel: &Value| {
            !["row", "text", "dashlist"].contains(&text(&panel["type"]))
                && panel["targets"].as_array().is_none_or(Vec::is_empty)
        };
        on_panels(dashboard, bad, "no query")
    }),
    ("target-promql-rule", |dashboard| {
        on_targets(dashboard, |expression| {
            parse(&substituted(expression)).is_err().then_some("does not parse")
        })
    }),
    ("target-rate-interval-rule", |dashboard| {
        on_targets(dashboard, |expression| {
            let Ok(parsed) = parse(&substituted(expression)) else { return None };
            let mut other = false;
            each(&parsed, &mut |part| {
                if let Expr::Call(call) = part
                    && ["rate", "irate"].contains(&call.func.name)
                {
                    other |= !call.args.args.iter().all(|argument| {
                        matches!(&**argument, Expr::MatrixSelector(matrix) if matrix.range == RATE_INTERVAL)
                    });
                }
            });
            other.then_some("a rate over another range than $__rate_interval")
        })
    }),
    ("target-job-rule", |dashboard| on_selectors(dashboard, "job")),
    ("target-instance-rule", |dashboard| on_selectors(dashboard, "instance")),
    ("target-counter-agg-rule", |dashboard| {
        on_targets(dashboard, |expression| {
            let Ok(parsed) = parse(&substituted(expression)) else { return None };
            let mut counters = 0;
            let mut rated = 0;
            each(&parsed, &mut |part| {
                counters += usize::from(is_counter(part));
                if let Expr::Call(call) = part
                    && ["rate", "irate", "increase"].contains(&call.func.name)
                {
                    rated += call.args.args.iter().filter(|argument| is_counter(argument)).count();
                }
            });
            (counters != rated).then_some("a counter outside rate, irate and increase")
        })
    }),
    ("uneditable-dashboard", |dashboard| on_dashboard(dashboard["editable"] != false, "editable")),
    ("target-logql-rule", |dashboard| {
        on_panels(
            dashboard,
            |panel| panel["datasource"]["type"] == "loki",
            "a Loki data source: not supported",
        )
    }),
    ("target-logql-auto-rule", |dashboard| {
        on_targets(dashboard, |expression| {
            expression.contains("[$__auto]").then_some("a range for Loki")
        })
    }),
];

/// dashboards/.lint: the exclusions with their reasons.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exclusions {
    pub(crate) exclusions: BTreeMap<String, Excluded>,
}

/// The exclusions of one rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Excluded {
    pub(crate) reason: String,
    pub(crate) entries: Vec<Entry>,
}

/// One query of one panel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) dashboard: String,
    pub(crate) panel: String,
    pub(crate) target_idx: String,
}

fn is_templated(dashboard: &Value, name: &str, label: &str) -> bool {
    variables(dashboard).any(|variable| {
        variable["name"] == name
            && variable["label"] == label
            && variable["type"] == "query"
            && variable["datasource"]["uid"] == "${datasource}"
            && variable["multi"] == true
            && variable["allValue"] == ".+"
    })
}

fn with_values(panel: &Value) -> bool {
    ["stat", "singlestat", "graph", "table", "timeseries", "gauge"].contains(&text(&panel["type"]))
}

fn is_counter(expression: &Expr) -> bool {
    let name = selector(expression).and_then(|selector| selector.name.as_deref());
    name.is_some_and(|name| name.ends_with("_total"))
}

fn on_dashboard(bad: bool, what: &str) -> Vec<Objection> {
    if bad { vec![objection("", None, what)] } else { vec![] }
}

fn on_panels(dashboard: &Value, bad: impl Fn(&Value) -> bool, what: &str) -> Vec<Objection> {
    let bad = panels(dashboard).filter(|panel| bad(panel));
    bad.map(|panel| objection(text(&panel["title"]), None, what)).collect()
}

fn on_targets(dashboard: &Value, check: impl Fn(&str) -> Option<&'static str>) -> Vec<Objection> {
    let mut objections = Vec::new();
    for panel in panels(dashboard) {
        for (index, target) in panel["targets"].as_array().into_iter().flatten().enumerate() {
            let expression = text(&target["expr"]);
            if let Some(what) = check(expression) {
                let what = format!("{what}: {expression}");
                objections.push(objection(text(&panel["title"]), Some(index), &what));
            }
        }
    }
    objections
}

/// Every selector contains the variable of this name.
fn on_selectors(dashboard: &Value, label: &str) -> Vec<Objection> {
    on_targets(dashboard, |expression| {
        // the variable stays in place: the parser accepts it as a regular expression
        let expression = super::json::with_variables(expression);
        let Ok(parsed) = parse(&expression) else { return None };
        let wanted = format!("{label}=~\"${label}\"");
        let mut missing = false;
        each(&parsed, &mut |part| {
            if let Some(selector) = selector(part) {
                missing |=
                    !selector.matchers.matchers.iter().any(|matcher| matcher.to_string() == wanted);
            }
        });
        missing.then_some("a selector that does not use the variable")
    })
}

fn objection(panel: &str, target: Option<usize>, what: &str) -> Objection {
    Objection { panel: panel.to_owned(), target, what: what.to_owned() }
}

// The units of the linter's list that the dashboards use.
const UNITS: [&str; 10] = [
    "none",
    "short",
    "s",
    "dtdurations",
    "bytes",
    "Bps",
    "percentunit",
    "pps",
    "dateTimeFromNow",
    "bool_yes_no",
];
