//! Properties of units that are being fetched, held back until all of a unit's have come.
//!
//! Exits are told by several properties that belong together. So what was fetched is applied at
//! once, as one change; and where a signal came meanwhile, its properties overrule the fetched
//! ones: it was atomic, and whatever PID 1 changes after it brings another signal.

use std::collections::HashMap;
use std::sync::Arc;

use zbus::OwnedVariant;

use crate::systemd::ledger::Gap;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::properties::{Interface, is_signalled};

/// The units being fetched.
#[derive(Default)]
pub(super) struct Drafts {
    by_name: HashMap<Arc<str>, Draft>,
    generation: u32,
}

/// What has come of one unit.
pub(super) struct Draft {
    kind: Kind,
    /// Tells the calls of this fetch from those of an earlier one; 0 before they are made.
    generation: u32,
    /// Answers still to come.
    left: usize,
    values: Vec<(Interface, &'static str, OwnedVariant)>,
    signalled: Vec<Interface>,
    /// Why signals before the fetch may be missing.
    pub(super) gap: Option<Gap>,
}

impl Drafts {
    /// Begins a draft, with the gap of one that it replaces. False if one waits for its calls.
    pub(super) fn begin(&mut self, name: &Arc<str>, kind: Kind, gap: Option<Gap>) -> bool {
        let before = self.by_name.get(name);
        let waits = before.is_some_and(|draft| draft.generation == 0);
        let gap = match gap {
            Some(Gap::Reload) => gap,
            _ => before.and_then(|draft| draft.gap).or(gap),
        };
        let (values, signalled) = (Vec::new(), Vec::new());
        let draft = Draft { kind, generation: 0, left: 0, values, signalled, gap };
        self.by_name.insert(name.clone(), draft);
        !waits
    }

    /// Notes how many calls will be made, and gives the generation that they carry. `None` if
    /// the unit was unloaded meanwhile.
    pub(super) fn calls(&mut self, name: &str, calls: usize) -> Option<u32> {
        let draft = self.by_name.get_mut(name)?;
        self.generation += 1;
        (draft.generation, draft.left) = (self.generation, calls);
        Some(self.generation)
    }

    /// Why signals of this unit may be missing.
    pub(super) fn gap(&self, name: &str) -> Option<Gap> {
        self.by_name.get(name)?.gap
    }

    /// Notes that a reload was part of what is missing.
    pub(super) fn gap_is_reload(&mut self) {
        for draft in self.by_name.values_mut() {
            draft.gap = draft.gap.and(Some(Gap::Reload));
        }
    }

    /// Notes a signal.
    pub(super) fn signalled(&mut self, name: &str, interface: Interface) {
        if let Some(draft) = self.by_name.get_mut(name) {
            let kind = draft.kind;
            draft
                .values
                .retain(|(of, name, _)| *of != interface || !is_signalled(kind, interface, name));
            draft.signalled.push(interface);
        }
    }

