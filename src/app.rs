//! The responses to HTTP requests, built from scrapes.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use serde_json::json;

use crate::collector::{Disabled, SelectedMetrics};
use crate::html;
use crate::html::{CpuUsageTracker, HostInfo, PageRoute, View};
use crate::http::{App, EventsRequest, HtmlPage, HttpError, ScrapeRequest};
use crate::metrics::{Format, MetricsQuery, RenderState, render_into};
use crate::response_buffers::ResponseBuffers;
use crate::scrape::Scraper;
use crate::single_flight::SingleFlight;
use crate::systemd::ledger::Event;
use crate::systemd::unit::value::InvocationId;

/// Scrapes the host and renders responses.
#[derive(Debug)]
pub struct Exporter {
    scraper: Arc<Scraper>,
    metrics: SelectedMetrics,
    disabled: Disabled,
    max_series: usize,
    telemetry_path: String,
    render_state: Arc<RenderState>,
    cpu_usage: Arc<CpuUsageTracker>,
    flights: SingleFlight<(Format, MetricsQuery), Option<Bytes>>,
    buffers: ResponseBuffers,
}

/// Why there is no scrape response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScrapeError {
    /// The filters are invalid.
    #[error("{0}")]
    InvalidRequest(String),
    /// The scrape or the rendering panicked.
    #[error("internal error while scraping; see the log")]
    Failed,
}

impl App for Exporter {
    async fn metrics(&self, wanted: ScrapeRequest) -> Result<Bytes, HttpError> {
        let ScrapeRequest { format, collect, exclude, names, timeout } = wanted;
        let page = self.page(format, &collect, &exclude, &names);
        let page = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, page).await,
            None => Ok(page.await),
        };
        match page {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(ScrapeError::InvalidRequest(text))) => Err(HttpError::BadRequest(text)),
            Ok(Err(error)) => Err(HttpError::Unavailable(error.to_string())),
            Err(_) => {
                let text = "the scrape took longer than the scrape timeout";
                Err(HttpError::Unavailable(text.to_owned()))
            }
        }
    }

    async fn page(
        &self,
        path: &str,
        query: Vec<(String, String)>,
    ) -> Result<Option<HtmlPage>, HttpError> {
        let Some(route) = PageRoute::parse(path) else { return Ok(None) };
        let failed = || HttpError::Unavailable(ScrapeError::Failed.to_string());
        // the same list as for an unfiltered scrape request, so that both can share one scrape
        let off = self.disabled.excluded_for(&[], &[]).unwrap_or_default();
        let snapshot = self.scraper.scrape(&off).await.ok_or_else(failed)?;
        self.cpu_usage.record(&snapshot, Instant::now());
        let events = self.scraper.events();
        let cpu_usage = self.cpu_usage.usage();
        let (started, telemetry_path) = (self.scraper.started(), self.telemetry_path.clone());
        let make = move || {
            let view = View {
                host: &HostInfo::here(),
                now: SystemTime::now(),
                started,
                snapshot: &snapshot,
                events: &events,
                cpu: cpu_usage.as_ref(),
                disabled: &off,
                telemetry_path: &telemetry_path,
            };
            html::page(&route, &query, &view)
        };
        // takes milliseconds with thousands of units: not on a thread that serves other requests
        let page = tokio::task::spawn_blocking(make).await.map_err(|_| failed())?;
        Ok(Some(HtmlPage { html: page.html.into(), found: page.found, policy: html::policy() }))
    }

    fn events(&self, wanted: &EventsRequest) -> Bytes {
        // events have primary names
        let unit = wanted.unit.as_deref();
        let primary = unit.and_then(|unit| self.scraper.primary_name(unit));
        let unit = primary.as_deref().or(unit);
        let wants = |event: &&Event| unit.is_none_or(|unit| *event.unit == *unit);
        let events = self.scraper.events();
        let limit = wanted.limit.unwrap_or(usize::MAX);
        let events: Vec<_> =
            events.iter().map(|event| &**event).filter(wants).take(limit).map(as_json).collect();
        json!({ "events": events }).to_string().into()
    }

    fn ready(&self) -> Result<(), String> {
        self.scraper.ready()
    }
}

impl Exporter {
    /// An exporter with at most `max_series` series per response. `telemetry_path` is the path of the
    /// metrics, for links on the status page.
    #[must_use]
    pub fn new(
        scraper: Scraper,
        metrics: SelectedMetrics,
        disabled: Disabled,
        max_series: usize,
        telemetry_path: String,
    ) -> Self {
        Self {
            telemetry_path,
            cpu_usage: Arc::default(),
            scraper: Arc::new(scraper),
            metrics,
            disabled,
            max_series,
            render_state: Arc::default(),
            flights: SingleFlight::default(),
            buffers: ResponseBuffers::default(),
        }
    }

    /// The scraper of the host.
    #[must_use]
    pub fn scraper(&self) -> &Arc<Scraper> {
        &self.scraper
    }

    /// The scrape response with all metrics, or with those of the collectors in `collect`, without
    /// those in `exclude`, and with the metrics in `names` only.
    ///
    /// # Errors
    /// An unknown or disabled collector, both `collect` and `exclude`; a panic.
    pub async fn page(
        &self,
        format: Format,
        collect: &[String],
        exclude: &[String],
        names: &[String],
    ) -> Result<Bytes, ScrapeError> {
        let without =
            self.disabled.excluded_for(collect, exclude).map_err(ScrapeError::InvalidRequest)?;
        let names = names.to_vec();
        let selected = MetricsQuery {
            without,
            names,
            metrics: self.metrics.clone(),
            max_series: self.max_series,
            max_family_series: self.max_series.div_ceil(4),
        };
        let (scraper, state) = (self.scraper.clone(), self.render_state.clone());
        let (cpu_usage, buffers) = (self.cpu_usage.clone(), self.buffers.clone());
        let key = (format, selected.clone());
        let work = move || async move {
            let snapshot = scraper.scrape(&selected.without).await?;
            cpu_usage.record(&snapshot, Instant::now());
            // as above
            buffers.give_back_when_idle();
            let page = move || {
                let buffer = buffers.take();
                let page = render_into(buffer, &snapshot, format, &selected, &state).ok()?;
                Some(buffers.share(page))
            };
            tokio::task::spawn_blocking(page).await.ok()?
        };
        self.flights.share(key, work).await.flatten().ok_or(ScrapeError::Failed)
    }
}

fn as_json(event: &Event) -> serde_json::Value {
    let Event { at, unit, kind, cause, status, command, invocation_id, before_start } = event;
    let time = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    json!({
        "time": time.as_secs_f64(),
        "unit": **unit,
        "what": kind.as_str(),
        "cause": cause,
        "status": status,
        "command": command,
        "invocation_id": invocation_id.map(InvocationId::hex),
        "before_start": before_start,
    })
}
