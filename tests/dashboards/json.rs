//! Reads a dashboard's JSON in the same way as Grafana.

use std::time::Duration;

use serde_json::Value;

/// All panels, including rows and the panels of collapsed rows.
pub(crate) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let top = dashboard["panels"].as_array().into_iter().flatten();
    top.flat_map(|panel| {
        std::iter::once(panel).chain(panel["panels"].as_array().into_iter().flatten())
    })
}

/// The variables.
pub(crate) fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["templating"]["list"].as_array().into_iter().flatten()
}

/// All queries of all panels.
pub(crate) fn targets(dashboard: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    panels(dashboard).flat_map(|panel| {
        panel["targets"].as_array().into_iter().flatten().map(move |target| (panel, target))
    })
}

/// A string, or an empty one for other values.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An expression as sent to Prometheus: all hosts and units, three hours in steps of a minute.
pub(crate) fn substituted(expression: &str) -> String {
    let mut out = with_variables(expression).replace("$cluster", ".*");
    for variable in VARIABLES {
        out = out.replace(variable, ".+");
    }
    out
}

/// An expression with the intervals replaced and the dashboard's variables left in place.
pub(crate) fn with_variables(expression: &str) -> String {
    INTERVALS.iter().fold(expression.to_owned(), |out, (name, value)| out.replace(name, value))
}

/// The variables of the dashboards that match no empty label.
pub(crate) const VARIABLES: [&str; 5] = ["$job", "$instance", "$name", "$server", "$store"];

/// The value of `$__rate_interval`: a duration that occurs nowhere else.
pub(crate) const RATE_INTERVAL: Duration = Duration::from_secs(317);

// Longer names first: some are prefixes of others.
const INTERVALS: [(&str, &str); 5] = [
    ("$__rate_interval", "317s"),
    ("$__interval_ms", "60000"),
    ("$__interval", "1m"),
    ("$__range_s", "10800"),
    ("$__range", "3h"),
];
