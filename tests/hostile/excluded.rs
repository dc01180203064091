//! Names of excluded units: in no response, not even as a label of other units.

use crate::SLEEP;
use crate::support::{Machine, eventually};

#[test]
fn excluded_names_appear_in_no_response() {
    let machine = Machine::options().boot();
    machine.units(&[
        ("secret.service", SLEEP),
        ("secret.slice", "[Slice]\n"),
        ("open.service", &format!("[Unit]\nWants=secret.service\n{SLEEP}Slice=secret.slice\n")),
        ("open.timer", "[Timer]\nOnActiveSec=1h\nUnit=secret.service\n"),
        ("open.socket", "[Socket]\nListenStream=127.0.0.1:7007\nService=secret.service\n"),
    ]);
    machine.ok(&["systemctl", "start", "open.socket", "open.timer", "open.service"]);
    let exclude = "--systemd.collector.unit-exclude=secret.+";
    let exporter = machine.exporter(&["--profile=full", exclude]);
    let active = [("name", "open.service"), ("state", "active")];
    eventually("open.service is exported", || {
        (exporter.samples().value("systemd_unit_state", &active) == Some(1.0)).then_some(())
    });
    for path in [
        "/metrics",
        "/",
        "/unit/open.service",
        "/unit/open.timer",
        "/unit/open.socket",
        "/api/v1/events",
    ] {
        let response = exporter.get(path, &[]);
        assert_eq!(response.status, 200, "{path}");
        let line = response.text().lines().find(|line| line.contains("secret"));
        assert_eq!(line, None, "{path}");
    }
    let info = exporter.samples();
    let info = info.all("systemd_service_info", &[("name", "open.service")]).next();
    assert_eq!(info.expect("its settings").labels.get("slice").map(String::as_str), Some(""));
}
