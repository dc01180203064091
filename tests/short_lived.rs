//! Units with short-lived names, of connections and containers, add a constant number of series.

mod support;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Exporter, Machine, Samples, eventually, in_time};

const CONTAINERS: usize = 100;

const CONNECTIONS: usize = 500;

/// A host with 100 containers that are replaced twice, and 500 connections to a socket unit with
/// `Accept=yes`.
#[test]
fn replaced_containers_and_connections_add_constant_series() {
    let machine = Machine::options().boot();
    install(&machine);
    let sums = machine.exporter(&[]);
    let each = machine.exporter(&["--systemd.collector.short-lived"]);
    // a config file has the same effect as the flag
    machine.write("etc/short-lived.yml", "short_lived: true\n");
    let configured = machine.exporter(&["--config.file=/etc/short-lived.yml"]);
    let before = (settled(&sums), each.samples().0);
    let mut seen = vec![("before", before.0.len(), before.1.len())];

    machine.ok(&["/srv/containers", "start", "1"]);
    let connections: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| machine.tcp(7100).expect("a connection")).collect();
    let active = |page: &Samples, name: &str| {
        page.value("systemd_unit_instances", &[("name", name), ("state", "active")])
    };
    let all_there = |exporter: &Exporter<'_>| {
        // 700 units at once, for three exporters
        let begun = Instant::now();
        loop {
            let page = exporter.samples();
            let names = ["docker-.scope", "var-lib-docker-.mount", "echo@.service"];
            let found = names.map(|name| active(&page, name).unwrap_or_default());
            // their properties are read later than their states
            let starts = page.value("systemd_unit_starts_total", &[("name", "echo@.service")]);
            let threads = page.value("systemd_unit_threads", &[("name", "docker-.scope")]);
            let of_connections = page.value("systemd_unit_threads", &[("name", "echo@.service")]);
            let is_read = starts == Some(500.0)
                && threads == Some(CONTAINERS as f64)
                && of_connections == Some(CONNECTIONS as f64);
            if is_read && found == [CONTAINERS, CONTAINERS, CONNECTIONS].map(|n| n as f64) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(150), "{found:?} of {names:?}");
        }
    };
    all_there(&sums);
    let running = settled(&sums);
    seen.push(("100 containers, 500 connections", running.len(), each.samples().0.len()));
    let value = |page: &Samples, name, of| page.value(name, &[("name", of)]);
    let accepted = "systemd_socket_accepted_connections_total";
    eventually("the socket unit has counted", || {
        (value(&sums.samples(), accepted, "echo.socket") == Some(500.0)).then_some(())
    });
    assert_individual(&each.samples());
    assert_individual(&configured.samples());

    for (generation, when) in [("2", "replaced"), ("3", "replaced again")] {
        machine.ok(&["/srv/containers", "stop"]);
        machine.ok(&["/srv/containers", "start", generation]);
        all_there(&sums);
        let now = settled(&sums);
        let (added, gone) = (now.difference(&running), running.difference(&now));
        let differences: Vec<_> = added.chain(gone).collect();
        assert!(differences.is_empty(), "{when}: {differences:#?}");
        seen.push((when, now.len(), each.samples().0.len()));
    }
    assert!(running.len() - before.0.len() < 250, "{seen:?}");

    machine.ok(&["/srv/containers", "stop"]);
    drop(connections);
    let page = eventually("nothing is left", || {
        let page = sums.samples();
        let left = ["docker-.scope", "echo@.service"].map(|name| active(&page, name));
        (left == [None; 2]).then_some(page)
    });
    seen.push(("after all have ended", settled(&sums).len(), each.samples().0.len()));
    assert_eq!(value(&page, "systemd_unit_starts_total", "echo@.service"), Some(500.0));
    let after = settled(&sums);
    let added: Vec<_> = after.difference(&running).collect();
    // how the connections' processes ended, and of which result
    assert!(added.len() < 10, "{added:#?}");
    println!("| when | series | with --systemd.collector.short-lived |");
    for (when, sums, each) in &seen {
        println!("| {when} | {sums} | {each} |");
    }
}

