//! Services: how they are set up, what they tell, what they depend on.

use std::collections::BTreeMap;

use crate::support::{Samples, eventually};
use crate::{number, prepared, show};

#[test]
fn services_are_set_up_as_systemctl_shows() {
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
    let wanted = [
        micros("RestartUSec"),
        number(machine, "all-set.service", "StartLimitBurst"),
        micros("StartLimitIntervalUSec"),
        micros("WatchdogUSec"),
        number(machine, "all-set.service", "FileDescriptorStoreMax"),
    ];
    assert_eq!(wanted, [Some(7.5), Some(4.0), Some(90.0), Some(20.0), Some(3.0)]);
    assert_eq!(settings(&page, "all-set.service"), wanted);
    assert_eq!(settings(&page, "redis-server.service"), [None; 5]);
}

#[test]
fn what_a_service_tells_of_itself_is_passed_on() {
    let (machine, exporter) = prepared();
    let name = [("name", "all-set.service")];
    let value =
        |family: &str| exporter.samples().value(&format!("systemd_service_{family}"), &name);
    machine.ok(&["systemctl", "restart", "all-set.service"]);
    // systemd counts the descriptors now, asked at the start and then once a minute
    eventually("a ping, an error and two descriptors", || {
        let told = ["status_errno", "fd_store_entries"].map(value);
        (told == [Some(5.0), Some(2.0)]).then_some(())
    });
    assert_eq!(number(machine, "all-set.service", "StatusErrno"), Some(5.0));
    assert_eq!(number(machine, "all-set.service", "NFileDescriptorStore"), Some(2.0));
    let ping = || value("watchdog_last_ping_time_seconds");
    let last = || number(machine, "all-set.service", "WatchdogTimestamp").map(|at| at / 1e6);
    let first = eventually("a ping", ping);
    eventually("a later ping, as new as systemd's but for the 15 s between two questions", || {
        let (later, last) = (ping()?, last()?);
        assert!(later <= last && last - later < 20.0, "{later}, {last}");
        (later > first).then_some(())
    });
    // the reload that cannot be
    assert!(!machine.exec(&["systemctl", "reload", "all-set.service"]).status.success());
    let labels = [name[0], ("result", "exit-code")];
    eventually("the failed reload", || {
        exporter.samples().value("systemd_service_reload_result", &labels)
    });
    machine.ok(&["systemctl", "stop", "all-set.service"]);
    eventually("no ping of a service that does not run", || ping().is_none().then_some(()));
}

#[test]
fn traffic_of_a_service_with_ip_accounting_is_that_of_systemctl() {
    let (machine, exporter) = prepared();
    machine.ok(&["systemctl", "start", "talks.service"]);
    if number(machine, "talks.service", "IPIngressBytes").is_none() {
        panic!("this kernel or machine allows no IP accounting: it needs BPF and cgroup v2");
    }
    let names = ["ingress_bytes", "egress_bytes", "ingress_packets_total", "egress_packets_total"];
    let properties = ["IPIngressBytes", "IPEgressBytes", "IPIngressPackets", "IPEgressPackets"];
    // it has said all it says, which is asked when it ends, or within 15 s
    eventually("the same numbers", || {
        let page = exporter.samples();
        let labels = [("name", "talks.service")];
        let told = names.map(|name| page.value(&format!("systemd_service_ip_{name}"), &labels));
        let shown = properties.map(|property| number(machine, "talks.service", property));
        (told == shown && told[0] > Some(1000.0)).then(|| eprintln!("{told:?}"))
    });
    let page = exporter.samples();
    let without = [("name", "redis-server.service")];
    assert_eq!(page.value("systemd_service_ip_ingress_bytes", &without), None);
}

#[test]
fn a_stopped_redis_is_an_unmet_dependency_of_the_queue_until_it_is_started() {
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
    eventually("redis is", || (queue() == [None, None, Some(1.0)]).then_some(()));
    assert_eq!(unmet("bound-queue.service", "binds_to"), Some(1.0));
    assert_eq!(unmet("strict-queue.service", "requisite"), Some(1.0));
    let running = [("name", "laravel-queue.service"), ("state", "active")];
    assert_eq!(exporter.samples().value("systemd_unit_state", &running), Some(1.0));
    machine.ok(&["systemctl", "start", "redis.service"]);
    eventually("nothing is unmet again", || (queue() == [None; 3]).then_some(()));
}

#[test]
fn unmet_dependencies_of_every_service_are_those_that_systemctl_shows_inactive() {
    let (machine, exporter) = prepared();
    let properties = "Id,ActiveState,LoadState,Type,Result,InactiveEnterTimestampMonotonic,\
                      Requires,BindsTo,Requisite,Wants";
    // the other tests start and stop units meanwhile: two equal looks around a page prove it
    eventually("the page and systemctl agree", || {
        let before = unmet(&show(machine, "*", properties));
        let page = exporter.samples();
        let shown: BTreeMap<_, _> = page
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
        (before == shown).then_some(())
    });
}

/// Counts unmet dependencies of services the way the reference describes it.
fn unmet(units: &BTreeMap<String, BTreeMap<String, String>>) -> BTreeMap<(String, String), f64> {
    let is_there = |name: &str, relation: &str| {
        let unit = &units[name];
        let done = unit.get("Type").is_some_and(|kind| kind == "oneshot")
            && unit["Result"] == "success"
            && unit["ActiveState"] == "inactive"
            && unit["InactiveEnterTimestampMonotonic"] != "0";
        let absent = ["not-found", "masked"].contains(&&*unit["LoadState"]);
        unit["ActiveState"] == "active" || done || (absent && relation == "wants")
    };
    let mut counts = BTreeMap::new();
    for (name, unit) in units.iter().filter(|(name, _)| name.ends_with(".service")) {
        let exported = !name.starts_with("user@") && unit["LoadState"] != "not-found";
        for (property, relation) in [
            ("Requires", "requires"),
            ("BindsTo", "binds_to"),
            ("Requisite", "requisite"),
            ("Wants", "wants"),
        ] {
            let names = unit.get(property).map(String::as_str).unwrap_or_default();
            let count =
                names.split(' ').filter(|n| !n.is_empty() && !is_there(n, relation)).count();
            if exported && count > 0 {
                counts.insert((name.clone(), relation.to_owned()), count as f64);
            }
        }
    }
    counts
}
