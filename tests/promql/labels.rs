//! Labels that an expression's result may have, and objections to labels that do not exist.

use std::collections::BTreeSet;

use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, StringLiteral, VectorMatchCardinality,
    token,
};

use super::{Vocabulary, selector};

impl Vocabulary {
    /// The labels that the result of an expression may have.
    pub fn labels_of(&self, expression: &str) -> BTreeSet<String> {
        let parsed = promql_parser::parser::parse(expression)
            .unwrap_or_else(|error| panic!("{expression}: {error}"));
        self.labels(&parsed, &mut Vec::new())
    }

    pub(super) fn labels(&self, part: &Expr, objections: &mut Vec<String>) -> BTreeSet<String> {
        match part {
            Expr::VectorSelector(_) | Expr::MatrixSelector(_) => selector(part)
                .and_then(|selector| self.series(selector.name.as_deref()?))
                .map_or_else(BTreeSet::new, |series| series.labels()),
            Expr::Paren(paren) => self.labels(&paren.expr, objections),
            Expr::Unary(unary) => self.labels(&unary.expr, objections),
            Expr::Subquery(subquery) => self.labels(&subquery.expr, objections),
            Expr::Call(call) => self.of_call(call, objections),
            Expr::Aggregate(aggregate) => self.of_aggregate(aggregate, objections),
            Expr::Binary(binary) => self.of_binary(binary, objections),
            _ => BTreeSet::new(),
        }
    }

    fn of_call(&self, call: &Call, objections: &mut Vec<String>) -> BTreeSet<String> {
        let mut labels = BTreeSet::new();
        let mut texts = Vec::new();
        for argument in &call.args.args {
            match &**argument {
                Expr::StringLiteral(StringLiteral { val }) => texts.push(val.clone()),
                other => labels.extend(self.labels(other, objections)),
            }
        }
        match call.func.name {
            "absent" | "absent_over_time" | "scalar" | "vector" => labels.clear(),
            "label_replace" | "label_join" => labels.extend(texts.into_iter().next()),
            _ => {}
        }
        labels
    }

    fn of_aggregate(
        &self,
        aggregate: &AggregateExpr,
        objections: &mut Vec<String>,
    ) -> BTreeSet<String> {
        let mut inner = self.labels(&aggregate.expr, objections);
        let Some(modifier) = &aggregate.modifier else {
            let keeps = [token::T_TOPK, token::T_BOTTOMK].contains(&aggregate.op.id());
            return if keeps { inner } else { BTreeSet::new() };
        };
        let named = &modifier.labels().labels;
        for label in named.iter().filter(|label| !inner.contains(*label)) {
            objections.push(format!("{}: no label {label} in {}", aggregate.op, aggregate.expr));
        }
        match modifier {
            LabelModifier::Include(_) => inner.retain(|label| named.contains(label)),
            LabelModifier::Exclude(_) => inner.retain(|label| !named.contains(label)),
        }
        if aggregate.op.id() == token::T_COUNT_VALUES
            && let Some(Expr::StringLiteral(label)) = aggregate.param.as_deref()
        {
            inner.insert(label.val.clone());
        }
        inner
    }

    fn of_binary(&self, binary: &BinaryExpr, objections: &mut Vec<String>) -> BTreeSet<String> {
        let left = self.labels(&binary.lhs, objections);
        let right = self.labels(&binary.rhs, objections);
        let scalar = |side: &Expr| !matches!(side.value_type().to_string().as_str(), "vector");
        match (scalar(&binary.lhs), scalar(&binary.rhs)) {
            (_, true) => return left,
            (true, false) => return right,
            (false, false) => {}
        }
        let modifier = binary.modifier.as_ref();
        let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
        if let Some(matching) = matching {
            let must_be_in_both = matching.is_include();
            for label in matching.labels().labels.iter().filter(|label| *label != USER_LABEL) {
                let (in_left, in_right) = (left.contains(label), right.contains(label));
                if !(in_left && in_right) && (must_be_in_both || !(in_left || in_right)) {
                    objections.push(format!("{}: no label {label} on both sides", binary.op));
                }
            }
        }
        if binary.op.is_set_operator() {
            let or = binary.op.id() == token::T_LOR;
            return if or { left.union(&right).cloned().collect() } else { left };
        }
        match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToOne(extra)) => {
                grouped(left, &right, &extra.labels, objections)
            }
            Some(VectorMatchCardinality::OneToMany(extra)) => {
                grouped(right, &left, &extra.labels, objections)
            }
            _ => match matching {
                Some(LabelModifier::Include(on)) => {
                    left.into_iter().filter(|label| on.labels.contains(label)).collect()
                }
                Some(LabelModifier::Exclude(off)) => {
                    left.into_iter().filter(|label| !off.labels.contains(label)).collect()
                }
                None => left,
            },
        }
    }
}

/// Labels of the "many" side, and the extra labels of the "one" side that `group_left` or `group_right` names.
fn grouped(
    many: BTreeSet<String>,
    one: &BTreeSet<String>,
    extra: &[String],
    objections: &mut Vec<String>,
) -> BTreeSet<String> {
    for label in extra.iter().filter(|label| !one.contains(*label)) {
        objections.push(format!("group: no label {label} on the one side"));
    }
    many.into_iter().chain(extra.iter().cloned()).collect()
}

/// Only units of user managers have this label, and no metric declares it.
const USER_LABEL: &str = "user";
