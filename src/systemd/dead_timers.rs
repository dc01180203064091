//! Timers that are active, but will never elapse.
//!
//! The sub-state `elapsed` alone is no proof: it is the end of a timer that has elapsed as often as it
//! should (`OnBootSec=`, `OnStartupSec=`, `OnActiveSec=`, a date). `OnClockChange=` and
//! `OnTimezoneChange=` have no next elapse either, but their timers are `waiting`.

use super::mirror::Mirror;
use super::unit::value::Timestamp;
use super::unit::{Timer, Unit};

/// Whether an active timer will never elapse.
///
/// - `OnUnitActiveSec=` and `OnUnitInactiveSec=` count from the last run of the triggered unit. If it
///   never ran, nothing starts it; while it runs, its end will set the timer.
/// - All dates of `OnCalendar=` are past, and the timer has never elapsed: its task was never done.
pub(super) fn is_dead_timer(mirror: &Mirror, unit: &Unit) -> bool {
    let Some(timer) = unit.timer() else { return false };
    if !unit.is("active") || unit.sub_state.as_deref() != Some("elapsed") {
        return false;
    }
    match timer.follows_unit {
        Some(true) => !is_triggered_unit_active(mirror, timer),
        Some(false) => {
            let times = [timer.last_trigger, timer.last_trigger_monotonic];
            times.iter().all(|time| time.is_some_and(|time| time == Timestamp(0)))
        }
        None => false,
    }
}

fn is_triggered_unit_active(mirror: &Mirror, timer: &Timer) -> bool {
    let triggered = timer.unit.as_ref().and_then(|name| mirror.find(name));
    triggered.is_some_and(|unit| !unit.is("inactive") && !unit.is("failed"))
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;
    use crate::systemd::mirror::ListedUnit;
    use crate::systemd::unit::properties::Interface;
    use crate::unit_filter::Selection;

    /// A mirror with a timer and the service that it triggers.
    fn mirror(sub_state: &'static str, service: &'static str, settings: &[&str]) -> Mirror {
        let mut mirror = Mirror::new(Selection::default());
        for (name, active_state, sub_state) in
            [("a.timer", "active", sub_state), ("a.service", service, "")]
        {
            let name = name.to_owned();
            let (active_state, sub_state) = (active_state.into(), sub_state.into());
            let load_state = "loaded".into();
            mirror.list(&ListedUnit { name, load_state, active_state, sub_state });
        }
        let settings: Vec<_> = settings.iter().map(|name| (*name, 1_u64, 2_u64)).collect();
        for (property, value) in [
            ("Unit", Variant::from("a.service")),
            ("TimersMonotonic", Variant::from(settings)),
            ("LastTriggerUSec", Variant::U64(0)),
            ("LastTriggerUSecMonotonic", Variant::U64(0)),
        ] {
            mirror.change("a.timer", |unit| unit.set(Interface::Kind, property, &value));
        }
        mirror
    }

    fn is_dead(mirror: &Mirror) -> bool {
        is_dead_timer(mirror, mirror.unit("a.timer").unwrap())
    }

    #[test]
    fn elapsed_timer_of_a_unit_that_never_ran_is_dead() {
        let settings = ["OnUnitActiveUSec"];
        assert!(is_dead(&mirror("elapsed", "inactive", &settings)));
        assert!(is_dead(&mirror("elapsed", "failed", &settings)));
        assert!(!is_dead(&mirror("elapsed", "active", &settings)));
        assert!(!is_dead(&mirror("elapsed", "activating", &settings)));
        for sub_state in ["waiting", "running", "dead"] {
            assert!(!is_dead(&mirror(sub_state, "inactive", &settings)), "{sub_state}");
        }
        assert!(is_dead(&mirror("elapsed", "inactive", &["OnBootUSec", "OnUnitInactiveUSec"])));
    }

    #[test]
    fn timer_that_has_elapsed_as_often_as_it_should_is_not_dead() {
        // without monotonic settings: a date
        for settings in [&["OnBootUSec"][..], &[]] {
            let mut mirror = mirror("elapsed", "inactive", settings);
            assert!(is_dead(&mirror), "{settings:?}: never elapsed");
            for property in ["LastTriggerUSec", "LastTriggerUSecMonotonic"] {
                let set = |unit: &mut Unit, time| {
                    unit.set(Interface::Kind, property, &Variant::U64(time));
                };
                mirror.change("a.timer", |unit| set(unit, 1_000_000));
                assert!(!is_dead(&mirror), "{settings:?} {property}");
                mirror.change("a.timer", |unit| set(unit, 0));
            }
        }
    }
}
