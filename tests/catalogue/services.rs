//! Services: settings, sd_notify state, IP accounting, dependencies.

use std::collections::BTreeMap;

use crate::support::{Samples, eventually};
use crate::{number, prepared, show};

#[test]
fn service_settings_match_systemctl() {
    let (machine, exporter) = prepared();
    let page = exporter.samples();
    let infos: Vec<_> = page.all("systemd_service_info", &[]).collect();
    assert!(infos.len() > 20, "{} services", infos.len());
    let shown = show(machine, "*.service", "Id,Type,Restart,User,Slice");
    for info in infos {
        let unit = &shown[info.label("name")];
        let user = if unit["User"].is_empty() { "root" } else { &unit["User"] };
        let labels = ["service_type", "restart", "user", "slice"].map(|label| info.label(label));
        assert_eq!(labels, [&unit["Type"], &unit["Restart"], user, &unit["Slice"]], "{info:?}");
    }
    let settings = |page: &Samples, name: &str| {
        let names = [
            "restart_delay_seconds",
            "start_limit_burst",
            "start_limit_interval_seconds",
            "watchdog_timeout_seconds",
            "fd_store_max",
        ];
        names.map(|family| page.value(&format!("systemd_service_{family}"), &[("name", name)]))
    };
    let micros = |property| number(machine, "all-set.service", property).map(|value| value / 1e6);
    let expected = [
        micros("RestartUSec"),
        number(machine, "all-set.service", "StartLimitBurst"),
        micros("StartLimitIntervalUSec"),
        micros("WatchdogUSec"),
        number(machine, "all-set.service", "FileDescriptorStoreMax"),
    ];
    assert_eq!(expected, [Some(7.5), Some(4.0), Some(90.0), Some(20.0), Some(3.0)]);
    assert_eq!(settings(&page, "all-set.service"), expected);
    assert_eq!(settings(&page, "redis-server.service"), [None; 5]);
}

#[test]
fn sd_notify_values_and_reload_result_are_exported() {
    let (machine, exporter) = prepared();
    let name = [("name", "all-set.service")];
    let value =
        |family: &str| exporter.samples().value(&format!("systemd_service_{family}"), &name);
    machine.ok(&["systemctl", "restart", "all-set.service"]);
    // systemd computes the number of descriptors on request; it is read at the start and then once a minute
    eventually("an errno and two stored descriptors", || {
        let values = ["status_errno", "fd_store_entries"].map(value);
        (values == [Some(5.0), Some(2.0)]).then_some(())
    });
    assert_eq!(number(machine, "all-set.service", "StatusErrno"), Some(5.0));
    assert_eq!(number(machine, "all-set.service", "NFileDescriptorStore"), Some(2.0));
    let ping = || value("watchdog_last_ping_timestamp_seconds");
    let last = || number(machine, "all-set.service", "WatchdogTimestamp").map(|at| at / 1e6);
    let first = eventually("a ping", ping);
    eventually("a later ping, at most 15 s (one poll) behind systemd's", || {
        let (later, last) = (ping()?, last()?);
        assert!(later <= last && last - later < 20.0, "{later}, {last}");
        (later > first).then_some(())
    });
    // ExecReload=/bin/false
    assert!(!machine.exec(&["systemctl", "reload", "all-set.service"]).status.success());
    let labels = [name[0], ("result", "exit-code")];
    eventually("the failed reload", || {
        exporter.samples().value("systemd_service_reload_result", &labels)
    });
    machine.ok(&["systemctl", "stop", "all-set.service"]);
    eventually("no ping of a stopped service", || ping().is_none().then_some(()));
}

#[test]
fn ip_accounting_of_service_matches_systemctl() {
    let (machine, exporter) = prepared();
    machine.ok(&["systemctl", "start", "talks.service"]);
    if number(machine, "talks.service", "IPIngressBytes").is_none() {
        panic!("no IP accounting on this machine: IP accounting needs BPF and cgroup v2");
    }
    let names = ["ingress_bytes", "egress_bytes", "ingress_packets_total", "egress_packets_total"];
    let properties = ["IPIngressBytes", "IPEgressBytes", "IPIngressPackets", "IPEgressPackets"];
    // The script sends all packets at its start; the counters are read when the service stops, or within 15 s.
    eventually("the same counters", || {
        let page = exporter.samples();
        let labels = [("name", "talks.service")];
        let values = names.map(|name| page.value(&format!("systemd_service_ip_{name}"), &labels));
        let shown = properties.map(|property| number(machine, "talks.service", property));
        (values == shown && values[0] > Some(1000.0)).then(|| eprintln!("{values:?}"))
    });
    let page = exporter.samples();
    let without = [("name", "redis-server.service")];
    assert_eq!(page.value("systemd_service_ip_ingress_bytes", &without), None);
}

