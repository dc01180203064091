//! Files that stay open from one pass over the units to the next, within a budget of descriptors.
//!
//! Opening and closing a file takes several times as long as reading it; an open file costs the
//! kernel a little over a page of memory. At least half of the descriptors of this process, or a
//! thousand, remain for everything else.

mod file_pair;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};

pub(crate) use file_pair::{FilePair, OpenFilePair, PairContent};

/// Open files by key. A pass takes the entries of the previous pass and keeps them again, or adds
/// new ones while there is room; entries that it does not keep are closed.
#[derive(Debug)]
pub(crate) struct FdCache<K, V> {
    /// Descriptors that this cache may hold.
    budget: usize,
    /// Descriptors that all caches may hold, by the limit of this process at the start of the pass.
    process_limit: usize,
    /// Descriptors of this cache that are counted in `OPEN`.
    open: usize,
    kept: HashMap<K, V>,
    /// Entries of the previous pass that this pass has not yet taken.
    previous: HashMap<K, V>,
}

/// An entry of an [`FdCache`].
pub(crate) trait Descriptors {
    /// How many descriptors the entry holds.
    fn descriptors(&self) -> usize;
}

impl<T> Descriptors for Vec<(T, OwnedFd)> {
    fn descriptors(&self) -> usize {
        self.len()
    }
}

impl<K: Eq + Hash, V: Descriptors> FdCache<K, V> {
    /// A cache that holds up to `budget` descriptors.
    pub(crate) fn new(budget: usize) -> Self {
        let (kept, previous) = (HashMap::new(), HashMap::new());
        Self { budget, process_limit: 0, open: 0, kept, previous }
    }

    /// Begins a pass.
    pub(crate) fn start_pass(&mut self) {
        self.process_limit = process_limit();
        if OPEN.load(Ordering::Relaxed) < self.process_limit / 2 {
            IS_SHORT_OF_FDS.store(false, Ordering::Relaxed);
        }
        std::mem::swap(&mut self.previous, &mut self.kept);
        self.kept.clear();
        self.count(self.previous.values().map(Descriptors::descriptors).sum());
    }

    /// Takes an entry of the previous pass.
    pub(crate) fn take<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.previous.remove(key)
    }

    /// Keeps an entry of the previous pass, if there is one, without reading it.
    pub(crate) fn keep_open(&mut self, key: &K) {
        self.kept.extend(self.previous.remove_entry(key));
    }

    /// Reserves `more` descriptors; false if there is no room for them.
    pub(crate) fn reserve(&mut self, more: usize) -> bool {
        let all = OPEN.load(Ordering::Relaxed);
        let room = self.open + more <= self.budget && all + more <= self.process_limit;
        if room {
            self.count(self.open + more);
        } else if all + more > self.process_limit {
            IS_SHORT_OF_FDS.store(true, Ordering::Relaxed);
        }
        room
    }

    /// Keeps an entry that was taken, or whose descriptors were reserved.
    pub(crate) fn keep(&mut self, key: K, value: V) {
        self.kept.insert(key, value);
    }

    /// Ends the pass and closes entries that were not taken, unless the pass was cut short.
    pub(crate) fn finish_pass(&mut self, cut_short: bool) {
        if cut_short {
            self.kept.extend(self.previous.drain());
        }
        self.previous.clear();
        self.count(self.kept.values().map(Descriptors::descriptors).sum());
    }
}

impl<K, V> FdCache<K, V> {
    fn count(&mut self, open: usize) {
        OPEN.fetch_add(open, Ordering::Relaxed);
        OPEN.fetch_sub(self.open, Ordering::Relaxed);
        self.open = open;
    }
}

impl<K, V> Drop for FdCache<K, V> {
    fn drop(&mut self) {
        self.count(0);
    }
}

/// How many descriptors all caches may hold.
fn process_limit() -> usize {
    let allowed = getrlimit(Resource::Nofile).current;
    let allowed = allowed.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let allowed = allowed.saturating_sub(RESERVE);
    allowed - (allowed / 2).min(CONNECTIONS)
}

/// Descriptors held by all caches: a process has one table of descriptors.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Whether descriptors ran out; false again once a pass starts with fewer than half of them in use.
static IS_SHORT_OF_FDS: AtomicBool = AtomicBool::new(false);

/// Descriptors that are never used for caches.
const RESERVE: usize = 64;

/// Descriptors left to connections, if there are enough: twice the limit of connections.
const CONNECTIONS: usize = 1024;
