//! Collectors of other D-Bus daemons: every value matches the daemon's own tool, and a stopped daemon affects no other.

mod support;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Exporter, Machine, Samples, eventually, in_time};

/// Enables all of them.
const ALL: [&str; 5] = [
    "--collector.dbus",
    "--collector.logind",
    "--collector.machined",
    "--collector.networkd",
    "--collector.resolved",
];

#[test]
fn resolved_metrics_match_resolvectl() {
    let machine = machine();
    let exporter = machine.exporter(&["--systemd.collector.enable-resolved"]);
    for name in ["one.example", "two.example", "one.example", "one.example"] {
        machine.ok(&["resolvectl", "query", "--legend=no", name]);
    }
    let number = |statistics: &str, title: &str| -> f64 {
        let line = statistics.lines().find_map(|line| line.trim().strip_prefix(title));
        let line = line.unwrap_or_else(|| panic!("no {title} in {statistics}"));
        line.trim_start_matches(':').trim().parse().expect("a number")
    };
    let statistics = eventually("metrics and resolvectl agree", || {
        let page = exporter.samples();
        let statistics = machine.ok(&["resolvectl", "statistics"]);
        let same = RESOLVED_METRICS
            .iter()
            .all(|(metric, title)| page.value(metric, &[]) == Some(number(&statistics, title)));
        same.then_some(statistics)
    });
    assert!(number(&statistics, "Total Transactions") >= 2.0, "{statistics}");
    if machine.since(248, "CacheFromLocalhost=") {
        assert!(number(&statistics, "Cache Hits") >= 1.0, "{statistics}");
    }
}

#[test]
fn logind_metrics_match_loginctl() {
    let machine = machine();
    let exporter = machine.exporter(&["--collector.logind"]);
    let session = ["systemd-run", "--quiet", "--property=PAMName=login", "--property=User=nobody"];
    for unit in ["one", "two"] {
        let unit = format!("--unit=session-{unit}");
        machine.ok(&[&session[..], &[&unit, "--", "sleep", "infinity"]].concat());
    }
    let lock = ["systemd-run", "--quiet", "--unit=lock", "systemd-inhibit", "sleep", "infinity"];
    machine.ok(&lock);
    let list = |what: &str| machine.ok(&["loginctl", "--no-legend", what]);
    let of = |id: &str, property: &str| {
        machine.ok(&["loginctl", "show-session", "--value", "-p", property, id]).trim().to_owned()
    };
    let page = eventually("both sessions match loginctl", || {
        let mut sessions: BTreeMap<[String; 4], f64> = BTreeMap::new();
        for line in list("list-sessions").lines() {
            let id = line.split_whitespace().next().expect("a session");
            let key = ["Class", "Type", "State", "Remote"].map(|property| of(id, property));
            *sessions.entry(key).or_default() += 1.0;
        }
        let page = exporter.samples();
        let counted = page.all("systemd_logind_sessions", &[]).map(|sample| {
            let key = ["class", "type", "state", "remote"];
            (key.map(|label| sample.label(label).to_owned()), sample.value)
        });
        let same = counted.collect::<BTreeMap<_, _>>() == sessions;
        let locks = machine.ok(&["systemd-inhibit", "--list", "--no-legend"]);
        let all = sessions.values().sum::<f64>() == 2.0 && locks.contains("sleep");
        (same && all).then_some(page)
    });
    let users = list("list-users").lines().count();
    let states = page.all("systemd_logind_users", &[]).map(|sample| sample.value).sum::<f64>();
    assert_eq!(states, users as f64);
    let locks = machine.ok(&["systemd-inhibit", "--list", "--no-legend"]).lines().count();
    assert_eq!(page.value("systemd_logind_inhibitors", &[]), Some(locks as f64));
    machine.ok(&["systemctl", "stop", "session-one", "session-two", "lock"]);
}

