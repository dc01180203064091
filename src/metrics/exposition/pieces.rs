//! What pages have in common from one to the next: the lines of units that have not changed.
//!
//! Units are taken a few dozen at a time, in the order of the page. As long as these are the very
//! same, what was written of them is copied; otherwise the declarations are run over them alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::encode::{Declares, Paste, encode};
use super::render::{Format, Selected};
use super::series_limit::Budget;
use crate::metrics::{Family, Sample, Sink, Subject, services, units};
use crate::profile::Profile;
use crate::snapshot::{Histogram, Snapshot};
use crate::systemd::ledger::Account;
use crate::systemd::snapshot::SystemdSnapshot;
use crate::systemd::unit::Unit;

/// What was written last, in one format.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    units: Vec<Piece<Arc<Unit>>>,
    accounts: Vec<Piece<(Arc<str>, Arc<Account>)>>,
}

/// A few parts of a snapshot, and what a page says of them.
#[derive(Debug)]
struct Piece<T> {
    of: Vec<T>,
    lines: Arc<Lines>,
}

/// The lines of a piece, family after family.
#[derive(Debug, Default)]
struct Lines {
    families: Vec<&'static str>,
    text: String,
    /// Where each family's lines end, and how many they are.
    ends: Vec<(usize, u64)>,
}

/// The lines of every unit, as one page has them.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<Arc<Lines>>);

impl Pieces {
    /// Writes anew what has changed.
    pub(super) fn written(
        &mut self,
        systemd: &SystemdSnapshot,
        format: Format,
        profile: Profile,
    ) -> Result<Written, fmt::Error> {
        let write = |systemd| Lines::of(systemd, format, profile);
        renew(&mut self.units, &systemd.units, write)?;
        renew(&mut self.accounts, &systemd.accounts, write)?;
        let units = self.units.iter().map(|piece| &piece.lines);
        let accounts = self.accounts.iter().map(|piece| &piece.lines);
        Ok(Written(units.chain(accounts).cloned().collect()))
    }
}

impl Written {
    /// Where a family's lines are; `None` if it is not of units alone.
    pub(super) fn position(&self, family: &str) -> Option<usize> {
        self.0.first()?.families.iter().position(|name| *name == family)
    }

    /// How many lines it has there.
    pub(super) fn count(&self, at: usize) -> u64 {
        self.0.iter().map(|lines| lines.ends[at].1).sum()
    }

    /// Its lines.
    pub(super) fn texts(&self, at: usize) -> impl Iterator<Item = &str> {
        self.0.iter().map(move |lines| {
            let start = at.checked_sub(1).map_or(0, |before| lines.ends[before].0);
            &lines.text[start..lines.ends[at].0]
        })
    }
}

/// Part of a snapshot of which lines are written.
trait Part: Clone {
    /// The same only for the very same part, as long as that is kept.
    fn id(&self) -> usize;
    fn alone(parts: Vec<Self>) -> SystemdSnapshot;
}

impl Part for Arc<Unit> {
    fn id(&self) -> usize {
        Self::as_ptr(self).addr()
    }

    fn alone(units: Vec<Self>) -> SystemdSnapshot {
        SystemdSnapshot { units, ..SystemdSnapshot::default() }
    }
}

impl Part for (Arc<str>, Arc<Account>) {
    fn id(&self) -> usize {
        Arc::as_ptr(&self.1).addr()
    }

    fn alone(accounts: Vec<Self>) -> SystemdSnapshot {
        SystemdSnapshot { accounts, ..SystemdSnapshot::default() }
    }
}

