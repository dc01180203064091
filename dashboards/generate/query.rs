//! Metrics by their declared names, with the selectors of job and host put in.

use std::sync::OnceLock;

use super::style::STATES;
use crate::promql::Vocabulary;

/// An expression with `job=~"$job",instance=~"$instance"` in each of its selectors.
///
/// Panics at a name of a metric that nobody declares, which fails the test that generates.
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
            out.push_str(r#"{job=~"$job""#);
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

/// How many events a counter counted in each interval, exactly; nothing where there were none.
///
/// `increase(…[$__interval])` would lose what happens between the last sample of one interval and
/// the first of the next. `$__rate_interval` is one scrape longer, so that intervals meet.
pub(super) fn events(by: &str, counter: &str) -> String {
    format!("sum by ({by}) (rate({counter}[$__rate_interval])) * $__interval_ms / 1000 > 0")
}

/// How many events a counter counted in the time shown, where it appears with its first event.
///
/// `increase` does not see the rise to 1 with which a series begins: 1 is added for those that
/// were not there at the start, while the exporter was.
pub(super) fn events_from_birth(by: &str, counter: &str) -> String {
    let counted = format!("sum by ({by}) (increase({counter}[$__range]))");
    let old = format!("sum by ({by}) (increase({counter}[5m] offset $__range))");
    let watched = "on (instance) systemd_exporter_build_info offset $__range";
    format!("{counted} + (0 * {old} or (0 * {counted} + 1 and {watched}) or 0 * {counted})")
}

/// What a query may speak of: what is declared, recorded, or made by Prometheus itself.
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
    panic!("a string without an end: {text}")
}

fn in_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == ':'
}