    /// Takes an answer; gives the draft once it is complete.
    pub(super) fn answer(
        &mut self,
        name: &str,
        generation: u32,
        interface: Interface,
        values: Vec<(&'static str, OwnedVariant)>,
    ) -> Option<Draft> {
        let draft = self.by_name.get_mut(name).filter(|draft| draft.generation == generation)?;
        let overruled = draft.signalled.contains(&interface);
        let kind = draft.kind;
        let values = values
            .into_iter()
            .filter(|(property, _)| !(overruled && is_signalled(kind, interface, property)));
        draft.values.extend(values.map(|(property, value)| (interface, property, value)));
        draft.left = draft.left.saturating_sub(1);
        if draft.left == 0 { self.by_name.remove(name) } else { None }
    }

    /// Forgets a unit that was unloaded.
    pub(super) fn drop(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Whether nothing is being fetched.
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl Draft {
    /// Puts all of it into the unit.
    pub(super) fn apply(&self, unit: &mut Unit) {
        for (interface, property, value) in &self.values {
            unit.set(*interface, property, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;
    use crate::systemd::unit::value::Word;

    const KIND: Kind = Kind::Service;

    fn value(property: &'static str, word: &str) -> (&'static str, OwnedVariant) {
        (property, Variant::from(word).try_to_owned().unwrap())
    }

    /// What the properties of a service are once these have been put into it.
    fn applied(draft: &Draft) -> (String, String) {
        let mut unit = Unit::new("a.service".into(), KIND, true);
        draft.apply(&mut unit);
        let service = unit.service().unwrap();
        let text = |word: &Option<Word>| word.clone().unwrap_or_default();
        (text(&service.result).into(), text(&service.restart).into())
    }

    fn begun(calls: usize) -> (Drafts, u32) {
        let mut drafts = Drafts::default();
        assert!(drafts.is_empty());
        assert!(drafts.begin(&"a.service".into(), KIND, None));
        let generation = drafts.calls("a.service", calls).unwrap();
        (drafts, generation)
    }

    #[test]
    fn a_unit_is_changed_once_all_answers_have_come() {
        let (mut drafts, generation) = begun(2);
        let first = vec![value("Result", "signal"), value("Restart", "always")];
        assert!(drafts.answer("a.service", generation, Interface::Kind, first).is_none());
        assert!(!drafts.is_empty());
        let draft = drafts.answer("a.service", generation, Interface::Unit, Vec::new()).unwrap();
        assert_eq!(applied(&draft), ("signal".to_owned(), "always".to_owned()));
        assert!(drafts.is_empty());
    }

    #[test]
    fn a_signal_overrules_what_it_carries_and_only_that() {
        let fetched = || vec![value("Result", "signal"), value("Restart", "always")];
        for (signalled, result) in [(Interface::Kind, ""), (Interface::Unit, "signal")] {
            let (mut before, generation) = begun(1);
            before.signalled("a.service", signalled);
            let draft = before.answer("a.service", generation, Interface::Kind, fetched()).unwrap();
            assert_eq!(applied(&draft), (result.to_owned(), "always".to_owned()));

            let (mut after, generation) = begun(2);
            assert!(after.answer("a.service", generation, Interface::Kind, fetched()).is_none());
            after.signalled("a.service", signalled);
            let draft = after.answer("a.service", generation, Interface::Unit, Vec::new()).unwrap();
            assert_eq!(applied(&draft), (result.to_owned(), "always".to_owned()));
        }
    }

    #[test]
    fn answers_to_an_earlier_fetch_count_for_nothing() {
        let (mut drafts, earlier) = begun(1);
        let name = "a.service".into();
        assert!(drafts.begin(&name, KIND, None), "its calls are under way");
        assert!(!drafts.begin(&name, KIND, None), "it waits for its calls");
        let generation = drafts.calls("a.service", 1).unwrap();
        assert!(drafts.answer("a.service", earlier, Interface::Kind, Vec::new()).is_none());
        assert!(drafts.answer("a.service", generation, Interface::Kind, Vec::new()).is_some());
    }

    #[test]
    fn a_fetch_that_replaces_another_has_its_gap() {
        let mut drafts = Drafts::default();
        let name = "a.service".into();
        drafts.begin(&name, KIND, Some(Gap::Reload));
        drafts.begin(&name, KIND, Some(Gap::Drift));
        assert_eq!(drafts.gap("a.service"), Some(Gap::Reload));
        assert_eq!(drafts.gap("b.service"), None);
    }

    #[test]
    fn a_unit_that_was_unloaded_is_not_fetched() {
        let (mut drafts, generation) = begun(1);
        drafts.drop("a.service");
        assert!(drafts.is_empty());
        assert_eq!(drafts.calls("a.service", 1), None);
        assert!(drafts.answer("a.service", generation, Interface::Kind, Vec::new()).is_none());
    }
}