#[test]
fn networkd_metrics_match_networkctl() {
    let machine = machine();
    let exporter = machine.exporter(&["--collector.networkd"]);
    let state = |page: &Samples, link: &str, aspect: &str| -> Option<String> {
        let labels = [("interface", link), ("aspect", aspect)];
        let mut found = page.all("systemd_networkd_link_state", &labels);
        let state = found.next().map(|sample| sample.label("state").to_owned());
        assert_eq!(found.next(), None);
        state
    };
    let page = eventually("up0 is configured", || {
        let page = exporter.samples();
        let is = |aspect, expected: &str| state(&page, "up0", aspect).as_deref() == Some(expected);
        (is("setup", "configured") && is("operational", "routable")).then_some(page)
    });
    let listed = machine.ok(&["networkctl", "--no-legend", "list"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    for line in listed.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [index, link, _, operational, setup] = columns[..] else { panic!("{line}") };
        assert_eq!(state(&page, link, "operational").as_deref(), Some(operational), "{line}");
        assert_eq!(state(&page, link, "setup").as_deref(), Some(setup), "{line}");
        let path = format!("/org/freedesktop/network1/link/_3{index}");
        for &(aspect, property) in aspects(machine) {
            let value = property_of(machine, NETWORK, &path, &format!("{NETWORK}.Link"), property);
            let value = Some(value).filter(|state| !state.is_empty());
            assert_eq!(state(&page, link, aspect), value, "{link} {aspect}");
        }
    }
    for &(aspect, property) in aspects(machine) {
        let path = "/org/freedesktop/network1";
        let value = property_of(machine, NETWORK, path, &format!("{NETWORK}.Manager"), property);
        let labels = [("aspect", aspect), ("state", &*value)];
        assert_eq!(page.value("systemd_networkd_state", &labels), Some(1.0), "{labels:?}");
    }
}

#[test]
fn machined_metrics_match_machinectl() {
    let machine = machine();
    let exporter = machine.exporter(&["--collector.machined"]);
    let count = |page: &Samples, class| page.value("systemd_machines", &[("class", class)]);
    let none = exporter.samples();
    assert_eq!((count(&none, "container"), count(&none, "vm")), (Some(0.0), Some(0.0)));
    let is_active = machine.exec(&["systemctl", "is-active", "systemd-machined"]);
    assert!(!is_active.status.success(), "a scrape started systemd-machined");
    let register = "busctl call org.freedesktop.machine1 /org/freedesktop/machine1 \
                    org.freedesktop.machine1.Manager RegisterMachine sayssus";
    for (name, class) in [("web-1", "container"), ("guest", "vm")] {
        let unit = format!("leader-{class}");
        machine.ok(&["systemd-run", "--quiet", "--unit", &unit, "sleep", "infinity"]);
        let pid = machine.ok(&["systemctl", "show", "--value", "-p", "MainPID", &unit]);
        let call = format!("{register} {name} 0 a-test {class} {} ''", pid.trim());
        machine.ok(&["sh", "-c", &call]);
    }
    let page = exporter.samples();
    let listed = machine.ok(&["machinectl", "--no-legend", "list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    for line in listed.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (name, class, service) = (columns[0], columns[1], columns[2]);
        let state = machine.ok(&["machinectl", "show", "--value", "-p", "State", name]);
        let labels =
            [("machine", name), ("class", class), ("service", service), ("state", state.trim())];
        assert_eq!(page.value("systemd_machine_state", &labels), Some(1.0), "{labels:?}");
        assert_eq!(count(&page, class), Some(1.0));
    }
    machine.ok(&["systemctl", "stop", "leader-container", "leader-vm"]);
}

#[test]
fn dbus_metrics_match_bus_statistics() {
    let machine = machine();
    let exporter = machine.exporter(&["--collector.dbus"]);
    // other connections may come and go between the two reads
    eventually("metrics and GetStats agree", || {
        let page = exporter.samples();
        let reply = machine.ok(&[
            "busctl",
            "--json=short",
            "call",
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.Debug.Stats",
            "GetStats",
        ]);
        let reply: Value = serde_json::from_str(&reply).expect("JSON");
        let number = |name: &str| reply["data"][0][name]["data"].as_f64();
        let connections = |state| page.value("systemd_dbus_connections", &[("state", state)]);
        // busctl's own connection and name are in the reply
        let same = connections("active")? == number("ActiveConnections")? - 1.0
            && connections("incomplete") == number("IncompleteConnections")
            && page.value("systemd_dbus_names", &[])? == number("BusNames")? - 1.0
            && page.value("systemd_dbus_match_rules", &[]) == number("MatchRules")
            && page.value("systemd_dbus_connection_match_rules_peak", &[])
                == number("PeakMatchRulesPerConnection");
        same.then_some(())
    });
}

#[test]
fn security_exposure_matches_systemd_analyze() {
    let machine = machine();
    machine.units(&[("open.service", SLEEP), ("closed.service", &format!("{SLEEP}{CLOSED}"))]);
    machine.ok(&["systemctl", "start", "open.service", "closed.service"]);
    let sandbox = [
        "User=nobody",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "PrivateUsers=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
    ];
    let exporter = machine.exporter_unit(&sandbox, &["--collector.security"]).ready();
    let before = machine.pid1_cpu();
    let page = exporter.samples();
    eprintln!("PID 1 used {:?} for the assessment", machine.pid1_cpu() - before);
    if !machine.since(250, "systemd-analyze security --json") {
        return;
    }
    let rows = machine.ok(&["systemd-analyze", "security", "--json=short", "--no-pager"]);
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("JSON");
    let exposure =
        |name: &str| page.value("systemd_unit_security_exposure_score", &[("name", name)]);
    let mut compared = 0;
    for row in &rows {
        let name = row["unit"].as_str().expect("a name");
        // user managers are not exported by default
        if !name.starts_with("user@") {
            let exposure =
                exposure(name).unwrap_or_else(|| panic!("no {name}: {}", exporter.log()));
            assert_eq!(row["exposure"], exposure.to_string(), "{row}");
            compared += 1;
        }
    }
    assert_eq!(page.all("systemd_unit_security_exposure_score", &[]).count(), compared);
    assert!(exposure("closed.service") < exposure("open.service"), "{rows:?}");
    machine.ok(&["systemctl", "stop", "open.service", "closed.service"]);
}

#[test]
fn logs_reason_when_systemd_analyze_is_missing() {
    let machine = machine();
    let nowhere = ["Environment=PATH=/nowhere"];
    let exporter = machine.exporter_unit(&nowhere, &["--collector.security"]).ready();
    assert_eq!(success(&exporter.samples(), "security"), Some(0.0));
    assert!(exporter.log().contains("systemd-analyze"), "{}", exporter.log());
}

#[test]
fn dbus_collector_needs_root_or_a_bus_policy() {
    let machine = Machine::options().boot();
    let exporter =
        machine.exporter_unit(&["User=nobody"], &["--collector.dbus", "--collector.logind"]);
    let page = exporter.samples();
    assert_eq!(success(&page, "dbus"), Some(0.0));
    assert_eq!(success(&page, "logind"), Some(1.0));
    let log = exporter.log();
    assert!(log.contains("docs/daemons.md"), "{log}");
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/daemons.md"));
    let manual = manual.expect("docs/daemons.md");
    let policy = manual.split_once("```xml\n").and_then(|(_, rest)| rest.split_once("```"));
    let policy = policy.expect("a policy").0.replace("\"unit-exporter\"", "\"nobody\"");
    machine.write("etc/dbus-1/system.d/unit-exporter.conf", policy);
    machine.ok(&["systemctl", "reload", "dbus.service"]);
    eventually("the policy applies", || {
        (success(&exporter.samples(), "dbus") == Some(1.0)).then_some(())
    });
    assert!(exporter.samples().value("systemd_dbus_names", &[]) > Some(0.0));
}

#[test]
fn stopped_daemon_fails_only_its_collector_and_stays_stopped() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&ALL);
    let page = exporter.samples();
    for (collector, value) in
        [("logind", 1.0), ("dbus", 1.0), ("units", 1.0), ("networkd", 0.0), ("resolved", 0.0)]
    {
        assert_eq!(success(&page, collector), Some(value), "{collector}");
    }
    let log = exporter.log();
    for remedy in ["start systemd-networkd.service", "start systemd-resolved.service"] {
        assert!(log.contains(remedy), "{log}");
    }
    assert_eq!(page.all("systemd_networkd_link_state", &[]).count(), 0);
    assert!(!machine.exec(&["systemctl", "is-active", "systemd-networkd"]).status.success());

    machine.ok(&["systemctl", "start", "systemd-networkd"]);
    wait_for_success(&exporter, "networkd");
    machine.ok(&["systemctl", "restart", "dbus.service"]);
    wait_for_success(&exporter, "dbus");
    // these do not reconnect to a restarted bus
    machine.ok(&["systemctl", "restart", "systemd-networkd", "systemd-logind"]);
    wait_for_success(&exporter, "networkd");
    wait_for_success(&exporter, "logind");
}

