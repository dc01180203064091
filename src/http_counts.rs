//! Counters of HTTP responses by status code.

use std::sync::atomic::{AtomicU64, Ordering};

/// Responses by status code since the start of the process.
#[derive(Debug, Default)]
pub struct HttpCounts {
    counts: [AtomicU64; CODES.len()],
}

impl HttpCounts {
    /// Each status code that the server uses, with the number of its responses.
    pub fn by_code(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        CODES.iter().zip(&self.counts).map(|(code, count)| (*code, count.load(Ordering::Relaxed)))
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
