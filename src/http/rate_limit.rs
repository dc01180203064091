//! How many requests are answered in a time: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::Rate;

/// The bucket; full at first.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) rate: Rate,
    /// When the bucket was, or will be, empty if nobody takes from it: the tokens in it are the
    /// time since then.
    empty: Mutex<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let now = Instant::now();
        Self { rate, empty: Mutex::new(now.checked_sub(full(rate)).unwrap_or(now)) }
    }

    /// Whether there was a token for one request.
    pub(super) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(full(self.rate)).unwrap_or(*empty);
        let after = (*empty).max(oldest) + self.rate.interval;
        if self.rate.burst == 0 || after > now {
            return false;
        }
        *empty = after;
        true
    }
}

/// The time that fills an empty bucket.
fn full(rate: Rate) -> Duration {
    rate.interval.saturating_mul(rate.burst).min(LONGEST)
}

/// A year; clocks need not reach back further.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_an_interval() {
        let second = Duration::from_secs(1);
        let bucket = Bucket::new(Rate { interval: second, burst: 3 });
        let now = Instant::now();
        let taken: Vec<_> = (0..5).map(|_| bucket.take_at(now)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(!bucket.take_at(now + second / 2));
        assert!(bucket.take_at(now + second));
        assert!(!bucket.take_at(now + second));
        let later: Vec<_> = (0..5).map(|_| bucket.take_at(now + second * 60)).collect();
        assert_eq!(later, [true, true, true, false, false]);
    }

    #[test]
    fn no_burst_lets_nothing_through() {
        let bucket = Bucket::new(Rate { interval: Duration::from_secs(1), burst: 0 });
        assert!(!bucket.take_at(Instant::now() + Duration::from_secs(60)));
    }
}
