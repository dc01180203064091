//! Calls to PID 1, and the effects of its lists on the mirror.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use zbus::message::Message;
use zbus::{ObjectPath, Variant};

use super::call_queue::CallQueue;
use super::connection::Follower;
use super::resync::Reason;
use crate::systemd::dbus::{Call, Get};
use crate::systemd::ledger::{Gap, Ledger};
use crate::systemd::manager::{NAMES, UNITS_LOADED};
use crate::systemd::mirror::{ListedUnit, Mirror};
use crate::systemd::state::{Shared, State};
use crate::systemd::unit::name::UnitKind;
use crate::systemd::unit::properties::{Extras, Interface};
use crate::systemd::unit::value::Timestamp;
use crate::unit_filter::Selection;

/// A follower without a bus.
struct Fixture<'s> {
    follower: Follower<'s>,
    sent: mpsc::Receiver<Message>,
}

impl<'s> Fixture<'s> {
    fn new(shared: &'s Shared) -> Self {
        let owner = zbus::names::OwnedUniqueName::try_from(":1.1").unwrap();
        let (calls, sent) = CallQueue::new(owner);
        let resync = Duration::from_secs(300);
        let follower = Follower::new(shared, calls, resync, Extras::default());
        Self { follower, sent }
    }

    fn request_due(&mut self, state: &State, now: Instant) {
        self.follower.refetch.request_due(state, &mut self.follower.calls, now);
    }

    /// PID 1 sends a signal.
    fn sends(&mut self, member: &str, body: &(impl serde::Serialize + zbus::DynamicType)) {
        let manager = "org.freedesktop.systemd1.Manager";
        let signal = Message::signal("/org/freedesktop/systemd1", manager, member);
        let signal = signal.sender(":1.1").build(body).unwrap();
        assert!(self.follower.handle_signal(&signal).is_ok());
    }

