//! One colour for each state, cause and resource, the same on every page.

use serde_json::{Value, json};

/// The states of a unit, in the order of the numbers that stand for them in a state timeline.
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

/// How a service ends.
pub(super) const RESULTS: [(&str, &str); 12] = [
    ("success", "green"),
    ("exit-code", "semi-dark-red"),
    ("signal", "semi-dark-orange"),
    ("core-dump", "light-orange"),
    ("oom-kill", "purple"),
    ("timeout", "semi-dark-yellow"),
    ("watchdog", "blue"),
    ("protocol", "light-blue"),
    ("resources", "dark-blue"),
    ("start-limit-hit", "dark-red"),
    ("exec-condition", "#6e7680"),
    ("unknown", "#6e7680"),
];

/// How a job ends.
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

/// Severities of alerts.
pub(super) const SEVERITIES: [(&str, &str); 3] =
    [("critical", "red"), ("warning", "orange"), ("info", QUIET)];

/// What a unit waits for.
pub(super) const RESOURCES: [(&str, &str); 3] =
    [("cpu", "blue"), ("memory", "purple"), ("io", "orange")];

/// Priorities of the journal.
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

/// Good, neutral, bad: where a number alone has to say so.
pub(super) const GOOD: &str = "green";
pub(super) const QUIET: &str = "#6e7680";
pub(super) const INFO: &str = "blue";
pub(super) const WARNING: &str = "orange";
pub(super) const BAD: &str = "red";

/// Always this colour.
pub(super) fn fixed(color: &str) -> Value {
    json!({"mode": "fixed", "fixedColor": color})
}

/// A colour from each of these values on; the first one has none.
pub(super) fn thresholds(base: &str, steps: &[(f64, &str)]) -> Value {
    let mut all = vec![json!({"value": null, "color": base})];
    all.extend(steps.iter().map(|(value, color)| json!({"value": value, "color": color})));
    json!({"mode": "absolute", "steps": all})
}

/// Words in their colours.
pub(super) fn words(colors: &[(&str, &str)]) -> Value {
    mapping(colors.iter().map(|(word, color)| (*word, *word, *color)))
}

/// The numbers from 1 on as words in their colours.
pub(super) fn numbered(colors: &[(&str, &str)]) -> Value {
    let numbers: Vec<_> = (1..=colors.len()).map(|number| number.to_string()).collect();
    let pairs = numbers.iter().zip(colors);
    mapping(pairs.map(|(number, (word, color))| (&**number, *word, *color)))
}

/// Values as texts in their colours.
pub(super) fn mapping<'a>(of: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Value {
    let options: serde_json::Map<_, _> = of
        .enumerate()
        .map(|(index, (value, text, color))| {
            (value.to_owned(), json!({"text": text, "color": color, "index": index}))
        })
        .collect();
    json!({"type": "value", "options": options})
}
