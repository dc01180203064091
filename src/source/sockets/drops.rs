//! Drops added up over the sockets a listener has had: the kernel's number restarts with each.

use std::collections::HashMap;
use std::sync::Arc;

use super::fair_limit::{Identity, Key, Tally};

/// What was dropped so far, by listener and by socket.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// The kernel's number at the last reading, of the sockets that have dropped something.
    sockets: HashMap<Identity, u32>,
    /// Only of listeners that have dropped something.
    totals: HashMap<Key<Option<Arc<str>>>, Total>,
    reading: u64,
}

#[derive(Debug)]
struct Total {
    drops: u64,
    /// The reading that saw the listener last.
    seen: u64,
}

impl Drops {
    /// Adds what this reading's listeners dropped since the last one, and gives each one's total
    /// in turn; `None` where the kernel does not tell.
    pub(super) fn add(&mut self, listeners: &[(Key<Option<Arc<str>>>, Tally)]) -> Vec<Option<u64>> {
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
        self.forget();
        totals
    }

    /// Bounds the totals of listeners that are gone: those gone longest are forgotten.
    fn forget(&mut self) {
        let gone = |total: &Total| total.seen != self.reading;
        if self.totals.values().filter(|total| gone(total)).count() <= REMEMBERED {
            return;
        }
        let mut seen: Vec<u64> =
            self.totals.values().filter(|total| gone(total)).map(|total| total.seen).collect();
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = seen[REMEMBERED / 2];
        self.totals.retain(|_, total| total.seen > oldest);
    }
}

/// How many listeners that are gone keep their total.
const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::source::sockets::endpoint::{Address, Protocol};

    #[test]
    fn a_total_goes_on_where_the_socket_is_made_anew() {
        let mut drops = Drops::default();
        assert_eq!(drops.add(&[listener(80, &[(1, 5)])]), [Some(5)]);
        assert_eq!(drops.add(&[listener(80, &[(1, 7)])]), [Some(7)]);
        assert_eq!(drops.add(&[listener(80, &[])]), [Some(7)]);
        assert_eq!(drops.add(&[]), []);
        assert_eq!(drops.add(&[listener(80, &[(2, 1)])]), [Some(8)]);
    }

    #[test]
    fn workers_on_one_port_add_up_and_one_that_ends_takes_nothing_back() {
        let mut drops = Drops::default();
        assert_eq!(drops.add(&[listener(80, &[(1, 5), (2, 5)])]), [Some(10)]);
        assert_eq!(drops.add(&[listener(80, &[(2, 6), (3, 1)])]), [Some(12)]);
    }

    #[test]
    fn the_kernels_number_may_wrap() {
        let mut drops = Drops::default();
        drops.add(&[listener(80, &[(1, u32::MAX)])]);
        assert_eq!(drops.add(&[listener(80, &[(1, 1)])]), [Some(u64::from(u32::MAX) + 2)]);
    }

    #[test]
    fn what_the_kernel_does_not_tell_stays_unknown() {
        let (key, mut tally) = listener(80, &[]);
        tally.drops = None;
        assert_eq!(Drops::default().add(&[(key, tally)]), [None]);
    }

    #[test]
    fn a_churn_of_dropping_listeners_is_forgotten_in_time() {
        let mut drops = Drops::default();
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
            assert!(drops.totals.len() <= REMEMBERED + 1000);
            assert!(drops.sockets.len() <= 1000);
        }
    }

    fn listener(port: u16, drops: &[(u64, u32)]) -> (Key<Option<Arc<str>>>, Tally) {
        let key = Key {
            owner: None,
            protocol: Protocol::Tcp,
            port,
            address: Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let mut tally = Tally::one(Identity::Cookie(0), Some(0));
        tally.drops =
            Some(drops.iter().map(|&(cookie, drops)| (Identity::Cookie(cookie), drops)).collect());
        (key, tally)
    }
}
