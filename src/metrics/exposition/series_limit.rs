//! Selects the families of a query, and limits the series of each.

use std::fmt;

use super::render::{MetricsQuery, SeriesCounts};
use super::user_samples::UserSamples;
use crate::collector::Reduction;
use crate::metrics::{Family, Per, Sample, Sink, Subject};
use crate::snapshot::Histogram;

/// Forwards the families that the query selects, adds the samples of user managers, and counts series.
pub(super) struct SeriesLimit<'a, S> {
    query: &'a MetricsQuery,
    users: &'a UserSamples,
    sink: &'a mut S,
    collector: &'static str,
    /// The series that the response still has room for.
    room: u64,
    /// The series of the forwarded families.
    pub(super) counts: SeriesCounts,
}

impl<'a, S> SeriesLimit<'a, S> {
    pub(super) fn new(query: &'a MetricsQuery, users: &'a UserSamples, sink: &'a mut S) -> Self {
        let room = query.max_series as u64;
        Self { query, users, sink, collector: "", room, counts: SeriesCounts::default() }
    }
}

impl<S: Sink> Sink for SeriesLimit<'_, S> {
    fn subject(&mut self, subject: Subject) -> bool {
        self.collector = subject.collector;
        !self.query.without.contains(&subject.collector) && self.sink.subject(subject)
    }

    fn family<'a, const N: usize, T: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = T>,
    ) -> fmt::Result {
        if !self.query.selects(self.collector, &family) {
            return Ok(());
        }
        let reduction = self.query.metrics.reduction(self.collector, family.name);
        let kind = family.labels.iter().position(|label| *label == "type");
        let limit = (self.query.max_family_series as u64).min(self.room);
        let mut count = 0;
        let is_kept = |sample: &Sample<'_, N>| {
            let is_counted = match reduction {
                None => true,
                Some(Reduction::NonZero) => !sample.value.is_zero(),
                Some(Reduction::Slices) => kind.is_some_and(|at| sample.labels[at] == "slice"),
            };
            count += u64::from(is_counted);
            is_counted && count <= limit
        };
        let system = samples.into_iter().map(|sample| shorten_lifetime(sample.into()));
        let users = if family.per == Per::Host { None } else { Some(self.users.of(family.name)) };
        self.sink.family(family, system.chain(users.into_iter().flatten()).filter(is_kept))?;
        let kept = count.min(limit);
        self.room -= kept;
        if kept > 0 {
            self.counts.kept.insert(family.name, kept);
        }
        if count > kept {
            self.counts.dropped.insert(family.name, count - kept);
        }
        Ok(())
    }

    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result {
        if !self.query.selects(self.collector, &family) {
            return Ok(());
        }
        self.counts.kept.insert(family.name, histogram.buckets.len() as u64 + 2);
        self.sink.histogram(family, histogram)
    }
}

/// Chained iterators need one item type.
fn shorten_lifetime<'s, 'a: 's, const N: usize>(sample: Sample<'a, N>) -> Sample<'s, N> {
    sample
}
