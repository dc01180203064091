//! A server in a child process: its memory, file descriptors and CPU time are measured alone.
#![expect(clippy::disallowed_types, reason = "the server runs in a child process")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, setrlimit};
use unit_exporter::http;
use unit_exporter::http::{
    App, HtmlPage, HttpError, HttpListener, Limits, ListenAddress, LiveConfig, ScrapeRequest,
    ServerOptions,
};
use unit_exporter::single_flight::SingleFlight;

/// A running server process; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl ServerProcess {
    /// Starts this test executable as a server, with settings for `serve` in the environment.
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(SERVE_ARGUMENTS).envs(variables.iter().copied()).env(CHILD_MARKER, "1");
        Self::spawn(command)
    }

    /// Starts the server through a command that executes its arguments.
    pub(crate) fn start_through(mut command: Command) -> Self {
        command.arg(std::env::current_exe().unwrap()).args(SERVE_ARGUMENTS);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once(ADDRESS_PREFIX)?.1.parse().ok());
        let address = address.expect("no address in the server's output");
        Self { child, address }
    }

    /// A field of `/proc/PID/status`, in KiB.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// CPU time since the start, in ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Renders a scrape response for this many units; concurrent scrapes share one.
struct ManyUnits {
    units: usize,
    flights: SingleFlight<(), Bytes>,
}

impl App for ManyUnits {
    async fn metrics(&self, _: ScrapeRequest) -> Result<Bytes, HttpError> {
        let units = self.units;
        let render = move || async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tokio::task::spawn_blocking(move || scrape_response(units)).await.unwrap()
        };
        Ok(self.flights.share((), render).await.unwrap())
    }

    async fn page(&self, _: &str, _: Vec<(String, String)>) -> Result<Option<HtmlPage>, HttpError> {
        Ok(None)
    }

    fn events(&self, _: &unit_exporter::http::EventsRequest) -> Bytes {
        Bytes::new()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// 30 series per unit, as long as real ones.
fn scrape_response(units: usize) -> Bytes {
    let mut page = String::with_capacity(units * 30 * 110);
    for metric in 0..30 {
        page.push_str(&format!("# HELP systemd_unit_example_{metric} An example.\n"));
        page.push_str(&format!("# TYPE systemd_unit_example_{metric} gauge\n"));
        for unit in 0..units {
            let value = (unit * 7919 + metric * 104_729) % 1_000_003;
            page.push_str(&format!(
                "systemd_unit_example_{metric}{{name=\"application-{unit}.service\",type=\"simple\"}} {value}\n"
            ));
        }
    }
    page.into()
}

#[test]
#[ignore = "the child process of other tests"]
fn serve() {
    let variables: HashMap<_, _> = std::env::vars().collect();
    assert!(variables.contains_key(CHILD_MARKER), "must be started by another test");
    let number = |name: &str| variables.get(name).map(|text| text.parse::<u64>().unwrap());
    if let Some(files) = number("FILES") {
        let limit = Rlimit { current: Some(files), maximum: Some(files) };
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    let mut limits = Limits::default();
    if let Some(seconds) = number("ANSWER_SECONDS") {
        limits.response = Duration::from_secs(seconds);
    }
    let protection = variables.get("CONFIG").map(|path| LiveConfig::open(path.as_ref()).unwrap());
    let protection = Arc::new(protection.unwrap_or_default());
    let units = number("UNITS").unwrap_or(1).try_into().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listeners = if variables.contains_key("LISTEN_FDS") {
            HttpListener::passed().unwrap()
        } else {
            "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().unwrap()
        };
        let address = listeners[0].address().unwrap_or(([127, 0, 0, 1], 0).into());
        println!("{ADDRESS_PREFIX}{address}");
        let options = ServerOptions { limits, config: protection, ..ServerOptions::default() };
        let site = ManyUnits { units, flights: SingleFlight::default() };
        http::serve(listeners, site, options, std::future::pending()).await;
    });
}

const SERVE_ARGUMENTS: [&str; 4] = ["--ignored", "--exact", "--nocapture", "server_process::serve"];

pub(crate) const CHILD_MARKER: &str = "STARTED_BY_A_TEST";

const ADDRESS_PREFIX: &str = "listening on ";
