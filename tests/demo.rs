//! The demo starts with the small example services, every collector succeeds, and nothing is left behind.
#![allow(clippy::disallowed_types, reason = "the demo is a script")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Samples, eventually};

#[test]
fn demo_starts_and_leaves_nothing_behind() {
    let [port, prometheus] = free_ports();
    let mut demo = Command::new("scripts/demo")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PORT", port.to_string())
        .env("PROMETHEUS_PORT", prometheus.to_string())
        .env("EXAMPLES", "small")
        .env("BINARY", env!("CARGO_BIN_EXE_unit-exporter"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut lines =
        BufReader::new(demo.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    lines.find(|line| line.contains("Ctrl-C")).expect("a demo that starts");

    let page = Samples::parse(&get(port, "/metrics"));
    for name in ["redis-server", "laravel-queue", "laravel-reverb", "unit-exporter", "prometheus"] {
        let name = format!("{name}.service");
        let active = [("name", &*name), ("state", "active")];
        assert_eq!(page.value("systemd_unit_state", &active), Some(1.0), "{name}");
    }
    let reverb = [("name", "laravel-reverb.service"), ("port", "6001")];
    assert_eq!(page.value("systemd_listener_missing", &reverb), Some(0.0));
    let failing: Vec<_> = page
        .all("unit_exporter_collector_success", &[])
        .filter(|collector| collector.value != 1.0)
        .collect();
    assert!(failing.is_empty(), "{failing:?}");

    eventually("Prometheus has scraped it", || {
        let up = api(prometheus, "/api/v1/query?query=up");
        (up["data"]["result"][0]["value"][1] == "1").then_some(())
    });
    let groups = api(prometheus, "/api/v1/rules");
    let rules = groups["data"]["groups"].as_array().expect("groups").iter().flat_map(|group| {
        assert_eq!(group["interval"], 1, "interval not shortened: {}", group["name"]);
        group["rules"].as_array().expect("rules")
    });
    let durations: Vec<f64> = rules.filter_map(|rule| rule["duration"].as_f64()).collect();
    assert!(!durations.is_empty(), "no alert rules");
    // the longest is a day, shortened to an hour
    assert!(durations.iter().all(|&seconds| seconds <= 3600.0), "{durations:?}");

    let pid = Pid::from_raw(demo.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("a process");
    assert!(demo.wait().expect("an end").success());
    assert!(!Path::new(&format!("/run/unit-exporter-demo-{port}")).exists());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, prometheus)).is_err());
}

fn api(port: u16, path: &str) -> serde_json::Value {
    serde_json::from_str(&get(port, path)).expect("JSON")
}

fn get(port: u16, path: &str) -> String {
    let url = format!("http://127.0.0.1:{port}{path}");
    let output = Command::new("curl").args(["--silent", "--show-error", "--fail", &url]).output();
    let output = output.expect("curl is needed: apt-get install curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Two unused ports.
fn free_ports() -> [u16; 2] {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let listeners = [listen(), listen()];
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
