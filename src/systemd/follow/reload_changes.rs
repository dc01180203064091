//! Which units a reload of PID 1's configuration may have changed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::unit_files::UnitFileChanges;
use crate::systemd::mirror::Mirror;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::UnitKind;

/// The changes of unit files that the next reload will apply, and that the last one may have applied.
#[derive(Debug)]
pub(super) struct ReloadChanges {
    /// Since the last reload began.
    pending: UnitFileChanges,
    /// Before a reload that is under way.
    applied: Option<UnitFileChanges>,
    /// Units whose configuration may differ from that of the mirror; `None` if that may be any.
    changed: Option<HashSet<Arc<str>>>,
}

impl Default for ReloadChanges {
    /// Nothing is known yet.
    fn default() -> Self {
        let pending = UnitFileChanges { is_incomplete: true, ..UnitFileChanges::default() };
        Self { pending, applied: None, changed: None }
    }
}

impl ReloadChanges {
    /// Replaces the changes since the last reload, which were not known.
    pub(super) fn begin_with(&mut self, changes: UnitFileChanges) {
        self.pending = changes;
    }

    /// Adds changes that the next reload will apply.
    pub(super) fn add(&mut self, changes: &UnitFileChanges) {
        let settings = changes.settings.iter().map(|unit| unit.to_string());
        self.pending.files.extend(changes.files.iter().cloned().chain(settings));
        self.pending.is_incomplete |= changes.is_incomplete;
    }

    /// A reload begins, `is_first` if the mirror has applied all earlier ones.
    pub(super) fn begin_reload(&mut self, is_first: bool) {
        if is_first {
            self.changed = Some(HashSet::new());
        }
        self.applied = Some(std::mem::take(&mut self.pending));
    }

    /// The reload is over. Changes while it was under way may or may not have been applied; generators
    /// may have changed the files that they wrote, `generated`.
    pub(super) fn end_reload(
        &mut self,
        mirror: &Mirror,
        generated: BTreeSet<String>,
        is_alias: impl Fn(&str) -> bool,
    ) {
        let applied = self.applied.take();
        let (Some(changed), Some(mut applied)) = (&mut self.changed, applied) else {
            self.changed = None;
            return;
        };
        applied.files.extend(self.pending.files.iter().cloned());
        let is_incomplete = applied.is_incomplete || self.pending.is_incomplete;
        // such a unit may be another name of one, or one on which others depend implicitly
        let adds_names = |name: &String| match UnitKind::of(name) {
            _ if mirror.find(name).is_some() => false,
            Some(UnitKind::Mount | UnitKind::Automount | UnitKind::Swap) => true,
            Some(_) => is_alias(name),
            None => false,
        };
        if is_incomplete || applied.files.iter().any(adds_names) {
            self.changed = None;
        } else {
            applied.files.extend(generated);
            changed.extend(applied.units(mirror).map(|unit| unit.name.clone()));
        }
    }

    /// Whether the reload has not changed the configuration of a unit whose files are watched.
    pub(super) fn is_unchanged(&self, unit: &Unit) -> bool {
        unit.needs_reload != Some(true)
            && self.changed.as_ref().is_some_and(|changed| !changed.contains(&unit.name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mirror_of;
    use super::*;

    fn mirror() -> Mirror {
        mirror_of(&["a.service", "b.service", "c.timer"])
    }

    fn changes(names: &[&str]) -> UnitFileChanges {
        let files = names.iter().map(|name| (*name).to_owned()).collect();
        UnitFileChanges { files, ..UnitFileChanges::default() }
    }

    /// A reload after which generated files exist.
    const GENERATED: &[&str] = &["generated"];

    fn unchanged(changes: &ReloadChanges) -> String {
        let mirror = mirror();
        let unchanged = mirror.units().filter(|unit| changes.is_unchanged(unit));
        unchanged.map(|unit| &unit.name[..1]).collect()
    }

    fn reload(reloads: &mut ReloadChanges, during: &[&str]) {
        reloads.begin_reload(true);
        reloads.add(&changes(during));
        let generated = ["c.timer.d".to_owned(), "other.mount".to_owned()];
        let generated = BTreeSet::from(generated).into_iter().filter(|_| during == GENERATED);
        reloads.end_reload(&mirror(), generated.collect(), |name| name == "alias.service");
    }

    #[test]
    fn units_without_changed_files_are_unchanged() {
        let mut reloads = ReloadChanges::default();
        assert_eq!(unchanged(&reloads), "");
        reload(&mut reloads, &[]);
        assert_eq!(unchanged(&reloads), "", "what was before is not known");
        reload(&mut reloads, &[]);
        assert_eq!(unchanged(&reloads), "abc");
        reloads.add(&changes(&["a.service", "other.service"]));
        reload(&mut reloads, &["timer.d"]);
        assert_eq!(unchanged(&reloads), "b");
        reload(&mut reloads, &[]);
        assert_eq!(unchanged(&reloads), "ab", "the last reload may have missed the timer's change");
        reload(&mut reloads, &[]);
        assert_eq!(unchanged(&reloads), "abc");
    }

    #[test]
    fn generated_files_may_have_changed() {
        let mut reloads = ReloadChanges::default();
        reload(&mut reloads, &[]);
        reload(&mut reloads, GENERATED);
        assert_eq!(unchanged(&reloads), "ab");
    }

    #[test]
    fn any_unit_may_have_changed() {
        let mut reloads = ReloadChanges::default();
        reload(&mut reloads, &[]);
        for names in [&["alias.service"][..], &["data.mount"]] {
            reloads.add(&changes(names));
            reload(&mut reloads, &[]);
            assert_eq!(unchanged(&reloads), "", "{names:?}");
            reload(&mut reloads, &[]);
            assert_eq!(unchanged(&reloads), "abc");
        }
        reloads.add(&UnitFileChanges { is_incomplete: true, ..UnitFileChanges::default() });
        reload(&mut reloads, &[]);
        assert_eq!(unchanged(&reloads), "");
        reload(&mut reloads, &[]);
        reloads.end_reload(&mirror(), BTreeSet::new(), |_| false);
        assert_eq!(unchanged(&reloads), "", "its beginning was missed");
    }

    #[test]
    fn changes_of_reloads_add_up_until_the_mirror_has_applied_them() {
        let mut reloads = ReloadChanges::default();
        reload(&mut reloads, &[]);
        reloads.add(&changes(&["a.service"]));
        reload(&mut reloads, &[]);
        reloads.add(&changes(&["b.service"]));
        reloads.begin_reload(false);
        reloads.end_reload(&mirror(), BTreeSet::new(), |_| false);
        assert_eq!(unchanged(&reloads), "c");
    }
}
