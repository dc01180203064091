//! Properties of units that are being fetched, held back until all of a unit's have come.
//!
//! Exits are told by several properties that belong together. So what was fetched is applied at
//! once, as one change; and where a signal came meanwhile, its properties overrule the fetched
//! ones: it was atomic, and whatever PID 1 changes after it brings another signal.

use std::collections::HashMap;
use std::sync::Arc;

use zbus::OwnedVariant;

use crate::systemd::ledger::Gap;
use crate::systemd::name::Kind;
use crate::systemd::properties::{Interface, is_signalled};
use crate::systemd::unit::Unit;

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
        let gap = before.and_then(|draft| draft.gap).or(gap);
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
