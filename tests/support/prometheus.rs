//! A real Prometheus as a unit inside a machine.

use serde_json::Value;

use super::{Machine, eventually};

impl Machine {
    /// Starts a Prometheus with this configuration, and waits until it answers.
    #[track_caller]
    pub fn prometheus(&self, config: &str) -> Prometheus<'_> {
        self.write("/run/prometheus.yml", config);
        self.ok(&[
            "systemd-run",
            "--quiet",
            "--unit",
            UNIT,
            "--property=TimeoutStopSec=5",
            "/usr/bin/prometheus",
            "--config.file=/run/prometheus.yml",
            "--storage.tsdb.path=/run/tsdb",
            &format!("--web.listen-address=127.0.0.1:{PORT}"),
        ]);
        eventually("Prometheus is ready", || {
            self.get(PORT, "/-/ready", &[]).ok().filter(|answer| answer.status == 200)
        });
        Prometheus { machine: self }
    }
}

/// A Prometheus that runs; stopped when dropped.
#[derive(Debug)]
pub struct Prometheus<'a> {
    machine: &'a Machine,
}

impl Prometheus<'_> {
    /// The data of an answer of its API; panics with what it says of a question that it does not like.
    #[track_caller]
    pub fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let path = format!("/api/v1/{what}?{query}");
        let answer = self.machine.get(PORT, &path, &[]).expect("an answer");
        assert_eq!(answer.status, 200, "{what} {parameters:?}: {}", answer.text());
        let mut answer: Value = serde_json::from_str(answer.text()).expect("JSON");
        answer["data"].take()
    }

    /// The series that a query gives now.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        self.series("query", &[("query", expression)])
    }

    /// The series of an answer.
    #[track_caller]
    pub fn series(&self, what: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
        self.ask(what, parameters)["result"].as_array().expect("a result").clone()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        self.machine.exec(&["systemctl", "stop", UNIT]);
    }
}

const UNIT: &str = "prometheus-test.service";
const PORT: u16 = 9090;