    /// A unit's properties change.
    fn changes(&mut self, path: &str, interface: &str, values: &[(&str, Variant<'_>)]) {
        let path = format!("/org/freedesktop/systemd1/unit/{path}");
        let properties = "org.freedesktop.DBus.Properties";
        let signal = Message::signal(path, properties, "PropertiesChanged");
        let values: HashMap<_, _> = values.iter().map(|(name, value)| (*name, value)).collect();
        let none: &[&str] = &[];
        let signal = signal.sender(":1.1");
        assert!(
            self.follower.handle_signal(&signal.build(&(interface, values, none)).unwrap()).is_ok()
        );
    }

    /// PID 1 replies to the only call.
    fn replies(&mut self, body: &(impl serde::Serialize + zbus::DynamicType)) {
        self.follower.calls.send(|_| {});
        let call = self.sent.try_recv().unwrap();
        let reply = Message::method_return(&call.header());
        self.follower.handle_reply(&reply.sender(":1.1").build(body).unwrap());
    }

    /// Sends calls as far as there is room, and returns them.
    fn calls(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        self.follower.calls.send(|call| calls.push(call.clone()));
        calls
    }

    /// The properties that are requested, with their units.
    fn requested(&mut self) -> Vec<String> {
        let property = |call| match call {
            Call::Unit(Get { name, property, .. }) => format!("{name} {}", property.unwrap_or("*")),
            call => panic!("{call:?}"),
        };
        self.calls().into_iter().map(property).collect()
    }
}

fn shared() -> Shared {
    Shared::new(Mirror::new(Selection::default()), Ledger::default())
}

fn row(name: &str, active_state: &'static str, sub_state: &'static str) -> ListedUnit {
    ListedUnit {
        name: name.to_owned(),
        load_state: "loaded".into(),
        active_state: active_state.into(),
        sub_state: sub_state.into(),
    }
}

fn running(names: &[&str]) -> Vec<ListedUnit> {
    names.iter().map(|name| row(name, "active", "running")).collect()
}

/// A mirror of these units, all of them running.
pub(super) fn mirror_of(names: &[&str]) -> Mirror {
    let mut mirror = Mirror::new(Selection::default());
    for row in running(names) {
        mirror.list(&row);
    }
    mirror
}

fn with_units(rows: &[ListedUnit]) -> Shared {
    let shared = shared();
    for row in rows {
        shared.lock().mirror.list(row);
    }
    shared
}

fn names(state: &State) -> Vec<String> {
    state.mirror.units().map(|unit| unit.name.to_string()).collect()
}

#[test]
fn planned_property_is_requested_once_when_due() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    let mut fixture = Fixture::new(&shared);
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    for (name, at) in [("a.service", now), ("a.service", later), ("b.service", later)] {
        fixture.follower.refetch.plan(&name.into(), Interface::Kind, "OOMKills", at);
    }
    let state = shared.lock();
    fixture.request_due(&state, now);
    assert_eq!(fixture.requested(), ["a.service OOMKills"]);
    fixture.request_due(&state, later);
    assert_eq!(fixture.requested(), ["b.service OOMKills"]);
    fixture.request_due(&state, later);
    assert!(fixture.requested().is_empty());
}

#[test]
fn longest_due_properties_are_requested_first() {
    for more in [0, 1, 14] {
        let shared = shared();
        let mut fixture = Fixture::new(&shared);
        let (room, now) = (fixture.follower.calls.room(), Instant::now());
        let names: Vec<_> = (0..room + more).map(|at| format!("{at:02}.service")).collect();
        for (since, name) in (0..).zip(&names) {
            shared.lock().mirror.list(&row(name, "active", "running"));
            let at = now - Duration::from_millis(since);
            fixture.follower.refetch.plan(&name.as_str().into(), Interface::Kind, "OOMKills", at);
        }
        fixture.request_due(&shared.lock(), now);
        let mut requested = fixture.requested();
        requested.sort();
        let longest = names[more..].iter().map(|name| format!("{name} OOMKills"));
        assert_eq!(requested, longest.collect::<Vec<_>>());
        fixture.request_due(&shared.lock(), now);
        assert_eq!((fixture.requested().len(), fixture.follower.refetch.len()), (0, more));
    }
}

#[test]
fn refetch_never_loads_a_unit() {
    let shared = shared();
    let mut fixture = Fixture::new(&shared);
    let now = Instant::now();
    fixture.follower.refetch.plan(&"gone.service".into(), Interface::Kind, "OOMKills", now);
    fixture.request_due(&shared.lock(), now);
    assert!(fixture.requested().is_empty() && fixture.follower.refetch.is_empty());
}

#[test]
fn cgroup_is_requested_only_of_units_with_processes() {
    let shared = with_units(&[
        row("active.service", "active", "running"),
        row("dead.service", "inactive", "dead"),
        row("failed.service", "failed", "failed"),
        row("waits.service", "activating", "auto-restart"),
        row("waits-too.service", "activating", "auto-restart-queued"),
    ]);
    let mut fixture = Fixture::new(&shared);
    let now = Instant::now();
    for name in names(&shared.lock()) {
        for property in ["ControlGroup", "OOMKills"] {
            fixture.follower.refetch.plan(&name.as_str().into(), Interface::Kind, property, now);
        }
    }
    fixture.request_due(&shared.lock(), now);
    let mut requested = fixture.requested();
    requested.retain(|requested| requested.ends_with("ControlGroup"));
    assert_eq!(requested, ["active.service ControlGroup"]);
}

#[test]
fn polled_properties_are_requested() {
    let shared = with_units(&running(&["a.socket"]));
    let mut fixture = Fixture::new(&shared);
    let now = Instant::now();
    let unit = shared.lock().mirror.unit("a.socket").unwrap().clone();
    fixture.follower.refetch.plan_polled(&unit, Extras::default(), true, now);
    assert!(!fixture.follower.refetch.is_empty());
    fixture.request_due(&shared.lock(), now);
    assert!(fixture.requested().iter().all(|requested| requested.starts_with("a.socket ")));
}

#[test]
fn listing_fetches_units_with_gap_of_its_reason() {
    for (reason, gap) in [
        (Reason::Connect, Some(Gap::Reconnect)),
        (Reason::Reload, Some(Gap::Reload)),
        (Reason::Schedule, None),
    ] {
        let shared = with_units(&running(&["a.service"]));
        shared.lock().status.filled = true;
        let mut fixture = Fixture::new(&shared);
        fixture.follower.signal_check.signal_arrived();
        let state = &mut *shared.lock();
        fixture.follower.list_units(state, reason);
        assert!(matches!(fixture.calls()[..], [Call::List]), "{reason:?}");
        fixture.follower.units_listed(state, &Call::List, Ok(running(&["a.service"])));
        assert_eq!(fixture.follower.fetches.pending.gap("a.service"), gap, "{reason:?}");
        assert_eq!(fixture.follower.fetches.pending.is_empty(), reason == Reason::Schedule);
        assert_eq!(state.status.following, reason == Reason::Schedule);
        assert!(
            fixture.follower.resync.listing.is_none()
                && fixture.follower.resync.missed_signals.is_none()
        );
    }
}

#[test]
fn removal_before_first_listing_is_ignored() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    shared.lock().status.filled = true;
    let mut fixture = Fixture::new(&shared);
    let removed = ("a.service", ObjectPath::try_from("/").unwrap());
    fixture.sends("UnitRemoved", &removed);
    assert_eq!(names(&shared.lock()), ["a.service", "b.service"]);
    {
        let state = &mut *shared.lock();
        fixture.follower.list_units(state, Reason::Connect);
        fixture.follower.listing_failed(state, &Call::List, "no".to_owned());
        let services = Ok(running(&["a.service", "b.service"]));
        fixture.follower.units_listed(state, &Call::ListKind(UnitKind::Service), services);
    }
    fixture.sends("UnitRemoved", &removed);
    assert_eq!(names(&shared.lock()), ["b.service"]);
}