#[test]
fn hanging_daemon_fails_only_its_collector_after_2_s() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&["--collector.logind", "--collector.dbus"]);
    wait_for_success(&exporter, "logind");
    machine.ok(&["systemctl", "kill", "--signal=STOP", "systemd-logind"]);
    let sent = Instant::now();
    let page = exporter.samples();
    let took = sent.elapsed();
    eprintln!("the scrape took {took:?}");
    // the collector times out after 2 s, the rest of a scrape after 5 s
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(success(&page, "logind"), Some(0.0));
    assert_eq!(page.value("systemd_logind_inhibitors", &[]), None);
    for collector in ["dbus", "cgroup", "units"] {
        assert_eq!(success(&page, collector), Some(1.0), "{collector}");
    }
    assert!(exporter.log().contains("systemd-logind did not reply"), "{}", exporter.log());
    machine.ok(&["systemctl", "kill", "--signal=CONT", "systemd-logind"]);
    wait_for_success(&exporter, "logind");
}

#[test]
fn disabled_collector_is_rejected_with_flag_that_enables_it() {
    let machine = machine();
    let exporter = machine.exporter(&["--collector.dbus"]);
    let answer = exporter.get("/metrics?collect[]=logind", &[]);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("--collector.logind"), "{}", answer.text());
    let answer = exporter.get("/metrics?collect[]=dbus", &[]);
    assert_eq!(answer.status, 200);
    let page = Samples::parse(answer.text());
    assert!(page.0.iter().all(|sample| sample.name.starts_with("systemd_dbus_")), "{page:?}");
    assert!(!page.0.is_empty());
}

