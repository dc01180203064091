//! The samples of a scrape response in Prometheus's text format or in OpenMetrics, for assertions.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// One sample line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name as on the line, with suffixes such as `_total` and `_bucket`.
    pub name: String,
    /// The labels, with values unescaped.
    pub labels: BTreeMap<String, String>,
    /// The value; timestamps and exemplars are ignored.
    pub value: f64,
}

impl Sample {
    /// The value of a label, or "".
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name && labels.iter().all(|(label, value)| self.label(label) == *value)
    }
}

/// All samples of a scrape response, in order.
#[derive(Debug, Clone)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Parses a scrape response; panics on a line that is neither comment nor sample, and on a duplicate series.
    #[track_caller]
    pub fn parse(page: &str) -> Self {
        let mut series = HashSet::new();
        let lines = page.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| {
            let sample = sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}"));
            let (name, labels) = (sample.name.clone(), sample.labels.clone());
            assert!(series.insert((name, labels)), "duplicate series: {line:?}");
            sample
        });
        Self(samples.collect())
    }

    /// The samples with this name and at least these labels.
    pub fn all<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.matches(name, labels))
    }

    /// The value of the only sample with this name and at least these labels; panics if there are several.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.all(name, labels);
        let value = found.next().map(|sample| sample.value);
        assert_eq!(found.next(), None, "several samples of {name} with {labels:?}");
        value
    }

    /// The metrics that have a sample below 0.
    pub fn negative(&self) -> BTreeSet<&str> {
        let below = self.0.iter().filter(|sample| sample.value < 0.0);
        below.map(|sample| sample.name.as_str()).collect()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(start) = rest.strip_prefix('{') {
        rest = start;
        while !rest.starts_with('}') {
            let (label, start) = rest.split_once("=\"")?;
            let (value, after) = quoted(start)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?.split(' ').next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label value up to its closing quote, and the rest of the text.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}
