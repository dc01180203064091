//! T1 and T2 as property tests: names of arbitrary bytes round-trip through rendering and parsing.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use unit_exporter::collector::Profile;
use unit_exporter::metrics::{Format, MetricsQuery, RenderState, render};
use unit_exporter::snapshot::Snapshot;
use unit_exporter::source::sockets::{Listener, ListenerReading, Protocol};
use unit_exporter::systemd::ledger::Ledger;
use unit_exporter::systemd::mirror::{ListedUnit, Mirror};
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::unit::properties::Interface;
use unit_exporter::systemd::unit::value::intern;
use unit_exporter::unit_filter::Selection;
use zbus::Variant;

use crate::fixture;
use crate::support::{Sample, Samples, protobuf};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_name_round_trips_exactly_once(names in prop::collection::btree_set(arbitrary_name(), 1..30)) {
        let snapshot = snapshot_of(&names);
        let responses = [Format::Text, Format::OpenMetrics, Format::Protobuf].map(|format| rendered(&snapshot, format));
        for samples in &responses {
            let expected: Vec<String> = names.iter().map(|name| format!("{name}.service")).collect();
            let exported: BTreeSet<_> =
                samples.all("systemd_unit_state", &[]).map(|sample| sample.label("name")).collect();
            prop_assert_eq!(exported, expected.iter().map(String::as_str).collect());
            prop_assert_eq!(samples.all("systemd_unit_state", &[]).count(), 5 * names.len());
            for (at, (name, unit)) in names.iter().zip(&expected).enumerate() {
                let state = [("name", &**unit), ("state", "active"), ("type", "service")];
                prop_assert_eq!(samples.value("systemd_unit_state", &state), Some(1.0));
                let info = [("name", &**unit), ("user", name), ("slice", name), ("restart", "no")];
                prop_assert_eq!(samples.value("systemd_service_info", &info), Some(1.0));
                let listener = [("name", &**unit), ("address", &**name), ("port", "1")];
                let queue = samples.value("systemd_listener_accept_queue_length", &listener);
                prop_assert_eq!(queue, Some(at as f64));
            }
        }
        for other in &responses[1..] {
            prop_assert_eq!(&responses[0].0.len(), &other.0.len());
            for (text, other) in responses[0].0.iter().zip(&other.0) {
                prop_assert_eq!((&text.name, &text.labels), (&other.name, &other.labels));
            }
        }
    }

    #[test]
    fn any_name_leaves_other_series_unchanged(name in arbitrary_name()) {
        let plain = without(&rendered(&snapshot_with("plain"), Format::Text), "plain.service");
        let name = format!("odd{name}");
        let samples = rendered(&snapshot_with(&name), Format::Text);
        prop_assert_eq!(without(&samples, &format!("{name}.service")), plain);
    }
}

/// Arbitrary bytes as received over D-Bus (UTF-8), mostly characters that need escaping somewhere.
fn arbitrary_name() -> impl Strategy<Value = String> {
    let bytes = prop::collection::vec(any::<u8>(), 1..60)
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    prop_oneof![
        bytes,
        any::<String>().prop_filter("a name", |name| !name.is_empty()),
        "[\"\\\\n\n\r\t{}=,#\u{0}\u{85}\u{2028}\u{feff}\u{ff} _a1.+]{1,30}",
    ]
}

/// A snapshot of services with these names, users, slices and listener addresses.
fn snapshot_of(names: &BTreeSet<String>) -> Arc<Snapshot> {
    let all_units = Selection::new("(?s).*", "").expect("valid expressions");
    let shared = Shared::new(Mirror::new(all_units), Ledger::default());
    let state = &mut *shared.lock();
    let listeners = names.iter().enumerate().map(|(at, name)| Listener {
        unit: Some(format!("{name}.service").into()),
        protocol: Protocol::Tcp,
        address: name.clone(),
        port: "1".to_owned(),
        socket_unit: None,
        sockets: 1,
        accept_queue: Some(at as u64),
        accept_queue_limit: None,
        drops: None,
    });
    let listeners =
        ListenerReading { listeners: listeners.collect(), ..ListenerReading::default() };
    for name in names {
        let unit = format!("{name}.service");
        state.mirror.list(&ListedUnit {
            name: unit.clone(),
            load_state: intern("loaded"),
            active_state: intern("active"),
            sub_state: intern("running"),
        });
        state.mirror.change(&unit, |unit| {
            for (property, value) in
                [("Type", "simple"), ("Restart", "no"), ("User", name), ("Slice", name)]
            {
                unit.set(Interface::Kind, property, &Variant::from(value));
            }
        });
    }
    let systemd = Some(SystemdSnapshot::copy(state, false));
    Arc::new(Snapshot { systemd, listeners: Some(listeners), ..Snapshot::default() })
}

/// The snapshot of the fixture, and one service with this name.
fn snapshot_with(name: &str) -> Arc<Snapshot> {
    let mut snapshot = Arc::into_inner(fixture::snapshot()).expect("a single owner");
    let one =
        Arc::into_inner(snapshot_of(&BTreeSet::from([name.to_owned()]))).expect("a single owner");
    let units = one.systemd.expect("a service").units;
    snapshot.systemd.as_mut().expect("units").units.extend(units);
    Arc::new(snapshot)
}

fn without(samples: &Samples, unit: &str) -> Vec<Sample> {
    samples.0.iter().filter(|sample| sample.label("name") != unit).cloned().collect()
}

fn rendered(snapshot: &Arc<Snapshot>, format: Format) -> Samples {
    let query = MetricsQuery {
        without: vec![],
        names: vec![],
        metrics: Profile::Full.into(),
        max_series: 50_000,
        max_family_series: 50_000,
    };
    let body =
        render(snapshot, format, &query, &Arc::new(RenderState::default())).expect("a response");
    match format {
        Format::Protobuf => protobuf::samples(&body),
        _ => Samples::parse(str::from_utf8(&body).expect("UTF-8")),
    }
}