#[test]
fn stopped_dependency_is_unmet_until_started() {
    let (machine, exporter) = prepared();
    let unmet = |unit: &str, relation: &str| {
        let labels = [("name", unit), ("type", "service"), ("relation", relation)];
        exporter.samples().value("systemd_unit_unmet_dependencies", &labels)
    };
    let queue = || ["requires", "binds_to", "wants"].map(|of| unmet("laravel-queue.service", of));
    machine.ok(&["systemctl", "start", "laravel-queue.service", "bound-queue.service"]);
    eventually("nothing is unmet", || (queue() == [None; 3]).then_some(()));
    assert_eq!(unmet("bound-queue.service", "binds_to"), None);
    machine.ok(&["systemctl", "stop", "redis.service"]);
    eventually("redis is unmet", || (queue() == [None, None, Some(1.0)]).then_some(()));
    assert_eq!(unmet("bound-queue.service", "binds_to"), Some(1.0));
    assert_eq!(unmet("strict-queue.service", "requisite"), Some(1.0));
    let running = [("name", "laravel-queue.service"), ("state", "active")];
    assert_eq!(exporter.samples().value("systemd_unit_state", &running), Some(1.0));
    machine.ok(&["systemctl", "start", "redis.service"]);
    eventually("nothing is unmet again", || (queue() == [None; 3]).then_some(()));
}

#[test]
fn unmet_dependencies_of_all_services_match_systemctl() {
    let (machine, exporter) = prepared();
    let properties = "Id,ActiveState,LoadState,Type,Result,InactiveEnterTimestampMonotonic,\
                      ConditionResult,ConditionTimestampMonotonic,\
                      Requires,BindsTo,Requisite,Wants,Upholds";
    // Other tests start and stop units meanwhile: compare only if systemctl shows the same before and after the scrape.
    eventually("the scrape response and systemctl agree", || {
        let before = unmet(&show(machine, "*", properties));
        let page = exporter.samples();
        let exported: BTreeMap<_, _> = page
            .all("systemd_unit_unmet_dependencies", &[])
            .map(|sample| {
                let key = (sample.label("name").to_owned(), sample.label("relation").to_owned());
                (key, sample.value)
            })
            .collect();
        if before != unmet(&show(machine, "*", properties)) {
            return None;
        }
        assert!(!before.is_empty());
        (before == exported).then_some(())
    });
}

/// Counts unmet dependencies of services by the rules in METRICS.md.
fn unmet(units: &BTreeMap<String, BTreeMap<String, String>>) -> BTreeMap<(String, String), f64> {
    let is_met = |name: &str, relation: &str| {
        let unit = &units[name];
        let done = unit.get("Type").is_some_and(|kind| kind == "oneshot")
            && unit["Result"] == "success"
            && unit["InactiveEnterTimestampMonotonic"] != "0";
        let skipped = unit["ConditionResult"] == "no" && unit["ConditionTimestampMonotonic"] != "0";
        let skipped = skipped || (name.ends_with(".service") && unit["Result"] == "exec-condition");
        let started = unit["ActiveState"] == "inactive" && (done || skipped);
        let absent = ["not-found", "masked"].contains(&&*unit["LoadState"]);
        let optional = ["wants", "upholds"].contains(&relation);
        unit["ActiveState"] == "active" || started || (absent && optional)
    };
    let mut counts = BTreeMap::new();
    for (name, unit) in units.iter().filter(|(name, _)| name.ends_with(".service")) {
        let exported = !name.starts_with("user@") && unit["LoadState"] != "not-found";
        for (property, relation) in [
            ("Requires", "requires"),
            ("BindsTo", "binds_to"),
            ("Requisite", "requisite"),
            ("Wants", "wants"),
            ("Upholds", "upholds"),
        ] {
            let names = unit.get(property).map(String::as_str).unwrap_or_default();
            let count = names.split(' ').filter(|n| !n.is_empty() && !is_met(n, relation)).count();
            if exported && count > 0 {
                counts.insert((name.clone(), relation.to_owned()), count as f64);
            }
        }
    }
    counts
}
