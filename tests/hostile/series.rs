//! T22: a flood of template instances.

use std::collections::BTreeSet;

use crate::support::{Machine, Samples, eventually};
use crate::{SLEEP, assert_active};

#[test]
fn excess_template_instances_are_dropped_first_and_counted() {
    let machine = Machine::options().boot();
    machine.units(&[
        ("flood@.target", "[Unit]\nDescription=one of many\n"),
        ("few@.target", "[Unit]\nDescription=one of few\n"),
        ("zebra.service", SLEEP),
    ]);
    machine.ok(&["bash", "-c", "systemctl start zebra few@{1..20}.target"]);
    let exporter = machine.exporter(&["--web.max-series=16000"]);
    let before = exporter.samples();
    machine.ok(&["bash", "-c", "systemctl start flood@{1..1000}.target"]);
    let unlimited = machine.exporter(&[]);
    let state_series = |samples: &Samples| {
        let states = samples.all("systemd_unit_state", &[]);
        states
            .map(|sample| (sample.label("name").to_owned(), sample.label("state").to_owned()))
            .collect()
    };
    let complete: BTreeSet<_> = eventually("all instances are exported", || {
        let samples = unlimited.samples();
        let flood = samples.all("systemd_unit_state", &[("state", "active")]);
        let flood = flood.filter(|sample| sample.label("name").starts_with("flood@"));
        (flood.count() == 1000).then(|| state_series(&samples))
    });
    let dropped = |samples: &Samples| {
        let family = [("family", "systemd_unit_state")];
        samples.value("unit_exporter_series_dropped_total", &family).unwrap_or(0.0)
    };
    eventually("the limit is reached", || {
        (state_series(&exporter.samples()).len() == 4000).then_some(())
    });
    let (first, second) = (exporter.samples(), exporter.samples());
    let kept: BTreeSet<_> = state_series(&first);
    assert_eq!(kept, state_series(&second), "not stable");
    assert!(kept.is_subset(&complete));
    let beyond = complete.len() - kept.len();
    assert_eq!(dropped(&second) - dropped(&first), beyond as f64, "dropped series are not counted");
    // only instances of the large template are dropped, the last by name
    let is_of_large_template = |state: &&(String, String)| state.0.starts_with("flood@");
    assert!(complete.difference(&kept).all(|state| is_of_large_template(&state)));
    let last = kept.iter().filter(is_of_large_template).max().expect("an instance");
    assert!(complete.difference(&kept).all(|other| other.0 >= last.0));
    assert_active(&second, "zebra.service");
    assert_active(&second, "few@20.target");
    // families with few series are complete
    let families = |samples: &Samples| -> BTreeSet<_> {
        samples.0.iter().map(|sample| sample.name.clone()).collect()
    };
    let lost: Vec<_> = families(&before).difference(&families(&second)).cloned().collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_active(&second, "dbus.service");
    eprintln!(
        "{} state series: {} exported, {beyond} counted as dropped",
        complete.len(),
        kept.len()
    );
}
