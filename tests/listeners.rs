//! Exported listeners match `ss` and `systemctl` in a booted systemd.
#![allow(clippy::disallowed_types)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use support::{Exporter, Machine, Samples, eventually, machine};

#[test]
fn listeners_match_ss_and_systemctl() {
    assert_same_through_changes(&Machine::options().boot());
}

#[test]
fn listeners_match_ss_and_systemctl_in_hybrid_layout() {
    if support::machine().version() > 257 {
        eprintln!("not on this systemd: cgroup v1 needs 257 or older");
        return;
    }
    let machine = Machine::options().cgroup_v1().try_boot();
    if fs::read_to_string("/proc/self/mounts").expect("mounts").contains(" cgroup ") {
        assert_same_through_changes(&machine.expect("a machine with v1 hierarchies"));
    } else {
        machine.expect_err("this machine has no v1 hierarchies");
    }
}

fn assert_same_through_changes(machine: &Machine) {
    install(machine);
    let root = machine.exporter(&[]);
    let unprivileged = machine.exporter_unit(&["User=nobody"], &[]).ready();
    start(
        machine,
        &["many", "workers", "activated.socket", "echo.socket", "sub", "store", "wanting"],
    );
    let declared = socket_units(machine);
    let assert_same = |when: &str| {
        compare(|| truth(machine, &declared), &root, &format!("root, {when}"));
        compare(|| truth(machine, &declared), &unprivileged, &format!("unprivileged, {when}"));
    };
    assert_same("with all units started");
    let page = root.samples();
    let listens = |labels: &[(&str, &str)]| page.value("systemd_listener_info", labels);
    for (port, protocol, address) in [
        ("7001", "tcp", "0.0.0.0"),
        ("7002", "tcp6", "*"),
        ("7003", "tcp6", "::"),
        ("7004", "udp", "127.0.0.1"),
        ("7005", "udp6", "*"),
    ] {
        let labels = [("port", port), ("protocol", protocol), ("address", address)];
        assert_eq!(listens(&[&[("name", "many.service")], &labels[..]].concat()), Some(1.0));
    }
    let in_range_of_clients = [("name", "many.service"), ("port", "40404")];
    assert_eq!(root.samples().value("systemd_listener_info", &in_range_of_clients), Some(1.0));
    let workers = [("name", "workers.service"), ("protocol", "tcp")];
    assert_eq!(page.value("systemd_unit_listeners", &workers), Some(3.0));
    assert_eq!(listens(&[("name", "workers.service")]), Some(1.0));
    let activated = [("name", "activated.service"), ("socket_unit", "activated.socket")];
    assert_eq!(page.all("systemd_listener_info", &activated).count(), 3);
    assert_eq!(listens(&[("name", "echo.socket"), ("socket_unit", "echo.socket")]), Some(1.0));
    assert_eq!(listens(&[("name", "sub.service"), ("port", "7030")]), Some(1.0));

    machine.tcp(7010).expect("a connection that starts the service");
    eventually("the socket unit's service is up", || is_active(machine, "activated.service"));
    let _connection = machine.tcp(7020).expect("a connection to its own service instance");
    machine.tcp(7050).expect("a connection that starts the service");
    eventually("the second service is up", || is_active(machine, "kept.service"));
    assert_same("after the first connections");

    machine.ok(&["systemctl", "stop", "activated.socket", "kept.socket"]);
    assert_same("while services run without their socket units");
    // The cgroup is gone, and systemd has only one of the two socket units loaded: the one that
    // another unit wants. An exporter that starts now finds who holds the sockets of the other.
    let late = machine.exporter(&[]);
    let assert_late_same = |when: &str| {
        let truth = || {
            let mut truth = truth(machine, &declared);
            let listeners = truth.values_mut();
            let unloaded = listeners.filter(|listener| listener.socket_unit == "activated.socket");
            unloaded.for_each(|listener| listener.socket_unit.clear());
            truth
        };
        compare(truth, &late, when);
    };
    assert_late_same("an exporter started after the stop");

    machine.ok(&["systemctl", "restart", "many", "workers", "sub"]);
    assert_same("after restarts");
    assert_late_same("the late exporter, after restarts");

    machine.ok(&["systemctl", "restart", "store"]);
    assert_same("after a service got its stored socket back");

    machine.ok(&[
        "systemctl",
        "stop",
        "many",
        "workers",
        "activated",
        "kept",
        "echo.socket",
        "sub",
    ]);
    assert_same("after all units stopped");
}

