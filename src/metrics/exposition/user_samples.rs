//! The samples of users' service managers: the families of the system's manager, with one more label.

use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::render::MetricsQuery;
use crate::metrics::{Exemplar, Family, Per, Sample, Sink, Subject, Value, all};
use crate::snapshot::{Histogram, UserSnapshot};

/// The samples by family: a family is written as a whole, the system's samples first.
#[derive(Debug, Default)]
pub(super) struct UserSamples(BTreeMap<&'static str, Vec<UserSample>>);

#[derive(Debug)]
struct UserSample {
    user: String,
    labels: Vec<String>,
    value: Value,
    exemplar: Option<(String, SystemTime)>,
    created: Option<SystemTime>,
}

impl UserSamples {
    /// Runs the declarations over the snapshot of each user's manager.
    pub(super) fn collect(
        users: &[UserSnapshot],
        query: &MetricsQuery,
    ) -> Result<Self, fmt::Error> {
        let mut samples = Self::default();
        for user in users {
            let name = &*user.name;
            all(
                &user.snapshot,
                &mut UserSink { user: name, collector: "", query, samples: &mut samples },
            )?;
        }
        Ok(samples)
    }

    /// The samples of one family.
    pub(super) fn of<const N: usize>(
        &self,
        family: &str,
    ) -> impl Iterator<Item = Sample<'_, N>> + use<'_, N> {
        let samples = self.0.get(family).into_iter().flatten();
        samples.map(|sample| Sample {
            labels: array::from_fn(|at| sample.labels.get(at).map_or("", String::as_str)),
            value: sample.value,
            exemplar: sample
                .exemplar
                .as_ref()
                .map(|(invocation_id, at)| Exemplar { invocation_id, at: *at }),
            created: sample.created,
            user: Some(&sample.user),
        })
    }
}

/// The sink that collects one user's samples.
struct UserSink<'r> {
    user: &'r str,
    collector: &'static str,
    query: &'r MetricsQuery,
    samples: &'r mut UserSamples,
}

impl Sink for UserSink<'_> {
    fn subject(&mut self, subject: Subject) -> bool {
        self.collector = subject.collector;
        !self.query.without.contains(&subject.collector)
    }

    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result {
        if family.per == Per::Host || !self.query.selects(self.collector, &family) {
            return Ok(());
        }
        let mut samples = samples.into_iter().map(Into::into).peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let collected = self.samples.0.entry(family.name).or_default();
        // the limit bounds the memory, however many units a user's manager has
        let room = self.query.max_family_series.saturating_sub(collected.len());
        // all services of a user's manager run as that user
        let user_label = family.labels.iter().position(|label| *label == "user");
        for Sample { mut labels, value, exemplar, created, .. } in samples.take(room) {
            if let Some(at) = user_label {
                labels[at] = self.user;
            }
            collected.push(UserSample {
                user: self.user.to_owned(),
                labels: labels.map(str::to_owned).into(),
                value,
                exemplar: exemplar.map(|exemplar| (exemplar.invocation_id.to_owned(), exemplar.at)),
                created,
            });
        }
        Ok(())
    }

    fn histogram(&mut self, _family: Family<0>, _histogram: &Histogram) -> fmt::Result {
        Ok(())
    }
}
