//! A linter for PromQL expressions in rules, dashboards and documents.
//!
//! ```ignore
//! mod promql;
//!
//! let vocabulary = promql::Vocabulary::of_the_project();
//! assert_eq!(vocabulary.objections("rate(systemd_unit_starts_total[5m])"), [""; 0]);
//! ```
//!
//! The caller has to replace Grafana's variables first.

// Each test binary uses a part of this.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod labels;
pub mod rules;
mod vocabulary;

use std::time::Duration;

use promql_parser::label::MatchOp;
use promql_parser::parser::{Call, Expr, VectorSelector, token};

pub use vocabulary::{Nature, Vocabulary};

impl Vocabulary {
    /// All problems of an expression; empty if there are none.
    pub fn objections(&self, expression: &str) -> Vec<String> {
        let parsed = match promql_parser::parser::parse(expression) {
            Ok(parsed) => parsed,
            Err(error) => return vec![format!("does not parse: {error}")],
        };
        let mut objections = Vec::new();
        self.names_and_matchers(&parsed, &mut objections);
        self.counters(&parsed, None, &mut objections);
        functions_of_prometheus_2_42(&parsed, &mut objections);
        self.labels(&parsed, &mut objections);
        objections.sort();
        objections.dedup();
        objections
    }

    fn names_and_matchers(&self, expression: &Expr, objections: &mut Vec<String>) {
        each(expression, &mut |part| {
            let Some(selector) = selector(part) else { return };
            let Some(name) = &selector.name else {
                objections.push(format!("names no metric: {selector}"));
                return;
            };
            let Some(series) = self.series(name) else {
                objections.push(format!("{name} is neither declared nor recorded"));
                return;
            };
            for matcher in &selector.matchers.matchers {
                let label = &matcher.name;
                if !series.may_have(label) {
                    objections.push(format!("{name} has no label {label}"));
                }
                if let MatchOp::Re(_) | MatchOp::NotRe(_) = matcher.op
                    && let Some(reason) = redundant_regexp(&matcher.value)
                {
                    objections.push(format!("{label}=~{:?} {reason}", matcher.value));
                }
            }
        });
    }

    /// Counters need functions that handle counter resets, and other metrics must not use these.
    fn counters(&self, expression: &Expr, within: Option<&Call>, objections: &mut Vec<String>) {
        if let Some(selector) = selector(expression)
            && let Some(name) = &selector.name
            && let Some(series) = self.series(name)
        {
            let function = within.map_or("", |call| call.func.name);
            let used = if function.is_empty() { "on its own" } else { function };
            let counter = series.nature == Nature::Counter;
            let for_counters = COUNTER_FUNCTIONS.contains(&function);
            if counter && !for_counters && !PRESENCE_FUNCTIONS.contains(&function) {
                objections.push(format!("{name} is a counter, and used {used}"));
            }
            if !counter && for_counters && series.nature != Nature::Unknown {
                objections.push(format!("{name} is no counter, and used in {used}"));
            }
            if let Expr::MatrixSelector(matrix) = expression
                && for_counters
                && matrix.range < MIN_RANGE
            {
                objections.push(format!("{name}: {function} over less than {MIN_RANGE:?}"));
            }
        }
        if is_difference_in_time(expression) {
            return;
        }
        let within = if let Expr::Call(call) = expression { Some(call) } else { within };
        // an aggregation or a binary operation on a counter does not yield a counter
        let within = match expression {
            Expr::Call(_) | Expr::Paren(_) => within,
            _ => None,
        };
        children(expression).for_each(|child| self.counters(child, within, objections));
    }
}

/// Whether this is `x - x offset d`, an increase that is negative after a counter reset.
fn is_difference_in_time(expression: &Expr) -> bool {
    let Expr::Binary(binary) = expression else { return false };
    let (Some(now), Some(before)) = (selector(&binary.lhs), selector(&binary.rhs)) else {
        return false;
    };
    binary.op.id() == token::T_SUB
        && now.offset.is_none()
        && before.offset.is_some()
        && (&now.name, &now.matchers) == (&before.name, &before.matchers)
}

/// Calls a function for an expression and all expressions in it.
pub fn each<'e>(expression: &'e Expr, visit: &mut impl FnMut(&'e Expr)) {
    visit(expression);
    children(expression).for_each(|child| each(child, visit));
}

/// The selector if the expression is one, with or without a range.
pub fn selector(expression: &Expr) -> Option<&VectorSelector> {
    match expression {
        Expr::VectorSelector(selector) => Some(selector),
        Expr::MatrixSelector(matrix) => Some(&matrix.vs),
        _ => None,
    }
}

fn children(expression: &Expr) -> impl Iterator<Item = &Expr> {
    let children: Vec<&Expr> = match expression {
        Expr::Aggregate(aggregate) => {
            aggregate.param.as_deref().into_iter().chain([&*aggregate.expr]).collect()
        }
        Expr::Unary(unary) => vec![&unary.expr],
        Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Expr::Paren(paren) => vec![&paren.expr],
        Expr::Subquery(subquery) => vec![&subquery.expr],
        Expr::Call(call) => call.args.args.iter().map(|argument| &**argument).collect(),
        _ => vec![],
    };
    children.into_iter()
}

/// The reason if a regular expression, or a part of it, is redundant.
fn redundant_regexp(regexp: &str) -> Option<&'static str> {
    if regexp.starts_with('^') || regexp.ends_with('$') {
        return Some("is anchored anyway");
    }
    if !regexp.contains(['.', '|', '*', '+', '?', '[', '(', '{', '\\']) {
        return Some("is the same as =");
    }
    None
}

fn functions_of_prometheus_2_42(expression: &Expr, objections: &mut Vec<String>) {
    each(expression, &mut |part| match part {
        Expr::Call(call) if call.func.experimental || NEWER_FUNCTIONS.contains(&call.func.name) => {
            objections.push(format!("{}() is not in Prometheus 2.42", call.func.name));
        }
        Expr::Aggregate(aggregate)
            if [token::T_LIMITK, token::T_LIMIT_RATIO].contains(&aggregate.op.id()) =>
        {
            objections.push(format!("{} is not in Prometheus 2.42", aggregate.op));
        }
        _ => {}
    });
}

const COUNTER_FUNCTIONS: [&str; 4] = ["rate", "irate", "increase", "resets"];
// These ignore values, or compare them only with each other.
const PRESENCE_FUNCTIONS: [&str; 4] =
    ["present_over_time", "absent_over_time", "absent", "stddev_over_time"];
const NEWER_FUNCTIONS: [&str; 6] = [
    "info",
    "sort_by_label",
    "sort_by_label_desc",
    "mad_over_time",
    "double_exponential_smoothing",
    "histogram_avg",
];
// Two scrapes at a scrape interval of one minute.
const MIN_RANGE: Duration = Duration::from_secs(120);
