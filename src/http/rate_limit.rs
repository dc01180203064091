//! The limit on the rate of requests: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::RateLimit;

/// A token bucket; full at first.
#[derive(Debug)]
pub(super) struct TokenBucket {
    pub(super) limit: RateLimit,
    /// When the bucket was or will be empty if no token is taken: the tokens in the bucket are the
    /// time since then.
    empty: Mutex<Instant>,
}

impl TokenBucket {
    pub(super) fn new(limit: RateLimit) -> Self {
        let now = Instant::now();
        Self { limit, empty: Mutex::new(now.checked_sub(fill_time(limit)).unwrap_or(now)) }
    }

    /// Takes a token for one request; `false` if there is none.
    pub(super) fn try_take(&self) -> bool {
        self.try_take_at(Instant::now())
    }

    fn try_take_at(&self, now: Instant) -> bool {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(fill_time(self.limit)).unwrap_or(*empty);
        let after = (*empty).max(oldest) + self.limit.interval;
        if self.limit.burst == 0 || after > now {
            return false;
        }
        *empty = after;
        true
    }
}

/// The time in which an empty bucket fills.
fn fill_time(limit: RateLimit) -> Duration {
    limit.interval.saturating_mul(limit.burst).min(MAX_FILL_TIME)
}

/// A year, so that subtracting the time from the clock does not underflow.
const MAX_FILL_TIME: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_a_burst_then_one_request_per_interval() {
        let second = Duration::from_secs(1);
        let bucket = TokenBucket::new(RateLimit { interval: second, burst: 3 });
        let now = Instant::now();
        let taken: Vec<_> = (0..5).map(|_| bucket.try_take_at(now)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(!bucket.try_take_at(now + second / 2));
        assert!(bucket.try_take_at(now + second));
        assert!(!bucket.try_take_at(now + second));
        let later: Vec<_> = (0..5).map(|_| bucket.try_take_at(now + second * 60)).collect();
        assert_eq!(later, [true, true, true, false, false]);
    }

    #[test]
    fn admits_nothing_without_burst() {
        let bucket = TokenBucket::new(RateLimit { interval: Duration::from_secs(1), burst: 0 });
        assert!(!bucket.try_take_at(Instant::now() + Duration::from_secs(60)));
    }
}
