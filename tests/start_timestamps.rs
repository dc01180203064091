//! Start timestamps in a real Prometheus 3: the first event of a counter is an increase, and nothing else is.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Exporter, Machine, Prometheus, eventually, protobuf};

#[test]
fn first_event_is_an_increase_of_one_with_start_timestamps() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/forky/prometheus");
    assert!(program.exists(), "no {}: scripts/setup test unpacks it", program.display());
    let machine = Machine::options().bind(program, PROMETHEUS).boot();
    let arguments = ["--state.directory=/run/start-timestamps"];
    let property = ["RuntimeDirectory=start-timestamps", "RuntimeDirectoryPreserve=yes"];
    let exporter = machine.exporter_unit(&property, &arguments).ready().left_running();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: systemd\n  static_configs:\n  - targets: ['127.0.0.1:{}']\n",
        exporter.port()
    );
    let feature = "--enable-feature=created-timestamp-zero-ingestion";
    let with = machine.prometheus_of(PROMETHEUS, 9091, &config, &[feature]);
    let without = machine.prometheus_of(PROMETHEUS, 9092, &config, &[]);
    let both = [&with, &without];
    machine.units(&[
        ("first.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo failing; exit 3'\n"),
        ("first.target", "[Unit]\nRequires=first.service\nAfter=first.service\n"),
        ("line.socket", "[Socket]\nListenStream=127.0.0.1:7301\nAccept=yes\nMaxConnections=9\n"),
        ("line@.service", "[Service]\nExecStart=/bin/sh -c 'exit 4'\nStandardInput=socket\n"),
    ]);
    machine.ok(&["systemctl", "start", "line.socket"]);
    for prometheus in both {
        scraped(prometheus, "systemd_units", 3);
    }

    machine.exec(&["systemctl", "start", "first.target"]);
    let born: [(&str, &str); 4] = [
        ("systemd_service_failures_by_result_total", "first.service"),
        ("systemd_service_main_process_exits_total", "first.service"),
        ("systemd_unit_job_failures_total", "first.target"),
        ("systemd_unit_journal_messages_total", "first.service"),
    ];
    for (name, unit) in born {
        let series = format!("{name}{{name={unit:?}}}");
        for prometheus in both {
            scraped(prometheus, &series, 6);
        }
        let total: f64 = sum(&with, &series);
        assert!(total >= 1.0, "{series}: {total}");
        assert_eq!(sum(&with, &seen_increase(&series)), total, "{series}");
        assert_eq!(sum(&without, &seen_increase(&series)), 0.0, "{series}");
        let increase = sum(&with, &format!("increase({series}[5m])"));
        assert!((total..total * 1.3).contains(&increase), "{series}: {increase} of {total}");
    }
    let failures = r#"systemd_service_failures_by_result_total{name="first.service"}"#;
    assert_eq!(sum(&with, &format!("round(increase({failures}[5m]))")), 1.0);

    // sums of units that are gone before the next scrape
    let line = r#"systemd_service_failures_by_result_total{name="line@.service"}"#;
    for _connection in 0..3 {
        drop(machine.tcp(7301));
        thread::sleep(Duration::from_millis(1500));
    }
    eventually("all connections have failed", || (sum(&with, line) == 3.0).then_some(()));
    scraped(&with, line, 6);
    assert_eq!(sum(&with, &seen_increase(line)), 3.0);

    // the counters continue, with the same start
    let before = created(&exporter);
    machine.ok(&["systemctl", "restart", exporter.unit()]);
    let exporter = machine.exporter_of(exporter.unit(), exporter.port());
    eventually("created times are the same", || {
        let after = created(&exporter);
        let is_of_units = |name: &&String| name.starts_with("systemd_service_failures_");
        let kept: Vec<_> = before.keys().filter(is_of_units).collect();
        assert!(kept.len() > 3, "{before:#?}");
        kept.iter()
            .all(|name| before[*name] == after.get(*name).copied().unwrap_or(0))
            .then_some(())
    });
    thread::sleep(Duration::from_secs(5));
    assert_eq!(sum(&with, &seen_increase(failures)), 1.0);
    assert_eq!(sum(&with, &seen_increase(line)), 3.0);
    for (prometheus, name) in both.iter().flat_map(|it| CONTINUING.map(|name| (it, name))) {
        assert!(sum(prometheus, &format!("count({name})")) > 0.0, "{name}");
        let resets = prometheus.query(&format!("resets({name}[10m]) > 0"));
        assert!(resets.is_empty(), "{name}: {resets:#?}");
    }

    // the same series in both formats
    machine.ok(&["systemctl", "stop", "line.socket"]);
    eventually("both formats have the same series", || {
        let [protobuf, text] = both.map(series);
        assert!(protobuf.len() > 500);
        let differing: Vec<_> = protobuf.symmetric_difference(&text).collect();
        eprintln!("{} of {} series differ: {differing:?}", differing.len(), protobuf.len());
        differing.is_empty().then_some(())
    });
    machine.exec(&["systemctl", "stop", exporter.unit()]);
}

/// Waits until a series has at least this many samples.
#[track_caller]
fn scraped(prometheus: &Prometheus<'_>, series: &str, samples: u32) {
    let query = format!("min(count_over_time({series}[5m])) >= {samples}");
    eventually(&query, || prometheus.query(&query).first().map(drop));
}

/// The sum of the values of a query; 0 without results.
fn sum(prometheus: &Prometheus<'_>, query: &str) -> f64 {
    let results = prometheus.query(query);
    let value = |result: &Value| result["value"][1].as_str().unwrap().parse::<f64>().unwrap();
    results.iter().map(value).sum()
}

/// The increase without extrapolation, of a series without resets.
fn seen_increase(series: &str) -> String {
    format!(
        "(max_over_time({series}[5m]) - min_over_time({series}[5m])) unless resets({series}[5m]) > 0"
    )
}

fn created(exporter: &Exporter<'_>) -> BTreeMap<String, u64> {
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let response = exporter.get("/metrics", &[("accept", accept)]);
    let content_type = response.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("application/vnd.google.protobuf; proto="), "{content_type}");
    protobuf::created(&response.body)
}

/// All series of the last scrape.
fn series(prometheus: &Prometheus<'_>) -> BTreeSet<String> {
    let results = prometheus.query(r#"{job="systemd"}"#);
    results.iter().map(|result| result["metric"].to_string()).collect()
}

const PROMETHEUS: &str = "/usr/local/bin/prometheus-3";

/// Counters that a restart of the exporter does not reset.
const CONTINUING: [&str; 11] = [
    "systemd_host_service_failures_total",
    "systemd_jobs_completed_total",
    "systemd_service_failures_by_result_total",
    "systemd_service_failures_total",
    "systemd_service_main_process_exits_total",
    "systemd_service_restart_total",
    "systemd_timer_triggers_total",
    "systemd_unit_job_failures_total",
    "systemd_unit_journal_messages_total",
    "systemd_unit_starts_total",
    "systemd_unit_state_changes_total",
];
