//! A machine with eight Laravel workers and Redis, the exporter, and Prometheus with all rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::promql::rules;
use crate::support::{Exporter, Machine, Prometheus};

/// A running host, and the step that it is in.
pub(crate) struct Host<'m> {
    pub(crate) machine: &'m Machine,
    pub(crate) exporter: Exporter<'m>,
    prometheus: Prometheus<'m>,
    dashboard: Value,
    step: &'static str,
    began: Instant,
    /// The alerts that fired when the step began.
    firing_before: Alerts,
    /// An alert that may fire or not.
    pub(crate) tolerated: Option<&'static str>,
}

/// Name and unit of each firing alert, of every severity.
type Alerts = BTreeSet<(String, String)>;

/// Boots a machine with two releases of the application, and with the units of docs/laravel.md.
pub(crate) fn boot() -> Machine {
    let application = root().join("examples/laravel/app");
    let options = || Machine::options().bind(&application, "/opt/app");
    // the hybrid layout has a memory controller, if the controllers are mounted as v1
    let machine = options().cgroup_v1().try_boot().unwrap_or_else(|_| options().boot());
    for path in ["/usr/bin/php", "/usr/bin/redis-server", "/usr/share/php/Illuminate"] {
        let exists = machine.path(path).exists();
        assert!(exists, "no {path}: scripts/setup laravel installs the packages");
    }
    for release in ["1", "2"] {
        let path = format!("/var/www/app/releases/{release}");
        machine.ok(&["mkdir", "-p", "/var/www/app/releases"]);
        machine.ok(&["cp", "-r", "/opt/app", &path]);
    }
    machine.ok(&["ln", "-s", "releases/1", "/var/www/app/current"]);
    machine.unit("laravel-queue@.service", &documented_worker());
    // another tree runs the one of its package
    machine.exec(&["systemctl", "stop", "prometheus"]);
    machine
}

impl<'m> Host<'m> {
    /// Starts Redis, the workers, the exporter as in docs/laravel.md, and Prometheus.
    pub(crate) fn start(machine: &'m Machine) -> Self {
        machine.ok(&["systemctl", "enable", "--now", "redis-server"]);
        machine.ok(&[&["systemctl", "enable", "--now"][..], &WORKERS].concat());
        let exporter = machine.exporter(&[
            "--profile=default",
            "--expect-instances=laravel-queue@.service:8",
            "--expect-unit=redis-server.service",
            "--expect-listener=redis-server.service:tcp:6379",
        ]);
        for path in rules::paths() {
            let name = path.file_name().unwrap().display();
            let rules = rules::sped_up(&fs::read_to_string(&path).unwrap());
            machine.write(&format!("/run/rules/{name}"), rules);
        }
        // a minute in the rules; a failed scrape would reset the wait of an alert
        let prometheus = machine.prometheus(&format!(
            "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}}\n\
             rule_files: [/run/rules/*.yml]\n\
             scrape_configs:\n- job_name: hosts\n  static_configs:\n  - targets: ['127.0.0.1:{}']\n",
            exporter.port()
        ));
        let path = root().join("dashboards/systemd-workers.json");
        let dashboard = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let (step, began, firing_before) = ("start", Instant::now(), Alerts::new());
        let tolerated = None;
        let host = Self {
            machine,
            exporter,
            prometheus,
            dashboard,
            step,
            began,
            firing_before,
            tolerated,
        };
        host.eventually("Prometheus has scraped", || {
            host.prometheus.query("unit_exporter_build_info").pop()
        });
        host
    }

    /// Begins a step. Events of the step before are no longer in the range of the dashboard.
    pub(crate) fn begin(&mut self, step: &'static str) {
        thread::sleep(Duration::from_secs(5));
        println!("{step}");
        (self.step, self.began, self.firing_before) = (step, Instant::now(), self.firing());
        // increase() needs two samples
        thread::sleep(Duration::from_secs(5));
    }

    /// Runs a command of Laravel in the current release.
    pub(crate) fn artisan(&self, arguments: &[&str]) {
        let command = ["env", "--chdir=/var/www/app/current", "APP_STATE=/tmp", "php", "artisan"];
        self.machine.ok(&[&command[..], arguments].concat());
    }

    /// Waits until the numbers of the Workers dashboard have these values.
    #[track_caller]
    pub(crate) fn shows(&self, expected: &[(&str, f64)]) {
        self.values(expected, |title| {
            let expression = &self.panel("stat", title)["targets"][0]["expr"];
            self.value(expression)
        });
    }

    /// Waits until the row of the workers in the table of templates has these values.
    #[track_caller]
    pub(crate) fn templates(&self, expected: &[(&str, f64)]) {
        let panel = self.panel("table", "Templates");
        let names = &panel["transformations"][1]["options"]["renameByName"];
        self.values(expected, |column| {
            let mut targets = panel["targets"].as_array().unwrap().iter();
            let target = targets.find(|target| {
                let field = format!("Value #{}", target["refId"].as_str().unwrap());
                names[&field] == column
            });
            self.value(&target.unwrap_or_else(|| panic!("no column {column}"))["expr"])
        });
    }

