//! One answer of `/metrics`: the families asked for, within the series budget, in one format.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text::encode};
use prometheus_client::registry::Registry;

use super::openmetrics::OpenMetrics;
use super::rows::Rows;
use super::text::Text;
use super::{Family, Histogram, Sample, Sink, Subject, Value};
use crate::profile::Profile;
use crate::snapshot::Snapshot;

/// The formats a page is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    #[default]
    Text,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => super::openmetrics::CONTENT_TYPE,
            Self::Text => super::text::CONTENT_TYPE,
        }
    }
}

/// What one answer holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selected {
    /// Collectors left out, by name.
    pub without: Vec<&'static str>,
    /// The families wanted by their full name; all, if empty.
    pub names: Vec<String>,
    /// Which families there are otherwise.
    pub profile: Profile,
    /// The most series of one family; what is beyond it in the order of the page is dropped.
    pub series_per_family: usize,
}

/// How many series each family has on a page, and how many were ever dropped.
#[derive(Debug, Default)]
pub struct Tally {
    /// On this page.
    pub kept: BTreeMap<&'static str, u64>,
    /// Beyond the budget, on all pages of this exporter so far.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// Series that pages had no room for, by family, since the exporter started.
#[derive(Debug, Default)]
pub struct Dropped(Mutex<BTreeMap<&'static str, u64>>);

/// Writes the page.
pub fn render(
    snapshot: &Arc<Snapshot>,
    format: Format,
    selected: &Selected,
    dropped: &Arc<Dropped>,
) -> Result<String, fmt::Error> {
    let mut body = String::new();
    match format {
        Format::Text => write(snapshot, selected, dropped, &mut Text::new(&mut body))?,
        Format::OpenMetrics => {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(Page {
                snapshot: snapshot.clone(),
                selected: selected.clone(),
                dropped: dropped.clone(),
            }));
            encode(&mut body, &registry)?;
        }
    }
    Ok(body)
}

/// What prometheus-client's registry calls back.
#[derive(Debug)]
struct Page {
    snapshot: Arc<Snapshot>,
    selected: Selected,
    dropped: Arc<Dropped>,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        write(&self.snapshot, &self.selected, &self.dropped, &mut OpenMetrics(encoder))
    }
}

fn write(
    snapshot: &Snapshot,
    selected: &Selected,
    dropped: &Dropped,
    sink: &mut impl Sink,
) -> fmt::Result {
    let mut budget = Budget::new(selected, sink);
    budget.users = Rows::collect(&snapshot.users, selected)?;
    super::all(snapshot, &mut budget)?;
    let (kept, beyond) = (budget.kept, budget.dropped);
    let tally = Tally { kept, dropped: dropped.add(&beyond) };
    let mut rest = Budget::new(selected, sink);
    super::exporter::page(&tally, &mut rest)
}

impl Dropped {
    /// Adds one page's drops and returns the sums.
    fn add(&self, beyond: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (family, count) in beyond {
            *sums.entry(family).or_default() += count;
        }
        sums.clone()
    }
}

/// Lets through what is selected, as far as the budget goes.
struct Budget<'a, S> {
    selected: &'a Selected,
    sink: &'a mut S,
    collector: &'static str,
    users: Rows,
    kept: BTreeMap<&'static str, u64>,
    dropped: BTreeMap<&'static str, u64>,
}

impl<'a, S> Budget<'a, S> {
    fn new(selected: &'a Selected, sink: &'a mut S) -> Self {
        let (kept, dropped) = (BTreeMap::new(), BTreeMap::new());
        Self { selected, sink, collector: "", users: Rows::default(), kept, dropped }
    }
}

impl Selected {
    /// Whether the family is among those asked for by name, or else by profile.
    pub(super) fn wants(&self, collector: &str, family: &str) -> bool {
        match self.names.as_slice() {
            [] => self.profile.has_family(collector, family),
            names => names.iter().any(|name| name == family),
        }
    }
}

