//! A real Prometheus as a unit inside a machine.

use serde_json::Value;

use super::{Machine, eventually};

impl Machine {
    /// Starts a Prometheus with this configuration, and waits until it is ready.
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
            self.get(PORT, "/-/ready", &[]).ok().filter(|response| response.status == 200)
        });
        Prometheus { machine: self }
    }
}

/// A running Prometheus; stopped when dropped.
#[derive(Debug)]
pub struct Prometheus<'a> {
    machine: &'a Machine,
}

impl Prometheus<'_> {
    /// The `data` of an API response; panics with the error message if the request fails.
    #[track_caller]
    pub fn api(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Value {
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let path = format!("/api/v1/{endpoint}?{query}");
        let response = self.machine.get(PORT, &path, &[]).expect("a response");
        assert_eq!(response.status, 200, "{endpoint} {parameters:?}: {}", response.text());
        let mut response: Value = serde_json::from_str(response.text()).expect("JSON");
        response["data"].take()
    }

    /// The series that an instant query returns now.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        self.series("query", &[("query", expression)])
    }

    /// The series in the response of a query endpoint.
    #[track_caller]
    pub fn series(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
        self.api(endpoint, parameters)["result"].as_array().expect("a result").clone()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        self.machine.exec(&["systemctl", "stop", UNIT]);
    }
}

const UNIT: &str = "prometheus-test.service";
const PORT: u16 = 9090;
