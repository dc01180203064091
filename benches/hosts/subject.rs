//! The measured exporters.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cost::{Cost, of_scrape, resident};
use crate::support::{EXPORTER_INSIDE, Machine};

/// An exporter that runs in the machine, with the path to scrape.
#[derive(Clone)]
pub(crate) struct Subject<'m> {
    pub(crate) name: String,
    pub(crate) machine: &'m Machine,
    port: u16,
    path: String,
    headers: &'static [(&'static str, &'static str)],
    pub(crate) unit: String,
    pid: u32,
    /// The command that starts it.
    run: Vec<String>,
}

/// Starts all exporters; the first is this one with its defaults.
pub(crate) fn all(machine: &Machine) -> Vec<Subject<'_>> {
    let ours = start(
        machine,
        "unit-exporter",
        &format!("{EXPORTER_INSIDE} --web.listen-address=127.0.0.1:{{port}}"),
        9558,
    );
    let drop_in = "/metrics?collect[]=units&collect[]=services&collect[]=timers&collect[]=sockets";
    let name = "unit-exporter, the drop-in set".to_owned();
    let drop_in = Subject { name, path: drop_in.into(), ..ours.clone() };
    let mut subjects = vec![ours.clone(), drop_in, ours.as_prometheus_requests()];
    let mut peers = vec![
        (NODE.to_owned(), format!("/usr/bin/prometheus-node-exporter {NODE_ARGUMENTS}")),
        (PROCESS.to_owned(), format!("/usr/bin/prometheus-process-exporter {PROCESS_ARGUMENTS}")),
    ];
    peers.retain(|(_, command)| Path::new(command.split(' ').next().unwrap()).exists());
    if let Ok(more) = std::env::var("PEERS") {
        let named = more.split(';').filter_map(|peer| peer.split_once('='));
        peers.extend(named.map(|(name, command)| (name.to_owned(), command.to_owned())));
    }
    for (port, (name, command)) in (9600..).zip(peers) {
        let peer = start(machine, &name, &command, port);
        if is_same_exporter(&name) {
            subjects.push(peer.as_prometheus_requests());
        }
        subjects.push(peer);
    }
    subjects
}

fn start<'m>(machine: &'m Machine, name: &str, command: &str, port: u16) -> Subject<'m> {
    let unit = format!("subject-{port}.service");
    let command = command.replace("{port}", &port.to_string());
    let mut run = vec!["systemd-run", "--quiet", "--unit", &unit];
    run.extend(AS_SHIPPED.iter().flat_map(|property| ["--property", property]));
    run.push("--");
    run.extend(command.split(' '));
    machine.ok(&run);
    let run = run.into_iter().map(str::to_owned).collect();
    let pid = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", &unit]);
    let pid = machine.outer_pid(pid.trim().parse().unwrap()).unwrap();
    let name = name.to_owned();
    Subject { name, machine, port, path: "/metrics".into(), headers: &[], unit, pid, run }
}

/// Whether a peer is another build of this exporter, named `build …`.
fn is_same_exporter(name: &str) -> bool {
    name.starts_with("build ")
}

impl Subject<'_> {
    /// The same exporter, scraped in the format that Prometheus requests by default.
    fn as_prometheus_requests(&self) -> Self {
        let name = format!("{}, OpenMetrics with gzip", self.name);
        Subject { name, headers: AS_PROMETHEUS, ..self.clone() }
    }

    /// Whether it follows systemd as this exporter does, so that the fill and crashes can be measured.
    pub(crate) fn follows(&self) -> bool {
        self.headers.is_empty() && self.path == "/metrics" && self.is_ready()
    }

    /// Whether it is a build of this exporter.
    pub(crate) fn may_follow(&self) -> bool {
        self.name.starts_with("unit-exporter") || is_same_exporter(&self.name)
    }

    /// Waits until it answers, and scrapes three times to fill caches.
    pub(crate) fn warm_up(&mut self) {
        let begun = Instant::now();
        for good in 0..3 {
            while !self
                .machine
                .get(self.port, &self.path, self.headers)
                .is_ok_and(|answer| answer.status == 200)
            {
                assert!(
                    begun.elapsed() < Duration::from_secs(120),
                    "{} after {good} scrapes",
                    self.name
                );
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    /// Scrapes it once.
    pub(crate) fn scrape(&self, pause: Duration) -> Cost {
        of_scrape(self.machine, &self.unit, self.pid, pause, || self.body())
    }

    /// The command that starts the exporter again.
    pub(crate) fn start_command(&self) -> Vec<&str> {
        self.run.iter().map(String::as_str).collect()
    }

    /// Number of series in its response; `None` if it does not answer.
    pub(crate) fn try_series(&self) -> Option<usize> {
        let answer = self.machine.get(self.port, &self.path, &[]).ok()?;
        let lines = answer.text().lines().filter(|line| !line.starts_with('#'));
        (answer.status == 200).then(|| lines.count())
    }

    /// Whether it reports that all units are loaded.
    pub(crate) fn is_ready(&self) -> bool {
        self.machine.get(self.port, "/-/ready", &[]).is_ok_and(|answer| answer.status == 200)
    }

    /// Number of series in its response.
    pub(crate) fn series(&self) -> usize {
        self.try_series().unwrap()
    }

    /// Scrapes it in parallel, several times; returns the resident memory afterwards as text.
    pub(crate) fn scrape_in_parallel(&self, scrapers: usize, times: usize) -> String {
        std::thread::scope(|scope| {
            for _ in 0..scrapers {
                scope.spawn(|| (0..times).for_each(|_| drop(self.response())));
            }
        });
        format!("RSS {:.1} MiB", resident(self.pid) as f64 / 1024.0)
    }

    /// The body of its response.
    fn body(&self) -> Vec<u8> {
        let answer = self.machine.get(self.port, &self.path, self.headers).unwrap();
        assert_eq!(answer.status, 200, "{}", self.name);
        answer.body
    }

    /// Its response in the text format, uncompressed.
    pub(crate) fn response(&self) -> String {
        let answer = self.machine.get(self.port, &self.path, &[]).unwrap();
        assert_eq!(answer.status, 200, "{}", self.name);
        answer.text().to_owned()
    }
}

const NODE: &str = "node_exporter, systemd collector alone";
const NODE_ARGUMENTS: &str = "--web.listen-address=127.0.0.1:{port} --web.disable-exporter-metrics \
    --collector.disable-defaults --collector.systemd --collector.systemd.enable-restarts-metrics \
    --collector.systemd.enable-start-time-metrics --collector.systemd.enable-task-metrics";
const PROCESS: &str = "process-exporter";
const PROCESS_ARGUMENTS: &str =
    "--web.listen-address=127.0.0.1:{port} --procnames=sleep,systemd,dbus-daemon";

const AS_PROMETHEUS: &[(&str, &str)] =
    &[("Accept", "application/openmetrics-text;version=1.0.0"), ("Accept-Encoding", "gzip")];

/// The settings of the shipped unit that affect speed and memory.
const AS_SHIPPED: [&str; 3] = [
    "LimitNOFILE=24576",
    "TasksMax=64",
    "Environment=MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=131072",
];
