//! T22: units beyond number.

use std::collections::BTreeSet;

use crate::support::{Machine, Samples, eventually};
use crate::{SLEEP, assert_active};

#[test]
fn instances_beyond_number_fill_their_families_and_the_rest_is_counted() {
    let machine = Machine::options().boot();
    machine.units(&[
        ("flood@.target", "[Unit]\nDescription=one of many\n"),
        ("few@.target", "[Unit]\nDescription=one of few\n"),
        ("zebra.service", SLEEP),
    ]);
    machine.ok(&["bash", "-c", "systemctl start zebra few@{1..20}.target"]);
    let exporter = machine.exporter(&["--web.max-series=4000"]);
    let before = exporter.samples();
    machine.ok(&["bash", "-c", "systemctl start flood@{1..1000}.target"]);
    let all = machine.exporter(&[]);
    let of_state = |page: &Samples| {
        let states = page.all("systemd_unit_state", &[]);
        states
            .map(|sample| (sample.label("name").to_owned(), sample.label("state").to_owned()))
            .collect()
    };
    let whole: BTreeSet<_> = eventually("all are there", || {
        let page = all.samples();
        let flood = page.all("systemd_unit_state", &[("state", "active")]);
        let flood = flood.filter(|sample| sample.label("name").starts_with("flood@"));
        (flood.count() == 1000).then(|| of_state(&page))
    });
    let dropped = |page: &Samples| {
        let family = [("family", "systemd_unit_state")];
        page.value("systemd_exporter_series_dropped_total", &family).unwrap_or(0.0)
    };
    eventually("the small page is full", || {
        (of_state(&exporter.samples()).len() == 4000).then_some(())
    });
    let (first, second) = (exporter.samples(), exporter.samples());
    let kept: BTreeSet<_> = of_state(&first);
    assert_eq!(kept, of_state(&second), "the same are kept");
    assert!(kept.is_subset(&whole));
    let beyond = whole.len() - kept.len();
    assert_eq!(dropped(&second) - dropped(&first), beyond as f64, "and the rest is counted");
    // of those that are many the first by name, and all of the others, wherever they stand
    let is_many = |state: &&(String, String)| state.0.starts_with("flood@");
    assert!(whole.difference(&kept).all(|state| is_many(&state)));
    let last = kept.iter().filter(is_many).max().expect("some");
    assert!(whole.difference(&kept).all(|other| other.0 >= last.0));
    assert_active(&second, "zebra.service");
    assert_active(&second, "few@20.target");
    // who else has few series keeps them all
    let families = |page: &Samples| -> BTreeSet<_> {
        page.0.iter().map(|sample| sample.name.clone()).collect()
    };
    let lost: Vec<_> = families(&before).difference(&families(&second)).cloned().collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_active(&second, "dbus.service");
    eprintln!(
        "{} series of states: {} told, {beyond} counted as left out",
        whole.len(),
        kept.len()
    );
}
