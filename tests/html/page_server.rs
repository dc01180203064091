//! Generated host data, and a server of its status pages.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use unit_exporter::html;
use unit_exporter::html::{CpuUsage, CpuUsageTracker, PageRoute, View};
use unit_exporter::http;
use unit_exporter::http::{
    App, EventsRequest, HtmlPage, HttpError, ListenAddress, ScrapeRequest, ServerOptions,
};
use unit_exporter::snapshot::Snapshot;
use unit_exporter::source::UnitReadings;
use unit_exporter::source::cgroup::{Cgroup, Cpu, Memory, Pids};
use unit_exporter::systemd::ledger::{Event, EventKind, Ledger};
use unit_exporter::systemd::mirror::{ListedUnit, Mirror};
use unit_exporter::systemd::snapshot::SystemdSnapshot;
use unit_exporter::systemd::state::Shared;
use unit_exporter::systemd::unit::value::{InvocationId, intern};
use unit_exporter::unit_filter::Selection;

use crate::fixture;

/// The data that the status pages show.
pub(crate) struct PageData {
    pub(crate) host: html::HostInfo,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) events: Vec<Arc<Event>>,
    pub(crate) cpu_usage: Option<CpuUsage>,
}

impl PageData {
    /// The host of the golden files, with recent crashes.
    pub(crate) fn golden() -> Self {
        let events = vec![
            event("crash.service", 30, EventKind::StartLimitHit, Some("core-dump"), None),
            event("crash.service", 31, EventKind::Failed, Some("core-dump"), Some("SIGSEGV")),
            event("nginx.service", 200, EventKind::Failed, Some("exit-code"), Some("3")),
            event("crash.service", 260, EventKind::Failed, Some("core-dump"), Some("SIGSEGV")),
            event("crash.service", 261, EventKind::Restarted, None, None),
        ];
        Self { host: host("golden"), snapshot: fixture::snapshot(), events, cpu_usage: None }
    }

    /// A host with this many services, each with resource usage.
    pub(crate) fn many(units: usize) -> Self {
        let shared = Shared::new(Mirror::new(Selection::default()), Ledger::default());
        let state = &mut *shared.lock();
        let name = |n: usize| format!("application-{n:04}.service");
        let mut readings = Vec::with_capacity(units);
        for n in 0..units {
            let (active, sub) = match n % 100 {
                0 => ("failed", "failed"),
                1..20 => ("inactive", "dead"),
                _ => ("active", "running"),
            };
            let (load_state, active_state) = (intern("loaded"), intern(active));
            let listed =
                ListedUnit { name: name(n), load_state, active_state, sub_state: intern(sub) };
            state.mirror.list(&listed);
            let unit = state.mirror.unit(&listed.name).cloned().unwrap();
            state.ledger.open(&unit);
            readings.push((unit.name.clone(), reading(n as u64)));
        }
        let snapshot = Snapshot {
            systemd: Some(SystemdSnapshot::copy(state, false)),
            cgroups: Some(UnitReadings { units: readings, ..UnitReadings::default() }),
            ..Snapshot::default()
        };
        let tracker = CpuUsageTracker::default();
        tracker.record(&snapshot, Instant::now());
        tracker.record(&snapshot, Instant::now() + Duration::from_secs(10));
        Self {
            host: host("large"),
            snapshot: Arc::new(snapshot),
            events: Vec::new(),
            cpu_usage: tracker.usage(),
        }
    }
}

pub(crate) fn host(name: &str) -> html::HostInfo {
    html::HostInfo { name: name.to_owned(), kernel: "6.1.0".to_owned() }
}

/// An event `ago` seconds in the past.
pub(crate) fn event(
    unit: &str,
    ago: u64,
    kind: EventKind,
    cause: Option<&'static str>,
    status: Option<&'static str>,
) -> Arc<Event> {
    Arc::new(Event {
        at: SystemTime::now() - Duration::from_secs(ago),
        unit: unit.into(),
        kind,
        cause: cause.map(Into::into),
        status: status.map(Into::into),
        command: None,
        invocation_id: Some(InvocationId([0xab; 16])),
        before_start: false,
    })
}

fn reading(n: u64) -> Cgroup {
    let scattered = n * 7919 % 10_007;
    Cgroup {
        cpu: Cpu {
            user: Some(Duration::from_millis(scattered * 13)),
            system: Some(Duration::from_millis(scattered)),
            ..Cpu::default()
        },
        memory: Memory { current: Some(scattered * 40_961), ..Memory::default() },
        pids: Pids { current: Some(scattered % 40), ..Pids::default() },
        ..Cgroup::default()
    }
}

/// A server of the status pages.
#[derive(Clone)]
pub(crate) struct PageServer {
    pub(crate) address: SocketAddr,
    data: Arc<Mutex<PageData>>,
}

impl PageServer {
    pub(crate) fn start(data: PageData) -> Self {
        Self::with(data, ServerOptions::default())
    }

    pub(crate) fn with(data: PageData, options: ServerOptions) -> Self {
        let listeners = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().unwrap();
        let address = listeners[0].address().unwrap();
        let server = Self { address, data: Arc::new(Mutex::new(data)) };
        tokio::spawn(http::serve(listeners, server.clone(), options, std::future::pending()));
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Replaces the data that the pages show.
    pub(crate) fn set_data(&self, data: PageData) {
        *self.data.lock().unwrap() = data;
    }
}

impl App for PageServer {
    async fn metrics(&self, _: ScrapeRequest) -> Result<Bytes, HttpError> {
        Ok(Bytes::new())
    }

    async fn page(
        &self,
        path: &str,
        query: Vec<(String, String)>,
    ) -> Result<Option<HtmlPage>, HttpError> {
        let Some(route) = PageRoute::parse(path) else { return Ok(None) };
        let data = &*self.data.lock().unwrap();
        let view = View {
            host: &data.host,
            now: SystemTime::now(),
            started: SystemTime::now() - Duration::from_secs(3600),
            snapshot: &data.snapshot,
            events: &data.events,
            cpu: data.cpu_usage.as_ref(),
            disabled: &["timers"],
            telemetry_path: "/metrics",
        };
        let page = html::page(&route, &query, &view);
        Ok(Some(HtmlPage { html: page.html.into(), found: page.found, policy: html::policy() }))
    }

    fn events(&self, _: &EventsRequest) -> Bytes {
        Bytes::new()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
