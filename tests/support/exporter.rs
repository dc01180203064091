//! The exporter as a unit inside a machine: started by systemd, with its own cgroup and permissions.

use std::sync::atomic::{AtomicU16, Ordering};

use unit_exporter::collector::{COLLECTORS, Profile};

use super::machine::EXPORTER_INSIDE;
use super::{Machine, Response, Samples, in_time};

impl Machine {
    /// Starts an exporter with these arguments as root, and waits until it is ready. Without an argument that
    /// selects a profile, the exporter has all metrics of the collectors that are on by default.
    #[track_caller]
    pub fn exporter(&self, arguments: &[&str]) -> Exporter<'_> {
        self.exporter_unit(&[], arguments).ready()
    }

    /// Like `exporter`, with properties of the unit such as `User=nobody`; waits only until `/-/healthy` responds.
    #[track_caller]
    pub fn exporter_unit(&self, properties: &[&str], arguments: &[&str]) -> Exporter<'_> {
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let unit = format!("unit-exporter-{port}.service");
        let listen = format!("--web.listen-address=127.0.0.1:{port}");
        // A transient unit needs no daemon-reload, whose signals would disturb tests.
        let mut command = vec!["systemd-run", "--quiet", "--unit", &unit];
        command.extend(properties.iter().flat_map(|property| ["--property", property]));
        command.extend(["--", EXPORTER_INSIDE, &listen]);
        let selects = |argument: &&str| SELECTING.iter().any(|flag| argument.starts_with(flag));
        let whole: Vec<String> = match arguments.iter().any(selects) {
            true => Vec::new(),
            false => default_collectors().map(|name| format!("--collector.{name}")).collect(),
        };
        command.extend(whole.iter().map(String::as_str));
        command.extend(arguments);
        self.ok(&command);
        let exporter = Exporter { machine: self, unit, port, is_left_running: false };
        exporter.wait_for("/-/healthy");
        exporter
    }

    /// An exporter that a unit of the machine already runs, listening on `port`; waits until it is ready.
    #[track_caller]
    pub fn exporter_of(&self, unit: &str, port: u16) -> Exporter<'_> {
        Exporter { machine: self, unit: unit.to_owned(), port, is_left_running: false }.ready()
    }
}

/// The collectors that are on by default.
fn default_collectors() -> impl Iterator<Item = &'static str> {
    let collectors = COLLECTORS.iter().filter(|collector| Profile::Default.has(collector));
    collectors.map(|collector| collector.name)
}

/// Arguments that select the metrics.
const SELECTING: [&str; 3] = ["--profile", "--collector.disable-defaults", "--config.file"];

/// A running exporter; stopped when dropped, unless it is left running.
#[derive(Debug)]
pub struct Exporter<'a> {
    machine: &'a Machine,
    unit: String,
    port: u16,
    is_left_running: bool,
}

impl Exporter<'_> {
    /// Waits until `/-/ready` returns 200.
    #[track_caller]
    pub fn ready(self) -> Self {
        self.wait_for("/-/ready");
        self
    }

    /// Does not stop it when dropped: the test restarts it.
    pub fn left_running(mut self) -> Self {
        self.is_left_running = true;
        self
    }

    /// Name of its unit.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Its port on the loopback address inside.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Pid of its main process as seen from outside.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let inside = self.show("MainPID").parse().expect("a pid");
        self.machine.outer_pid(inside).expect("a running exporter")
    }

    /// Sends a GET request.
    #[track_caller]
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.machine.get(self.port, path, headers).expect("a response")
    }

    /// The text of `/metrics`, requested without an Accept header.
    #[track_caller]
    pub fn scrape(&self) -> String {
        let response = self.get("/metrics", &[]);
        assert_eq!(response.status, 200, "{}", response.text());
        response.text().to_owned()
    }

    /// The samples of `/metrics`.
    #[track_caller]
    pub fn samples(&self) -> Samples {
        Samples::parse(&self.scrape())
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.machine.ok(&["journalctl", "--sync"]);
        self.machine.ok(&["journalctl", "--no-pager", "--output=cat", "--unit", &self.unit])
    }

    #[track_caller]
    fn wait_for(&self, path: &str) {
        let response = in_time(|| {
            let state = self.show("ActiveState");
            assert!(
                !matches!(&*state, "failed" | "inactive"),
                "the exporter exited:\n{}",
                self.log()
            );
            self.machine.get(self.port, path, &[]).ok().filter(|response| response.status == 200)
        });
        assert!(response.is_some(), "no 200 from {path} in time\n{}", self.log());
    }

    fn show(&self, property: &str) -> String {
        let command = ["systemctl", "show", "--value", "--property", property, &self.unit];
        self.machine.ok(&command).trim().to_owned()
    }
}

impl Drop for Exporter<'_> {
    fn drop(&mut self) {
        if self.is_left_running {
            return;
        }
        self.machine.exec(&["systemctl", "stop", &self.unit]);
        self.machine.exec(&["systemctl", "reset-failed", &self.unit]);
    }
}

static PORT: AtomicU16 = AtomicU16::new(9559);
