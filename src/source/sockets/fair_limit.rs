//! Sockets into listeners: those of one owner on one address and port are one, and of too many
//! the same are kept every time.

use std::mem;
use std::sync::Arc;

use super::endpoint::{Address, Protocol};

/// What makes two sockets the same listener. `O` is whom they belong to: a cgroup's id while the
/// dump is read, then a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key<O> {
    pub(super) owner: O,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) address: Address,
}

impl<O> Key<O> {
    pub(super) fn owned_by<P>(self, owner: P) -> Key<P> {
        Key { owner, protocol: self.protocol, port: self.port, address: self.address }
    }
}

/// The sum over a listener's sockets. `None` where the kernel does not tell.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) sockets: u64,
    /// The socket unit that made one of them; of several the first by name.
    pub(super) socket_unit: Option<Arc<str>>,
    pub(super) queue: Option<u64>,
    pub(super) limit: Option<u64>,
    /// The sockets that have dropped something, and how much since they were made.
    pub(super) drops: Option<Vec<(Identity, u32)>>,
}

/// What tells one socket from all others of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// The socket's cookie.
    Cookie(u64),
    /// The socket's inode number, where only /proc tells of it.
    Inode(u64),
}

impl Tally {
    /// Of one socket.
    pub(super) fn one(identity: Identity, drops: Option<u32>) -> Self {
        let drops = drops.map(|drops| match drops {
            0 => Vec::new(),
            drops => vec![(identity, drops)],
        });
        Self { sockets: 1, drops, ..Self::default() }
    }

    fn absorb(&mut self, other: Self) {
        self.sockets += other.sockets;
        self.socket_unit = match (self.socket_unit.take(), other.socket_unit) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
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
/// Each owner keeps its first listeners before any owner keeps more of them, so that one that
/// listens everywhere crowds out nobody; which ones are kept does not depend on the order they
/// come in.
#[derive(Debug)]
pub(super) struct Gathered<'a, O> {
    max: usize,
    /// Ports that are the first of their owner to be kept, sorted.
    preferred: &'a [u16],
    listeners: Vec<(Key<O>, Tally)>,
    truncated: u64,
}

impl<'a, O: Ord> Gathered<'a, O> {
    pub(super) fn new(max: usize, preferred: &'a [u16]) -> Self {
        Self { max, preferred, listeners: Vec::new(), truncated: 0 }
    }

    pub(super) fn add(&mut self, key: Key<O>, tally: Tally) {
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

    /// The listeners in order, and how many sockets found no room among them.
    pub(super) fn finish(mut self) -> (Vec<(Key<O>, Tally)>, u64) {
        self.compact();
        (self.listeners, self.truncated)
    }

    fn compact(&mut self) {
        let preferred = self.preferred;
        let is_ordinary = |key: &Key<O>| preferred.binary_search(&key.port).is_err();
        self.listeners.sort_unstable_by(|(a, _), (b, _)| {
            let owner = a.owner.cmp(&b.owner);
            owner.then_with(|| is_ordinary(a).cmp(&is_ordinary(b))).then_with(|| a.cmp(b))
        });
        self.listeners.dedup_by(|(later, tally), (key, sum)| {
            let same = later == key;
            if same {
                sum.absorb(mem::take(tally));
            }
            same
        });
        if self.listeners.len() > self.max {
            self.truncate();
        }
    }

    /// Keeps the first listener of every owner, then the second of every owner, and so on while
    /// there is room; where it ends within a round, the first owners have it.
    fn truncate(&mut self) {
        let rounds = rounds(&self.listeners);
        let mut taking_part = Vec::new();
        for &round in &rounds {
            if round == taking_part.len() {
                taking_part.push(0_usize);
            }
            taking_part[round] += 1;
        }
        let (mut last_round, mut room) = (0, self.max);
        while taking_part.get(last_round).is_some_and(|&listeners| listeners <= room) {
            room -= taking_part[last_round];
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

/// For each of the sorted listeners how many of the same owner stand before it.
fn rounds<O: PartialEq>(listeners: &[(Key<O>, Tally)]) -> Vec<usize> {
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
    fn workers_on_one_port_are_one_listener() {
        let mut gathered = Gathered::new(10, &[]);
        for (cookie, drops) in [(1, 0), (2, 5), (3, 7)] {
            let mut tally = Tally::one(Identity::Cookie(cookie), Some(drops));
            (tally.queue, tally.limit) = (Some(1), Some(128));
            gathered.add(key(1, 80), tally);
        }
        let expected = Tally {
            sockets: 3,
            socket_unit: None,
            queue: Some(3),
            limit: Some(384),
            drops: Some(vec![(Identity::Cookie(2), 5), (Identity::Cookie(3), 7)]),
        };
        let (mut listeners, truncated) = gathered.finish();
        listeners[0].1.drops.as_mut().unwrap().sort_by_key(|(_, drops)| *drops);
        assert_eq!((listeners, truncated), (vec![(key(1, 80), expected)], 0));
    }

    #[test]
    fn one_owner_that_listens_everywhere_crowds_out_nobody() {
        let mut gathered = Gathered::new(10, &[]);
        for port in 0..20_000 {
            gathered.add(key(1, port), one());
        }
        for owner in 2..=5 {
            gathered.add(key(owner, 80), one());
        }
        let (listeners, truncated) = gathered.finish();
        let owners: Vec<u32> = listeners.iter().map(|(key, _)| key.owner).collect();
        assert_eq!(owners, [1, 1, 1, 1, 1, 1, 2, 3, 4, 5]);
        assert_eq!(truncated, 19_994);
    }

    #[test]
    fn an_owners_preferred_ports_are_the_first_it_keeps() {
        let mut gathered = Gathered::new(2, &[6001]);
        for port in [1, 2, 6001] {
            gathered.add(key(1, port), one());
        }
        let (listeners, _) = gathered.finish();
        let ports: Vec<u16> = listeners.iter().map(|(key, _)| key.port).collect();
        assert_eq!(ports, [6001, 1]);
    }

    proptest! {
        #[test]
        fn what_is_kept_depends_neither_on_order_nor_on_when_room_is_made(
            sockets in prop::collection::vec((0_u32..6, 0_u16..12), 0..200),
            max in 0_usize..30,
            pieces in 1_usize..20,
        ) {
            let at_once = kept(max, [sockets.as_slice()]);
            let mut reversed = sockets.clone();
            reversed.reverse();
            prop_assert_eq!(&kept(max, reversed.chunks(pieces)), &at_once);
            prop_assert!(at_once.0.len() <= max);
            let told: u64 = at_once.0.iter().map(|(_, sockets)| sockets).sum();
            prop_assert_eq!(told + at_once.1, sockets.len() as u64);
        }
    }

    type Kept = (Vec<(Key<u32>, u64)>, u64);

    fn kept<'a>(max: usize, pieces: impl IntoIterator<Item = &'a [(u32, u16)]>) -> Kept {
        let mut all = Gathered::new(max, &[]);
        for piece in pieces {
            for &(owner, port) in piece {
                all.add(key(owner, port), one());
            }
            all.compact();
        }
        let (listeners, truncated) = all.finish();
        (listeners.into_iter().map(|(key, tally)| (key, tally.sockets)).collect(), truncated)
    }

    fn key(owner: u32, port: u16) -> Key<u32> {
        let address = Address::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Key { owner, protocol: Protocol::Tcp, port, address }
    }

    fn one() -> Tally {
        Tally::one(Identity::Cookie(0), Some(0))
    }
}
