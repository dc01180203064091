//! The series that an expression may speak of: declared by the exporter, recorded by our rules, or Prometheus's own.

use std::collections::{BTreeMap, BTreeSet};

use unit_exporter::metrics::{Kind, Reference};

use super::rules;

/// Every known series by its name.
#[derive(Debug, Default, Clone)]
pub struct Vocabulary {
    series: BTreeMap<String, Series>,
}

/// What is known of the series of one name.
#[derive(Debug, Clone)]
pub struct Series {
    /// Whether it has to be asked through `rate` or the like.
    pub nature: Nature,
    /// The labels that it may carry; `None` for whatever an alert carries.
    labels: Option<BTreeSet<String>>,
}

/// What kind of numbers a series has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Only rises.
    Counter,
    /// Anything else.
    Gauge,
    /// Not told.
    Unknown,
}

impl Vocabulary {
    /// What the exporter declares, what alerts/ records, and what Prometheus itself keeps of each target.
    pub fn of_the_project() -> Self {
        let mut vocabulary = Self::declared();
        for file in rules::files() {
            for rule in file.groups.iter().flat_map(|group| &group.rules) {
                if let Some(name) = &rule.record {
                    let labels = vocabulary.labels_of(&rule.expr);
                    vocabulary.insert(name, Nature::Gauge, Some(labels));
                }
            }
        }
        vocabulary
    }

    /// The same without what alerts/ records.
    pub fn declared() -> Self {
        let mut vocabulary = Self::default();
        for row in Reference::collect().rows {
            let mut labels: BTreeSet<_> =
                row.labels.iter().chain(&TARGET).map(|label| (*label).to_owned()).collect();
            if row.labels.contains(&"name") {
                // of users' own managers
                labels.insert("user".to_owned());
            }
            match row.kind {
                Kind::Counter(_) => vocabulary.insert(row.name, Nature::Counter, Some(labels)),
                Kind::Gauge => vocabulary.insert(row.name, Nature::Gauge, Some(labels)),
                Kind::Histogram => {
                    for suffix in ["_sum", "_count"] {
                        let name = format!("{}{suffix}", row.name);
                        vocabulary.insert(&name, Nature::Counter, Some(labels.clone()));
                    }
                    let labels = labels.into_iter().chain(["le".to_owned()]).collect();
                    let name = format!("{}_bucket", row.name);
                    vocabulary.insert(&name, Nature::Counter, Some(labels));
                }
            }
        }
        for name in OF_PROMETHEUS {
            let labels = TARGET.iter().map(|label| (*label).to_owned()).collect();
            vocabulary.insert(name, Nature::Gauge, Some(labels));
        }
        vocabulary.insert("ALERTS", Nature::Gauge, None);
        vocabulary
    }

    /// What is known of the series of that name.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.series.get(name)
    }

    fn insert(&mut self, name: &str, nature: Nature, labels: Option<BTreeSet<String>>) {
        self.series.insert(name.to_owned(), Series { nature, labels });
    }
}

impl Series {
    /// Whether a label may be there.
    pub fn may_have(&self, label: &str) -> bool {
        self.labels.as_ref().is_none_or(|labels| labels.contains(label))
    }

    /// The labels that may be there; of an alert's series, those that every one has.
    pub fn labels(&self) -> BTreeSet<String> {
        let alert = || ["alertname", "alertstate", "severity", "job", "instance", "name"];
        self.labels.clone().unwrap_or_else(|| alert().map(str::to_owned).into())
    }
}

/// What Prometheus adds to all that it scrapes.
const TARGET: [&str; 2] = ["job", "instance"];
const OF_PROMETHEUS: [&str; 4] =
    ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"];