#[test]
fn full_accept_queue_matches_kernel_counters() {
    let machine = Machine::options().boot();
    install(&machine);
    start(&machine, &["full"]);
    let exporter = machine.exporter(&[]);
    let before = listen_drops(&machine);
    machine.ok(&["/usr/bin/python3", "/srv/connect.py", "7040", "12"]);
    let dropped = listen_drops(&machine) - before;
    assert!(dropped > 0, "12 clients fit into a backlog of 4");

    let page = exporter.samples();
    let value = |name: &str| page.value(name, &[("name", "full.service"), ("port", "7040")]);
    assert_eq!(value("systemd_listener_accept_queue_length"), Some(5.0));
    assert_eq!(value("systemd_listener_accept_queue_limit"), Some(4.0));
    assert_eq!(value("systemd_listener_drops_total"), Some(dropped as f64));
    compare(|| truth(&machine, &BTreeMap::new()), &exporter, "with a full queue");

    machine.ok(&["systemctl", "restart", "full"]);
    let drops = |page: Samples| {
        page.value("systemd_listener_drops_total", &[("name", "full.service"), ("port", "7040")])
    };
    assert_eq!(drops(exporter.samples()), Some(dropped as f64), "drops of the closed socket");
    let before = listen_drops(&machine);
    machine.ok(&["/usr/bin/python3", "/srv/connect.py", "7040", "12"]);
    let again = listen_drops(&machine) - before;
    assert_eq!(drops(exporter.samples()), Some((dropped + again) as f64));
}

