//! PromQL with the selectors of cluster, job and instance added.

use std::sync::OnceLock;

use super::style::STATES;
use crate::promql::Vocabulary;

/// An expression with `cluster=~"$cluster",job=~"$job",instance=~"$instance"` in each of its selectors.
///
/// Panics at a metric that is not declared, which fails the test that generates the dashboards.
pub(crate) fn on_hosts(expression: &str) -> String {
    let mut out = String::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '"') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        if from.starts_with('"') {
            let end = string_end(from);
            out.push_str(&from[..end]);
            rest = &from[end..];
            continue;
        }
        let end = from.find(|c: char| !in_name(c)).unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        out.push_str(name);
        rest = after;
        if before.ends_with('$') || before.ends_with("${") {
            continue;
        }
        if let Some(series) = vocabulary().series(name) {
            out.push_str(r#"{cluster=~"$cluster",job=~"$job""#);
            let matchers = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let named = matchers.is_some_and(|(matchers, _)| matchers.contains("instance="));
            if series.may_have("instance") && !named {
                out.push_str(r#",instance=~"$instance""#);
            }
            rest = match after.strip_prefix('{') {
                Some(matchers) => {
                    out.push(',');
                    matchers
                }
                None => {
                    out.push('}');
                    after
                }
            };
        } else {
            let ours = name.starts_with("systemd_") || name.starts_with("process_");
            assert!(!ours && !name.contains(':'), "{name} is not declared: {expression}");
        }
    }
    out.push_str(rest);
    out
}

/// The state of each unit as a number from 1 on, in the order of `style::STATES`.
pub(super) fn state(matchers: &str) -> String {
    let parts: Vec<_> = STATES
        .iter()
        .zip(1..)
        .map(|((state, _), number)| {
            let state = if *state == "reloading" { r#"=~"reloading|refreshing""# } else { state };
            let equal =
                if state.starts_with('=') { state.to_owned() } else { format!("=\"{state}\"") };
            format!("{number} * (systemd_unit_state{{state{equal}{matchers}}} == 1)")
        })
        .collect();
    format!("max by (instance, name) ({})", parts.join(" or "))
}

/// The exact number of events in each interval; absent for intervals without events.
///
/// `increase(…[$__interval])` would lose the events between the last sample of one interval and the
/// first sample of the next. `$__rate_interval` is one scrape interval longer and includes them.
pub(super) fn events(by: &str, counter: &str) -> String {
    format!("sum by ({by}) (rate({counter}[$__rate_interval])) * $__interval_ms / 1000 > 0")
}

/// The number of events in the time range, for a counter whose series start with the first event.
///
/// `increase` does not see the first value of a series, which is 1: 1 is added for series that did
/// not exist at the start of the range although the exporter was scraped then.
pub(super) fn events_from_birth(by: &str, counter: &str) -> String {
    let counted = format!("sum by ({by}) (increase({counter}[$__range]))");
    let existing = format!("sum by ({by}) (increase({counter}[5m] offset $__range))");
    let scraped = "on (instance) unit_exporter_build_info offset $__range";
    format!("{counted} + (0 * {existing} or (0 * {counted} + 1 and {scraped}) or 0 * {counted})")
}

/// An expression about listeners, with a name for the unit of those that have none.
pub(super) fn or_no_unit(expression: &str) -> String {
    format!(r#"label_replace({expression}, "name", "{NO_UNIT}", "name", "")"#)
}

/// The metrics that a query may use: declared, recorded, or added by Prometheus.
fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(Vocabulary::of_the_project)
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    panic!("unterminated string: {text}")
}

/// Listeners of processes outside all exported units have no label `name`.
pub(super) const NO_UNIT: &str = "(no unit)";

fn in_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == ':'
}
