//! T1 and T2, whatever the bytes: what a page says, read back, is what was meant.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use unit_exporter::metrics::{DroppedSeries, Format, MetricsQuery, render};
use unit_exporter::profile::Profile;
use unit_exporter::snapshot::Snapshot;
use unit_exporter::source::sockets::{Listener, Protocol, Reading};
use unit_exporter::systemd::ledger::Ledger;
use unit_exporter::systemd::mirror::{Listed, Mirror};
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::unit::properties::Interface;
use unit_exporter::systemd::unit::value::word;
use unit_exporter::unit_filter::Selection;
use zbus::Variant;

use crate::fixture;
use crate::support::{Sample, Samples};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_names_are_read_back_each_once(names in prop::collection::btree_set(name(), 1..30)) {
        let snapshot = host(&names);
        let pages = [Format::Text, Format::OpenMetrics].map(|format| page(&snapshot, format));
        for page in &pages {
            let expected: Vec<String> = names.iter().map(|name| format!("{name}.service")).collect();
            let told: BTreeSet<_> =
                page.all("systemd_unit_state", &[]).map(|sample| sample.label("name")).collect();
            prop_assert_eq!(told, expected.iter().map(String::as_str).collect());
            prop_assert_eq!(page.all("systemd_unit_state", &[]).count(), 5 * names.len());
            for (at, (name, unit)) in names.iter().zip(&expected).enumerate() {
                let state = [("name", &**unit), ("state", "active"), ("type", "service")];
                prop_assert_eq!(page.value("systemd_unit_state", &state), Some(1.0));
                let info = [("name", &**unit), ("user", name), ("slice", name), ("restart", "no")];
                prop_assert_eq!(page.value("systemd_service_info", &info), Some(1.0));
                let listener = [("name", &**unit), ("address", &**name), ("port", "1")];
                let queue = page.value("systemd_listener_accept_queue_length", &listener);
                prop_assert_eq!(queue, Some(at as f64));
            }
        }
        prop_assert_eq!(&pages[0].0.len(), &pages[1].0.len());
        for (text, open) in pages[0].0.iter().zip(&pages[1].0) {
            prop_assert_eq!((&text.name, &text.labels), (&open.name, &open.labels));
        }
    }

    #[test]
    fn a_page_of_many_families_stays_whole_beside_any_name(name in name()) {
        let plain = without(&page(&with("plain"), Format::Text), "plain.service");
        let odd = format!("odd{name}");
        let page = page(&with(&odd), Format::Text);
        prop_assert_eq!(without(&page, &format!("{odd}.service")), plain);
    }
}

/// Any bytes as the bus hands them over, which are text; mostly those that matter somewhere.
fn name() -> impl Strategy<Value = String> {
    let bytes = prop::collection::vec(any::<u8>(), 1..60)
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    prop_oneof![
        bytes,
        any::<String>().prop_filter("a name", |name| !name.is_empty()),
        "[\"\\\\n\n\r\t{}=,#\u{0}\u{85}\u{2028}\u{feff}\u{ff} _a1.+]{1,30}",
    ]
}

/// Services of those names, users, slices and addresses.
fn host(names: &BTreeSet<String>) -> Arc<Snapshot> {
    let every = Selection::new("(?s).*", "").expect("expressions");
    let shared = Shared::new(Mirror::new(every), Ledger::default());
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
    let listeners = Reading { listeners: listeners.collect(), ..Reading::default() };
    for name in names {
        let unit = format!("{name}.service");
        state.mirror.list(&Listed {
            name: unit.clone(),
            load_state: word("loaded"),
            active_state: word("active"),
            sub_state: word("running"),
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

/// The fixture host, and one service of that name.
fn with(name: &str) -> Arc<Snapshot> {
    let mut snapshot = Arc::into_inner(fixture::snapshot()).expect("the only one");
    let one = Arc::into_inner(host(&BTreeSet::from([name.to_owned()]))).expect("the only one");
    let units = one.systemd.expect("a service").units;
    snapshot.systemd.as_mut().expect("units").units.extend(units);
    Arc::new(snapshot)
}

fn without(page: &Samples, unit: &str) -> Vec<Sample> {
    page.0.iter().filter(|sample| sample.label("name") != unit).cloned().collect()
}

fn page(snapshot: &Arc<Snapshot>, format: Format) -> Samples {
    let selected =
        MetricsQuery { without: vec![], names: vec![], profile: Profile::Full, max_series: 50_000 };
    let page =
        render(snapshot, format, &selected, &Arc::new(DroppedSeries::default())).expect("a page");
    Samples::parse(&page)
}
