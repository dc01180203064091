//! A limited resource that clients share: each peer gets a share, and idle connections are closed
//! for newcomers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::limits::{MAX_CLOSING, MIN_IDLE};
use super::listen_address::Peer;
use super::timeouts::ConnectionTimer;
use crate::http_counts::{HttpCounts, SharedLimit};

/// Connections, bytes or places that clients share.
///
/// A peer holds at most three quarters of the total, or, beside `n` other peers, one part of
/// `n + 2`: one part is always free for the next peer. A peer that holds nothing gets any amount
/// that fits, so that a single response may be larger than a share.
#[derive(Debug)]
pub(super) struct Budget {
    limit: SharedLimit,
    total: usize,
    /// How long a connection must have been idle before it is closed for a newcomer.
    min_idle: Duration,
    counts: Arc<HttpCounts>,
    holdings: Mutex<Holdings>,
}

/// A part of a budget; returned on drop.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    key: usize,
    client: Arc<ConnectionTimer>,
}

#[derive(Debug, Default)]
struct Holdings {
    by_key: HashMap<usize, Holding>,
    next_key: usize,
    reported: Option<Instant>,
}

/// The amount that one or more connections hold: several connections can read the same response.
#[derive(Debug)]
struct Holding {
    amount: usize,
    clients: Vec<Arc<ConnectionTimer>>,
    /// Its connections are being closed.
    closing: bool,
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// Idle connections are being closed to make room.
    Closing,
    Full,
}

impl Budget {
    pub(super) fn new(limit: SharedLimit, total: usize, counts: Arc<HttpCounts>) -> Arc<Self> {
        Self::with_min_idle(limit, total, MIN_IDLE, counts)
    }

    pub(super) fn with_min_idle(
        limit: SharedLimit,
        total: usize,
        min_idle: Duration,
        counts: Arc<HttpCounts>,
    ) -> Arc<Self> {
        Arc::new(Self { limit, total, min_idle, counts, holdings: Mutex::default() })
    }

    /// Takes `amount` for `client`. Holders with the same key share one amount; with `None`, the
    /// amount is the client's own.
    pub(super) fn try_take(
        self: &Arc<Self>,
        key: Option<usize>,
        amount: usize,
        client: &Arc<ConnectionTimer>,
    ) -> Option<Share> {
        self.attempt(key, amount, client, &mut 0)
            .map_err(|_| self.report(client.peer(), "refused"))
            .ok()
    }

    /// Like `try_take`, but waits for idle connections that are being closed.
    pub(super) async fn take(
        self: &Arc<Self>,
        key: Option<usize>,
        amount: usize,
        client: &Arc<ConnectionTimer>,
    ) -> Option<Share> {
        let mut held = 0;
        for _ in 0..CLOSING_CHECKS {
            match self.attempt(key, amount, client, &mut held) {
                Ok(share) => return Some(share),
                Err(Refused::Closing) => sleep(CLOSING_INTERVAL).await,
                Err(Refused::Full) => break,
            }
        }
        self.report(client.peer(), "refused");
        None
    }

    fn attempt(
        self: &Arc<Self>,
        key: Option<usize>,
        amount: usize,
        client: &Arc<ConnectionTimer>,
        held: &mut usize,
    ) -> Result<Share, Refused> {
        let mut holdings = self.lock();
        let key = key.unwrap_or_else(|| holdings.own_key());
        if let Some(holding) = holdings.by_key.get_mut(&key) {
            holding.clients.push(client.clone());
            holding.closing = false;
        } else {
            self.make_room(&mut holdings, amount, client, held)?;
            let holding = Holding { amount, clients: vec![client.clone()], closing: false };
            holdings.by_key.insert(key, holding);
        }
        Ok(Share { budget: self.clone(), key, client: client.clone() })
    }

