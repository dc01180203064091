//! All queries of all panels against a real Prometheus that scrapes a real systemd.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::committed;
use super::grafana::{self, Answered};
use super::json::{targets, text, variables};
use super::promql::rules;
use super::support::{Machine, Prometheus, eventually};

#[test]
fn queries_return_data_for_a_host_with_failures() {
    let machine = machine();
    start_failing_units(&machine);
    let exporter = machine.exporter(&[
        "--profile=full",
        "--expect-unit=redis-server.service",
        "--expect-instances=worker@.service:4",
        "--expect-listener=laravel-reverb.service:tcp:6001",
        "--collector.listeners.connections",
        "--collector.listeners.unix",
    ]);
    let prometheus = prometheus(&machine, exporter.port());
    eventually("Prometheus has scraped", || prometheus.query("unit_exporter_build_info").pop());
    // for comparisons with the start of the time range
    std::thread::sleep(Duration::from_secs(4));
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.write("etc/systemd/system/service.d/changed.conf", "[Unit]\nDescription=Changed\n");
    std::thread::sleep(RANGE);
    machine.exec(&["systemctl", "kill", "--signal=KILL", "laravel-reverb"]);
    // a deployment: one worker is restarted on request, one crashes, one exits and stays inactive
    machine.ok(&["systemctl", "kill", "--signal=KILL", "worker@1"]);
    machine.ok(&["systemctl", "kill", "worker@3"]);
    machine.ok(&["systemctl", "restart", "worker@5"]);
    machine.exec(&["systemctl", "start", "--no-block", "late"]);
    machine.exec(&["systemctl", "stop", "--no-block", "early"]);
    std::thread::sleep(Duration::from_secs(12));

    let start = Instant::now();
    let (mut sent, mut empty) = (0, BTreeSet::new());
    let mut shown: Vec<Answered> = Vec::new();
    for dashboard in committed() {
        // Grafana sends all queries of a dashboard with the same time
        let (_, time) = span();
        for (panel, target) in targets(&dashboard) {
            let expression = substituted(&dashboard, text(&target["expr"]));
            let title = text(&panel["title"]);
            let answer = if target["instant"] == true {
                let mut answer = at(&prometheus, &expression, &time);
                // a service that fails every few seconds has no result while it runs
                for _ in 0..3 {
                    if answer.is_empty()
                        && !may_be_empty(text(&dashboard["uid"]), title, &expression)
                    {
                        std::thread::sleep(Duration::from_millis(1700));
                        answer = at(&prometheus, &expression, &span().1);
                    }
                }
                for series in &mut answer {
                    series["value"][0] = time.parse::<u64>().unwrap().into();
                }
                answer
            } else {
                let (from, to) = span();
                let parameters =
                    [("query", &*expression), ("start", &from), ("end", &to), ("step", "13")];
                prometheus.series("query_range", &parameters)
            };
            sent += 1;
            Answered::add(&mut shown, &dashboard, panel, &answer);
            if answer.is_empty() {
                empty.insert((text(&dashboard["uid"]).to_owned(), title.to_owned(), expression));
            }
        }
    }
    println!("{sent} queries in {:?}, {} empty", start.elapsed(), empty.len());
    grafana::assert_shown(&shown);
    empty.retain(|(uid, title, expression)| !may_be_empty(uid, title, expression));
    assert!(empty.is_empty(), "{empty:#?}\n{}", exporter.log());
    machine.exec(&["systemctl", "stop", "prometheus"]);
}

/// The series that an instant query returns at that time.
fn at(prometheus: &Prometheus<'_>, expression: &str, time: &str) -> Vec<Value> {
    prometheus.series("query", &[("query", expression), ("time", time)])
}

/// Whether the query is listed as one without results on this host.
fn may_be_empty(uid: &str, title: &str, expression: &str) -> bool {
    let mut allowed = EMPTY.iter();
    allowed.any(|(of, panel, part, _)| *of == uid && *panel == title && expression.contains(part))
}

/// A machine whose units have memory and tasks controllers: if these are mounted as v1, the hybrid layout has them.
fn machine() -> Machine {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let options = || Machine::options().bind(&examples, "/opt/examples");
    options().cgroup_v1().try_boot().unwrap_or_else(|_| options().boot())
}

