//! One answer of `/metrics`: the families asked for, within the series budget, in one format.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, iter};

use super::encode::{Declares, Paste, encode};
use super::pieces::{COLLECTORS, Pieces, Written};
use super::series_limit::Budget;
use super::user_samples::Rows;
use crate::metrics::{Family, Sample, Sink, Subject, all, exporter};
use crate::profile::Profile;
use crate::snapshot::{Histogram, Snapshot};

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
            Self::Text => super::text_format::CONTENT_TYPE,
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

impl Selected {
    /// Whether the family is among those asked for by name, or else by profile.
    pub(super) fn wants(&self, collector: &str, family: &str) -> bool {
        match self.names.as_slice() {
            [] => self.profile.has_family(collector, family),
            names => names.iter().any(|name| name == family),
        }
    }
}

/// How many series each family has on a page, and how many were ever dropped.
#[derive(Debug, Default)]
pub struct Tally {
    /// On this page.
    pub kept: BTreeMap<&'static str, u64>,
    /// Beyond the budget, on all pages of this exporter so far.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// What is remembered from page to page.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Series that pages had no room for, by family, since the exporter started.
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    /// In the formats asked for lately, and when each last was.
    pieces: Mutex<HashMap<(Format, Profile), (Instant, Pieces)>>,
}

/// Writes the page.
pub fn render(
    snapshot: &Arc<Snapshot>,
    format: Format,
    selected: &Selected,
    remembered: &Arc<Remembered>,
) -> Result<String, fmt::Error> {
    let written = Arc::new(remembered.written(snapshot, format, selected)?);
    let page = Page {
        snapshot: snapshot.clone(),
        selected: selected.clone(),
        remembered: remembered.clone(),
        written: written.clone(),
    };
    encode(format, page, &written)
}

#[derive(Debug)]
struct Page {
    snapshot: Arc<Snapshot>,
    selected: Selected,
    remembered: Arc<Remembered>,
    written: Arc<Written>,
}

impl Declares for Page {
    fn declare(&self, sink: &mut impl Paste) -> fmt::Result {
        let mut whole = Whole { budget: Budget::new(&self.selected, sink), written: &self.written };
        whole.budget.users = Rows::collect(&self.snapshot.users, &self.selected)?;
        all(&self.snapshot, &mut whole)?;
        let Budget { kept, dropped, .. } = whole.budget;
        let tally = Tally { kept, dropped: self.remembered.add(&dropped) };
        exporter::page(&tally, &mut Budget::new(&self.selected, sink))
    }
}

impl Remembered {
    /// Adds one page's drops and returns the sums.
    fn add(&self, beyond: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
        let mut sums = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        for (family, count) in beyond {
            *sums.entry(family).or_default() += count;
        }
        sums.clone()
    }

    /// The lines of units, if a page is to have them.
    fn written(
        &self,
        snapshot: &Snapshot,
        format: Format,
        selected: &Selected,
    ) -> Result<Written, fmt::Error> {
        let wants = COLLECTORS.iter().any(|collector| !selected.without.contains(collector));
        let Some(systemd) =
            snapshot.systemd.as_ref().filter(|_| wants && selected.names.is_empty())
        else {
            return Ok(Written::default());
        };
        let now = Instant::now();
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (format, selected.profile);
        pieces.retain(|of, (used, _)| *of == key || now.duration_since(*used) < FORGET);
        let (used, pieces) = pieces.entry(key).or_insert_with(|| (now, Pieces::default()));
        *used = now;
        pieces.written(systemd, format, selected.profile)
    }
}

/// A page whose units have been written before, as far as they have not changed.
struct Whole<'a, S> {
    budget: Budget<'a, S>,
    written: &'a Written,
}

impl<S: Paste> Sink for Whole<'_, S> {
    fn subject(&mut self, subject: Subject) -> bool {
        self.budget.subject(subject)
    }

    fn family<'a, const N: usize, T: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = T>,
    ) -> fmt::Result {
        let Self { budget, written } = self;
        let most = budget.selected.series_per_family as u64;
        match written.position(family.name).map(|at| (at, written.count(at))) {
            Some((at, count)) if (1..=most).contains(&count) => {
                budget.paste(family, written, at, count)
            }
            Some((_, 0)) => budget.family(family, iter::empty::<Sample<'_, N>>()),
            _ => budget.family(family, samples),
        }
    }

    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result {
        self.budget.histogram(family, histogram)
    }
}

/// Who asks for pages asks for them more often than that.
const FORGET: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exemplar, Kind, Resets, Unit};
    use std::time::SystemTime;

    #[derive(Debug)]
    struct Two;

    impl Declares for Two {
        fn declare(&self, sink: &mut impl Paste) -> fmt::Result {
            two(sink)
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
        let text = encode(Format::Text, Two, &Written::default()).unwrap();
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

        let open = encode(Format::OpenMetrics, Two, &Written::default()).unwrap();
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
