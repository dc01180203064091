//! What stays open from one pass over the units to the next, within a budget of descriptors.
//!
//! Opening and closing a file costs several times what reading it does, and a file kept open costs
//! the kernel a little over a page of memory. All that is kept takes at most half of the descriptors
//! that this process may have.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::path::Arg;
use rustix::process::{Resource, getrlimit};

use super::file::{Buffer, open};

/// Open files by what they are of. A pass takes those of the pass before and keeps them again, or
/// new ones while there is room; what it does not come to is closed.
#[derive(Debug)]
pub(crate) struct Held<K, V> {
    budget: usize,
    /// How many are open, as far as they are counted in `OPEN`.
    open: usize,
    kept: HashMap<K, V>,
    /// What the pass before kept and this one has not yet come to.
    before: HashMap<K, V>,
}

/// How many descriptors a value holds.
pub(crate) trait Weight {
    fn weight(&self) -> usize;
}

impl Weight for OwnedFd {
    fn weight(&self) -> usize {
        1
    }
}

impl<T> Weight for Vec<(T, OwnedFd)> {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl<K: Eq + Hash, V: Weight> Held<K, V> {
    /// Holds up to so many descriptors.
    pub(crate) fn new(descriptors: usize) -> Self {
        Self { budget: descriptors, open: 0, kept: HashMap::new(), before: HashMap::new() }
    }

    /// Begins a pass.
    pub(crate) fn start(&mut self) {
        std::mem::swap(&mut self.before, &mut self.kept);
        self.kept.clear();
        self.count(self.before.values().map(Weight::weight).sum());
    }

    /// What the pass before kept.
    pub(crate) fn take<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.before.remove(key)
    }

    /// Whether one more descriptor may be kept, which is then counted.
    pub(crate) fn has_room(&mut self) -> bool {
        let room = self.open < self.budget && OPEN.load(Ordering::Relaxed) < most();
        if room {
            self.count(self.open + 1);
        }
        room
    }

    /// Keeps what was taken, or what there was room for.
    pub(crate) fn keep(&mut self, key: K, value: V) {
        self.kept.insert(key, value);
    }

    /// Ends the pass: what was not come to is closed, unless the pass was cut short.
    pub(crate) fn finish(&mut self, cut_short: bool) {
        if cut_short {
            self.kept.extend(self.before.drain());
        }
        self.before.clear();
        self.count(self.kept.values().map(Weight::weight).sum());
    }
}

impl<K, V> Held<K, V> {
    fn count(&mut self, open: usize) {
        OPEN.fetch_add(open, Ordering::Relaxed);
        OPEN.fetch_sub(self.open, Ordering::Relaxed);
        self.open = open;
    }
}

impl<K, V> Drop for Held<K, V> {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl<K: Eq + Hash> Held<K, OwnedFd> {
    /// Reads the file `name` in `directory` into the buffer, and says how long it is; `None` as in
    /// [`Buffer::read`]. What was kept open under `key` is of that file, or of one that has gone.
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub(crate) fn read(
        &mut self,
        key: K,
        directory: impl AsFd,
        name: impl Arg,
        buffer: &mut Buffer,
    ) -> rustix::io::Result<Option<usize>> {
        if let Some(file) = self.take(&key)
            && let Some(length) = buffer.fill(&file)?
        {
            self.keep(key, file);
            return Ok(Some(length));
        }
        let Some(file) = open(directory, name)? else { return Ok(None) };
        let length = buffer.fill(&file)?;
        if length.is_some() && self.has_room() {
            self.keep(key, file);
        }
        Ok(length)
    }
}

/// How many descriptors may be kept open in all.
fn most() -> usize {
    let allowed = getrlimit(Resource::Nofile).current;
    let allowed = allowed.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    allowed.saturating_sub(RESERVE) / 2
}

/// A process has one table of descriptors, whoever keeps some.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Descriptors that everything else may need, of which there must always be some.
const RESERVE: usize = 64;