/// Keeps the pieces whose parts are still there, next to each other, and makes the others anew.
fn renew<T: Part>(
    pieces: &mut Vec<Piece<T>>,
    parts: &[T],
    write: impl Fn(SystemdSnapshot) -> Result<Lines, fmt::Error>,
) -> fmt::Result {
    let mut old: HashMap<usize, Piece<T>> =
        pieces.drain(..).filter_map(|piece| Some((piece.of.first()?.id(), piece))).collect();
    let mut rest = parts;
    while let Some(first) = rest.first() {
        let kept = old.remove(&first.id()).filter(|piece| piece.begins(rest));
        let piece = match kept {
            Some(piece) => piece,
            None => {
                // up to where another piece begins, if that makes no crumb and no lump
                let mut ends = PIECE / 2..=rest.len().min(PIECE * 3 / 2);
                let end =
                    ends.find(|end| rest.get(*end).is_none_or(|part| old.contains_key(&part.id())));
                let length = end.unwrap_or(PIECE).min(rest.len());
                let of = rest[..length].to_vec();
                let lines = write(T::alone(of.clone()))?;
                Piece { of, lines: Arc::new(lines) }
            }
        };
        rest = &rest[piece.of.len()..];
        pieces.push(piece);
    }
    Ok(())
}

impl<T: Part> Piece<T> {
    fn begins(&self, parts: &[T]) -> bool {
        let parts = parts.get(..self.of.len());
        parts.is_some_and(|parts| parts.iter().zip(&self.of).all(|(is, was)| is.id() == was.id()))
    }
}

impl Lines {
    fn of(systemd: SystemdSnapshot, format: Format, profile: Profile) -> Result<Self, fmt::Error> {
        let snapshot = Snapshot { systemd: Some(systemd), ..Snapshot::default() };
        let counted = Arc::new(Mutex::new(Vec::new()));
        let alone = Alone { snapshot, profile, counted: counted.clone() };
        let page = encode(format, alone, &Written::default())?;
        let counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Self::default();
        let mut rest = &*page;
        for (family, count) in &*counted {
            if *count > 0 {
                // no line but those of a head begins so
                while rest.starts_with('#') {
                    rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
                }
                let end = rest.find("\n#").map_or(rest.len(), |end| end + 1);
                lines.text.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            lines.families.push(family);
            lines.ends.push((lines.text.len(), *count));
        }
        lines.text.shrink_to_fit();
        Ok(lines)
    }
}

/// A few units, without anything else of the host.
#[derive(Debug)]
struct Alone {
    snapshot: Snapshot,
    profile: Profile,
    /// The families of units, and how many lines each has.
    counted: Arc<Mutex<Vec<(&'static str, u64)>>>,
}

impl Declares for Alone {
    fn declare(&self, sink: &mut impl Paste) -> fmt::Result {
        let selected = Selected {
            without: Vec::new(),
            names: Vec::new(),
            profile: self.profile,
            series_per_family: usize::MAX,
        };
        let mut counts = Vec::new();
        let mut count = Count { sink, counts: &mut counts };
        let mut budget = Budget::new(&selected, &mut count);
        units::families(&self.snapshot, &mut budget)?;
        services::families(&self.snapshot, &mut budget)?;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        Ok(())
    }
}

/// Lets through the families of units, and counts their lines.
struct Count<'c, S> {
    sink: &'c mut S,
    counts: &'c mut Vec<(&'static str, u64)>,
}

impl<S: Sink> Sink for Count<'_, S> {
    fn subject(&mut self, subject: Subject) -> bool {
        self.sink.subject(subject)
    }

    fn family<'a, const N: usize, T: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = T>,
    ) -> fmt::Result {
        if family.labels.first() != Some(&"name") || OF_MORE.contains(&family.name) {
            return Ok(());
        }
        let mut count = 0;
        self.sink.family(family, samples.into_iter().inspect(|_| count += 1))?;
        self.counts.push((family.name, count));
        Ok(())
    }

    fn histogram(&mut self, _family: Family<0>, _histogram: &Histogram) -> fmt::Result {
        Ok(())
    }
}

/// Units in a piece: what is written anew where one of them has changed.
const PIECE: usize = 64;