    /// Closes idle connections until `amount` fits into the share of the peer and into the total. A
    /// peer above its share exchanges an idle connection for the new one; `held` is the most that it
    /// has held since its first attempt.
    fn make_room(
        &self,
        holdings: &mut Holdings,
        amount: usize,
        client: &ConnectionTimer,
        held: &mut usize,
    ) -> Result<(), Refused> {
        let peer = client.peer();
        loop {
            let (used, closing) = (holdings.used(), holdings.closing());
            let by_peer = holdings.by_peer();
            let own = by_peer.get(&peer).copied().unwrap_or(0);
            let others = by_peer.len() - usize::from(own > 0);
            *held = own.max(*held);
            let over_share = own > 0 && own + amount > self.share(others).max(*held);
            let kept = used - closing;
            if !over_share && (kept == 0 || kept + amount <= self.total) {
                break;
            }
            let idle = holdings.idlest(self.min_idle, &by_peer, over_share.then_some(peer));
            let Some(idle) = idle.filter(|_| closing <= self.max_closing()) else {
                return Err(if closing > 0 { Refused::Closing } else { Refused::Full });
            };
            idle.closing = true;
            for client in &idle.clients {
                client.close_for_newcomer();
            }
            let holder = idle.clients.first().map_or(peer, |client| client.peer());
            self.report_locked(holdings, holder, "closed");
        }
        let excess = (holdings.used() + amount).saturating_sub(self.total);
        if excess > self.max_closing() && holdings.closing() > 0 {
            return Err(Refused::Closing);
        }
        Ok(())
    }

    /// How much one peer may hold beside `others` other peers.
    fn share(&self, others: usize) -> usize {
        if others == 0 { self.total - self.total / 4 } else { self.total / (others + 2) }
    }

    /// By how much connections that are being closed may exceed the total: a few connections, but no
    /// bytes of responses.
    fn max_closing(&self) -> usize {
        if self.limit == SharedLimit::Connections { MAX_CLOSING } else { 0 }
    }

    fn report(&self, peer: Peer, action: &'static str) {
        self.report_locked(&mut self.lock(), peer, action);
    }

    fn report_locked(&self, holdings: &mut Holdings, peer: Peer, action: &'static str) {
        self.counts.limited(self.limit, action == "closed");
        if holdings.reported.is_some_and(|at| at.elapsed() < REPORT_INTERVAL) {
            return;
        }
        holdings.reported = Some(Instant::now());
        let (limit, total) = (self.limit.name(), self.total);
        tracing::warn!(limit, total, %peer, action, "clients reached a shared limit of the web server");
    }

    fn lock(&self) -> MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> usize {
        self.total
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.lock().used()
    }
}

impl Holdings {
    /// A key that no other holding has; a budget has keys of one kind.
    fn own_key(&mut self) -> usize {
        self.next_key = self.next_key.wrapping_add(1);
        self.next_key
    }

    fn used(&self) -> usize {
        self.by_key.values().map(|holding| holding.amount).sum()
    }

    fn closing(&self) -> usize {
        self.by_key.values().filter(|it| it.closing).map(|holding| holding.amount).sum()
    }

    /// The amount that each peer holds; connections that are being closed do not count.
    fn by_peer(&self) -> HashMap<Peer, usize> {
        let mut by_peer = HashMap::new();
        for holding in self.by_key.values().filter(|holding| !holding.closing) {
            let mut peers: Vec<Peer> = holding.clients.iter().map(|it| it.peer()).collect();
            peers.sort_unstable();
            peers.dedup();
            for peer in peers {
                *by_peer.entry(peer).or_default() += holding.amount;
            }
        }
        by_peer
    }

    /// Of the peers that hold most, or of `only`, the holding that has been idle for longest.
    fn idlest(
        &mut self,
        min_idle: Duration,
        by_peer: &HashMap<Peer, usize>,
        only: Option<Peer>,
    ) -> Option<&mut Holding> {
        let candidates = self.by_key.values_mut().filter(|holding| !holding.closing);
        let rank = |holding: &Holding| {
            let clients = &holding.clients;
            if only.is_some_and(|only| clients.iter().any(|client| client.peer() != only)) {
                return None;
            }
            let idle = clients.iter().map(|it| it.idle()).min()??;
            let held = clients.iter().filter_map(|client| by_peer.get(&client.peer())).min()?;
            (idle >= min_idle).then_some((*held, idle))
        };
        let ranked = candidates.filter_map(|holding| Some((rank(holding)?, holding)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, holding)| holding)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut holdings = self.budget.lock();
        let Some(holding) = holdings.by_key.get_mut(&self.key) else { return };
        let own = holding.clients.iter().position(|client| Arc::ptr_eq(client, &self.client));
        if let Some(own) = own {
            holding.clients.swap_remove(own);
        }
        if holding.clients.is_empty() {
            holdings.by_key.remove(&self.key);
        }
    }
}

