//! Every name of a unit refers to the same unit: expectations, filters, the status page, events.

mod support;

use support::{EXPORTER_INSIDE, Machine, eventually, machine};

#[test]
fn alias_counts_as_its_unit() {
    let machine = machine();
    install(machine);
    let exporter = machine.exporter(&[
        "--expect-unit=nick.service",
        "--expect-unit=real.service",
        "--expect-unit=other.service",
        "--expect-unit=late.target",
        "--expect-listener=nick.service:tcp:7101",
        "--expect-listener=real.service:tcp:7101",
        "--expect-listener=other.service:tcp:7101",
        "--expect-listener=web-alias.socket:tcp:7102",
    ]);
    let page = exporter.samples();
    let missing = |name| page.value("systemd_unit_missing", &[("name", name)]);
    let names = ["nick.service", "real.service", "late.target", "other.service"];
    assert_eq!(names.map(missing), [Some(0.0), Some(0.0), Some(0.0), Some(1.0)]);
    let silent =
        |name, port| page.value("systemd_listener_missing", &[("name", name), ("port", port)]);
    assert_eq!(silent("nick.service", "7101"), Some(0.0));
    assert_eq!(silent("real.service", "7101"), Some(0.0));
    assert_eq!(silent("other.service", "7101"), Some(1.0));
    assert_eq!(silent("web-alias.socket", "7102"), Some(0.0));

    let aliases = page.all("systemd_unit_alias_info", &[("name", "real.service")]);
    let aliases: Vec<_> = aliases.map(|sample| sample.label("alias").to_owned()).collect();
    assert_eq!(aliases, ["nick.service", "nom.service"]);
    let of_target = [("name", "early.target"), ("type", "target"), ("alias", "late.target")];
    assert_eq!(page.value("systemd_unit_alias_info", &of_target), Some(1.0));
    let of_one_name = [("name", "dbus.service")];
    assert_eq!(page.all("systemd_unit_alias_info", &of_one_name).count(), 0);
    let states = page.all("systemd_unit_state", &[("name", "nick.service")]);
    assert_eq!(states.count(), 0, "an alias is no second unit");

    for name in ["nick.service", "real.service"] {
        let response = exporter.get(&format!("/unit/{name}"), &[]);
        assert_eq!(response.status, 200);
        assert!(response.text().contains("<h1 class=name>real.service</h1>"), "{name}");
        assert!(response.text().contains("<dt>Alias<dd>nick.service"), "{name}");
    }
    assert_eq!(exporter.get("/unit/nack.service", &[]).status, 404);

    machine.ok(&["systemctl", "kill", "--signal=KILL", "nick.service"]);
    eventually("the kill is an event of the alias", || {
        let events = exporter.get("/api/v1/events?unit=nick.service", &[]);
        events.text().contains("\"unit\":\"real.service\"").then_some(())
    });
    machine.ok(&["systemctl", "restart", "nick.service"]);
}

#[test]
fn filter_matches_any_name_of_a_unit() {
    let machine = machine();
    install(machine);
    let state = |flags: &[&str], name| {
        let page = machine.exporter(flags).samples();
        let series = page.all("systemd_unit_state", &[("name", name)]).count();
        let starts = page.all("systemd_unit_starts_total", &[("name", name)]).count();
        let restart = page.all("systemd_service_info", &[("name", name)]).count();
        (series, starts, restart)
    };
    let include = "--systemd.collector.unit-include=nick.service";
    assert_eq!(state(&[include], "real.service"), (5, 1, 1));
    assert_eq!(state(&[include], "dbus.service"), (0, 0, 0));
    let exclude = "--systemd.collector.unit-exclude=nom.service";
    assert_eq!(state(&[exclude], "real.service"), (0, 0, 0));
    assert_eq!(state(&[exclude], "dbus.service"), (5, 1, 1));

    // the unit is not exported, and is there nevertheless
    let exporter = machine.exporter(&[
        "--systemd.collector.unit-include=dbus.service",
        "--expect-unit=nick.service",
        "--expect-listener=nick:tcp:7101",
    ]);
    let page = exporter.samples();
    assert_eq!(page.value("systemd_unit_missing", &[("name", "nick.service")]), Some(0.0));
    // cgroups are read of exported units only
    assert_eq!(page.value("systemd_listener_missing", &[("name", "nick.service")]), None);
}

#[test]
fn new_alias_is_known_after_daemon_reload() {
    let machine = machine();
    let sleep = "[Service]\nExecStart=/bin/sleep infinity\n";
    machine.unit("plain.service", sleep);
    machine.ok(&["systemctl", "start", "plain"]);
    let exporter = machine.exporter(&["--expect-unit=added.service"]);
    let missing = || exporter.samples().value("systemd_unit_missing", &[("name", "added.service")]);
    assert_eq!(missing(), Some(1.0));
    let link = "/etc/systemd/system/added.service";
    machine.ok(&["ln", "-s", "plain.service", link]);
    machine.ok(&["systemctl", "daemon-reload"]);
    eventually("the alias is known", || (missing() == Some(0.0)).then_some(()));
    machine.ok(&["rm", link]);
    machine.ok(&["systemctl", "daemon-reload"]);
    eventually("the alias is gone", || (missing() == Some(1.0)).then_some(()));
}

#[test]
fn include_that_matches_nothing_is_reported_once() {
    let machine = machine();
    let exporter = machine.exporter(&["--systemd.collector.unit-include=dbus"]);
    for _ in 0..3 {
        assert_eq!(exporter.samples().all("systemd_unit_state", &[]).count(), 0);
    }
    let log = exporter.log();
    assert_eq!(log.matches("no loaded unit matches").count(), 1, "{log}");
    assert!(log.contains("dbus"), "{log}");
    let run = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", EXPORTER_INSIDE];
    let check = ["check", "host", "--systemd.collector.unit-include=dbus"];
    let report = machine.ok(&[&run[..], &check].concat());
    let line = report.lines().find(|line| line.starts_with("  units ")).expect("the units");
    assert!(line.contains("ok, but no loaded unit matches"), "{line}");
}

#[test]
fn expectation_of_a_template_is_rejected_with_an_instance() {
    let machine = machine();
    for (flag, hint) in [
        ("--expect-unit=queue@.service", "queue@1.service"),
        ("--expect-unit=queue", "nginx.service"),
        ("--expect-unit=/srv/data", "srv-data.mount"),
        ("--expect-listener=queue@:tcp:80", "queue@1.service"),
    ] {
        let output = machine.exec(&[EXPORTER_INSIDE, "--once", flag]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(hint), "{flag}: {error}");
    }
}

fn install(machine: &Machine) {
    machine.write("srv/web.py", WEB);
    machine.units(&[
        (
            "real.service",
            "[Service]\nType=notify\nExecStart=/usr/bin/python3 /srv/web.py\n\
             [Install]\nAlias=nick.service nom.service\nWantedBy=early.target\n",
        ),
        ("early.target", "[Install]\nAlias=late.target\n"),
        (
            "web.socket",
            "[Socket]\nListenStream=127.0.0.1:7102\n[Install]\nAlias=web-alias.socket\n",
        ),
        ("web.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
    ]);
    machine.ok(&["systemctl", "enable", "--quiet", "real", "early.target", "web.socket"]);
    machine.ok(&["systemctl", "start", "real", "early.target", "web.socket"]);
}

const WEB: &str = r#"
import os, signal, socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 7101))
s.listen()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
    n.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"#;