    /// Waits until exactly these alerts fire; no other alert may begin meanwhile.
    #[track_caller]
    pub(crate) fn fires(&self, expected: &[(&str, &str)]) {
        let owned = |(alert, unit): &(&str, &str)| ((*alert).to_owned(), (*unit).to_owned());
        let expected: Alerts = expected.iter().map(owned).collect();
        self.eventually_or(
            || {
                let firing = self.firing();
                self.assert_known(&firing, &expected);
                (firing == expected).then_some(())
            },
            |step| {
                let alerts = self.prometheus.api("alerts", &[]);
                let scrapes = self.prometheus.query("avg_over_time(up[4m])");
                panic!("{step}: {alerts:#} instead of {expected:#?}; up: {scrapes:#?}")
            },
        );
        println!("  {} alerts as expected after {:.0?}", expected.len(), self.began.elapsed());
    }

    /// No alert begins to fire during this time.
    #[track_caller]
    pub(crate) fn stays_quiet(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            self.assert_known(&self.firing(), &Alerts::new());
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// The exits of all workers by status or signal, as counted by the exporter.
    pub(crate) fn exits(&self) -> BTreeMap<String, f64> {
        let page = self.exporter.samples();
        let mut exits = BTreeMap::new();
        for sample in page.all("systemd_service_main_process_exits_total", &[]) {
            if sample.label("name").starts_with("laravel-queue@") {
                *exits.entry(sample.label("status").to_owned()).or_default() += sample.value;
            }
        }
        exits
    }

    #[track_caller]
    fn values(&self, expected: &[(&str, f64)], value: impl Fn(&str) -> Option<f64>) {
        let shown = || expected.iter().map(|(title, _)| (*title, value(title)));
        // increase() extrapolates
        let is_as_expected = |((_, is), (_, expected)): ((&str, Option<f64>), &(&str, f64))| {
            is.is_some_and(|is| is.round() == *expected)
        };
        self.eventually_or(
            || shown().zip(expected).all(is_as_expected).then_some(()),
            |step| panic!("{step}: {:?} instead of {expected:?}", shown().collect::<Vec<_>>()),
        );
        println!("  {expected:?} after {:.0?}", self.began.elapsed());
    }

    fn panel(&self, kind: &str, title: &str) -> &Value {
        let mut panels = self.dashboard["panels"].as_array().unwrap().iter();
        let panel = panels.find(|panel| panel["type"] == kind && panel["title"] == title);
        panel.unwrap_or_else(|| panic!("no {title}"))
    }

    /// The value that the dashboard shows, for a time range that begins with the step.
    fn value(&self, expression: &Value) -> Option<f64> {
        let range = self.began.elapsed().as_secs().max(5);
        let expression = expression.as_str().unwrap();
        let expression = expression.replace("$__range_s", &range.to_string());
        let mut expression = expression.replace("$__range", &format!("{range}s"));
        for variable in self.dashboard["templating"]["list"].as_array().unwrap() {
            let is_text = variable["type"] == "textbox";
            let text = if is_text { &variable["query"] } else { &variable["allValue"] };
            let text = text.as_str().unwrap_or(".+");
            expression =
                expression.replace(&format!("${}", variable["name"].as_str().unwrap()), text);
        }
        let series = self.prometheus.query(&expression);
        assert!(series.len() < 2, "{expression}: {series:#?}");
        series.first()?["value"][1].as_str()?.parse().ok()
    }

    fn firing(&self) -> Alerts {
        let alerts = self.prometheus.api("alerts", &[]);
        let alerts = alerts["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let label =
            |alert: &Value, label| alert["labels"][label].as_str().unwrap_or_default().to_owned();
        let names = firing.map(|alert| (label(alert, "alertname"), label(alert, "name")));
        names.filter(|(alert, _)| Some(alert.as_str()) != self.tolerated).collect()
    }

    #[track_caller]
    fn assert_known(&self, firing: &Alerts, expected: &Alerts) {
        let known = |alert| expected.contains(alert) || self.firing_before.contains(alert);
        let unexpected: Vec<_> = firing.iter().filter(|alert| !known(*alert)).collect();
        let after = self.began.elapsed();
        assert!(unexpected.is_empty(), "{} after {after:.0?}: {unexpected:?}", self.step);
    }

    #[track_caller]
    fn eventually<T>(&self, what: &str, attempt: impl FnMut() -> Option<T>) -> T {
        self.eventually_or(attempt, |step| panic!("{step}: not within {LIMIT:?}: {what}"))
    }

    #[track_caller]
    fn eventually_or<T>(
        &self,
        mut attempt: impl FnMut() -> Option<T>,
        fail: impl FnOnce(&str) -> T,
    ) -> T {
        let start = Instant::now();
        loop {
            match attempt() {
                Some(value) => return value,
                None if start.elapsed() > LIMIT => return fail(self.step),
                None => thread::sleep(Duration::from_millis(500)),
            }
        }
    }
}

/// The unit in docs/laravel.md.
fn documented_worker() -> String {
    let text = fs::read_to_string(root().join("docs/laravel.md")).unwrap();
    let (_, unit) = text.split_once("# /etc/systemd/system/laravel-queue@.service\n").unwrap();
    unit.split_once("```").unwrap().0.to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The eight instances.
pub(crate) const WORKERS: [&str; 8] = [
    "laravel-queue@1.service",
    "laravel-queue@2.service",
    "laravel-queue@3.service",
    "laravel-queue@4.service",
    "laravel-queue@5.service",
    "laravel-queue@6.service",
    "laravel-queue@7.service",
    "laravel-queue@8.service",
];

/// The alert that takes the longest has `for: 60m`, two minutes here.
const LIMIT: Duration = Duration::from_secs(240);