/// A machine with the daemons that Debian has in separate packages, and a DNS server.
fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let machine = Machine::options().daemons().boot();
        machine.write("srv/names.py", NAMES);
        machine.write("etc/systemd/resolved.conf.d/names.conf", RESOLVED);
        machine.write("etc/systemd/network/up.network", UP);
        // systemd-resolved sends no queries while no link is up
        machine.ok(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        for link in ["up0", "up1"] {
            machine.ok(&["ip", "link", "set", link, "up"]);
        }
        machine.unit("names.service", "[Service]\nExecStart=python3 /srv/names.py\n");
        machine.ok(&["systemd-sysusers"]);
        machine.ok(&["systemctl", "reload", "dbus.service"]);
        let daemons = ["names.service", "systemd-networkd.service", "systemd-resolved.service"];
        machine.ok(&[&["systemctl", "start"][..], &daemons].concat());
        eventually("systemd-resolved is on the bus", || {
            let query = machine.exec(&["resolvectl", "query", "--legend=no", "zero.example"]);
            query.status.success().then_some(())
        });
        machine
    })
}

fn wait_for_success(exporter: &Exporter, collector: &str) {
    let works = in_time(|| (success(&exporter.samples(), collector) == Some(1.0)).then_some(()));
    assert!(works.is_some(), "{collector} does not work:\n{}", exporter.log());
}

fn success(page: &Samples, collector: &str) -> Option<f64> {
    page.value("unit_exporter_collector_success", &[("collector", collector)])
}

fn property_of(
    machine: &Machine,
    name: &str,
    path: &str,
    interface: &str,
    property: &str,
) -> String {
    let get = ["busctl", "--json=short", "get-property", name, path, interface, property];
    let Ok(reply) = serde_json::from_str::<Value>(&machine.ok(&get)) else { return String::new() };
    reply["data"].as_str().expect("a text").to_owned()
}

const NETWORK: &str = "org.freedesktop.network1";

const RESOLVED_METRICS: [(&str, &str); 9] = [
    ("systemd_resolved_current_transactions", "Current Transactions"),
    ("systemd_resolved_transactions_total", "Total Transactions"),
    ("systemd_resolved_current_cache_size", "Current Cache Size"),
    ("systemd_resolved_cache_hits_total", "Cache Hits"),
    ("systemd_resolved_cache_misses_total", "Cache Misses"),
    ("systemd_resolved_dnssec_secure_total", "Secure"),
    ("systemd_resolved_dnssec_insecure_total", "Insecure"),
    ("systemd_resolved_dnssec_bogus_total", "Bogus"),
    ("systemd_resolved_dnssec_indeterminate_total", "Indeterminate"),
];

fn aspects(machine: &Machine) -> &'static [(&'static str, &'static str)] {
    let known = if machine.since(249, "networkd's OnlineState") { 4 } else { 3 };
    &ASPECTS[..known]
}

const ASPECTS: [(&str, &str); 4] = [
    ("operational", "OperationalState"),
    ("carrier", "CarrierState"),
    ("address", "AddressState"),
    ("online", "OnlineState"),
];

const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

const CLOSED: &str = "PrivateNetwork=yes\nProtectSystem=strict\nNoNewPrivileges=yes\n";

const UP: &str = "[Match]\nName=up0\n[Network]\nAddress=192.0.2.1/24\n";

const RESOLVED: &str =
    "[Resolve]\nDNS=127.0.0.1:5300\nCacheFromLocalhost=yes\nLLMNR=no\nMulticastDNS=no\n";

/// A DNS server: answers A queries with one address, all others without a record.
const NAMES: &str = "
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 5300))
while True:
    question, client = server.recvfrom(4096)
    end = question.index(b'\\0', 12) + 5
    address = question[end - 4:end - 2] == b'\\0\\1'
    answer = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\1\\x2c\\0\\4\\xc0\\0\\2\\1' if address else b''
    counts = b'\\0\\1' + (b'\\0\\1' if address else b'\\0\\0') + b'\\0\\0\\0\\0'
    server.sendto(question[:2] + b'\\x81\\x80' + counts + question[12:end] + answer, client)
";
