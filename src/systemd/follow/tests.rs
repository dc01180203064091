//! What is asked of PID 1, and what its lists make of the mirror.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use zbus::message::Message;
use zbus::{ObjectPath, Variant};

use super::call_queue::Window;
use super::connection::Session;
use super::resync::Reason;
use crate::systemd::dbus::{Call, Get};
use crate::systemd::ledger::{Gap, Ledger};
use crate::systemd::manager::UNITS_LOADED;
use crate::systemd::mirror::{Listed, Mirror};
use crate::systemd::state::{Shared, State};
use crate::systemd::unit::name::Kind;
use crate::systemd::unit::properties::{Extras, Interface};
use crate::systemd::unit::value::Timestamp;
use crate::unit_filter::Selection;

/// A session with nobody at the other end.
struct Rig<'s> {
    session: Session<'s>,
    sent: mpsc::Receiver<Message>,
}

impl<'s> Rig<'s> {
    fn new(shared: &'s Shared) -> Self {
        let owner = zbus::names::OwnedUniqueName::try_from(":1.1").unwrap();
        let (window, sent) = Window::new(owner.clone());
        let resync = Duration::from_secs(300);
        let session = Session::new(shared, owner, window, resync, Extras::default());
        Self { session, sent }
    }

    /// PID 1 sends a signal.
    fn says(&mut self, member: &str, body: &(impl serde::Serialize + zbus::DynamicType)) {
        let manager = "org.freedesktop.systemd1.Manager";
        let signal = Message::signal("/org/freedesktop/systemd1", manager, member);
        let signal = signal.sender(":1.1").build(body).unwrap();
        assert!(self.session.signal(&signal).is_ok());
    }

