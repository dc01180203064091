//! The series that expressions may use: declared by the exporter, recorded by the rules in alerts/, or added by
//! Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use unit_exporter::metrics::{Kind, Reference};

use super::rules;

/// All known series by name.
#[derive(Debug, Default, Clone)]
pub struct Vocabulary {
    series: BTreeMap<String, Series>,
}

/// Type and labels of the series with one name.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its type; a counter has to be used through `rate` or a similar function.
    pub nature: Nature,
    /// The labels that it may have; `None` for `ALERTS`, which has the labels of each alert.
    labels: Option<BTreeSet<String>>,
}

/// Type of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Rises only.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Not declared.
    Unknown,
}

impl Vocabulary {
    /// Series that the exporter declares, that alerts/ records, and that Prometheus adds for each target.
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

    /// The same without the recorded series of alerts/.
    pub fn declared() -> Self {
        let mut vocabulary = Self::default();
        for row in Reference::collect().rows {
            let mut labels: BTreeSet<_> =
                row.labels.iter().chain(&TARGET).map(|label| (*label).to_owned()).collect();
            if row.labels.contains(&"name") {
                // units of user managers
                labels.insert("manager_user".to_owned());
            }
            match row.kind {
                Kind::Counter(_) | Kind::InheritedCounter(_) => {
                    vocabulary.insert(row.name, Nature::Counter, Some(labels))
                }
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
        for name in PROMETHEUS_SERIES {
            let labels = TARGET.iter().map(|label| (*label).to_owned()).collect();
            vocabulary.insert(name, Nature::Gauge, Some(labels));
        }
        vocabulary.insert("ALERTS", Nature::Gauge, None);
        vocabulary
    }

    /// The series with this name.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.series.get(name)
    }

    fn insert(&mut self, name: &str, nature: Nature, labels: Option<BTreeSet<String>>) {
        self.series.insert(name.to_owned(), Series { nature, labels });
    }
}

impl Series {
    /// Whether the series may have a label.
    pub fn may_have(&self, label: &str) -> bool {
        self.labels.as_ref().is_none_or(|labels| labels.contains(label))
    }

    /// The labels that the series may have; for `ALERTS`, the labels that every alert has.
    pub fn labels(&self) -> BTreeSet<String> {
        let alert = || ["alertname", "alertstate", "severity", "job", "instance", "name"];
        self.labels.clone().unwrap_or_else(|| alert().map(str::to_owned).into())
    }
}

/// Labels that Prometheus adds to all scraped series.
const TARGET: [&str; 2] = ["job", "instance"];
const PROMETHEUS_SERIES: [&str; 4] =
    ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"];
