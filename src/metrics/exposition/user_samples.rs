//! The units of users' own managers: the same families as the system's, with a label more.

use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use crate::metrics::{Exemplar, Family, Sample, Selected, Sink, Subject, Value, all};
use crate::snapshot::{Histogram, User};

/// Every sample of users' units, by family: a family is written in one piece, and the system's
/// samples come first.
#[derive(Debug, Default)]
pub(super) struct Rows(BTreeMap<&'static str, Vec<Row>>);

#[derive(Debug)]
struct Row {
    /// `None` where the family itself has that label: all of a user's services run as that user.
    user: Option<String>,
    labels: Vec<String>,
    value: Value,
    exemplar: Option<(String, SystemTime)>,
}

impl Rows {
    /// Runs the declarations over what is known of each user's manager.
    pub(super) fn collect(users: &[User], selected: &Selected) -> Result<Self, fmt::Error> {
        let mut rows = Self::default();
        for user in users {
            let name = &*user.name;
            all(
                &user.snapshot,
                &mut Collect { user: name, collector: "", selected, rows: &mut rows },
            )?;
        }
        Ok(rows)
    }

    /// The samples of one family.
    pub(super) fn of<const N: usize>(
        &self,
        family: &str,
    ) -> impl Iterator<Item = Sample<'_, N>> + use<'_, N> {
        let rows = self.0.get(family).into_iter().flatten();
        rows.map(|row| Sample {
            labels: array::from_fn(|at| row.labels.get(at).map_or("", String::as_str)),
            value: row.value,
            exemplar: row
                .exemplar
                .as_ref()
                .map(|(invocation_id, at)| Exemplar { invocation_id, at: *at }),
            user: row.user.as_deref(),
        })
    }
}

/// Keeps one user's samples.
struct Collect<'r> {
    user: &'r str,
    collector: &'static str,
    selected: &'r Selected,
    rows: &'r mut Rows,
}

impl Sink for Collect<'_> {
    fn subject(&mut self, subject: Subject) -> bool {
        self.collector = subject.collector;
        OF_UNITS.contains(&subject.collector) && !self.selected.without.contains(&subject.collector)
    }

    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result {
        if !self.selected.wants(self.collector, family.name) {
            return Ok(());
        }
        let mut samples = samples.into_iter().map(Into::into).peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let rows = self.rows.0.entry(family.name).or_default();
        // memory is for what a page may hold, however much a user's manager tells
        let room = self.selected.series_per_family.saturating_sub(rows.len());
        let own = family.labels.iter().position(|label| *label == "user");
        for Sample { mut labels, value, exemplar, .. } in samples.take(room) {
            if let Some(at) = own {
                labels[at] = self.user;
            }
            rows.push(Row {
                user: own.is_none().then(|| self.user.to_owned()),
                labels: labels.map(str::to_owned).into(),
                value,
                exemplar: exemplar.map(|exemplar| (exemplar.invocation_id.to_owned(), exemplar.at)),
            });
        }
        Ok(())
    }

    fn histogram(&mut self, _family: Family<0>, _histogram: &Histogram) -> fmt::Result {
        Ok(())
    }
}

/// The collectors whose metrics are of units; the others are of the host or the exporter.
const OF_UNITS: [&str; 10] = [
    "cgroup",
    "conditions",
    "dependencies",
    "process",
    "sandbox",
    "services",
    "sockets",
    "timers",
    "unit-files",
    "units",
];