/// Starts units with failures of all kinds.
fn start_failing_units(machine: &Machine) {
    machine.write("run/listen.py", LISTEN);
    machine.write("run/stuck.py", STUCK_SERVICE);
    machine.write("run/clients.py", CLIENTS);
    machine.units(&UNITS);
    let examples = [
        "small/redis-server.service",
        "small/laravel-queue.service",
        "small/laravel-reverb.service",
        "services/crashing.service",
        "services/backup.service",
        "services/backup.timer",
        "services/echo.socket",
        "services/echo@.service",
    ];
    let mut link = vec!["systemctl".to_owned(), "link".to_owned()];
    link.extend(examples.map(|file| format!("/opt/examples/{file}")));
    machine.ok(&link);
    let start = "systemctl start --no-block redis-server laravel-queue laravel-reverb crashing echo.socket backup.timer \
                 needy hopeful job.timer busy fed slow early stuck clients unmet exits killed";
    machine.exec(&start.split_whitespace().collect::<Vec<_>>());
    // workers that run, one that was never started, and a unit file that is newer than its services
    machine.unit("worker@.service", WORKER);
    machine.ok(&["systemctl", "start", "worker@1", "worker@2", "worker@5"]);
    machine.ok(&["systemctl", "start", "recycled@1", "recycled@2"]);
    machine.ok(&["systemctl", "enable", "worker@4", "worker@3"]);
    machine.ok(&["systemctl", "start", "worker@3"]);
    machine.unit("worker@.service", WORKER);
}

const WORKER: &str = "[Service]\nExecStart=/bin/sleep infinity\nRestart=on-failure\nMemoryMax=64M\n\
                      [Install]\nWantedBy=multi-user.target\n";

fn prometheus(machine: &Machine, port: u16) -> Prometheus<'_> {
    let mut files = Vec::new();
    for path in rules::paths() {
        let inside = format!("/run/{}", path.file_name().unwrap().display());
        machine.write(&inside, std::fs::read(&path).unwrap());
        files.push(inside);
    }
    machine.prometheus(&format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}}\nrule_files: {files:?}\nscrape_configs:\n- job_name: systemd\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
    ))
}

/// The time range: three steps.
fn span() -> (String, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    ((now - 39).to_string(), now.to_string())
}

/// An expression as sent by Grafana at a step of 13 seconds and a scrape interval of 2.
fn substituted(dashboard: &Value, expression: &str) -> String {
    let range = RANGE.as_secs();
    let mut out = expression.replace("$__rate_interval", "15s").replace("$__interval_ms", "13000");
    out = out.replace("$__range_s", &range.to_string()).replace("$__range", &format!("{range}s"));
    for variable in variables(dashboard) {
        let of = if variable["type"] == "textbox" { "query" } else { "allValue" };
        let text = text(&variable[of]);
        out = out.replace(&format!("${}", self::text(&variable["name"])), text);
    }
    // five minutes ago there was no data yet
    out.replace("[5m] offset", "[10s] offset")
}

const RANGE: Duration = Duration::from_secs(24);