/// A local client has no address: its instance is known by its socket unit.
#[test]
fn local_connections_are_summed_and_other_instances_are_not() {
    let machine = Machine::options().boot();
    machine.units(&[
        ("local.socket", "[Socket]\nListenStream=/run/local.sock\nAccept=yes\n"),
        ("local@.service", "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n"),
        ("fail.socket", "[Socket]\nListenStream=/run/fail.sock\nAccept=yes\n"),
        ("fail@.service", "[Service]\nExecStart=/bin/false\nStandardInput=socket\n"),
        ("report@.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
    ]);
    machine.ok(&[
        "systemctl",
        "start",
        "local.socket",
        "fail.socket",
        "report@2026-11-30",
        "report@1-2-3",
    ]);
    machine.write("srv/clients.py", CLIENTS);
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemd-run", "--unit=clients", "/usr/bin/python3", "/srv/clients.py"]);
    let page = eventually("connections and failures are summed", || {
        let page = exporter.samples();
        let active = [("name", "local@.service"), ("state", "active")];
        let failed = [("name", "fail@.service"), ("result", "exit-code")];
        let active = page.value("systemd_unit_instances", &active) == Some(3.0);
        let failed = page.value("systemd_service_failures_by_result_total", &failed) == Some(3.0);
        (active && failed).then_some(page)
    });
    let names: BTreeSet<_> = page.all("systemd_unit_state", &[]).map(|s| s.label("name")).collect();
    let of_test =
        |name: &&&str| ["report@", "local@", "fail@"].iter().any(|at| name.starts_with(at));
    let instances: Vec<_> = names.iter().filter(of_test).collect();
    assert_eq!(instances, [&"report@1-2-3.service", &"report@2026-11-30.service"]);
    let logged = page.all("systemd_unit_journal_messages_total", &[]);
    let logged: BTreeSet<_> = logged.map(|sample| sample.label("name")).collect();
    assert!(!logged.iter().any(|name| name.starts_with("fail@0")), "{logged:?}");
    let failed = [("name", "fail@.service"), ("state", "failed")];
    assert_eq!(page.value("systemd_unit_instances", &failed), Some(3.0));
    // the status page has each
    let status = exporter.get("/?q=fail@&all=1", &[]);
    assert!(status.text().matches("\"unit/fail@").count() >= 3, "{}", status.text());
}

/// Series, without those of the exporter itself, of the states that processes happen to be in, and of
/// the journal, whose priorities vary.
fn settled(exporter: &Exporter<'_>) -> BTreeSet<String> {
    let series = || {
        let page = exporter.samples();
        let series = page.0.iter().filter(|sample| {
            !sample.name.starts_with("unit_exporter_")
                && sample.name != "systemd_unit_processes"
                && !sample.name.contains("journal")
                && !sample.label("name").starts_with("run-")
        });
        series.map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect()
    };
    let (mut before, mut differences) = (BTreeSet::new(), Vec::new());
    let is_settled = in_time(|| {
        std::thread::sleep(Duration::from_millis(500));
        let now: BTreeSet<String> = series();
        differences = now.symmetric_difference(&before).cloned().collect();
        before = now;
        differences.is_empty().then_some(())
    });
    assert!(is_settled.is_some(), "the series change with every scrape: {differences:#?}");
    before
}

fn assert_individual(page: &Samples) {
    let names = page.all("systemd_unit_state", &[("state", "active")]);
    let names: Vec<_> = names.map(|sample| sample.label("name")).collect();
    let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!((count("docker-"), count("var-lib-docker-")), (CONTAINERS, CONTAINERS));
    assert_eq!(count("echo@"), CONNECTIONS);
    assert_eq!(page.all("systemd_unit_instances", &[]).count(), 0);
}

fn install(machine: &Machine) {
    machine.write("srv/containers", CONTAINERS_SCRIPT);
    machine.ok(&["chmod", "+x", "/srv/containers"]);
    machine.units(&[
        (
            "echo.socket",
            "[Socket]\nListenStream=127.0.0.1:7100\nAccept=yes\nMaxConnections=1000\nBacklog=1000\n\
             TriggerLimitIntervalSec=0\n",
        ),
        ("echo@.service", "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n"),
    ]);
    machine.ok(&["systemctl", "start", "echo.socket"]);
}

/// Scopes and mounts as Docker makes them, with ids of 64 hex digits.
const CONTAINERS_SCRIPT: &str = r#"#!/bin/sh
set -e
if [ "$1" = stop ]; then
    systemctl stop 'docker-*.scope'
    umount /var/lib/docker/overlay2/*/merged /run/docker/netns/*
    rm -rf /var/lib/docker /run/docker
    exit
fi
for n in $(seq 100); do
    id=$(echo "$2 $n" | sha256sum | cut -c1-64)
    mkdir -p "/var/lib/docker/overlay2/$id/merged" /run/docker/netns
    mount -t tmpfs none "/var/lib/docker/overlay2/$id/merged"
    touch "/run/docker/netns/$(echo "$id" | cut -c1-12)"
    mount --bind /proc/self/ns/net "/run/docker/netns/$(echo "$id" | cut -c1-12)"
    systemd-run --quiet --scope --unit="docker-$id.scope" sleep infinity >/dev/null 2>&1 &
done
until [ "$(systemctl list-units --plain --no-legend --state=active 'docker-*.scope' | wc -l)" = 100 ]; do
    sleep 0.2
done
"#;

const CLIENTS: &str = r#"
import socket, time
clients = []
for path in ["/run/local.sock", "/run/fail.sock"] * 3:
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    clients.append(s)
time.sleep(1000)
"#;