    /// A unit's properties change.
    fn changes(&mut self, path: &str, interface: &str, values: &[(&str, Variant<'_>)]) {
        let path = format!("/org/freedesktop/systemd1/unit/{path}");
        let properties = "org.freedesktop.DBus.Properties";
        let signal = Message::signal(path, properties, "PropertiesChanged");
        let values: HashMap<_, _> = values.iter().map(|(name, value)| (*name, value)).collect();
        let none: &[&str] = &[];
        let signal = signal.sender(":1.1");
        assert!(self.session.signal(&signal.build(&(interface, values, none)).unwrap()).is_ok());
    }

    /// PID 1 answers the one call that is made.
    fn answers(&mut self, body: &(impl serde::Serialize + zbus::DynamicType)) {
        self.session.window.pump(|_| {});
        let call = self.sent.try_recv().unwrap();
        let answer = Message::method_return(&call.header());
        self.session.answer(&answer.sender(":1.1").build(body).unwrap());
    }

    /// The calls that there was room for.
    fn calls(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        self.session.window.pump(|call| calls.push(call.clone()));
        calls
    }

    /// The properties that are asked, with their units.
    fn asked(&mut self) -> Vec<String> {
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

fn row(name: &str, active_state: &'static str, sub_state: &'static str) -> Listed {
    Listed {
        name: name.to_owned(),
        load_state: "loaded".into(),
        active_state: active_state.into(),
        sub_state: sub_state.into(),
    }
}

fn running(names: &[&str]) -> Vec<Listed> {
    names.iter().map(|name| row(name, "active", "running")).collect()
}

fn with_units(rows: &[Listed]) -> Shared {
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
fn a_hint_is_asked_when_it_is_due_and_once() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    let mut rig = Rig::new(&shared);
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    for (name, at) in [("a.service", now), ("a.service", later), ("b.service", later)] {
        rig.session.hint(&name.into(), Interface::Kind, "OOMKills", at);
    }
    let state = shared.lock();
    rig.session.ask_hints(&state, now);
    assert_eq!(rig.asked(), ["a.service OOMKills"]);
    rig.session.ask_hints(&state, later);
    assert_eq!(rig.asked(), ["b.service OOMKills"]);
    rig.session.ask_hints(&state, later);
    assert!(rig.asked().is_empty());
}

#[test]
fn what_is_due_longest_is_asked_first_as_far_as_there_is_room() {
    for more in [0, 1, 14] {
        let shared = shared();
        let mut rig = Rig::new(&shared);
        let (room, now) = (rig.session.window.room(), Instant::now());
        let names: Vec<_> = (0..room + more).map(|at| format!("{at:02}.service")).collect();
        for (since, name) in (0..).zip(&names) {
            shared.lock().mirror.list(&row(name, "active", "running"));
            let at = now - Duration::from_millis(since);
            rig.session.hint(&name.as_str().into(), Interface::Kind, "OOMKills", at);
        }
        rig.session.ask_hints(&shared.lock(), now);
        let mut asked = rig.asked();
        asked.sort();
        let longest = names[more..].iter().map(|name| format!("{name} OOMKills"));
        assert_eq!(asked, longest.collect::<Vec<_>>());
        rig.session.ask_hints(&shared.lock(), now);
        assert_eq!((rig.asked().len(), rig.session.hints.len()), (0, more));
    }
}

#[test]
fn no_hint_loads_a_unit() {
    let shared = shared();
    let mut rig = Rig::new(&shared);
    let now = Instant::now();
    rig.session.hint(&"gone.service".into(), Interface::Kind, "OOMKills", now);
    rig.session.ask_hints(&shared.lock(), now);
    assert!(rig.asked().is_empty() && rig.session.hints.is_empty());
}

#[test]
fn a_cgroup_is_asked_only_of_what_may_have_processes() {
    let shared = with_units(&[
        row("active.service", "active", "running"),
        row("dead.service", "inactive", "dead"),
        row("failed.service", "failed", "failed"),
        row("waits.service", "activating", "auto-restart"),
        row("waits-too.service", "activating", "auto-restart-queued"),
    ]);
    let mut rig = Rig::new(&shared);
    let now = Instant::now();
    for name in names(&shared.lock()) {
        for property in ["ControlGroup", "OOMKills"] {
            rig.session.hint(&name.as_str().into(), Interface::Kind, property, now);
        }
    }
    rig.session.ask_hints(&shared.lock(), now);
    let mut asked = rig.asked();
    asked.retain(|asked| asked.ends_with("ControlGroup"));
    assert_eq!(asked, ["active.service ControlGroup"]);
}

#[test]
fn a_unit_is_asked_soon_for_what_no_signal_tells() {
    let shared = with_units(&running(&["a.socket"]));
    let mut rig = Rig::new(&shared);
    let now = Instant::now();
    let unit = shared.lock().mirror.unit("a.socket").unwrap().clone();
    rig.session.hint_polled(&unit, true, now);
    assert!(!rig.session.hints.is_empty());
    rig.session.ask_hints(&shared.lock(), now);
    assert!(rig.asked().iter().all(|asked| asked.starts_with("a.socket ")));
}

#[test]
fn a_list_fetches_units_with_the_reason_why_signals_may_be_missing() {
    for (reason, gap) in [
        (Reason::Connect, Some(Gap::Reconnect)),
        (Reason::Reload, Some(Gap::Reload)),
        (Reason::Schedule, None),
    ] {
        let shared = with_units(&running(&["a.service"]));
        shared.lock().status.filled = true;
        let mut rig = Rig::new(&shared);
        let state = &mut *shared.lock();
        rig.session.list(state, reason);
        assert!(matches!(rig.calls()[..], [Call::List]), "{reason:?}");
        rig.session.listed(state, &Call::List, Ok(running(&["a.service"])));
        assert_eq!(rig.session.drafts.gap("a.service"), gap, "{reason:?}");
        assert_eq!(rig.session.drafts.is_empty(), reason == Reason::Schedule);
        assert_eq!(state.status.following, reason == Reason::Schedule);
        assert!(rig.session.listing.is_none() && rig.session.gap.is_none());
    }
}

#[test]
fn a_removal_before_the_first_list_is_left_to_that() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    shared.lock().status.filled = true;
    let mut rig = Rig::new(&shared);
    let removed = ("a.service", ObjectPath::try_from("/").unwrap());
    rig.says("UnitRemoved", &removed);
    assert_eq!(names(&shared.lock()), ["a.service", "b.service"]);
    {
        let state = &mut *shared.lock();
        rig.session.list(state, Reason::Connect);
        rig.session.not_listed(state, &Call::List, "no".to_owned());
        let services = Ok(running(&["a.service", "b.service"]));
        rig.session.listed(state, &Call::ListKind(Kind::Service), services);
    }
    rig.says("UnitRemoved", &removed);
    assert_eq!(names(&shared.lock()), ["b.service"]);
}

#[test]
fn a_reload_is_remembered_until_all_units_were_fetched() {
    let shared = with_units(&running(&["a.service"]));
    shared.lock().status.filled = true;
    let mut first = Rig::new(&shared);
    assert_eq!(first.session.gap, Some(Gap::Reconnect));
    first.says("Reloading", &true);
    assert!(shared.lock().status.reloading);
    assert_eq!(Rig::new(&shared).session.gap, Some(Gap::Reload));
    let mut rig = Rig::new(&shared);
    assert_eq!(rig.session.gap, Some(Gap::Reload), "the one before fetched nothing");
    {
        let state = &mut *shared.lock();
        rig.session.relist = None;
        rig.session.list(state, Reason::Connect);
        rig.session.listed(state, &Call::List, Ok(running(&["a.service"])));
        assert!(state.status.reloaded, "until a.service is fetched");
        rig.session.unload(state, &"a.service".into());
        rig.session.settle(state);
        assert!(!state.status.reloaded && state.status.following);
    }
    assert_eq!(Rig::new(&shared).session.gap, Some(Gap::Reconnect));
}

#[test]
fn a_reload_that_nobody_heard_is_told_by_when_units_were_loaded() {
    let shared = with_units(&running(&["a.service"]));
    shared.lock().status.filled = true;
    for (known, now, gap) in
        [(None, 7, Gap::Reconnect), (Some(7), 7, Gap::Reconnect), (Some(7), 8, Gap::Reload)]
    {
        let mut rig = Rig::new(&shared);
        shared.lock().manager.units_loaded = known.map(Timestamp);
        rig.session
            .fetch(&shared.lock().mirror.unit("a.service").unwrap().clone(), Some(Gap::Reconnect));
        rig.session.window.call(Call::Manager(UNITS_LOADED.to_owned()));
        rig.answers(&Variant::U64(now));
        assert_eq!(rig.session.gap, Some(gap), "{known:?} {now}");
        assert_eq!(rig.session.drafts.gap("a.service"), Some(gap));
        let state = &mut *shared.lock();
        assert_eq!(std::mem::take(&mut state.status.reloaded), gap == Gap::Reload);
        assert_eq!(state.ledger.host().reloads, u64::from(gap == Gap::Reload));
        assert_eq!(state.manager.units_loaded, Some(Timestamp(now)));
    }
    let mut rig = Rig::new(&shared);
    rig.says("Reloading", &false);
    assert_eq!(shared.lock().manager.units_loaded, None, "until it is asked anew");
    let asked = rig.calls();
    assert!(matches!(&asked[..], [Call::Manager(property)] if property == UNITS_LOADED));
}

#[test]
fn the_two_signals_of_a_change_are_one_change() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    let mut rig = Rig::new(&shared);
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
            .accounts()
            .find(|(of, _)| &***of == name)
            .map_or(0, |(_, account)| account.failures.total)
    };
    let (service, unit) = ("org.freedesktop.systemd1.Service", "org.freedesktop.systemd1.Unit");
    rig.changes("a_2eservice", service, &begin);
    rig.changes("a_2eservice", unit, &[]);
    rig.changes("a_2eservice", service, &exit(1));
    assert_eq!(failures("a.service"), 0, "its second half comes");
    rig.changes("a_2eservice", unit, &failed);
    assert_eq!(failures("a.service"), 1);
    // whatever comes instead of the second half ends the first
    rig.changes("a_2eservice", service, &begin);
    rig.changes("a_2eservice", service, &exit(2));
    rig.changes("b_2eservice", service, &begin);
    assert_eq!(failures("a.service"), 2);
    rig.changes("b_2eservice", service, &exit(3));
    rig.says("UnitRemoved", &("a.service", ObjectPath::try_from("/").unwrap()));
    assert_eq!(failures("b.service"), 1);
    assert!(rig.session.half.is_none());
}

#[test]
fn what_is_listed_no_more_is_unloaded_and_unexpected_only_on_schedule() {
    for (reason, name, drift) in [
        (Reason::Connect, "connect", 0),
        (Reason::Reload, "reload", 0),
        (Reason::Schedule, "schedule", 1),
    ] {
        let shared = with_units(&running(&["a.service", "gone.service"]));
        let mut rig = Rig::new(&shared);
        let state = &mut *shared.lock();
        rig.session.list(state, reason);
        rig.session.listed(state, &Call::List, Ok(running(&["a.service", "new.service"])));
        assert_eq!(names(state), ["a.service", "new.service"]);
        assert_eq!((state.status.resyncs[name], state.status.drift), (1, drift));
    }
}

#[test]
fn a_difference_found_on_schedule_waits_for_a_signal_that_explains_it() {
    let shared = with_units(&running(&["a.service", "b.service"]));
    let mut rig = Rig::new(&shared);
    let state = &mut *shared.lock();
    rig.session.list(state, Reason::Schedule);
    let rows = [vec![row("a.service", "failed", "failed")], running(&["b.service"])].concat();
    rig.session.listed(state, &Call::List, Ok(rows));
    assert_eq!(rig.session.drafts.gap("a.service"), Some(Gap::Drift));
    assert_eq!(rig.session.suspects.len(), 1);
    assert!(rig.session.suspects["a.service"] > Instant::now());
    assert_eq!(state.status.drift, 0);
}

#[test]
fn of_a_kind_that_cannot_be_listed_the_units_stay() {
    let shared = with_units(&running(&["a.service", "gone.timer", "m.mount"]));
    let mut rig = Rig::new(&shared);
    let state = &mut *shared.lock();
    rig.session.list(state, Reason::Connect);
    assert!(matches!(rig.calls()[..], [Call::List]));
    rig.session.not_listed(state, &Call::List, "no".to_owned());
    let calls = rig.calls();
    assert_eq!(calls.len(), Kind::ALL.len());
    for call in &calls {
        assert_eq!(names(state).len(), 3, "until all are listed");
        match call {
            Call::ListKind(Kind::Mount) => rig.session.not_listed(state, call, "why".to_owned()),
            Call::ListKind(Kind::Service) => {
                rig.session.listed(state, call, Ok(running(&["a.service"])));
            }
            Call::ListKind(_) => rig.session.listed(state, call, Ok(Vec::new())),
            call => panic!("{call:?}"),
        }
    }
    assert_eq!(names(state), ["a.service", "m.mount"]);
    assert_eq!(state.status.unlisted, [(Kind::Mount, "why".to_owned())].into());
    rig.session.list(state, Reason::Schedule);
    rig.session.listed(state, &Call::List, Ok(running(&["a.service"])));
    assert_eq!(names(state), ["a.service"]);
    assert!(state.status.unlisted.is_empty());
}

#[test]
fn a_unit_that_comes_after_its_kind_was_listed_stays() {
    let shared = with_units(&running(&["a.service"]));
    let mut rig = Rig::new(&shared);
    {
        let state = &mut *shared.lock();
        rig.session.list(state, Reason::Reload);
        rig.calls();
        rig.session.not_listed(state, &Call::List, "no".to_owned());
    }
    for call in rig.calls() {
        let rows =
            if matches!(call, Call::ListKind(Kind::Service)) { vec!["a.service"] } else { vec![] };
        rig.session.listed(&mut shared.lock(), &call, Ok(running(&rows)));
        rig.says("UnitNew", &("late.service", ObjectPath::try_from("/").unwrap()));
    }
    assert!(rig.session.listing.is_none());
    assert_eq!(names(&shared.lock()), ["a.service", "late.service"]);
}

#[test]
fn a_list_that_makes_no_sense_unloads_nothing() {
    let nonsense = || Err(zbus::Error::InvalidField);
    let shared = with_units(&running(&["a.service"]));
    let mut rig = Rig::new(&shared);
    let state = &mut *shared.lock();
    rig.session.list(state, Reason::Schedule);
    rig.calls();
    rig.session.listed(state, &Call::List, nonsense());
    for call in rig.calls() {
        rig.session.listed(state, &call, nonsense());
    }
    assert_eq!(names(state), ["a.service"]);
    assert_eq!(state.status.unlisted.len(), Kind::ALL.len());
    assert_eq!(state.status.errors["decode"], 1 + Kind::ALL.len() as u64);
    assert!(rig.session.listing.is_none());
}