#[test]
fn listener_churn_causes_no_error_wrong_unit_or_growth() {
    let machine = Machine::options().boot();
    install(&machine);
    start(&machine, &["many", "churn"]);
    let exporter = machine.exporter(&[]);
    let start = Instant::now();
    let (mut early, mut seen) = (None, BTreeSet::new());
    while start.elapsed() < Duration::from_secs(30) {
        let page = exporter.samples();
        assert_eq!(success(&page), 1.0);
        for sample in page.all("systemd_listener_info", &[]) {
            let unit = match sample.label("port").parse().expect("a port") {
                9558..=9999 => continue,
                7000..=7009 | 40404 => "many.service",
                20_000..=29_999 => "churn.service",
                port => panic!("no unit listens on {port}"),
            };
            assert_eq!(sample.label("name"), unit, "{sample:?}");
            if unit == "churn.service" {
                seen.insert(sample.label("port").to_owned());
            }
        }
        if early.is_none() && start.elapsed() > Duration::from_secs(5) {
            early = Some(resident(&exporter));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let (early, late) = (early.expect("scrapes after 5 s"), resident(&exporter));
    assert!(late < early + 4096, "resident memory grew from {early} to {late} KiB");
    let binds: u64 = fs::read_to_string(machine.path("run/churn"))
        .expect("a count")
        .trim()
        .parse()
        .expect("a count");
    println!("{binds} binds in {:?}", start.elapsed());
    assert!(binds > 10_000, "only {binds} binds in {:?}", start.elapsed());
    assert!(seen.len() > 50, "only {} ports were exported", seen.len());
}

#[test]
fn expected_listener_is_missing_until_it_listens() {
    let machine = machine();
    install(machine);
    let exporter = machine.exporter(&[
        "--expect-listener=many:tcp:7001",
        "--expect-listener=many.service:tcp:7002",
        "--expect-listener=many.service:tcp:7003",
        "--expect-listener=many.service:tcp6:7003",
        "--expect-listener=many.service:udp:7004",
        "--expect-listener=many.service:udp:40404",
        "--expect-listener=other.service:tcp:7001",
    ]);
    let missing = || {
        let page = exporter.samples();
        let samples = page.all("systemd_listener_missing", &[]);
        let values = samples.map(|sample| {
            let [name, protocol, port] = ["name", "protocol", "port"].map(|l| sample.label(l));
            (format!("{name}:{protocol}:{port}"), sample.value)
        });
        values.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(missing().values().sum::<f64>(), 7.0);
    start(machine, &["many"]);
    let found = eventually("the unit's listener is found", || {
        Some(missing()).filter(|missing| missing.get("many.service:tcp:7001") == Some(&0.0))
    });
    assert_eq!(found["many.service:tcp:7001"], 0.0);
    assert_eq!(found["many.service:tcp:7002"], 0.0, "an IPv6 socket that also accepts IPv4");
    assert_eq!(found["many.service:tcp:7003"], 1.0, "an IPv6-only socket");
    assert_eq!(found["many.service:tcp6:7003"], 0.0);
    assert_eq!(found["many.service:udp:7004"], 0.0);
    assert_eq!(found["many.service:udp:40404"], 0.0, "an expected port in the ephemeral range");
    assert_eq!(found["other.service:tcp:7001"], 1.0);
    machine.ok(&["systemctl", "stop", "many"]);
    assert_eq!(missing().values().sum::<f64>(), 7.0);
}

/// systemd's store, or an heir, keeps the socket when the cgroup that it was made in is removed.
#[test]
fn socket_older_than_its_cgroup_belongs_to_the_unit_that_holds_it() {
    let machine = Machine::options().boot();
    install(&machine);
    let activated = ["activated.socket", "activated.service", "store", "ghost"];
    start(&machine, &activated);
    machine.ok(&["systemctl", "start", "testator.service"]);
    machine.ok(&["systemctl", "kill", "--signal=KILL", "store.service", "ghost.service"]);
    let main_pid = || machine.ok(&["systemctl", "show", "--property=MainPID", "store.service"]);
    let dead = main_pid();
    eventually("the service runs again, with its stored socket", || {
        let pid = main_pid();
        (pid != dead && pid != "MainPID=0\n").then_some(())
    });
    machine.ok(&["systemctl", "stop", "activated.socket"]);
    let expected = [
        "--expect-listener=store:tcp:7060",
        "--expect-listener=activated:tcp:7010",
        "--expect-listener=heir.scope:tcp:7070",
        "--expect-listener=testator:tcp:7071",
        "--expect-listener=ghost:tcp:7061",
    ];
    let holders = ["store.service", "activated.service", "heir.scope"];
    let missing = |page: &Samples, name| page.value("systemd_listener_missing", &[("name", name)]);
    let listens = |page: &Samples, name, port| {
        page.value("systemd_listener_info", &[("name", name), ("port", port)])
    };
    let root = machine.exporter(&expected);
    let page = eventually("the holders are known", || {
        let page = root.samples();
        (listens(&page, "store.service", "7060") == Some(1.0)).then_some(page)
    });
    assert_eq!(holders.map(|name| missing(&page, name)), [Some(0.0); 3]);
    assert_eq!(listens(&page, "activated.service", "7010"), Some(1.0));
    assert_eq!(listens(&page, "heir.scope", "7070"), Some(1.0));
    assert_eq!(missing(&page, "testator.service"), Some(1.0), "nothing listens there");
    // only PID 1 holds it
    assert_eq!(listens(&page, "", "7061"), Some(1.0));
    assert_eq!(missing(&page, "ghost.service"), None);

    let unprivileged = machine.exporter_unit(&["User=nobody"], &expected).ready();
    let page = unprivileged.samples();
    assert_eq!(listens(&page, "", "7060"), Some(1.0));
    assert_eq!(holders.map(|name| missing(&page, name)), [None; 3]);
    assert_eq!(missing(&page, "testator.service"), Some(1.0), "nothing listens there");
}

#[test]
fn listener_in_any_namespace_of_a_unit_has_its_name() {
    let machine = Machine::options().boot();
    install(&machine);
    // started at once, the two may have separate namespaces
    start(&machine, &["private", "nested"]);
    start(&machine, &["joined"]);
    let namespace = |unit| {
        let pid = machine.ok(&["systemctl", "show", "-P", "MainPID", unit]);
        machine.ok(&["readlink", &format!("/proc/{}/ns/net", pid.trim())])
    };
    assert_eq!(namespace("private"), namespace("joined"));
    let arguments = [
        "--collector.listeners.namespaces",
        "--expect-listener=private:tcp:7001",
        "--expect-listener=joined:tcp:7008",
        "--expect-listener=nested:tcp:7009",
        "--expect-listener=nested:tcp:7001",
    ];
    let missing = |page: &Samples, name, port| {
        page.value("systemd_listener_missing", &[("name", name), ("port", port)])
    };
    let root = machine.exporter(&arguments);
    let page = eventually("the units in the shared namespace are known", || {
        let page = root.samples();
        (missing(&page, "joined.service", "7008") == Some(0.0)).then_some(page)
    });
    for (name, port) in
        [("private.service", "7001"), ("joined.service", "7008"), ("nested.service", "7009")]
    {
        let labels = [("name", name), ("port", port)];
        assert_eq!(page.value("systemd_listener_info", &labels), Some(1.0), "{name}");
        assert_eq!(missing(&page, name, port), Some(0.0), "{name}");
    }
    assert_eq!(missing(&page, "nested.service", "7001"), Some(1.0));

    // the owners in a shared namespace are not visible
    let unprivileged = machine.exporter_unit(&["User=nobody"], &arguments).ready();
    let page = unprivileged.samples();
    assert_eq!(missing(&page, "joined.service", "7008"), None);
    assert_eq!(missing(&page, "private.service", "7001"), None);
    assert_eq!(missing(&page, "nested.service", "7009"), Some(0.0));
}

#[test]
fn udp_server_in_range_of_clients_is_exported_and_clients_are_not() {
    let machine = Machine::options().boot();
    install(&machine);
    start(&machine, &["vpn", "resolver"]);
    let exporter = machine.exporter(&[]);
    let server = [("name", "vpn.service"), ("protocol", "udp"), ("port", "51820")];
    let page = eventually("the server is exported", || {
        let page = exporter.samples();
        (page.value("systemd_listener_info", &server) == Some(1.0)).then_some(page)
    });
    let listeners = [("name", "vpn.service"), ("protocol", "udp")];
    assert_eq!(page.value("systemd_unit_listeners", &listeners), Some(1.0));
    for _ in 0..20 {
        let page = exporter.samples();
        assert_eq!(page.all("systemd_listener_info", &[("name", "resolver.service")]).count(), 0);
        assert_eq!(page.value("systemd_listener_info", &server), Some(1.0));
        thread::sleep(Duration::from_millis(150));
    }
}

#[test]
fn invalid_expectation_is_rejected_with_an_example() {
    let output = Command::new(env!("CARGO_BIN_EXE_unit-exporter"))
        .args(["--expect-listener", "nginx:443"])
        .output()
        .expect("the exporter runs");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("nginx.service:tcp:443"), "{stderr}");
}

#[test]
fn truncation_keeps_listeners_of_every_unit_and_counts_rest() {
    let machine = Machine::options().boot();
    install(&machine);
    start(&machine, &["many", "workers", "store"]);
    let exporter = machine.exporter(&["--collector.listeners.max=4"]);
    // the UDP server on a port for clients is one once two readings have found it
    exporter.samples();
    thread::sleep(Duration::from_millis(1100));
    let pages = [exporter.samples(), exporter.samples()];
    let [first, second] = pages.each_ref().map(|page| {
        page.all("systemd_listener_info", &[])
            .map(|sample| sample.labels.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(first, second);
    let units: BTreeSet<_> = first.iter().map(|labels| labels["name"].as_str()).collect();
    assert_eq!(
        units,
        BTreeSet::from(["many.service", "workers.service", "store.service", exporter.unit()])
    );
    let truth: f64 =
        truth(&machine, &BTreeMap::new()).values().map(|listener| listener.sockets).sum();
    let kept: f64 = pages[1].all("systemd_unit_listeners", &[]).map(|sample| sample.value).sum();
    let [first, second] = pages
        .each_ref()
        .map(|page| page.value("unit_exporter_truncated_listeners_total", &[]).expect("a total"));
    assert_eq!(second - first + kept, truth);

    let exporter = machine.exporter(&[
        "--collector.listeners.max=1",
        "--expect-listener=workers:tcp:7006",
        "--expect-listener=workers:tcp:7007",
    ]);
    let page = exporter.samples();
    assert_eq!(page.all("systemd_listener_info", &[]).count(), 1);
    let missing = |port| page.value("systemd_listener_missing", &[("port", port)]);
    assert_eq!((missing("7006"), missing("7007")), (Some(0.0), Some(1.0)));
}

#[test]
fn without_netlink_listeners_lack_units_and_remedy_is_logged() {
    let machine = machine();
    install(machine);
    machine.ok(&["systemctl", "start", "store"]);
    let families = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6";
    let exporter = machine.exporter_unit(&[families], &["--expect-listener=store:tcp:7060"]);
    for _ in 0..3 {
        let page = exporter.samples();
        let labels = [("name", ""), ("protocol", "tcp"), ("address", "0.0.0.0"), ("port", "7060")];
        assert_eq!(page.value("systemd_listener_info", &labels), Some(1.0));
        assert_eq!(page.all("systemd_listener_missing", &[]).count(), 0);
        assert_eq!(success(&page), 0.0);
    }
    let log = exporter.log();
    assert_eq!(log.matches("AF_NETLINK").count(), 1, "{log}");
}

#[test]
fn optional_listener_metrics_are_off_by_default() {
    let machine = Machine::options().boot();
    install(&machine);
    start(&machine, &["private", "activated.socket", "store"]);
    let off = machine.exporter(&[]).samples();
    assert_eq!(off.all("systemd_listener_info", &[("name", "private.service")]).count(), 0);
    assert_eq!(off.all("systemd_unit_connections", &[]).count(), 0);
    assert_eq!(off.all("systemd_unix_listener_accept_queue_limit", &[]).count(), 0);
    let none = machine.exporter(&["--no-collector.listeners"]).samples();
    assert_eq!(none.all("systemd_listener_info", &[]).count(), 0);
    let labels = [("collector", "listeners")];
    assert_eq!(none.all("unit_exporter_collector_success", &labels).count(), 0);

    let arguments = [
        "--collector.listeners.unix",
        "--collector.listeners.connections",
        "--collector.listeners.namespaces",
    ];
    let _connections = [7060, 7060].map(|port| machine.tcp(port).expect("a connection"));
    for user in ["User=root", "User=nobody"] {
        let page = machine.exporter_unit(&[user], &arguments).ready().samples();
        let private = [("name", "private.service"), ("protocol", "tcp"), ("port", "7001")];
        assert_eq!(page.value("systemd_listener_info", &private), Some(1.0), "{user}");
        let established = [("name", "store.service"), ("state", "established")];
        assert_eq!(page.value("systemd_unit_connections", &established), Some(2.0), "{user}");
        let unix = [("name", "activated.service"), ("path", "/run/activated.sock")];
        let limit = page.value("systemd_unix_listener_accept_queue_limit", &unix);
        assert_eq!(limit, Some(17.0), "{user}");
    }
}

/// The exported listeners equal the truth: units, addresses, socket units, number of sockets and
/// TCP queues. systemd signals the start of a unit some milliseconds later.
#[track_caller]
fn compare(truth: impl Fn() -> BTreeMap<Key, Truth>, exporter: &Exporter<'_>, when: &str) {
    let start = Instant::now();
    loop {
        let (exported, truth) = (exported(&exporter.samples()), truth());
        if exported == truth {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{when}:\n{exported:#?}\n{truth:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The exported listeners. The number of sockets is exported only per unit and protocol: it is
/// stored with the first listener of both.
fn exported(page: &Samples) -> BTreeMap<Key, Truth> {
    let mut listeners = BTreeMap::new();
    for sample in page.all("systemd_listener_info", &[]) {
        let [name, protocol, address, port, socket_unit] =
            ["name", "protocol", "address", "port", "socket_unit"].map(|l| sample.label(l));
        let labels = [("name", name), ("protocol", protocol), ("address", address), ("port", port)];
        let value = |name: &str| page.value(name, &labels);
        let key = (name.to_owned(), protocol.to_owned(), address.to_owned(), port.to_owned());
        let listener = Truth {
            socket_unit: socket_unit.to_owned(),
            queue: value("systemd_listener_accept_queue_length"),
            limit: value("systemd_listener_accept_queue_limit"),
            sockets: 0.0,
        };
        assert_eq!(listeners.insert(key, listener), None, "duplicate: {sample:?}");
    }
    for sample in page.all("systemd_unit_listeners", &[]) {
        let of = (sample.label("name").to_owned(), sample.label("protocol").to_owned());
        let first = listeners
            .iter_mut()
            .find(|((name, protocol, ..), _)| (name, protocol) == (&of.0, &of.1));
        first.expect("a counted listener").1.sockets = sample.value;
    }
    listeners
}

type Key = (String, String, String, String);

/// A listener: its socket unit, TCP queue length and limit, and, on the first listener of a unit
/// and protocol, the number of sockets of both.
#[derive(Debug, PartialEq)]
struct Truth {
    socket_unit: String,
    queue: Option<f64>,
    limit: Option<f64>,
    sockets: f64,
}

/// The output of `ss` by unit: the unit of the process that holds the socket or, where PID 1 holds
/// it for a socket unit, the service that `systemctl show` lists as triggered.
fn truth(machine: &Machine, declared: &SocketUnits) -> BTreeMap<Key, Truth> {
    let mut truth: BTreeMap<Key, Truth> = BTreeMap::new();
    for line in machine.ok(&["ss", "-Hltnup"]).lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = fields[4].rsplit_once(':').expect("an address");
        let v6 = address.starts_with(['[', '*']);
        let udp = fields[0] == "udp";
        let protocol = format!("{}{}", fields[0], if v6 { "6" } else { "" });
        let key = (udp, fields[4].replace('*', "[::]"));
        let declared = declared.get(&key);
        let holders = line.split("pid=").skip(1).map(|rest| {
            let digits = rest.split(',').next().expect("a pid");
            digits.parse::<u32>().expect("a pid")
        });
        let holders: Vec<u32> = holders.collect();
        let name = match (declared, holders.iter().find(|pid| **pid != 1)) {
            (Some((_, service)), _) if holders.contains(&1) => service.clone(),
            (_, Some(pid)) => unit_of(machine, *pid),
            (_, None) => String::new(),
        };
        let socket_unit = declared.map(|(unit, _)| unit.clone()).unwrap_or_default();
        let address = address.trim_matches(['[', ']']).to_owned();
        let queue = |field: &str| (!udp).then(|| field.parse::<f64>().expect("a number"));
        let listener = truth.entry((name, protocol, address, port.to_owned())).or_insert(Truth {
            socket_unit,
            queue: queue("0"),
            limit: queue("0"),
            sockets: 0.0,
        });
        listener.queue = listener.queue.zip(queue(fields[2])).map(|(a, b)| a + b);
        listener.limit = listener.limit.zip(queue(fields[3])).map(|(a, b)| a + b);
        listener.sockets += 1.0;
    }
    let mut first: BTreeMap<_, &mut Truth> = BTreeMap::new();
    for ((name, protocol, ..), listener) in &mut truth {
        let sockets = std::mem::take(&mut listener.sockets);
        first.entry((name, protocol)).or_insert(listener).sockets += sockets;
    }
    truth
}

type SocketUnits = BTreeMap<(bool, String), (String, String)>;

/// Socket units by type (datagram or not) and address, each with the service it triggers, or with
/// itself if it starts one service per connection.
fn socket_units(machine: &Machine) -> SocketUnits {
    let listed =
        machine.ok(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "*.socket"]);
    let mut units = BTreeMap::new();
    for name in listed.lines().filter_map(|line| line.split_ascii_whitespace().next()) {
        let show = machine.ok(&["systemctl", "show", name, "--property=Listen,Accept,Triggers"]);
        let value = |line: &str, property: &str| line.strip_prefix(property).map(str::to_owned);
        let service = show.lines().find_map(|line| value(line, "Triggers=")).unwrap_or_default();
        // With Accept=yes, Triggers= is the instance started last.
        let own = service.is_empty() || show.lines().any(|line| line == "Accept=yes");
        let service = if own { name.to_owned() } else { service };
        // One line per address: `Listen=[::]:80 (Stream)`.
        for listen in show.lines().filter_map(|line| value(line, "Listen=")) {
            if let Some((address, kind)) = listen.split_once(" (") {
                let key = (kind.starts_with("Datagram"), address.to_owned());
                units.insert(key, (name.to_owned(), service.clone()));
            }
        }
    }
    units
}

fn unit_of(machine: &Machine, pid: u32) -> String {
    let cgroup = machine.ok(&["cat", &format!("/proc/{pid}/cgroup")]);
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).expect("cgroup v2");
    let unit = path.split('/').rev().find(|name| name.ends_with(".service"));
    unit.expect("a service").to_owned()
}

fn listen_drops(machine: &Machine) -> u64 {
    let counters = machine.ok(&["cat", "/proc/net/netstat"]);
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, drops) = pairs.find(|(name, _)| *name == "ListenDrops").expect("ListenDrops");
    drops.parse().expect("a number")
}

fn success(page: &Samples) -> f64 {
    let labels = [("collector", "listeners")];
    page.value("unit_exporter_collector_success", &labels).expect("the collector's success")
}

/// KiB
fn resident(exporter: &Exporter<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn is_active(machine: &Machine, unit: &str) -> Option<()> {
    machine.exec(&["systemctl", "is-active", unit]).status.success().then_some(())
}

fn start(machine: &Machine, units: &[&str]) {
    machine.ok(&[&["systemctl", "start"], units].concat());
}

fn install(machine: &Machine) {
    machine.write("srv/listen.py", LISTEN);
    machine.write("srv/connect.py", CONNECT);
    machine.write("srv/churn.py", CHURN);
    machine.write("srv/testator.py", TESTATOR);
    machine.write("srv/resolver.py", RESOLVER);
    let service = |arguments: &str, more: &str| {
        format!(
            "[Service]\nType=notify\nNotifyAccess=all\n{more}\n\
             ExecStart=/usr/bin/python3 /srv/{arguments}\n"
        )
    };
    let many = "listen.py tcp,0.0.0.0,7001 tcp6,::,7002 tcp6,::,7003,only \
                udp,127.0.0.1,7004 udp6,::,7005 udp,0.0.0.0,40404";
    let workers = "listen.py tcp,0.0.0.0,7006,reuse tcp,0.0.0.0,7006,reuse tcp,0.0.0.0,7006,reuse";
    let activated = "[Socket]\nListenStream=7010\nListenStream=127.0.0.1:7011\n\
                     ListenDatagram=127.0.0.1:40500\nListenStream=/run/activated.sock\nBacklog=17\n";
    let echo = "[Socket]\nListenStream=127.0.0.1:7020\nAccept=yes\n";
    let echo_service = "[Service]\nExecStart=/bin/sleep 3\nStandardInput=socket\n";
    machine.units(&[
        ("many.service", &service(many, "")),
        ("workers.service", &service(workers, "")),
        ("activated.socket", activated),
        ("activated.service", &service("listen.py", "")),
        ("kept.socket", "[Socket]\nListenStream=7050\n"),
        ("kept.service", &service("listen.py", "")),
        ("wanting.service", "[Unit]\nWants=kept.socket\n[Service]\nExecStart=/bin/sleep inf\n"),
        ("echo.socket", echo),
        ("echo@.service", echo_service),
        ("sub.service", &service("listen.py sub tcp,0.0.0.0,7030", "Delegate=yes")),
        ("full.service", &service("listen.py tcp,127.0.0.1,7040,backlog", "")),
        ("private.service", &service("listen.py tcp,127.0.0.1,7001", "PrivateNetwork=yes")),
        (
            "store.service",
            &service(
                "listen.py store tcp,0.0.0.0,7060",
                "FileDescriptorStoreMax=1\nRestart=always\nRestartSec=100ms",
            ),
        ),
        (
            "ghost.service",
            &service(
                "listen.py store tcp,0.0.0.0,7061",
                "FileDescriptorStoreMax=1\nRestart=always\nRestartSec=1h",
            ),
        ),
        (
            "testator.service",
            "[Service]\nType=oneshot\nExecStart=/usr/bin/python3 /srv/testator.py\n",
        ),
        (
            "joined.service",
            "[Unit]\nJoinsNamespaceOf=private.service\n[Service]\nType=notify\nNotifyAccess=all\n\
             PrivateNetwork=yes\nExecStart=/usr/bin/python3 /srv/listen.py tcp,127.0.0.1,7008\n",
        ),
        (
            "nested.service",
            "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c '\
             unshare --net /usr/bin/python3 /srv/listen.py tcp,0.0.0.0,7009; exit 1'\n",
        ),
        ("vpn.service", &service("listen.py udp,0.0.0.0,51820", "")),
        ("resolver.service", "[Service]\nExecStart=/usr/bin/python3 /srv/resolver.py\n"),
        ("churn.service", &service("churn.py", "")),
    ]);
}

/// Opens the listeners in its arguments, keeps the sockets passed by systemd, and never accepts.
const LISTEN: &str = r#"
import array, os, signal, socket, sys

def notify(text, fds=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(os.environ["NOTIFY_SOCKET"])
        s.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])

sockets = []
arguments = sys.argv[1:]
if "sub" in arguments:
    root = "/sys/fs/cgroup/unified" if os.path.exists("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
    inner = root + open("/proc/self/cgroup").read().split("0::")[1].strip() + "/inner/most"
    os.makedirs(inner)
    open(inner + "/cgroup.procs", "w").write(str(os.getpid()))
stored = "store" in arguments and int(os.environ.get("LISTEN_FDS", "0"))
for argument in [] if stored else [a for a in arguments if "," in a]:
    kind, address, port, *more = argument.split(",")
    family = socket.AF_INET6 if kind.endswith("6") else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int("only" in more))
    if "reuse" in more:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((address, int(port)))
    if kind.startswith("tcp"):
        s.listen(4 if "backlog" in more else 100)
    sockets.append(s)
if "store" in arguments and not stored:
    notify(b"FDSTORE=1\nFDNAME=listener", [sockets[0].fileno()])
notify(b"READY=1")
signal.pause()
"#;

/// Connects a number of clients to a port and waits until no connection attempt is in progress.
const CONNECT: &str = r#"
import socket, sys, time
clients = []
for _ in range(int(sys.argv[2])):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", int(sys.argv[1])))
    clients.append(s)
time.sleep(0.3)
for s in clients:
    s.close()
time.sleep(0.1)
"#;

/// Binds 1,000 times a second, and keeps the last 100 listeners open.
const CHURN: &str = r#"
import collections, os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
open_ones, start = collections.deque(), time.monotonic()
for count in range(1, 1_000_000):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 20_000 + count % 10_000))
    s.listen()
    open_ones.append(s)
    if len(open_ones) > 100:
        open_ones.popleft().close()
    if count % 100 == 0:
        open("/run/churn.new", "w").write(str(count))
        os.rename("/run/churn.new", "/run/churn")
    time.sleep(max(0, start + count / 1100 - time.monotonic()))
"#;

/// Leaves its listener to a scope.
const TESTATOR: &str = r#"
import os, socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 7070))
s.listen()
s.set_inheritable(True)
if os.fork() == 0:
    os.setsid()
    os.execv("/usr/bin/systemd-run", ["systemd-run", "--scope", "--unit=heir", "sleep", "inf"])
while os.system("systemctl --quiet is-active heir.scope") != 0:
    pass
"#;

/// A client that sends from a new unconnected socket every 10 ms, as a DNS resolver does, and keeps the
/// last 20.
const RESOLVER: &str = r#"
import socket, time
sockets = []
while True:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"?", ("127.0.0.1", 9))
    sockets = [s] + sockets[:19]
    time.sleep(0.01)
"#;
