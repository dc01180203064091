//! Questions that PID 1 has to look at files for: of one unit after another, a few at a time.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::systemd::mirror::Mirror;
use crate::systemd::unit::Unit;
use crate::systemd::unit::name::Kind;

/// Walks through all units again and again.
pub(super) struct Round {
    /// How many units are asked about at each step.
    units: usize,
    /// The unit asked about last.
    last: Option<Arc<str>>,
    /// Units whose turn is before all others.
    first: VecDeque<Arc<str>>,
    pub(super) next: Instant,
}

impl Round {
    /// Begins soon, with so many units at each step.
    pub(super) fn new(units: usize, now: Instant) -> Self {
        Self { units, last: None, first: VecDeque::new(), next: now + STEP }
    }

    /// The units whose turn it is.
    pub(super) fn turn(&mut self, mirror: &Mirror, now: Instant) -> Vec<Arc<str>> {
        self.next = now + STEP;
        let mut names = Vec::with_capacity(self.units);
        while names.len() < self.units
            && let Some(name) = self.first.pop_front()
        {
            names.extend(mirror.unit(&name).filter(|unit| has_files(unit)).map(|_| name));
        }
        let from = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let room = self.units - names.len();
        let turn = mirror.units_from(from).filter(|unit| has_files(unit)).take(room);
        let before = names.len();
        names.extend(turn.map(|unit| unit.name.clone()));
        if names.len() < self.units {
            self.last = None;
        } else if names.len() > before {
            self.last = names.last().cloned();
        }
        names
    }

    /// Asks about these units first.
    pub(super) fn hurry(&mut self, names: impl Iterator<Item = Arc<str>>) {
        self.first.extend(names);
    }
}

/// Whether the unit may have been read from files.
fn has_files(unit: &Unit) -> bool {
    unit.selected
        && unit.load_state.as_deref() == Some("loaded")
        && !matches!(unit.kind, Kind::Device | Kind::Scope)
}

const STEP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::mirror::Listed;
    use crate::unit_filter::Selection;

    fn mirror() -> Mirror {
        let mut mirror = Mirror::new(Selection::default());
        for name in ["a.service", "b.scope", "c.timer", "d.service", "e.service"] {
            mirror.list(&Listed {
                name: name.to_owned(),
                load_state: "loaded".into(),
                active_state: "active".into(),
                sub_state: "running".into(),
            });
        }
        mirror
    }

    fn turn(round: &mut Round, mirror: &Mirror) -> String {
        let names = round.turn(mirror, Instant::now());
        names.iter().map(|name| &name[..1]).collect()
    }

    #[test]
    fn every_unit_has_its_turn_and_the_hurried_ones_first() {
        let mirror = mirror();
        let mut round = Round::new(2, Instant::now());
        let turns: [_; 4] = std::array::from_fn(|_| turn(&mut round, &mirror));
        assert_eq!(turns, ["ac", "de", "", "ac"]);
        round.hurry(["e.service", "gone.service"].map(Arc::from).into_iter());
        assert_eq!(turn(&mut round, &mirror), "ed");
    }

    #[test]
    fn the_round_goes_on_where_it_was_after_units_that_take_a_whole_step() {
        let mirror = mirror();
        let mut round = Round::new(2, Instant::now());
        assert_eq!(turn(&mut round, &mirror), "ac");
        round.hurry(["e.service", "a.service", "c.timer"].map(Arc::from).into_iter());
        assert_eq!(turn(&mut round, &mirror), "ea");
        assert_eq!(turn(&mut round, &mirror), "cd");
    }

    #[test]
    fn there_is_time_between_two_steps() {
        let now = Instant::now();
        let mut round = Round::new(2, now);
        assert_eq!(round.next, now + STEP);
        round.turn(&mirror(), now + STEP);
        assert_eq!(round.next, now + STEP * 2);
    }
}