const UNITS: [(&str, &str); 17] = [
    // workers that end with success again and again
    (
        "recycled@.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep 4\nRestart=always\nRestartSec=1\n",
    ),
    // reaches its start limit; dependency of other units
    (
        "hopeless.service",
        "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=60\n[Service]\nExecStart=/bin/false\nRestart=on-failure\nRestartSec=100ms\n",
    ),
    (
        "needy.service",
        "[Unit]\nRequires=hopeless.service\nAfter=hopeless.service\n[Service]\nExecStart=/bin/sleep 600\n",
    ),
    (
        "hopeful.service",
        "[Unit]\nWants=hopeless.service bad.service\n[Service]\nExecStart=/bin/sleep 600\n",
    ),
    ("bad.service", "[Service]\nType=simple\n"),
    ("unmet.service", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/true\n"),
    // started by a timer; fails every few seconds
    ("job.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'sleep 1; exit 3'\n"),
    ("job.timer", "[Timer]\nOnActiveSec=1s\nOnUnitInactiveSec=4s\nAccuracySec=100ms\n"),
    // has limits and uses its CPU quota
    (
        "busy.service",
        "[Service]\nExecStart=/bin/sh -c 'while :; do :; done'\nCPUQuota=5%\nMemoryMax=64M\nMemoryHigh=48M\nTasksMax=4\nLimitNOFILE=8\n",
    ),
    // pings its watchdog
    (
        "fed.service",
        "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=60\nExecStart=/bin/sh -c 'systemd-notify --ready; while :; do systemd-notify WATCHDOG=1; sleep 3; done'\n",
    ),
    // end by exit code and by signal every three seconds, and hardly run in between
    (
        "exits.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=3\n",
    ),
    (
        "killed.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'kill -KILL $$$$'\nRestart=always\nRestartSec=3\n",
    ),
    // starts slowly
    ("slow.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 120\n"),
    // listen from the start and from a later time on
    ("early.service", "[Service]\nExecStart=/usr/bin/python3 /run/listen.py 6500\n"),
    ("late.service", "[Service]\nExecStart=/usr/bin/python3 /run/listen.py 6600\n"),
    // does not accept connections
    ("stuck.service", "[Service]\nExecStart=/usr/bin/python3 /run/stuck.py\n"),
    ("clients.service", "[Service]\nExecStart=/usr/bin/python3 /run/clients.py\nRestart=always\n"),
];

const LISTEN: &str = "
import socket, sys, time
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
time.sleep(600)
";

const STUCK_SERVICE: &str = "
import socket, time
listener = socket.create_server(('127.0.0.1', 6700), backlog=2)
held = []
while True:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(('127.0.0.1', 6700))
    held = held[-9:] + [client]
    time.sleep(1)
";

const CLIENTS: &str = "
import socket, time
while True:
    held = [socket.create_connection(('127.0.0.1', 7777)) for _ in range(3)]
    held.append(socket.socket())
    held[-1].connect_ex(('127.0.0.1', 6001)) # not while it restarts
    time.sleep(5)
";

/// Queries that may return no data for this host: dashboard, panel, part of the query, and the reason.
const EMPTY: [(&str, &str, &str, &str); 25] = [
    ("systemd-workers", "Failures of Redis", "", "Redis does not fail"),
    ("systemd-fleet", "Firing alerts", "", "no condition lasts long enough"),
    ("systemd-fleet", "Recently booted hosts", "", "the host booted earlier"),
    ("systemd-boot", "Boot stages", "Firmware", "a container has none"),
    ("systemd-boot", "Boot stages", "Loader", "a container has none"),
    ("systemd-boot", "Boot stages", "Kernel", "a container has none"),
    ("systemd-boot", "Boot stages", "InitRD", "a container has none"),
    ("systemd-boot", "Taints", "", "only the hybrid layout is a taint"),
    ("systemd-boot", "Time since last watchdog ping", "", "no hardware watchdog"),
    ("systemd-crashes", "Failures with unknown cause", "", "all causes are seen"),
    ("systemd-exporter", "D-Bus disconnects", "", "no disconnects"),
    ("systemd-exporter", "D-Bus errors", "", "no errors"),
    ("systemd-exporter", "Dropped series", "", "no dropped series"),
    ("systemd-exporter", "Incomplete collectors", "", "all are complete"),
    ("systemd-exporter", "Limited HTTP clients", "", "no client reaches a limit"),
    ("systemd-crashes", "Core dumps", "", "the outer kernel may have another core dump handler"),
    ("systemd-unit", "Packets", "", "packet counters require BPF"),
    ("systemd-boot", "Most exposed services", "", "computing the exposure may take longer"),
    ("systemd-host", "IO by unit", "", "requires the io controller"),
    ("systemd-host", "Host pressure (PSI)", "", "the kernel may have no PSI"),
    ("systemd-unit", "IO", "", "requires the io controller"),
    (
        "systemd-timers",
        "Timers",
        "next_trigger_seconds{cluster=~\".*\",job=~\".+\",instance=~\".+\"} > 60",
        "no timer is overdue",
    ),
    ("systemd-listeners", "Dropped connections", "", "the kernel may queue all connections"),
    ("systemd-unit", "Memory", "high", "the hybrid layout has no MemoryHigh="),
    ("systemd-crashes", "Memory and limits", "high", "the hybrid layout has no MemoryHigh="),
];