#[test]
fn reload_is_remembered_until_all_units_are_fetched() {
    let shared = with_units(&running(&["a.service"]));
    shared.lock().status.filled = true;
    let mut first = Fixture::new(&shared);
    assert_eq!(first.follower.resync.missed_signals, Some(Gap::Reconnect));
    first.sends("Reloading", &true);
    assert!(shared.lock().status.reloading);
    assert_eq!(Fixture::new(&shared).follower.resync.missed_signals, Some(Gap::Reload));
    let mut fixture = Fixture::new(&shared);
    assert_eq!(
        fixture.follower.resync.missed_signals,
        Some(Gap::Reload),
        "the connection before fetched nothing"
    );
    {
        let state = &mut *shared.lock();
        fixture.follower.signal_check.signal_arrived();
        fixture.follower.resync.requested = None;
        fixture.follower.list_units(state, Reason::Connect);
        fixture.follower.units_listed(state, &Call::List, Ok(running(&["a.service"])));
        assert!(state.status.reload_pending_resync, "until a.service is fetched");
        fixture.follower.unload(state, &"a.service".into());
        fixture.follower.mark_synced(state);
        assert!(!state.status.reload_pending_resync && state.status.following);
    }
    assert_eq!(Fixture::new(&shared).follower.resync.missed_signals, Some(Gap::Reconnect));
}