impl<S: Sink> Sink for Budget<'_, S> {
    fn subject(&mut self, subject: Subject) -> bool {
        self.collector = subject.collector;
        !self.selected.without.contains(&subject.collector) && self.sink.subject(subject)
    }

    fn family<'a, const N: usize, T: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = T>,
    ) -> fmt::Result {
        if !self.selected.wants(self.collector, family.name) {
            return Ok(());
        }
        let zeros = !self.selected.profile.leaves_out_zeros_of(family.name);
        let most = self.selected.series_per_family as u64;
        let mut all = 0;
        let within = |sample: &Sample<'_, N>| {
            let counts = zeros || sample.value != Value::Integer(0);
            all += u64::from(counts);
            counts && all <= most
        };
        let system = samples.into_iter().map(|sample| shared(sample.into()));
        let samples = system.chain(self.users.of(family.name));
        self.sink.family(family, samples.filter(within))?;
        if all.min(most) > 0 {
            self.kept.insert(family.name, all.min(most));
        }
        if all > most {
            self.dropped.insert(family.name, all - most);
        }
        Ok(())
    }

    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result {
        if !self.selected.wants(self.collector, family.name) {
            return Ok(());
        }
        self.kept.insert(family.name, histogram.buckets.len() as u64 + 2);
        self.sink.histogram(family, histogram)
    }
}

/// The same sample, to stand beside some that do not live as long.
fn shared<'s, 'a: 's, const N: usize>(sample: Sample<'a, N>) -> Sample<'s, N> {
    sample
}

#[cfg(test)]
mod tests {
    use super::super::{Exemplar, Kind, Resets, Unit};
    use super::*;
    use std::time::{Duration, SystemTime};

    #[derive(Debug)]
    struct Two;

    impl Collector for Two {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            two(&mut OpenMetrics(encoder))
        }
    }

    fn two(out: &mut impl Sink) -> fmt::Result {
        let crashes = Family {
            name: "crashes_total",
            kind: Kind::Counter(Resets::WithExporter),
            unit: Unit::None,
            help: "Crashes.",
            source: "a test",
            labels: ["name"],
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let exemplar = Exemplar { invocation_id: "00ff", at };
        out.family(crashes, [(["dev-\\x2d\"\n.swap"], 7_u64, Some(exemplar))])?;
        let age = Family {
            name: "age_seconds",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            help: "Age.",
            source: "a test",
            labels: [],
        };
        out.family(age, [([], 1_763_862_000.123_456)])?;
        let none: [([&str; 0], u64); 0] = [];
        out.family(Family { name: "absent", ..age }, none)?;
        let took = Family { name: "took_seconds", kind: Kind::Histogram, ..age };
        out.histogram(took, &Histogram { buckets: vec![(0.01, 2), (f64::INFINITY, 1)], sum: 0.5 })
    }

    #[test]
    fn both_formats_say_the_same() {
        let mut text = String::new();
        two(&mut Text::new(&mut text)).unwrap();
        assert_eq!(
            text,
            r#"# HELP crashes_total Crashes.
# TYPE crashes_total counter
crashes_total{name="dev-\\x2d\"\n.swap"} 7
# HELP age_seconds Age.
# TYPE age_seconds gauge
age_seconds 1763862000.123456
# HELP took_seconds Age.
# TYPE took_seconds histogram
took_seconds_bucket{le="0.01"} 2
took_seconds_bucket{le="+Inf"} 3
took_seconds_sum 0.5
took_seconds_count 3
"#
        );

        let mut registry = Registry::default();
        registry.register_collector(Box::new(Two));
        let mut open = String::new();
        encode(&mut open, &registry).unwrap();
        assert_eq!(
            open,
            r#"# HELP crashes Crashes.
# TYPE crashes counter
crashes_total{name="dev-\\x2d\"\n.swap"} 7 # {invocation_id="00ff"} 1.0 1.5
# HELP age_seconds Age.
# TYPE age_seconds gauge
# UNIT age_seconds seconds
age_seconds 1763862000.123456
# HELP took_seconds Age.
# TYPE took_seconds histogram
# UNIT took_seconds seconds
took_seconds_sum 0.5
took_seconds_count 3
took_seconds_bucket{le="0.01"} 2
took_seconds_bucket{le="+Inf"} 3
# EOF
"#
        );
    }
}
