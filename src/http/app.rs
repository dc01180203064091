//! What the web side asks of whoever has the pages.

use std::time::Duration;

use bytes::Bytes;

pub use crate::metrics::Format;

/// The pages behind the server.
pub trait Site: Send + Sync + 'static {
    /// The metrics page, complete.
    ///
    /// Scrapes that share one collection should be given clones of one [`Bytes`]: it is then
    /// compressed once and held in memory once, however many clients read it.
    fn metrics(&self, wanted: Wanted) -> impl Future<Output = Result<Bytes, Refusal>> + Send;

    /// The page for people at `path`, percent-encoded as it came; `None` if there is none.
    fn page(
        &self,
        path: &str,
        query: Vec<(String, String)>,
    ) -> impl Future<Output = Result<Option<Page>, Refusal>> + Send;

    /// What happened last, the newest first, as JSON.
    fn events(&self, wanted: &WantedEvents) -> Bytes;

    /// Whether scrapes can be answered now; the error says in one line why not.
    ///
    /// # Errors
    /// When a scrape would not say anything useful yet.
    fn ready(&self) -> Result<(), String>;
}

/// A page for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The document.
    pub html: Bytes,
    /// Whether it tells of what was asked for, rather than that there is no such thing: status
    /// 404.
    pub found: bool,
    /// What the browser may do with it: `Content-Security-Policy`.
    pub policy: &'static str,
}

/// What a question for events asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedEvents {
    /// `unit`: only this unit's.
    pub unit: Option<String>,
    /// `limit`: at most so many.
    pub limit: Option<usize>,
}

/// What a scrape asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The form of the page.
    pub format: Format,
    /// `collect[]`: only these collectors; empty for all.
    pub collect: Vec<String>,
    /// `exclude[]`: all collectors but these.
    pub exclude: Vec<String>,
    /// `name[]`: only these metric families; empty for all.
    pub names: Vec<String>,
    /// How long the scraper will wait, already shortened by the time the answer takes to arrive;
    /// `None` if it did not say.
    pub timeout: Option<Duration>,
}

/// Why there is no page; the text is sent to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was asked for does not exist or contradicts itself: status 400.
    #[error("{0}")]
    BadRequest(String),
    /// No page can be made now: status 503.
    #[error("{0}")]
    Unavailable(String),
}
