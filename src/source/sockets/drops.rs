//! Sums of drops over all sockets that a listener has had: the kernel counts from 0 for each socket.

use std::collections::HashMap;
use std::sync::Arc;

use super::fair_limit::{ListenerKey, SocketId, SocketTally};

/// Drops so far, by listener and by socket.
#[derive(Debug, Default)]
pub(super) struct DropTotals {
    /// The kernel's counters at the last reading, of the sockets that have dropped something.
    sockets: HashMap<SocketId, u32>,
    /// Only of listeners that have dropped something.
    totals: HashMap<ListenerKey<Option<Arc<str>>>, Total>,
    reading: u64,
}

#[derive(Debug)]
struct Total {
    drops: u64,
    /// The reading that saw the listener last.
    seen: u64,
}

impl DropTotals {
    /// Adds the drops of this reading's listeners since the last one, and returns the total of each
    /// in order; `None` where the kernel does not report drops.
    pub(super) fn add(
        &mut self,
        listeners: &[(ListenerKey<Option<Arc<str>>>, SocketTally)],
    ) -> Vec<Option<u64>> {
        self.reading += 1;
        let mut sockets = HashMap::with_capacity(self.sockets.len());
        let totals = listeners
            .iter()
            .map(|(key, tally)| {
                let dropping = tally.drops.as_ref()?;
                if let Some(total) = self.totals.get_mut(key) {
                    for (socket, drops) in dropping {
                        let before = self.sockets.get(socket).copied().unwrap_or(0);
                        total.drops += u64::from(drops.wrapping_sub(before));
                    }
                    total.seen = self.reading;
                } else if !dropping.is_empty() {
                    let drops = dropping.iter().map(|&(_, drops)| u64::from(drops)).sum();
                    self.totals.insert(key.clone(), Total { drops, seen: self.reading });
                }
                sockets.extend(dropping.iter().copied());
                Some(self.totals.get(key).map_or(0, |total| total.drops))
            })
            .collect();
        self.sockets = sockets;
        self.evict();
        totals
    }

    /// Bounds the totals of listeners that no longer exist: the oldest are removed.
    fn evict(&mut self) {
        let gone = |total: &Total| total.seen != self.reading;
        if self.totals.values().filter(|total| gone(total)).count() <= MAX_STALE_TOTALS {
            return;
        }
        let mut seen: Vec<u64> =
            self.totals.values().filter(|total| gone(total)).map(|total| total.seen).collect();
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = seen[MAX_STALE_TOTALS / 2];
        self.totals.retain(|_, total| total.seen > oldest);
    }
}

/// The maximum number of totals of listeners that no longer exist.
const MAX_STALE_TOTALS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::source::sockets::endpoint::{Address, Protocol};

    #[test]
    fn total_continues_when_the_socket_is_made_again() {
        let mut drops = DropTotals::default();
        assert_eq!(drops.add(&[listener(80, &[(1, 5)])]), [Some(5)]);
        assert_eq!(drops.add(&[listener(80, &[(1, 7)])]), [Some(7)]);
        assert_eq!(drops.add(&[listener(80, &[])]), [Some(7)]);
        assert_eq!(drops.add(&[]), []);
        assert_eq!(drops.add(&[listener(80, &[(2, 1)])]), [Some(8)]);
    }

    #[test]
    fn total_does_not_decrease_when_a_socket_is_closed() {
        let mut drops = DropTotals::default();
        assert_eq!(drops.add(&[listener(80, &[(1, 5), (2, 5)])]), [Some(10)]);
        assert_eq!(drops.add(&[listener(80, &[(2, 6), (3, 1)])]), [Some(12)]);
    }

    #[test]
    fn total_grows_when_the_kernels_counter_wraps() {
        let mut drops = DropTotals::default();
        drops.add(&[listener(80, &[(1, u32::MAX)])]);
        assert_eq!(drops.add(&[listener(80, &[(1, 1)])]), [Some(u64::from(u32::MAX) + 2)]);
    }

    #[test]
    fn total_is_absent_without_the_kernels_counter() {
        let (key, mut tally) = listener(80, &[]);
        tally.drops = None;
        assert_eq!(DropTotals::default().add(&[(key, tally)]), [None]);
    }

    #[test]
    fn totals_of_many_short_lived_listeners_are_bounded() {
        let mut drops = DropTotals::default();
        for round in 0..40_u64 {
            let listeners: Vec<_> =
                (0..1000).map(|at| listener(at, &[(round << 16 | u64::from(at), 1)])).collect();
            let renamed: Vec<_> = listeners
                .into_iter()
                .map(|(mut key, tally)| {
                    key.owner = Some(format!("{round}.service").into());
                    (key, tally)
                })
                .collect();
            drops.add(&renamed);
            assert!(drops.totals.len() <= MAX_STALE_TOTALS + 1000);
            assert!(drops.sockets.len() <= 1000);
        }
    }

    fn listener(port: u16, drops: &[(u64, u32)]) -> (ListenerKey<Option<Arc<str>>>, SocketTally) {
        let key = ListenerKey {
            owner: None,
            protocol: Protocol::Tcp,
            port,
            address: Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let mut tally = SocketTally::one(SocketId::Cookie(0), 0, Some(0));
        tally.drops =
            Some(drops.iter().map(|&(cookie, drops)| (SocketId::Cookie(cookie), drops)).collect());
        (key, tally)
    }
}
