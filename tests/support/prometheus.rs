//! A real Prometheus as a unit inside a machine.

use serde_json::Value;

use super::{Machine, eventually};

impl Machine {
    /// Starts a Prometheus with this configuration, and waits until it is ready.
    #[track_caller]
    pub fn prometheus(&self, config: &str) -> Prometheus<'_> {
        self.start_prometheus("prometheus", "/usr/bin/prometheus", 9090, config, &[])
    }

    /// Starts this program of Prometheus on this port, and waits until it is ready.
    #[track_caller]
    pub fn prometheus_of(
        &self,
        program: &str,
        port: u16,
        config: &str,
        arguments: &[&str],
    ) -> Prometheus<'_> {
        self.start_prometheus(&format!("prometheus-{port}"), program, port, config, arguments)
    }

    /// With the names of unit and configuration of Debian's package, if it is the only one.
    #[track_caller]
    fn start_prometheus(
        &self,
        name: &str,
        program: &str,
        port: u16,
        config: &str,
        arguments: &[&str],
    ) -> Prometheus<'_> {
        let unit = format!("{name}.service");
        let file = format!("/etc/prometheus/{name}.yml");
        self.write(&file, config);
        let arguments = arguments.join(" ");
        let text = format!(
            "[Service]\nExecStart={program} --config.file={file} --storage.tsdb.path=/run/tsdb-{port} \
             --web.listen-address=127.0.0.1:{port} {arguments}\nExecReload=/bin/kill -HUP $MAINPID\n\
             TimeoutStopSec=5\n"
        );
        self.unit(&unit, &text);
        self.ok(&["systemctl", "start", &unit]);
        eventually("Prometheus is ready", || {
            self.get(port, "/-/ready", &[]).ok().filter(|response| response.status == 200)
        });
        Prometheus { machine: self, unit, port }
    }
}

/// A running Prometheus; stopped when dropped.
#[derive(Debug)]
pub struct Prometheus<'a> {
    machine: &'a Machine,
    unit: String,
    port: u16,
}

impl Prometheus<'_> {
    /// The `data` of an API response; panics with the error message if the request fails.
    #[track_caller]
    pub fn api(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Value {
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let path = format!("/api/v1/{endpoint}?{query}");
        let response = self.machine.get(self.port, &path, &[]).expect("a response");
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
        self.machine.exec(&["systemctl", "stop", &self.unit]);
    }
}
