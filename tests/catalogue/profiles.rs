//! Number of series of each profile, and collectors selected alone.

use std::collections::BTreeMap;

use crate::prepared;
use crate::support::Samples;

#[test]
fn series_count_grows_from_minimal_to_full_profile() {
    let (machine, _) = prepared();
    let page = |profile: &str| {
        let flag = format!("--profile={profile}");
        machine.exporter(&[&flag]).samples()
    };
    let [minimal, fleet, default, full] = ["minimal", "fleet", "default", "full"].map(page);
    let units = |page: &Samples| {
        page.all("systemd_unit_state", &[]).filter(|sample| sample.value == 1.0).count()
    };
    for (name, page) in
        [("minimal", &minimal), ("fleet", &fleet), ("default", &default), ("full", &full)]
    {
        let (series, units) = (page.0.len(), units(page));
        eprintln!("{name}: {series} series, {units} units, {} a unit", series / units);
    }
    let mut families = BTreeMap::<&str, usize>::new();
    for sample in &default.0 {
        *families.entry(&sample.name).or_default() += 1;
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    eprintln!("{:?}", &families[..20]);
    assert!(default.0.len() <= 25 * units(&default), "{} series", default.0.len());
    assert!(fleet.0.len() * 2 < default.0.len(), "{} series", fleet.0.len());
    assert!(minimal.0.len() < fleet.0.len() && default.0.len() < full.0.len());
    // the unit states that alerts need
    let active = [("state", "active")];
    assert!(fleet.all("systemd_unit_state", &active).all(|sample| sample.value == 1.0));
    assert!(minimal.all("systemd_unit_state", &active).all(|sample| sample.value == 1.0));
    assert!(minimal.value("systemd_failed_units", &[]).is_some());
}

#[test]
fn every_collector_can_be_selected_alone() {
    let (machine, _) = prepared();
    let exporter = machine.exporter(&["--profile=full"]);
    for collector in unit_exporter::collector::COLLECTORS {
        let name = collector.name;
        let response = exporter.get(&format!("/metrics?collect[]={name}"), &[]);
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        let page = Samples::parse(response.text());
        // the metric belongs to the collector `exporter`
        let success = page.all("unit_exporter_collector_success", &[]).count();
        assert_eq!(success > 0, name == "exporter", "{name}");
    }
    let unknown = exporter.get("/metrics?collect[]=unknown", &[]);
    assert_eq!(unknown.status, 400);
}
