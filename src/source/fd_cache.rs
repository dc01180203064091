//! What stays open from one pass over the units to the next, within a budget of descriptors.
//!
//! Opening and closing a file costs several times what reading it does, and a file kept open costs
//! the kernel a little over a page of memory. What everything else may need of the descriptors that this
//! process may have, at least half or a thousand, is not taken.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, Stat, fstat, statat};
use rustix::path::Arg;
use rustix::process::{Resource, getrlimit};

use super::kernel_file::{Buffer, gone, open, open_path};

/// Open files by what they are of. A pass takes those of the pass before and keeps them again, or
/// new ones while there is room; what it does not come to is closed.
#[derive(Debug)]
pub(crate) struct Held<K, V> {
    budget: usize,
    /// How many may be open in all, by the limit of this process as it is in this pass.
    most: usize,
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

impl<T> Weight for Vec<(T, OwnedFd)> {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl<K: Eq + Hash, V: Weight> Held<K, V> {
    /// Holds up to so many descriptors.
    pub(crate) fn new(descriptors: usize) -> Self {
        let (kept, before) = (HashMap::new(), HashMap::new());
        Self { budget: descriptors, most: 0, open: 0, kept, before }
    }

    /// Begins a pass.
    pub(crate) fn start(&mut self) {
        self.most = most();
        if OPEN.load(Ordering::Relaxed) < self.most / 2 {
            SHORT.store(false, Ordering::Relaxed);
        }
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

    /// Whether so many more descriptors may be kept, which are then counted.
    pub(crate) fn has_room(&mut self, more: usize) -> bool {
        let all = OPEN.load(Ordering::Relaxed);
        let room = self.open + more <= self.budget && all + more <= self.most;
        if room {
            self.count(self.open + more);
        } else if all + more > self.most {
            SHORT.store(true, Ordering::Relaxed);
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

impl<K: Eq + Hash> Held<K, Pair> {
    /// Looks at a place whose files may be kept open under `key`: they are its own, or those of one that
    /// has gone. `None` if it has gone.
    ///
    /// # Errors
    /// As [`Buffer::read`], of the file.
    pub(crate) fn look(
        &mut self,
        key: K,
        place: Place<'_, impl Arg + Copy>,
        buffer: &mut Buffer,
    ) -> rustix::io::Result<Option<Look>> {
        // where not all can be kept, files are: walking a path costs less than opening
        let short = SHORT.load(Ordering::Relaxed);
        if let Some(mut kept) = self.take(&key) {
            if short && kept.directory.take().is_some() {
                self.count(self.open - 1);
            }
            if let Some(look) = kept.look(place, buffer)? {
                self.keep(key, kept);
                return Ok(Some(look));
            }
        }
        let ample = !short && self.open < self.budget / 2;
        let Some(pair) = Pair::open(place, ample)? else { return Ok(None) };
        let look = pair.look(place, buffer)?;
        if look.is_some() && self.has_room(pair.weight()) {
            self.keep(key, pair);
        }
        Ok(look)
    }
}

/// A file, and a directory whose own state says more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a, P> {
    /// What both paths are beneath.
    pub(crate) root: &'a OwnedFd,
    pub(crate) directory: P,
    pub(crate) file: P,
}

/// What they say.
#[derive(Debug)]
pub(crate) struct Look {
    /// The directory's state; `None` if it cannot be had.
    pub(crate) directory: Option<Stat>,
    /// How much of the buffer is what the file holds.
    pub(crate) length: usize,
}

impl<P: Arg + Copy> Place<'_, P> {
    /// Looks at it once: first at the directory.
    ///
    /// # Errors
    /// As [`Buffer::read`], of the file.
    pub(crate) fn look(self, buffer: &mut Buffer) -> rustix::io::Result<Option<Look>> {
        let pair = Pair::open(self, false)?;
        pair.map_or(Ok(None), |pair| pair.look(self, buffer))
    }
}

/// A place that is open.
#[derive(Debug)]
pub(crate) struct Pair {
    directory: Option<OwnedFd>,
    file: OwnedFd,
}

impl Pair {
    fn open(place: Place<'_, impl Arg + Copy>, both: bool) -> rustix::io::Result<Option<Self>> {
        let directory =
            if both { open_path(place.root, place.directory).ok().flatten() } else { None };
        let file = open(place.root, place.file)?;
        Ok(file.map(|file| Self { directory, file }))
    }

    fn look(
        &self,
        place: Place<'_, impl Arg + Copy>,
        buffer: &mut Buffer,
    ) -> rustix::io::Result<Option<Look>> {
        let directory = match &self.directory {
            Some(directory) => fstat(directory),
            None => statat(place.root, place.directory, AtFlags::empty()),
        };
        if self.directory.is_some() && directory.is_err_and(gone) {
            return Ok(None);
        }
        let length = buffer.fill(&self.file)?;
        Ok(length.map(|length| Look { directory: directory.ok(), length }))
    }
}

impl Weight for Pair {
    fn weight(&self) -> usize {
        1 + usize::from(self.directory.is_some())
    }
}

/// How many descriptors may be kept open in all.
fn most() -> usize {
    let allowed = getrlimit(Resource::Nofile).current;
    let allowed = allowed.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let allowed = allowed.saturating_sub(RESERVE);
    allowed - (allowed / 2).min(CONNECTIONS)
}

/// A process has one table of descriptors, whoever keeps some.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Whether there was no room for some, and has not been ample since.
static SHORT: AtomicBool = AtomicBool::new(false);

/// Descriptors that everything else may need, of which there must always be some.
const RESERVE: usize = 64;

/// Descriptors left to connections where there are enough: twice as many as are served at once.
const CONNECTIONS: usize = 1024;