#[test]
fn missed_reload_is_detected_by_units_load_timestamp() {
    let shared = with_units(&running(&["a.service"]));
    shared.lock().status.filled = true;
    for (known, now, gap) in
        [(None, 7, Gap::Reconnect), (Some(7), 7, Gap::Reconnect), (Some(7), 8, Gap::Reload)]
    {
        let mut fixture = Fixture::new(&shared);
        shared.lock().manager.units_loaded = known.map(Timestamp);
        fixture
            .follower
            .fetches
            .plan(&shared.lock().mirror.unit("a.service").unwrap().clone(), Some(Gap::Reconnect));
        fixture.follower.calls.add(Call::Manager(UNITS_LOADED.to_owned()));
        fixture.replies(&Variant::U64(now));
        assert_eq!(fixture.follower.resync.missed_signals, Some(gap), "{known:?} {now}");
        assert_eq!(fixture.follower.fetches.pending.gap("a.service"), Some(gap));
        let state = &mut *shared.lock();
        assert_eq!(std::mem::take(&mut state.status.reload_pending_resync), gap == Gap::Reload);
        assert_eq!(state.ledger.host().reloads, u64::from(gap == Gap::Reload));
        assert_eq!(state.manager.units_loaded, Some(Timestamp(now)));
    }
    let mut fixture = Fixture::new(&shared);
    fixture.sends("Reloading", &false);
    assert_eq!(shared.lock().manager.units_loaded, None, "until it is read again");
    let requested = fixture.calls();
    let properties = requested.iter().map(|call| match call {
        Call::Manager(property) => &**property,
        call => panic!("{call:?}"),
    });
    assert_eq!(properties.collect::<Vec<_>>(), [UNITS_LOADED, NAMES]);
}

#[test]
fn two_signals_of_one_change_count_as_one() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    let mut fixture = Fixture::new(&shared);
    let exit = |at: u64| {
        [
            ("Result", Variant::from("exit-code")),
            ("ExecMainCode", Variant::I32(1)),
            ("ExecMainStatus", Variant::I32(3)),
            ("ExecMainExitTimestampMonotonic", Variant::U64(at)),
        ]
    };
    let begin =
        [("Result", Variant::from("success")), ("ExecMainExitTimestampMonotonic", Variant::U64(0))];
    let failed = [("ActiveState", Variant::from("failed"))];
    let failures = |name: &str| {
        let state = shared.lock();
        state
            .ledger
            .counters()
            .find(|(of, _)| &***of == name)
            .map_or(0, |(_, counters)| counters.failures.total)
    };
    let (service, unit) = ("org.freedesktop.systemd1.Service", "org.freedesktop.systemd1.Unit");
    fixture.changes("a_2eservice", service, &begin);
    fixture.changes("a_2eservice", unit, &[]);
    fixture.changes("a_2eservice", service, &exit(1));
    assert_eq!(failures("a.service"), 0, "its second signal is awaited");
    fixture.changes("a_2eservice", unit, &failed);
    assert_eq!(failures("a.service"), 1);
    // any other signal ends a change as well
    fixture.changes("a_2eservice", service, &begin);
    fixture.changes("a_2eservice", service, &exit(2));
    fixture.changes("b_2eservice", service, &begin);
    assert_eq!(failures("a.service"), 2);
    fixture.changes("b_2eservice", service, &exit(3));
    fixture.sends("UnitRemoved", &("a.service", ObjectPath::try_from("/").unwrap()));
    assert_eq!(failures("b.service"), 1);
    assert!(fixture.follower.pending_change.is_none());
}

#[test]
fn unlisted_unit_is_unloaded_and_drift_only_on_schedule() {
    for (reason, name, drift) in [
        (Reason::Connect, "connect", 0),
        (Reason::Reload, "reload", 0),
        (Reason::Schedule, "schedule", 1),
    ] {
        let shared = with_units(&running(&["a.service", "gone.service"]));
        let mut fixture = Fixture::new(&shared);
        let state = &mut *shared.lock();
        fixture.follower.list_units(state, reason);
        fixture.follower.units_listed(
            state,
            &Call::List,
            Ok(running(&["a.service", "new.service"])),
        );
        assert_eq!(names(state), ["a.service", "new.service"]);
        assert_eq!((state.status.resyncs[name], state.status.drift), (1, drift));
    }
}

