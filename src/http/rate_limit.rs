//! The limit on the rate of requests: a token bucket that peers share.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::RateLimit;
use super::listen_address::Peer;

/// A token bucket, full at first, and one with an equal part of the rate for each active peer.
///
/// A peer whose own bucket is full gets a token even if the common bucket is empty: later tokens are
/// delayed by as much.
#[derive(Debug)]
pub(super) struct TokenBucket {
    pub(super) limit: RateLimit,
    state: Mutex<Buckets>,
}

/// A bucket is the time at which it was or will be empty if no token is taken: its tokens are the
/// time since then.
#[derive(Debug)]
struct Buckets {
    common: Instant,
    by_peer: HashMap<Peer, Instant>,
}

impl TokenBucket {
    pub(super) fn new(limit: RateLimit) -> Self {
        let now = Instant::now();
        let common = now.checked_sub(fill_time(limit)).unwrap_or(now);
        Self { limit, state: Mutex::new(Buckets { common, by_peer: HashMap::new() }) }
    }

    /// Takes a token for one request of `peer`; `false` if there is none.
    pub(super) fn try_take(&self, peer: Peer) -> bool {
        self.try_take_at(peer, Instant::now())
    }

    fn try_take_at(&self, peer: Peer, now: Instant) -> bool {
        let RateLimit { interval, burst } = self.limit;
        if burst == 0 {
            return false;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = now.checked_sub(fill_time(self.limit)).unwrap_or(state.common);
        state.by_peer.retain(|_, empty| *empty > full);
        let own = state.by_peer.get(&peer).copied();
        let peers = state.by_peer.len() + usize::from(own.is_none());
        let of_peer = interval.saturating_mul(u32::try_from(peers).unwrap_or(u32::MAX));
        let own_after = own.unwrap_or(full) + of_peer.min(fill_time(self.limit));
        let common_after = state.common.max(full) + interval;
        let newcomer = own.is_none() && common_after <= now + fill_time(self.limit);
        if !newcomer && (common_after > now || own_after > now) {
            return false;
        }
        state.common = common_after;
        if own.is_some() || state.by_peer.len() < MAX_PEERS {
            state.by_peer.insert(peer, own_after);
        }
        true
    }
}

/// The time in which an empty bucket fills.
fn fill_time(limit: RateLimit) -> Duration {
    limit.interval.saturating_mul(limit.burst).min(MAX_FILL_TIME)
}

/// A year, so that subtracting the time from the clock does not underflow.
const MAX_FILL_TIME: Duration = Duration::from_secs(365 * 86_400);

/// Active peers that are remembered; the requests of all others come from the common bucket.
const MAX_PEERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_a_burst_then_one_request_per_interval() {
        let second = Duration::from_secs(1);
        let bucket = TokenBucket::new(RateLimit { interval: second, burst: 3 });
        let now = Instant::now();
        let taken: Vec<_> = (0..5).map(|_| bucket.try_take_at(PEER, now)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(!bucket.try_take_at(PEER, now + second / 2));
        assert!(bucket.try_take_at(PEER, now + second));
        assert!(!bucket.try_take_at(PEER, now + second));
        let later: Vec<_> = (0..5).map(|_| bucket.try_take_at(PEER, now + second * 60)).collect();
        assert_eq!(later, [true, true, true, false, false]);
    }

    #[test]
    fn admits_nothing_without_burst() {
        let bucket = TokenBucket::new(RateLimit { interval: Duration::from_secs(1), burst: 0 });
        assert!(!bucket.try_take_at(PEER, Instant::now() + Duration::from_secs(60)));
    }

    #[test]
    fn flood_of_one_peer_leaves_others_their_part_of_the_rate() {
        let second = Duration::from_secs(1);
        let limit = RateLimit { interval: second, burst: 10 };
        let bucket = TokenBucket::new(limit);
        let start = Instant::now();
        let (mut flood, mut refused) = (0, 0);
        // ten requests per second of one peer, one every 15 seconds of the other
        for tenth in 0..6000 {
            let now = start + second * tenth / 10;
            flood += u32::from(bucket.try_take_at(PEER, now));
            if (tenth + 1).is_multiple_of(150) && !bucket.try_take_at(Peer::User(2), now) {
                refused += 1;
            }
        }
        assert_eq!(refused, 0);
        assert!((500..=610).contains(&(flood + 40)), "{flood}");
    }

    const PEER: Peer = Peer::User(1);
}