/// A limit that is reached all the time is logged once per minute.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The end of a connection that is closed for a newcomer takes far less than the product of these.
const CLOSING_CHECKS: u32 = 40;
const CLOSING_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::super::timeouts::HttpVersion;
    use super::*;

    fn budget(total: usize) -> Arc<Budget> {
        Budget::new(SharedLimit::UnreadBytes, total, Arc::default())
    }

    fn client(peer: u32) -> Arc<ConnectionTimer> {
        let timer = ConnectionTimer::new(Peer::User(peer), &Limits::default());
        timer.begin(HttpVersion::Http1);
        timer
    }

    /// Whether the connection is to be closed now.
    async fn closed(client: &ConnectionTimer) -> bool {
        tokio::time::timeout(Duration::from_millis(1), client.expired()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn peer_alone_gets_three_quarters_and_leaves_room_for_others() {
        let budget = budget(40);
        let take = |peer| budget.try_take(None, 1, &client(peer));
        let first: Vec<_> = (0..40).map_while(|_| take(1)).collect();
        assert_eq!(first.len(), 30);
        let second: Vec<_> = (0..40).map_while(|_| take(2)).collect();
        assert_eq!(second.len(), 10);
        assert!(take(3).is_none(), "all are in use");
        drop(first);
        // both ask again: a third of the total remains for a newcomer
        let first: Vec<_> = (0..40).map_while(|_| take(1)).collect();
        assert_eq!(first.len(), 13);
        let third: Vec<_> = (0..40).map_while(|_| take(3)).collect();
        assert_eq!(third.len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn newcomer_replaces_idlest_client_of_largest_peer() {
        let budget = budget(4);
        let (mut clients, mut shares) = (Vec::new(), Vec::new());
        for peer in [1, 1, 1, 2] {
            clients.push(client(peer));
            shares.push(budget.try_take(None, 1, &clients[clients.len() - 1]).unwrap());
            tokio::time::advance(MIN_IDLE / 8).await;
        }
        let newcomer = client(3);
        assert!(budget.try_take(None, 1, &newcomer).is_none(), "no peer has been idle for long");
        tokio::time::advance(MIN_IDLE).await;
        let working = clients[0].start_response();
        assert!(budget.try_take(None, 1, &newcomer).is_none(), "not before the other has ended");
        for (client, expected) in clients.iter().zip([false, true, false, false]) {
            assert_eq!(closed(client).await, expected);
        }
        drop((shares.remove(1), working));
        assert!(budget.try_take(None, 1, &newcomer).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_until_the_replaced_client_has_ended() {
        let budget = budget(8);
        let slow = client(1);
        let share = budget.try_take(None, 8, &slow).unwrap();
        tokio::time::advance(MIN_IDLE).await;
        let connection = tokio::spawn(async move {
            slow.expired().await;
            drop(share);
        });
        assert!(budget.take(None, 6, &client(2)).await.is_some());
        connection.await.unwrap();
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_above_its_share_replaces_its_own_idle_client() {
        let budget = budget(4);
        let (old, other) = (client(1), client(2));
        let _old = budget.try_take(None, 1, &old).unwrap();
        let _other = budget.try_take(None, 1, &other).unwrap();
        tokio::time::advance(MIN_IDLE).await;
        let connections = Budget::new(SharedLimit::Connections, 4, Arc::clone(&budget.counts));
        let _held: Vec<_> = [&old, &other].map(|it| connections.try_take(None, 1, it)).into();
        let newcomer = connections.try_take(None, 1, &client(1));
        assert!(newcomer.is_some(), "a few closing connections may exceed the total");
        assert!(closed(&old).await && !closed(&other).await);
        let closed = budget.counts.by_limit().find(|it| it.0 == ("connections", "closed"));
        assert_eq!(closed.map(|(_, count)| count), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn counts_a_shared_amount_once_until_its_last_holder_is_done() {
        let budget = budget(10);
        let first = budget.try_take(Some(7), 6, &client(1)).unwrap();
        let second = budget.try_take(Some(7), 6, &client(2)).unwrap();
        assert_eq!(budget.used(), 6);
        assert!(budget.try_take(Some(8), 6, &client(3)).is_none());
        drop(first);
        assert!(budget.try_take(Some(8), 6, &client(3)).is_none());
        drop(second);
        assert!(budget.try_take(Some(8), 60, &client(3)).is_some(), "a single one is admitted");
        assert_eq!(budget.used(), 0);
    }
}
