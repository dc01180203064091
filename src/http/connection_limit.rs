//! How many connections there are, in all and by peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The connections being served.
#[derive(Debug)]
pub(super) struct Crowd {
    total: usize,
    per_peer: usize,
    held: Mutex<Held>,
}

/// A connection's place; leaving is dropping it.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    peer: Peer,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_peer: HashMap<Peer, usize>,
}

/// An IPv4 address, or the network of an IPv6 one: whoever has one address of a /64 has all.
type Peer = u64;

impl Crowd {
    pub(super) fn new(total: usize, per_peer: usize) -> Arc<Self> {
        Arc::new(Self { total, per_peer, held: Mutex::default() })
    }

    /// A place for a connection from `peer`, or `None` when there is none left for it.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = group(peer);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = held.by_peer.get(&peer).copied().unwrap_or(0);
        if held.total >= self.total || of_peer >= self.per_peer {
            return None;
        }
        held.total += 1;
        held.by_peer.insert(peer, of_peer + 1);
        Some(Place { crowd: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.crowd.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total -= 1;
        match held.by_peer.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.by_peer.remove(&self.peer)),
        }
    }
}

fn group(address: IpAddr) -> Peer {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d].into_iter().fold(0, |network, part| network << 16 | u64::from(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_has_its_share_and_the_others_theirs() {
        let crowd = Crowd::new(3, 2);
        let first = crowd.enter(ip("127.0.0.1"));
        let second = crowd.enter(ip("::ffff:127.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(crowd.enter(ip("127.0.0.1")).is_none(), "beyond its share");
        let other = crowd.enter(ip("127.0.0.2"));
        assert!(other.is_some());
        assert!(crowd.enter(ip("127.0.0.3")).is_none(), "beyond the total");
        drop(first);
        assert!(crowd.enter(ip("127.0.0.1")).is_some());
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer() {
        let crowd = Crowd::new(8, 1);
        let first = crowd.enter(ip("2001:db8::1"));
        assert!(first.is_some());
        assert!(crowd.enter(ip("2001:db8::ffff")).is_none());
        assert!(crowd.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let crowd = Crowd::new(8, 2);
        drop((crowd.enter(ip("127.0.0.1")), crowd.enter(ip("127.0.0.1"))));
        let held = crowd.held.lock().unwrap();
        assert_eq!((held.total, held.by_peer.len()), (0, 0));
    }
}
