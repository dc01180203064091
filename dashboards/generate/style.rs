//! The color of each state, cause and resource, the same on all dashboards.
//!
//! Green is reserved for good states; failure causes have warm colors.

use serde_json::{Value, json};

/// The states of a unit, in the order of their numbers in a state timeline.
pub(super) const STATES: [(&str, &str); 7] = [
    ("active", "green"),
    ("reloading", "blue"),
    ("activating", "yellow"),
    ("deactivating", "orange"),
    ("inactive", "#6e7680"),
    ("failed", "red"),
    ("maintenance", "purple"),
];

/// The states of a system.
pub(super) const SYSTEM_STATES: [(&str, &str); 7] = [
    ("running", "green"),
    ("degraded", "orange"),
    ("maintenance", "purple"),
    ("initializing", "blue"),
    ("starting", "blue"),
    ("stopping", "#6e7680"),
    ("offline", "#6e7680"),
];

/// The results of a service.
pub(super) const RESULTS: [(&str, &str); 12] = [
    ("success", "green"),
    ("exit-code", "semi-dark-red"),
    ("signal", "semi-dark-orange"),
    ("core-dump", "light-orange"),
    ("oom-kill", "purple"),
    ("timeout", "semi-dark-yellow"),
    ("watchdog", "light-red"),
    ("protocol", "dark-orange"),
    ("resources", "dark-yellow"),
    ("start-limit-hit", "dark-red"),
    ("exec-condition", "#6e7680"),
    ("unknown", "#6e7680"),
];

/// The results of a systemd job.
pub(super) const JOB_RESULTS: [(&str, &str); 8] = [
    ("done", "green"),
    ("failed", "red"),
    ("timeout", "semi-dark-yellow"),
    ("dependency", "semi-dark-orange"),
    ("canceled", "#6e7680"),
    ("skipped", "#8e96a0"),
    ("assert", "purple"),
    ("invalid", "light-blue"),
];

/// The severities of alerts.
pub(super) const SEVERITIES: [(&str, &str); 3] =
    [("critical", "red"), ("warning", "orange"), ("info", QUIET)];

/// The resources of pressure stall information.
pub(super) const RESOURCES: [(&str, &str); 3] =
    [("cpu", "blue"), ("memory", "purple"), ("io", "orange")];

/// The priorities of journal messages.
pub(super) const PRIORITIES: [(&str, &str); 8] = [
    ("emerg", "dark-red"),
    ("alert", "dark-red"),
    ("crit", "dark-red"),
    ("err", "light-red"),
    ("warning", "orange"),
    ("notice", "blue"),
    ("info", "#6e7680"),
    ("debug", "#464c54"),
];

/// Colors of numbers: good, neutral, bad.
pub(super) const GOOD: &str = "green";
pub(super) const QUIET: &str = "#6e7680";
pub(super) const INFO: &str = "blue";
pub(super) const WARNING: &str = "orange";
pub(super) const BAD: &str = "red";

/// A fixed color.
pub(super) fn fixed(color: &str) -> Value {
    json!({"mode": "fixed", "fixedColor": color})
}

/// Shades of red: for failures by host or unit.
pub(super) fn failure_shades() -> Value {
    json!({"mode": "shades", "fixedColor": "semi-dark-red"})
}

/// A color from each of these values on, and a base color below them.
pub(super) fn thresholds(base: &str, steps: &[(f64, &str)]) -> Value {
    let mut all = vec![json!({"value": null, "color": base})];
    all.extend(steps.iter().map(|(value, color)| json!({"value": value, "color": color})));
    json!({"mode": "absolute", "steps": all})
}

/// Maps words to colors.
pub(super) fn words(colors: &[(&str, &str)]) -> Value {
    mapping(colors.iter().map(|(word, color)| (*word, *word, *color)))
}

/// Maps the numbers from 1 on to words and colors.
pub(super) fn numbered(colors: &[(&str, &str)]) -> Value {
    let numbers: Vec<_> = (1..=colors.len()).map(|number| number.to_string()).collect();
    let pairs = numbers.iter().zip(colors);
    mapping(pairs.map(|(number, (word, color))| (&**number, *word, *color)))
}

/// Maps values to texts and colors.
pub(super) fn mapping<'a>(of: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Value {
    let options: serde_json::Map<_, _> = of
        .enumerate()
        .map(|(index, (value, text, color))| {
            (value.to_owned(), json!({"text": text, "color": color, "index": index}))
        })
        .collect();
    json!({"type": "value", "options": options})
}
