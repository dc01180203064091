//! Looking into a dashboard's JSON as Grafana would.

use std::time::Duration;

use serde_json::Value;

/// Every panel, also those in closed rows, and the rows themselves.
pub(crate) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let top = dashboard["panels"].as_array().into_iter().flatten();
    top.flat_map(|panel| {
        std::iter::once(panel).chain(panel["panels"].as_array().into_iter().flatten())
    })
}

/// The variables on top of the page.
pub(crate) fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["templating"]["list"].as_array().into_iter().flatten()
}

/// Every query of every panel.
pub(crate) fn targets(dashboard: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    panels(dashboard).flat_map(|panel| {
        panel["targets"].as_array().into_iter().flatten().map(move |target| (panel, target))
    })
}

/// A text, or none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An expression as Prometheus gets it: all hosts and units, three hours in steps of a minute.
pub(crate) fn substituted(expression: &str) -> String {
    let mut out = with_variables(expression);
    for variable in ["$job", "$instance", "$name"] {
        out = out.replace(variable, ".+");
    }
    out
}

/// The same with the variables of the page left in.
pub(crate) fn with_variables(expression: &str) -> String {
    INTERVALS.iter().fold(expression.to_owned(), |out, (name, value)| out.replace(name, value))
}

/// What `$__rate_interval` becomes: a length that nobody would write.
pub(crate) const RATE_INTERVAL: Duration = Duration::from_secs(317);

// Longer names first.
const INTERVALS: [(&str, &str); 5] = [
    ("$__rate_interval", "317s"),
    ("$__interval_ms", "60000"),
    ("$__interval", "1m"),
    ("$__range_s", "10800"),
    ("$__range", "3h"),
];
