//! Prometheus, promtool and Python's parsers read the scrape response, also with unusual unit names.

#![allow(clippy::disallowed_types, reason = "promtool and Prometheus are programs")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::{Exporter, Machine, Samples, eventually, machine};

#[test]
fn prometheus_scrapes_unusual_unit_names_without_error() {
    let machine = machine();
    unusual_names(machine);
    let exporter = machine.exporter(&[]);
    let prometheus = machine.prometheus(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: systemd\n  static_configs:\n  - targets: ['127.0.0.1:{}']\n",
        exporter.port()
    ));
    eventually("Prometheus has scraped", || {
        let targets = prometheus.api("targets", &[]);
        let target = &targets["activeTargets"][0];
        assert!(target["lastError"].as_str().is_none_or(str::is_empty), "{target}");
        (target["health"] == "up").then_some(())
    });
    let query = r#"systemd_unit_state{name=~"dev-disk.+",state="inactive"}"#;
    let found = eventually("the escaped name is in Prometheus", || {
        prometheus.query(query).first()?["metric"]["name"].as_str().map(str::to_owned)
    });
    assert_eq!(found, r"dev-disk-by\x2duuid-1.swap");
    // the exporter counted the requests
    let page = exporter.samples();
    assert!(page.value("unit_exporter_http_requests_total", &[("code", "200")]) > Some(0.0));
}

#[test]
fn promtool_reports_no_findings() {
    let machine = machine();
    unusual_names(machine);
    let exporter = machine.exporter(&[]);
    let page = exporter.scrape();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: apt-get install prometheus");
    promtool.stdin.take().expect("piped").write_all(page.as_bytes()).expect("a reader");
    let output = promtool.wait_with_output().expect("promtool");
    let findings =
        String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // none on the names inherited from systemd_exporter either
    assert_eq!(findings, "");
}

#[test]
fn python_parsers_read_both_formats_correctly() {
    let machine = machine();
    unusual_names(machine);
    let exporter = machine.exporter(&[]);
    for (parser, accept, content_type) in [
        // vmagent's header
        ("parser", "text/plain;version=0.0.4;q=1,*/*;q=0.1", "text/plain; version=0.0.4"),
        ("openmetrics.parser", PROMETHEUS, "application/openmetrics-text; version=1.0.0"),
    ] {
        let page = exporter.get("/metrics", &[("accept", accept)]);
        let kind = page.header("content-type").unwrap_or_default();
        assert!(kind.starts_with(content_type), "{kind}");
        let read = python(parser, page.text());
        let expected = Samples::parse(page.text()).0;
        assert_eq!(read.len(), expected.len(), "{parser}");
        for (read, expected) in read.iter().zip(&expected) {
            assert_eq!(read["name"], *expected.name);
            assert_eq!(read["labels"], serde_json::json!(expected.labels));
            // as text: serde_json parses some numbers one bit off
            let value: f64 = read["value"].as_str().expect("a text").parse().expect("a number");
            assert_eq!(value, expected.value, "{}", expected.name);
        }
        eprintln!("prometheus_client's {parser} read {} samples correctly", read.len());
    }
}

/// The samples read by a parser of Python's prometheus_client.
fn python(parser: &str, page: &str) -> Vec<serde_json::Value> {
    let script = format!(
        "import json, sys\n\
         from prometheus_client.{parser} import text_string_to_metric_families as parse\n\
         for family in parse(sys.stdin.read()):\n    for s in family.samples:\n        \
         print(json.dumps(dict(name=s.name, labels=s.labels, value=repr(float(s.value)))))"
    );
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("/usr/bin/python3");
    python.stdin.take().expect("piped").write_all(page.as_bytes()).expect("a reader");
    let output = python.wait_with_output().expect("python");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "apt-get install python3-prometheus-client? {stderr}");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn hostile_names_and_descriptions_displace_no_series() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&[]);
    let services = |exporter: &Exporter<'_>| {
        let page = exporter.samples();
        let of_services = page.all("systemd_unit_state", &[("type", "service")]);
        of_services.map(|sample| sample.label("name").to_owned()).collect::<Vec<_>>()
    };
    let before = services(&exporter);
    let rename = "import ctypes, os, sys, time\nctypes.CDLL(None).prctl(15, sys.argv[1].encode('latin1'))\ntime.sleep(600)\n";
    machine.write("/run/rename.py", rename);
    for (n, comm) in ["a\"}\nx 1", "\u{ff}\u{fe}", "a) R 1 (b", &"x".repeat(255)].iter().enumerate()
    {
        machine.ok(&[
            "systemd-run",
            "--quiet",
            &format!("--unit=hostile-{n}"),
            &format!("--description={comm}\n# TYPE injected counter\ninjected 1"),
            "python3",
            "/run/rename.py",
            comm,
        ]);
    }
    let long = format!("/srv/{}", "y".repeat(250));
    for path in [&*long, "/srv/\"} 1", "/srv/a\nb"] {
        machine.ok(&["mkdir", "-p", path]);
        machine.ok(&["mount", "-t", "tmpfs", "tmpfs", path]);
    }
    eventually("the hostile services are exported", || {
        (services(&exporter).len() >= before.len() + 4).then_some(())
    });
    let after = services(&exporter);
    for name in &before {
        assert!(after.contains(name), "{name} was displaced");
    }
    let page = exporter.scrape();
    assert!(!page.contains("injected"), "a description is in the response");
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let open = exporter.get("/metrics", &accept);
    assert!(open.text().ends_with("# EOF\n"));
    // parsing panics at a line that is neither comment nor sample
    eventually("the mount with the long path is exported", || {
        let page = exporter.samples();
        let mut mounts = page.all("systemd_unit_state", &[("type", "mount")]);
        mounts.any(|sample| sample.label("name").starts_with("srv-yyy")).then_some(())
    });
    for sample in Samples::parse(&page).all("unit_exporter_collector_success", &[]) {
        assert_eq!(sample.value, 1.0, "{sample:?}\n{}", exporter.log());
    }
}

const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

fn unusual_names(machine: &Machine) {
    let odd =
        "[Unit]\nDescription=with \"quotes\"\\n and a newline\n[Swap]\nWhat=/dev/disk/by-uuid/1\n";
    machine.units(&[
        ("dev-disk-by\\x2duuid-1.swap", odd),
        ("odd.target", "[Unit]\nWants=dev-disk-by\\x2duuid-1.swap\n"),
    ]);
    machine.exec(&["systemctl", "start", "--no-block", "odd.target"]);
    machine.exec(&["systemctl", "stop", "dev-disk-by\\x2duuid-1.swap"]);
}
