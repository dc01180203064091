//! A site that answers with what the test gave it, and a server of it.

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
    Limits, ListenAddress, Options, Page, Protection, Refusal, Site, Wanted, WantedEvents,
};
use unit_exporter::metrics::Format;

/// What the site answers, and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    /// The metrics page.
    pub(crate) page: Bytes,
    /// The page in the other format, if it is another.
    pub(crate) open_metrics: Mutex<Option<Bytes>>,
    /// How long making it takes.
    pub(crate) takes: Duration,
    /// Why the site is not ready, if it is not.
    pub(crate) unready: Option<String>,
    /// Every scrape so far.
    pub(crate) asked: Mutex<Vec<Wanted>>,
    /// Scrapes being answered now, and the most there were.
    pub(crate) now: AtomicUsize,
    pub(crate) most: AtomicUsize,
}

pub(crate) struct Scripted(Arc<Script>);

impl Site for Scripted {
    async fn metrics(&self, wanted: Wanted) -> Result<Bytes, Refusal> {
        self.0.asked.lock().unwrap().push(wanted.clone());
        let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.0.takes).await;
        self.0.now.fetch_sub(1, Ordering::SeqCst);
        match wanted.collect.first().map(String::as_str) {
            Some("panic") => panic!("as the test wants it"),
            Some("nothing") => Err(Refusal::Unavailable("no bus".to_owned())),
            Some(name) if name != "units" => {
                Err(Refusal::BadRequest(format!("no collector is called {name:?}")))
            }
            _ => {
                let other = self.0.open_metrics.lock().unwrap().clone();
                let other = other.filter(|_| wanted.format == Format::OpenMetrics);
                Ok(other.unwrap_or_else(|| self.0.page.clone()))
            }
        }
    }

    async fn page(
        &self,
        path: &str,
        query: Vec<(String, String)>,
    ) -> Result<Option<Page>, Refusal> {
        let page = |html: String, found| Page {
            html: html.into(),
            found,
            policy: "default-src 'none'; style-src 'self'",
        };
        Ok(match path {
            "/" => Some(page(format!("<a href=\"metrics\">Metrics</a> {query:?}"), true)),
            "/unit/gone.service" => Some(page("<p>no such unit</p>".to_owned(), false)),
            "/panic" => panic!("as the test wants it"),
            _ => None,
        })
    }

    fn events(&self, wanted: &WantedEvents) -> Bytes {
        format!("{wanted:?}").into()
    }

    fn ready(&self) -> Result<(), String> {
        self.0.unready.clone().map_or(Ok(()), Err)
    }
}

/// A running server; it ends with the value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Script>,
    pub(crate) options: Options,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(script: Script, options: Options) -> Self {
        let listeners = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().unwrap();
        let address = listeners[0].address().unwrap();
        let script = Arc::new(script);
        let (stop, stopped) = oneshot::channel();
        let serving =
            http::serve(listeners, Scripted(script.clone()), options.clone(), async move {
                let _ = stopped.await;
            });
        let serving = tokio::spawn(serving);
        Self { address, script, options, stop: Some(stop), serving }
    }

    pub(crate) fn plain() -> Self {
        Self::start(
            Script { page: Bytes::from_static(PAGE), ..Script::default() },
            Options::default(),
        )
    }

    /// A server with a configuration file.
    pub(crate) fn configured(path: &Path) -> Self {
        Self::limited(path, Limits::default())
    }

    pub(crate) fn limited(path: &Path, limits: Limits) -> Self {
        Self::secured(path, limits, Bytes::from_static(PAGE))
    }

    pub(crate) fn secured(path: &Path, limits: Limits, page: Bytes) -> Self {
        let protection = Protection::open(path).unwrap_or_else(|error| panic!("{error}"));
        let options = Options { protection: Arc::new(protection), limits, ..Options::default() };
        Self::start(Script { page, ..Script::default() }, options)
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until the count of answers with this status is as given: a refused connection is
    /// counted when it ends, which its client cannot see.
    pub(crate) async fn until_counted(&self, code: u16, count: u64) {
        for _ in 0..100 {
            if self.counted(code) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} answers with status {code}, not {count}", self.counted(code));
    }

    fn counted(&self, code: u16) -> u64 {
        self.options.requests.by_code().find(|(known, _)| *known == code).unwrap().1
    }
}

/// A small page.
pub(crate) const PAGE: &[u8] = b"# HELP up Whether it is.\n# TYPE up gauge\nup 1\n";

/// A page that is too large for the buffers of a socket.
pub(crate) fn large_page() -> Bytes {
    let line = b"systemd_unit_state{name=\"x.service\",state=\"active\"} 1\n";
    line.repeat((24 << 20) / line.len()).into()
}
