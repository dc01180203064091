//! Merges the sockets of one owner on one address and port into a listener, and limits the number of
//! listeners fairly and deterministically.

use std::mem;
use std::sync::Arc;

use super::endpoint::{Address, Protocol};

/// The identity of a listener: sockets with equal keys are one. `O` is the owner: a cgroup's id while
/// the dump is read, then a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ListenerKey<O> {
    pub(super) owner: O,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) address: Address,
}

impl<O> ListenerKey<O> {
    pub(super) fn owned_by<P>(self, owner: P) -> ListenerKey<P> {
        ListenerKey { owner, protocol: self.protocol, port: self.port, address: self.address }
    }
}

/// The sum over a listener's sockets. `None` where the kernel does not report the value.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SocketTally {
    pub(super) sockets: u64,
    /// The socket unit that made one of them; of several, the first by name.
    pub(super) socket_unit: Option<Arc<str>>,
    /// The inode number of one of the sockets; `None` for sockets of the kernel.
    pub(super) inode: Option<u64>,
    /// Whether the unit cannot be determined, unlike that of a socket that no unit has.
    pub(super) is_orphan: bool,
    pub(super) queue: Option<u64>,
    pub(super) limit: Option<u64>,
    /// The sockets that have dropped something, and the number since each was made.
    pub(super) drops: Option<Vec<(SocketId, u32)>>,
}

/// Identifies a socket among all of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SocketId {
    /// The socket's cookie.
    Cookie(u64),
    /// The socket's inode number, where it was read from /proc.
    Inode(u64),
}

impl SocketTally {
    /// The tally of one socket.
    pub(super) fn one(identity: SocketId, inode: u64, drops: Option<u32>) -> Self {
        let drops = drops.map(|drops| match drops {
            0 => Vec::new(),
            drops => vec![(identity, drops)],
        });
        Self {
            sockets: 1,
            inode: Some(inode).filter(|inode| *inode != 0),
            drops,
            ..Self::default()
        }
    }

    fn merge(&mut self, other: Self) {
        self.sockets += other.sockets;
        self.socket_unit = match (self.socket_unit.take(), other.socket_unit) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        self.inode = self.inode.or(other.inode);
        self.is_orphan |= other.is_orphan;
        self.queue = self.queue.zip(other.queue).map(|(a, b)| a + b);
        self.limit = self.limit.zip(other.limit).map(|(a, b)| a + b);
        match (&mut self.drops, other.drops) {
            (Some(ours), Some(theirs)) => ours.extend(theirs),
            (ours, _) => *ours = None,
        }
    }
}

/// A bounded collection of listeners.
///
/// Listeners are kept in rounds: the first of every owner, then the second of every owner, and so on.
/// An owner with many listeners thus displaces no listener of an owner with few, and the result does
/// not depend on the order of insertion.
#[derive(Debug)]
pub(super) struct FairLimit<'a, O> {
    max: usize,
    /// Ports that come first among those of their owner, sorted.
    preferred: &'a [u16],
    listeners: Vec<(ListenerKey<O>, SocketTally)>,
    truncated: u64,
}

impl<'a, O: Ord> FairLimit<'a, O> {
    pub(super) fn new(max: usize, preferred: &'a [u16]) -> Self {
        Self { max, preferred, listeners: Vec::new(), truncated: 0 }
    }

