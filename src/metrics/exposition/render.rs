//! Renders a scrape response: the families of a query, each within the series limit, in one format.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::created_times::CreatedTimes;
use super::openmetrics::{self, OpenMetrics};
use super::protobuf::{self, Protobuf};
use super::series_limit::SeriesLimit;
use super::text_format::{self, Text};
use super::user_samples::UserSamples;
use crate::collector::SelectedMetrics;
use crate::metrics::{Family, Sample, Sink, Subject, all, exporter};
use crate::snapshot::{Histogram, Snapshot};

/// The formats of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily` messages, each after its length.
    Protobuf,
    /// The Prometheus text format 0.0.4.
    #[default]
    Text,
}

/// The selection of families and series in a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricsQuery {
    /// The names of the collectors that are excluded.
    pub without: Vec<&'static str>,
    /// The full names of the families; all, if empty.
    pub names: Vec<String>,
    /// The families that are exported if `names` is empty.
    pub metrics: SelectedMetrics,
    /// The maximum number of series of the response.
    pub max_series: usize,
    /// The maximum number of series of one family; those after it are dropped.
    pub max_family_series: usize,
}

/// How many series each family has in a response, and how many were dropped.
#[derive(Debug, Default)]
pub struct SeriesCounts {
    /// In this response.
    pub kept: BTreeMap<&'static str, u64>,
    /// In all responses since the exporter started.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// The state that is kept from one response to the next.
#[derive(Debug, Default)]
pub struct RenderState {
    /// The series that were dropped since the exporter started, by family.
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    created: Mutex<CreatedTimes>,
}

/// Renders the response.
///
/// # Errors
/// None: writing to memory does not fail.
pub fn render(
    snapshot: &Arc<Snapshot>,
    format: Format,
    query: &MetricsQuery,
    state: &Arc<RenderState>,
) -> Result<Vec<u8>, fmt::Error> {
    render_into(Vec::new(), snapshot, format, query, state)
}

/// Renders the response into the memory of `body`, which is empty.
///
/// # Errors
/// As [`render`].
pub fn render_into(
    mut body: Vec<u8>,
    snapshot: &Arc<Snapshot>,
    format: Format,
    query: &MetricsQuery,
    state: &Arc<RenderState>,
) -> Result<Vec<u8>, fmt::Error> {
    let response =
        Response { snapshot: snapshot.clone(), query: query.clone(), state: state.clone() };
    let mut text = String::new();
    if format != Format::Protobuf {
        text = String::from_utf8(std::mem::take(&mut body)).unwrap_or_default();
    }
    match format {
        Format::Text => response.write(&mut Text::new(&mut text))?,
        Format::OpenMetrics => {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(response));
            text::encode(&mut text, &registry)?;
        }
        Format::Protobuf => {
            let created = lock(&state.created).at(SystemTime::now());
            let mut sink = Protobuf::new(&mut body, created, snapshot.exporter.started);
            response.write(&mut sink)?;
            let created = sink.into_created();
            let mut kept = lock(&state.created);
            *kept = kept.merge(created);
            return Ok(body);
        }
    }
    Ok(text.into_bytes())
}

/// The collector that prometheus-client's registry calls; the registry takes owned values only.
#[derive(Debug)]
struct Response {
    snapshot: Arc<Snapshot>,
    query: MetricsQuery,
    state: Arc<RenderState>,
}

impl Response {
    fn write(&self, sink: &mut impl Sink) -> fmt::Result {
        let users = UserSamples::collect(&self.snapshot.users, &self.query)?;
        let (query, removed) = self.within_limit(&users)?;
        let mut limit = SeriesLimit::new(&query, &users, sink);
        all(&self.snapshot, &mut limit)?;
        let SeriesCounts { kept, mut dropped } = limit.counts;
        dropped.extend(removed);
        let counts = SeriesCounts { kept, dropped: self.state.add(&dropped) };
        // last, as these families count the series of the others
        exporter::response(&counts, &mut SeriesLimit::new(&query, &users, sink))
    }

    /// The query for the largest profile within the series limit, and the series of the families
    /// that it lacks. The smallest profile may exceed the limit.
    fn within_limit(
        &self,
        users: &UserSamples,
    ) -> Result<(MetricsQuery, BTreeMap<&'static str, u64>), fmt::Error> {
        let mut query = self.query.clone();
        let systems = self.snapshot.users.iter().filter_map(|user| user.snapshot.systemd.as_ref());
        let units = systems.chain(&self.snapshot.systemd).map(|systemd| systemd.units.len());
        if units.sum::<usize>().saturating_mul(MAX_UNIT_SERIES) <= query.max_series {
            return Ok((query, BTreeMap::new()));
        }
        let mut counts = self.count(&query, users)?;
        let mut removed = BTreeMap::new();
        while counts.values().sum::<u64>() > query.max_series as u64
            && let Some(smaller) = query.smaller()
        {
            query = smaller;
            let kept = self.count(&query, users)?;
            removed.extend(counts.into_iter().filter(|(family, _)| !kept.contains_key(family)));
            counts = kept;
        }
        Ok((query, removed))
    }