#[test]
fn difference_found_on_schedule_waits_for_a_signal() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    let mut fixture = Fixture::new(&shared);
    let state = &mut *shared.lock();
    fixture.follower.list_units(state, Reason::Schedule);
    let rows = [vec![row("a.service", "failed", "failed")], running(&["b.service"])].concat();
    fixture.follower.units_listed(state, &Call::List, Ok(rows));
    assert_eq!(fixture.follower.fetches.pending.gap("a.service"), Some(Gap::Drift));
    assert_eq!(fixture.follower.resync.possible_drift.len(), 1);
    assert!(fixture.follower.resync.possible_drift["a.service"] > Instant::now());
    assert_eq!(state.status.drift, 0);
}

#[test]
fn units_of_a_kind_that_cannot_be_listed_stay() {
    let shared = with_units(&running(&["a.service", "gone.timer", "m.mount"]));
    let mut fixture = Fixture::new(&shared);
    let state = &mut *shared.lock();
    fixture.follower.list_units(state, Reason::Connect);
    assert!(matches!(fixture.calls()[..], [Call::List]));
    fixture.follower.listing_failed(state, &Call::List, "no".to_owned());
    let calls = fixture.calls();
    assert_eq!(calls.len(), UnitKind::ALL.len());
    for call in &calls {
        assert_eq!(names(state).len(), 3, "until all are listed");
        match call {
            Call::ListKind(UnitKind::Mount) => {
                fixture.follower.listing_failed(state, call, "why".to_owned())
            }
            Call::ListKind(UnitKind::Service) => {
                fixture.follower.units_listed(state, call, Ok(running(&["a.service"])));
            }
            Call::ListKind(_) => fixture.follower.units_listed(state, call, Ok(Vec::new())),
            call => panic!("{call:?}"),
        }
    }
    assert_eq!(names(state), ["a.service", "m.mount"]);
    assert_eq!(state.status.unlisted, [(UnitKind::Mount, "why".to_owned())].into());
    fixture.follower.list_units(state, Reason::Schedule);
    fixture.follower.units_listed(state, &Call::List, Ok(running(&["a.service"])));
    assert_eq!(names(state), ["a.service"]);
    assert!(state.status.unlisted.is_empty());
}

#[test]
fn unit_loaded_after_its_kind_was_listed_stays() {
    let shared = with_units(&running(&["a.service"]));
    let mut fixture = Fixture::new(&shared);
    {
        let state = &mut *shared.lock();
        fixture.follower.list_units(state, Reason::Reload);
        fixture.calls();
        fixture.follower.listing_failed(state, &Call::List, "no".to_owned());
    }
    for call in fixture.calls() {
        let rows = if matches!(call, Call::ListKind(UnitKind::Service)) {
            vec!["a.service"]
        } else {
            vec![]
        };
        fixture.follower.units_listed(&mut shared.lock(), &call, Ok(running(&rows)));
        fixture.sends("UnitNew", &("late.service", ObjectPath::try_from("/").unwrap()));
    }
    assert!(fixture.follower.resync.listing.is_none());
    assert_eq!(names(&shared.lock()), ["a.service", "late.service"]);
}

#[test]
fn undecodable_list_unloads_nothing() {
    let undecodable = || Err(zbus::Error::InvalidField);
    let shared = with_units(&running(&["a.service"]));
    let mut fixture = Fixture::new(&shared);
    let state = &mut *shared.lock();
    fixture.follower.list_units(state, Reason::Schedule);
    fixture.calls();
    fixture.follower.units_listed(state, &Call::List, undecodable());
    for call in fixture.calls() {
        fixture.follower.units_listed(state, &call, undecodable());
    }
    assert_eq!(names(state), ["a.service"]);
    assert_eq!(state.status.unlisted.len(), UnitKind::ALL.len());
    assert_eq!(state.status.errors["decode"], 1 + UnitKind::ALL.len() as u64);
    assert!(fixture.follower.resync.listing.is_none());
}
