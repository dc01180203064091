//! The interface between the server and the program that builds the responses.

use std::time::Duration;

use bytes::Bytes;

pub use crate::metrics::Format;

/// Builds the responses of the server.
pub trait App: Send + Sync + 'static {
    /// The complete scrape response.
    ///
    /// Scrapes that share one collection should get clones of one [`Bytes`]: it is then
    /// compressed once and held in memory once, however many clients read it.
    fn metrics(
        &self,
        request: ScrapeRequest,
    ) -> impl Future<Output = Result<Bytes, HttpError>> + Send;

    /// The HTML page at `path` (percent-encoded as received); `None` if there is none.
    fn page(
        &self,
        path: &str,
        query: Vec<(String, String)>,
    ) -> impl Future<Output = Result<Option<HtmlPage>, HttpError>> + Send;

    /// The last events as JSON, newest first.
    fn events(&self, request: &EventsRequest) -> Bytes;

    /// Whether scrapes can be answered now.
    ///
    /// # Errors
    /// The reason in one line, while a scrape response would still be empty.
    fn ready(&self) -> Result<(), String>;
}

/// An HTML page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HtmlPage {
    /// The document.
    pub html: Bytes,
    /// `false` if the document only states that the requested object does not exist: status 404.
    pub found: bool,
    /// The header `Content-Security-Policy`.
    pub policy: &'static str,
}

/// The parameters of a request for events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventsRequest {
    /// `unit`: only events of this unit.
    pub unit: Option<String>,
    /// `limit`: the maximum number of events.
    pub limit: Option<usize>,
}

/// The parameters of a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScrapeRequest {
    /// The exposition format.
    pub format: Format,
    /// `collect[]`: only these collectors; empty for all.
    pub collect: Vec<String>,
    /// `exclude[]`: all collectors but these.
    pub exclude: Vec<String>,
    /// `name[]`: only these metric families; empty for all.
    pub names: Vec<String>,
    /// The scraper's timeout, less the time that the response needs to arrive; `None` if the
    /// scraper sent none.
    pub timeout: Option<Duration>,
}

impl ScrapeRequest {
    /// Whether the response can differ from those to other requests of the same format.
    pub(super) fn is_filtered(&self) -> bool {
        !(self.collect.is_empty() && self.exclude.is_empty() && self.names.is_empty())
    }
}

/// Why there is no response body; the text is sent to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request names something that does not exist, or contradicts itself: status 400.
    #[error("{0}")]
    BadRequest(String),
    /// No response can be built now: status 503.
    #[error("{0}")]
    Unavailable(String),
}