/// The collectors whose families are written in pieces.
pub(super) const COLLECTORS: [&str; 2] = ["units", "services"];

/// Families of units, for which a unit alone, or its account alone, is not enough.
const OF_MORE: [&str; 3] =
    ["systemd_service_given_up", "systemd_unit_missing", "systemd_unit_unmet_dependencies"];

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::systemd::unit::name::Kind;

    fn units(count: usize) -> Vec<Arc<Unit>> {
        (0..count).map(|n| unit(&format!("{n:04}.service"))).collect()
    }

    fn unit(name: &str) -> Arc<Unit> {
        let mut unit = Unit::new(name.into(), Kind::Service, true);
        unit.active_state = Some("active".into());
        Arc::new(unit)
    }

    /// Renews, and says how many pieces were written and how many units they have.
    fn renewed(pieces: &mut Pieces, units: &[Arc<Unit>]) -> (usize, usize) {
        let (count, of) = (Cell::new(0), Cell::new(0));
        let write = |systemd: SystemdSnapshot| {
            count.set(count.get() + 1);
            of.set(of.get() + systemd.units.len());
            Ok(Lines::default())
        };
        renew(&mut pieces.units, units, write).unwrap();
        let all = pieces.units.iter().flat_map(|piece| &piece.of);
        assert!(all.map(Part::id).eq(units.iter().map(Part::id)), "every unit once, in order");
        (count.get(), of.get())
    }

    #[test]
    fn only_pieces_with_a_change_are_written_anew() {
        let mut pieces = Pieces::default();
        let mut all = units(1000);
        assert_eq!(renewed(&mut pieces, &all), (16, 1000));
        assert_eq!(renewed(&mut pieces, &all), (0, 0));
        for changed in [0, 63, 64, 500, 999] {
            all[changed] = unit("changed.service");
            let (count, of) = renewed(&mut pieces, &all);
            assert!(count == 1 && of <= PIECE * 3 / 2, "{changed}: {count} pieces, {of} units");
        }
        all.remove(300);
        all.insert(700, unit("new.service"));
        let (count, of) = renewed(&mut pieces, &all);
        assert!(count <= 3 && of <= 4 * PIECE, "{count} pieces, {of} units");
        assert_eq!(renewed(&mut pieces, &[]), (0, 0));
        assert!(pieces.units.is_empty());
    }

    #[test]
    fn units_that_come_and_go_leave_no_crumbs() {
        let mut random = 7_usize;
        let mut below = |most: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % most
        };
        let mut pieces = Pieces::default();
        let mut all = units(1000);
        for _ in 0..2000 {
            if below(2) == 0 {
                all.insert(below(all.len()), unit("new.service"));
            } else {
                all.remove(below(all.len()));
            }
            renewed(&mut pieces, &all);
        }
        assert!(pieces.units.len() < all.len() / 16, "{} of {}", pieces.units.len(), all.len());
    }

    #[test]
    fn lines_are_those_of_one_family_whatever_a_unit_is_called() {
        let name = "a\n# HELP systemd_unit_info \"\\.service";
        for format in [Format::Text, Format::OpenMetrics] {
            let systemd = SystemdSnapshot {
                units: vec![unit(name), unit("b.service")],
                ..SystemdSnapshot::default()
            };
            let written = Pieces::default().written(&systemd, format, Profile::Default).unwrap();
            let of = |family: &str| {
                let at = written.position(family).unwrap();
                (written.count(at), written.texts(at).collect::<String>())
            };
            let (count, states) = of("systemd_unit_state");
            assert_eq!((count, states.lines().count()), (10, 10));
            assert!(states.lines().all(|line| line.starts_with("systemd_unit_state{")), "{states}");
            assert_eq!(of("systemd_unit_sub_state"), (0, String::new()));
            assert_eq!(written.position("systemd_unit_missing"), None);
            assert_eq!(written.position("systemd_failures_total"), None);
        }
    }
}