    pub(super) fn add(&mut self, key: ListenerKey<O>, tally: SocketTally) {
        self.listeners.push((key, tally));
        if self.listeners.len() > self.max.saturating_mul(2).max(4096) {
            self.compact();
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.truncated += other.truncated;
        for (key, tally) in other.listeners {
            self.add(key, tally);
        }
    }

    /// The listeners in order, and the number of sockets that exceeded the limit.
    pub(super) fn finish(mut self) -> (Vec<(ListenerKey<O>, SocketTally)>, u64) {
        self.compact();
        (self.listeners, self.truncated)
    }

    fn compact(&mut self) {
        let preferred = self.preferred;
        let is_ordinary = |key: &ListenerKey<O>| preferred.binary_search(&key.port).is_err();
        self.listeners.sort_unstable_by(|(a, _), (b, _)| {
            let owner = a.owner.cmp(&b.owner);
            owner.then_with(|| is_ordinary(a).cmp(&is_ordinary(b))).then_with(|| a.cmp(b))
        });
        self.listeners.dedup_by(|(later, tally), (key, sum)| {
            let same = later == key;
            if same {
                sum.merge(mem::take(tally));
            }
            same
        });
        if self.listeners.len() > self.max {
            self.truncate();
        }
    }

    /// Keeps whole rounds while there is room; the rest of the room goes to the first owners of the
    /// next round.
    fn truncate(&mut self) {
        let rounds = rounds(&self.listeners);
        let mut round_sizes = Vec::new();
        for &round in &rounds {
            if round == round_sizes.len() {
                round_sizes.push(0_usize);
            }
            round_sizes[round] += 1;
        }
        let (mut last_round, mut room) = (0, self.max);
        while round_sizes.get(last_round).is_some_and(|&listeners| listeners <= room) {
            room -= round_sizes[last_round];
            last_round += 1;
        }

        let mut rounds = rounds.into_iter();
        let mut truncated = 0;
        self.listeners.retain(|(_, tally)| {
            let round = rounds.next().unwrap_or(usize::MAX);
            let keep = round < last_round || (round == last_round && room > 0);
            if round == last_round && keep {
                room -= 1;
            }
            if !keep {
                truncated += tally.sockets;
            }
            keep
        });
        self.truncated += truncated;
    }
}

/// For each of the sorted listeners, the number of the same owner before it.
fn rounds<O: PartialEq>(listeners: &[(ListenerKey<O>, SocketTally)]) -> Vec<usize> {
    let mut rounds = Vec::with_capacity(listeners.len());
    let mut round = 0;
    for (at, (key, _)) in listeners.iter().enumerate() {
        let same_owner = at > 0 && listeners[at - 1].0.owner == key.owner;
        round = if same_owner { round + 1 } else { 0 };
        rounds.push(round);
    }
    rounds
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sockets_on_one_port_are_one_listener() {
        let mut listeners = FairLimit::new(10, &[]);
        for (cookie, drops) in [(1, 0), (2, 5), (3, 7)] {
            let mut tally = SocketTally::one(SocketId::Cookie(cookie), cookie, Some(drops));
            (tally.queue, tally.limit) = (Some(1), Some(128));
            listeners.add(key(1, 80), tally);
        }
        let expected = SocketTally {
            sockets: 3,
            socket_unit: None,
            inode: Some(1),
            is_orphan: false,
            queue: Some(3),
            limit: Some(384),
            drops: Some(vec![(SocketId::Cookie(2), 5), (SocketId::Cookie(3), 7)]),
        };
        let (mut listeners, truncated) = listeners.finish();
        listeners[0].1.inode = Some(1);
        listeners[0].1.drops.as_mut().unwrap().sort_by_key(|(_, drops)| *drops);
        assert_eq!((listeners, truncated), (vec![(key(1, 80), expected)], 0));
    }

    #[test]
    fn owner_with_many_listeners_displaces_no_other() {
        let mut listeners = FairLimit::new(10, &[]);
        for port in 0..20_000 {
            listeners.add(key(1, port), one());
        }
        for owner in 2..=5 {
            listeners.add(key(owner, 80), one());
        }
        let (listeners, truncated) = listeners.finish();
        let owners: Vec<u32> = listeners.iter().map(|(key, _)| key.owner).collect();
        assert_eq!(owners, [1, 1, 1, 1, 1, 1, 2, 3, 4, 5]);
        assert_eq!(truncated, 19_994);
    }

    #[test]
    fn preferred_ports_are_kept_first() {
        let mut listeners = FairLimit::new(2, &[6001]);
        for port in [1, 2, 6001] {
            listeners.add(key(1, port), one());
        }
        let (listeners, _) = listeners.finish();
        let ports: Vec<u16> = listeners.iter().map(|(key, _)| key.port).collect();
        assert_eq!(ports, [6001, 1]);
    }

    proptest! {
        #[test]
        fn result_is_independent_of_order_and_compaction(
            sockets in prop::collection::vec((0_u32..6, 0_u16..12), 0..200),
            max in 0_usize..30,
            pieces in 1_usize..20,
        ) {
            let at_once = kept(max, [sockets.as_slice()]);
            let mut reversed = sockets.clone();
            reversed.reverse();
            prop_assert_eq!(&kept(max, reversed.chunks(pieces)), &at_once);
            prop_assert!(at_once.0.len() <= max);
            let kept: u64 = at_once.0.iter().map(|(_, sockets)| sockets).sum();
            prop_assert_eq!(kept + at_once.1, sockets.len() as u64);
        }
    }

    type Kept = (Vec<(ListenerKey<u32>, u64)>, u64);

    fn kept<'a>(max: usize, pieces: impl IntoIterator<Item = &'a [(u32, u16)]>) -> Kept {
        let mut all = FairLimit::new(max, &[]);
        for piece in pieces {
            for &(owner, port) in piece {
                all.add(key(owner, port), one());
            }
            all.compact();
        }
        let (listeners, truncated) = all.finish();
        (listeners.into_iter().map(|(key, tally)| (key, tally.sockets)).collect(), truncated)
    }

    fn key(owner: u32, port: u16) -> ListenerKey<u32> {
        let address = Address::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        ListenerKey { owner, protocol: Protocol::Tcp, port, address }
    }

    fn one() -> SocketTally {
        SocketTally::one(SocketId::Cookie(0), 0, Some(0))
    }
}
