//! Counters of HTTP responses by status code, and of limits that clients reached.

use std::sync::atomic::{AtomicU64, Ordering};

/// Responses by status code since the start of the process.
#[derive(Debug, Default)]
pub struct HttpCounts {
    counts: [AtomicU64; CODES.len()],
    refused: [AtomicU64; SharedLimit::ALL.len()],
    closed: [AtomicU64; SharedLimit::ALL.len()],
}

/// A limited resource of the web server that clients share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedLimit {
    /// Connections.
    Connections,
    /// Bytes of responses that clients have not read yet.
    UnreadBytes,
    /// Scrape responses and status pages in progress.
    Requests,
    /// Password comparisons in progress.
    Logins,
    /// The configured request rate.
    Rate,
}

impl SharedLimit {
    /// All limits.
    pub const ALL: [Self; 5] =
        [Self::Connections, Self::UnreadBytes, Self::Requests, Self::Logins, Self::Rate];

    /// Whether idle connections are closed for newcomers.
    fn closes(self) -> bool {
        matches!(self, Self::Connections | Self::UnreadBytes)
    }

    /// The name in labels and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::UnreadBytes => "unread_bytes",
            Self::Requests => "requests",
            Self::Logins => "logins",
            Self::Rate => "rate",
        }
    }
}

impl HttpCounts {
    /// Each status code that the server uses, with the number of its responses.
    pub fn by_code(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        CODES.iter().zip(&self.counts).map(|(code, count)| (*code, count.load(Ordering::Relaxed)))
    }

    /// The number of clients that each limit refused, and of connections closed for newcomers, by
    /// limit and action.
    pub fn by_limit(&self) -> impl Iterator<Item = ((&'static str, &'static str), u64)> + '_ {
        let count = |counts: &[AtomicU64; 5], limit: SharedLimit| {
            counts.get(limit as usize).map(|count| count.load(Ordering::Relaxed))
        };
        SharedLimit::ALL.into_iter().flat_map(move |limit| {
            let closed = limit.closes().then(|| count(&self.closed, limit)).flatten();
            let closed = closed.map(|count| ((limit.name(), "closed"), count));
            let refused = count(&self.refused, limit);
            refused.map(|count| ((limit.name(), "refused"), count)).into_iter().chain(closed)
        })
    }

    /// Counts a client that reached a limit: refused, or its idle connection closed for another.
    pub(super) fn limited(&self, limit: SharedLimit, closed: bool) {
        let counts = if closed { &self.closed } else { &self.refused };
        if let Some(count) = counts.get(limit as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one response.
    pub(super) fn count(&self, code: u16) {
        let at = CODES.iter().position(|known| *known == code);
        debug_assert!(at.is_some(), "status {code} is not in the list of codes");
        if let Some(count) = at.and_then(|at| self.counts.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const CODES: [u16; 9] = [200, 400, 401, 404, 405, 429, 431, 500, 503];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_code_separately() {
        let counts = HttpCounts::default();
        counts.count(200);
        counts.count(200);
        counts.count(503);
        let seen: Vec<_> = counts.by_code().filter(|(_, count)| *count > 0).collect();
        assert_eq!(seen, [(200, 2), (503, 1)]);
        assert_eq!(counts.by_code().count(), CODES.len());
    }
}
