//! What a page may hold: the families that are selected, and so many series of each.

use std::collections::BTreeMap;
use std::fmt;

use super::encode::Paste;
use super::pieces::Written;
use super::render::Selected;
use super::user_samples::Rows;
use crate::metrics::{Family, Sample, Sink, Subject, Value};
use crate::snapshot::Histogram;

/// Lets through what is selected, as far as the budget goes.
pub(super) struct Budget<'a, S> {
    /// What a page may hold.
    pub(super) selected: &'a Selected,
    sink: &'a mut S,
    collector: &'static str,
    /// The samples of users' units.
    pub(super) users: Rows,
    /// How many series each family had so far.
    pub(super) kept: BTreeMap<&'static str, u64>,
    /// How many found no room.
    pub(super) dropped: BTreeMap<&'static str, u64>,
}

impl<'a, S> Budget<'a, S> {
    /// As much as is selected.
    pub(super) fn new(selected: &'a Selected, sink: &'a mut S) -> Self {
        let (kept, dropped) = (BTreeMap::new(), BTreeMap::new());
        Self { selected, sink, collector: "", users: Rows::default(), kept, dropped }
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
        let mut tally = Within::new(self.selected, family.name, 0);
        let system = samples.into_iter().map(|sample| shared(sample.into()));
        let samples = system.chain(self.users.of(family.name));
        self.sink.family(family, samples.filter(|sample| tally.takes(sample)))?;
        self.tally(family.name, tally);
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

impl<S: Paste> Budget<'_, S> {
    /// Takes lines that were written before, so many that there is room for them.
    pub(super) fn paste<const N: usize>(
        &mut self,
        family: Family<N>,
        written: &Written,
        at: usize,
        count: u64,
    ) -> fmt::Result {
        if !self.selected.wants(self.collector, family.name) {
            return Ok(());
        }
        let mut tally = Within::new(self.selected, family.name, count);
        let users = self.users.of(family.name).filter(|sample| tally.takes(sample));
        self.sink.paste(family, written, at, users)?;
        self.tally(family.name, tally);
        Ok(())
    }
}

impl<S> Budget<'_, S> {
    fn tally(&mut self, family: &'static str, Within { all, most, .. }: Within) {
        if all.min(most) > 0 {
            self.kept.insert(family, all.min(most));
        }
        if all > most {
            self.dropped.insert(family, all - most);
        }
    }
}

/// How many series of a family there are, and which of them find room.
struct Within {
    zeros: bool,
    all: u64,
    most: u64,
}

impl Within {
    fn new(selected: &Selected, family: &str, all: u64) -> Self {
        let zeros = !selected.profile.leaves_out_zeros_of(family);
        Self { zeros, all, most: selected.series_per_family as u64 }
    }

    fn takes<const N: usize>(&mut self, sample: &Sample<'_, N>) -> bool {
        let counts = self.zeros || sample.value != Value::Integer(0);
        self.all += u64::from(counts);
        counts && self.all <= self.most
    }
}

/// The same sample, to stand beside some that do not live as long.
fn shared<'s, 'a: 's, const N: usize>(sample: Sample<'a, N>) -> Sample<'s, N> {
    sample
}
