//! A server with scripted responses.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use unit_exporter::http;
use unit_exporter::http::{
    App, EventsRequest, HtmlPage, HttpError, Limits, ListenAddress, LiveConfig, ScrapeRequest,
    ServerOptions,
};
use unit_exporter::metrics::Format;

/// The responses of the server, and a record of the scrapes that it received.
#[derive(Default)]
pub(crate) struct Script {
    /// The scrape response.
    pub(crate) page: Bytes,
    /// The scrape response in OpenMetrics, if it differs.
    pub(crate) open_metrics: Mutex<Option<Bytes>>,
    /// Time that a scrape takes.
    pub(crate) delay: Duration,
    /// The reason why the server is not ready, if it is not.
    pub(crate) not_ready: Option<String>,
    /// All scrapes so far.
    pub(crate) scrapes: Mutex<Vec<ScrapeRequest>>,
    /// Scrapes in flight: current and maximum.
    pub(crate) in_flight: AtomicUsize,
    pub(crate) max_in_flight: AtomicUsize,
}

pub(crate) struct ScriptedBackend(Arc<Script>);

impl App for ScriptedBackend {
    async fn metrics(&self, wanted: ScrapeRequest) -> Result<Bytes, HttpError> {
        self.0.scrapes.lock().unwrap().push(wanted.clone());
        let in_flight = self.0.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.max_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        tokio::time::sleep(self.0.delay).await;
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        match wanted.collect.first().map(String::as_str) {
            Some("panic") => panic!("requested by the test"),
            Some("unavailable") => Err(HttpError::Unavailable("no bus".to_owned())),
            Some(name) if name != "units" => {
                Err(HttpError::BadRequest(format!("unknown collector {name:?}")))
            }
            _ => {
                let open_metrics = self.0.open_metrics.lock().unwrap().clone();
                let open_metrics = open_metrics.filter(|_| wanted.format == Format::OpenMetrics);
                Ok(open_metrics.unwrap_or_else(|| self.0.page.clone()))
            }
        }
    }

    async fn page(
        &self,
        path: &str,
        query: Vec<(String, String)>,
    ) -> Result<Option<HtmlPage>, HttpError> {
        let page = |html: String, found| HtmlPage {
            html: html.into(),
            found,
            policy: "default-src 'none'; style-src 'self'",
        };
        Ok(match path {
            "/" => Some(page(format!("<a href=\"metrics\">Metrics</a> {query:?}"), true)),
            "/unit/gone.service" => Some(page("<p>no such unit</p>".to_owned(), false)),
            "/panic" => panic!("requested by the test"),
            _ => None,
        })
    }

    fn events(&self, wanted: &EventsRequest) -> Bytes {
        format!("{wanted:?}").into()
    }

    fn ready(&self) -> Result<(), String> {
        self.0.not_ready.clone().map_or(Ok(()), Err)
    }
}

/// A running server; stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Script>,
    pub(crate) options: ServerOptions,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(script: Script, options: ServerOptions) -> Self {
        let listeners = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().unwrap();
        let address = listeners[0].address().unwrap();
        let script = Arc::new(script);
        let (stop, stopped) = oneshot::channel();
        let task =
            http::serve(listeners, ScriptedBackend(script.clone()), options.clone(), async move {
                let _ = stopped.await;
            });
        let task = tokio::spawn(task);
        Self { address, script, options, stop: Some(stop), task }
    }

    pub(crate) fn without_config() -> Self {
        Self::start(
            Script { page: Bytes::from_static(PAGE), ..Script::default() },
            ServerOptions::default(),
        )
    }

    pub(crate) fn with_config(path: &Path) -> Self {
        Self::with_limits(path, Limits::default())
    }

    pub(crate) fn with_limits(path: &Path, limits: Limits) -> Self {
        Self::with_page(path, limits, Bytes::from_static(PAGE))
    }

    pub(crate) fn with_page(path: &Path, limits: Limits, page: Bytes) -> Self {
        let config = LiveConfig::open(path).unwrap_or_else(|error| panic!("{error}"));
        let options =
            ServerOptions { config: Arc::new(config), limits, ..ServerOptions::default() };
        Self::start(Script { page, ..Script::default() }, options)
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until `count` responses with this status are counted: a refused connection is counted
    /// when it ends, which its client cannot observe.
    pub(crate) async fn wait_for_count(&self, code: u16, count: u64) {
        for _ in 0..100 {
            if self.count_of(code) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} responses with status {code}, expected {count}", self.count_of(code));
    }

    fn count_of(&self, code: u16) -> u64 {
        self.options.counts.by_code().find(|(status, _)| *status == code).unwrap().1
    }
}

/// A small scrape response.
pub(crate) const PAGE: &[u8] = b"# HELP up An example.\n# TYPE up gauge\nup 1\n";

/// A scrape response of 24 MiB, larger than the buffers of a socket.
pub(crate) fn large_page() -> Bytes {
    let line = b"systemd_unit_state{name=\"x.service\",state=\"active\"} 1\n";
    line.repeat((24 << 20) / line.len()).into()
}