    /// The series of each family in the response to a query, without the limits.
    fn count(
        &self,
        query: &MetricsQuery,
        users: &UserSamples,
    ) -> Result<BTreeMap<&'static str, u64>, fmt::Error> {
        let unlimited =
            MetricsQuery { max_series: usize::MAX, max_family_series: usize::MAX, ..query.clone() };
        let mut discard = Discard;
        let mut limit = SeriesLimit::new(&unlimited, users, &mut discard);
        all(&self.snapshot, &mut limit)?;
        Ok(limit.counts.kept)
    }
}

/// Receives samples to count them.
struct Discard;

impl Sink for Discard {
    fn subject(&mut self, _subject: Subject) -> bool {
        true
    }

    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        _family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result {
        samples.into_iter().for_each(drop);
        Ok(())
    }

    fn histogram(&mut self, _family: Family<0>, _histogram: &Histogram) -> fmt::Result {
        Ok(())
    }
}

impl Collector for Response {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut OpenMetrics { encoder })
    }
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => openmetrics::CONTENT_TYPE,
            Self::Protobuf => protobuf::CONTENT_TYPE,
            Self::Text => text_format::CONTENT_TYPE,
        }
    }
}

impl MetricsQuery {
    /// Whether the query selects the family, by its name or else by the profile.
    pub(super) fn selects<const N: usize>(&self, collector: &str, family: &Family<N>) -> bool {
        let is_named = match self.names.as_slice() {
            [] => self.metrics.has(collector, family.profile),
            names => names.iter().any(|name| name == family.name),
        };
        is_named && !self.metrics.excluded.contains(&family.name)
    }

    /// The query for the next smaller profile; `None` if there is none.
    fn smaller(&self) -> Option<Self> {
        let profile = self.metrics.profile.smaller().filter(|_| self.names.is_empty())?;
        let excluded = self.metrics.excluded.clone();
        let metrics = SelectedMetrics { profile, whole_collectors: Vec::new(), excluded };
        Some(Self { metrics, ..self.clone() })
    }
}

impl RenderState {
    /// Adds the series that one response dropped, and returns the totals.
    fn add(&self, dropped: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
        let mut totals = lock(&self.dropped);
        for (family, count) in dropped {
            *totals.entry(family).or_default() += count;
        }
        totals.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More series than a unit has: a response for fewer units need not be counted in advance.
const MAX_UNIT_SERIES: usize = 100;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::collector::Profile;
    use crate::metrics::{Exemplar, Kind, Per, Resets};

    #[derive(Debug)]
    struct Examples;

    impl Collector for Examples {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            examples(&mut OpenMetrics { encoder })
        }
    }

    fn examples(out: &mut impl Sink) -> fmt::Result {
        let crashes = Family {
            name: "crashes_total",
            kind: Kind::Counter(Resets::WithExporter),
            per: Per::Unit,
            help: "Crashes.",
            source: "a test",
            profile: Profile::Minimal,
            labels: ["name"],
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let exemplar = Exemplar { invocation_id: "00ff", at };
        out.family(crashes, [(["dev-\\x2d\"\n.swap"], 7_u64, Some(exemplar))])?;
        let age = Family {
            name: "age_seconds",
            kind: Kind::Gauge,
            per: Per::Host,
            help: "Age.",
            source: "a test",
            profile: Profile::Minimal,
            labels: [],
        };
        out.family(age, [([], 1_763_862_000.123_456)])?;
        let none: [([&str; 0], u64); 0] = [];
        out.family(Family { name: "absent", ..age }, none)?;
        let took = Family { name: "took_seconds", kind: Kind::Histogram, ..age };
        out.histogram(took, &Histogram { buckets: vec![(0.01, 2), (f64::INFINITY, 1)], sum: 0.5 })
    }

    #[test]
    fn formats_contain_the_same_samples() {
        let mut text = String::new();
        examples(&mut Text::new(&mut text)).unwrap();
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

        let mut open = String::new();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Examples));
        text::encode(&mut open, &registry).unwrap();
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
