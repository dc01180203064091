//! Listening sockets by unit: one netlink dump for all of them, with the cgroup that made each.
//!
//! The kernel tells of every inet socket the inode number of the cgroup it was made in
//! (Linux ≥ 5.8), without any privilege and without a look at a single process.

mod cgroup_owners;
mod drops;
mod endpoint;
mod expected;
mod fair_limit;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod netlink;
mod netns;
mod proc_net;
mod reading;
mod sock_diag;
mod socket_activation;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::statfs;

pub use crate::source::sockets::endpoint::Protocol;
pub use crate::source::sockets::expected::{Expectation, NotAnExpectation};
pub use crate::source::sockets::reading::{Connections, Listener, Reading, UnixListener};
pub use crate::source::sockets::socket_activation::SocketUnit;

use super::Error;
use crate::source::sockets::cgroup_owners::Owners;
use crate::source::sockets::drops::Drops;
use crate::source::sockets::endpoint::Address;
use crate::source::sockets::fair_limit::{Gathered, Key, Tally};
use crate::source::sockets::filter::Wanted;
use crate::source::sockets::sock_diag::Diag;
use crate::source::sockets::socket_activation::{Activation, Started};

/// What to read, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where cgroup v2 is mounted; see [`cgroup2_mount`].
    pub cgroup_root: PathBuf,
    /// `/proc`, for what sock_diag does not tell.
    pub proc: PathBuf,
    /// The most listeners to tell of. Each unit's first ones come first, and among those the
    /// ports of `expected`.
    pub max: usize,
    /// Whether to read the unix listeners that socket units name.
    pub unix: bool,
    /// Whether to count connections by unit and state.
    pub connections: bool,
    /// Whether to look into the network namespaces of services that have one of their own.
    pub namespaces: bool,
    /// Who ought to listen.
    pub expected: Vec<Arc<Expectation>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cgroup_root: cgroup2_mount(),
            proc: PathBuf::from("/proc"),
            max: 1000,
            unix: false,
            connections: false,
            namespaces: false,
            expected: Vec::new(),
        }
    }
}

/// What PID 1 says of units, as far as listeners need it. A listener of a unit that is not among
/// them is no unit's.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Units with a control group: the name, and the group's path below the cgroup root (D-Bus
    /// `ControlGroup`).
    pub units: Vec<(Arc<str>, Arc<str>)>,
    /// Socket units.
    pub sockets: Vec<SocketUnit>,
    /// Main processes by unit, for [`Options::namespaces`] alone.
    pub main_pids: Vec<(Arc<str>, u32)>,
}

/// Reads listeners, and remembers between readings which cgroup is whose and what was dropped.
#[derive(Debug)]
pub struct Listeners {
    options: Options,
    owners: Owners,
    started: Started,
    drops: Drops,
    buffer: Vec<u8>,
}

impl Listeners {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(mut options: Options) -> Self {
        let mut before = BTreeSet::new();
        options.expected.retain(|expected| before.insert(expected.to_string()));
        let owners = Owners::new(options.cgroup_root.clone());
        Self {
            options,
            owners,
            started: Started::default(),
            drops: Drops::default(),
            buffer: vec![0; sock_diag::BUFFER],
        }
    }

    /// Reads all listeners. Blocks for about 0.1 ms, 1 ms at 1,000 listeners.
    ///
    /// Where the kernel refuses netlink, the tables in /proc tell what they can, and
    /// [`Reading::degraded`] says why.
    pub fn read(&mut self, input: &Input, deadline: Instant) -> Result<Reading, Error> {
        self.started.learn(&input.sockets);
        let activation = Activation::new(&input.sockets, &self.started);
        let wanted = Wanted::new(&self.options, &activation);
        let mut reading = Reading::default();
        let diag = reading.unless_unavailable(Diag::open(deadline))?;

        let (by_cgroup, truncated) = dumped(
            diag.as_ref(),
            &wanted,
            &mut self.buffer,
            |cgroup| cgroup,
            deadline,
            &mut reading,
        )?
        .finish();
        let mut connections = None;
        if let Some(diag) = &diag {
            if self.options.unix {
                let unix = diag.unix(&mut self.buffer, &activation, deadline);
                reading.unix = reading.unless_unavailable(unix)?;
            }
            if self.options.connections {
                let counted = diag.connections(&mut self.buffer, deadline);
                connections = reading.unless_unavailable(counted)?;
            }
        }

        let made_in = by_cgroup.iter().filter_map(|(key, _)| key.owner);
        let connected = connections.iter().flat_map(BTreeMap::keys).map(|(cgroup, _)| *cgroup);
        let cgroups = made_in.chain(connected).collect();
        // where /proc tells of them, nothing tells whose they are
        let part = truncated > 0 && diag.is_some();
        if let Err(error) = self.owners.learn(&cgroups, part, &input.units, deadline) {
            reading.degraded.get_or_insert(error.to_string());
        }
        reading.connections = connections.map(|by_cgroup| self.connections(by_cgroup));

        if input.units.is_empty() {
            reading.degraded.get_or_insert(NO_UNITS.into());
        }
        if !by_cgroup.is_empty() && by_cgroup.iter().all(|(key, _)| key.owner.is_none()) {
            reading.degraded.get_or_insert(NO_CGROUPS.into());
        }
        let owners = &self.owners;
        let maker = |cgroup: Option<u64>| cgroup.and_then(|cgroup| owners.of(cgroup)).cloned();
        let (by_maker, truncated) = if part {
            // a user may make any number of cgroups, and each would have its share of the room
            dumped(diag.as_ref(), &wanted, &mut self.buffer, maker, deadline, &mut reading)?
                .finish()
        } else {
            let known = by_cgroup.into_iter().map(|(key, tally)| {
                let maker = maker(key.owner);
                (key.owned_by(maker), tally)
            });
            (known.collect(), truncated)
        };
        let mut missing = self.options.expected.clone();
        let mut by_unit = wanted.by_unit();
        for (key, mut tally) in by_maker {
            let maker = key.owner.as_ref();
            let owner = activation.owner(maker, key.protocol, key.address, key.port);
            tally.socket_unit = owner.socket_unit;
            let key = key.owned_by(owner.unit);
            missing.retain(|expected| !expected.is_met_by(&key, tally.socket_unit.as_ref()));
            by_unit.add(key, tally);
        }
        if self.options.namespaces {
            let read = netns::read(&input.main_pids, &wanted, deadline, |unit, key, tally| {
                let key = key.owned_by(unit.cloned());
                missing.retain(|expected| !expected.is_met_by(&key, None));
                by_unit.add(key, tally);
            });
            if let Err(error) = read {
                reading.degraded.get_or_insert(error.to_string());
            }
        }
        let (listeners, truncated_later) = by_unit.finish();
        reading.truncated = truncated + truncated_later;
        reading.listeners = self.told(listeners, diag.as_ref());
        if reading.degraded.is_none() {
            let expected = self.options.expected.iter();
            reading.expected = expected.map(|e| (e.clone(), missing.contains(e))).collect();
        }
        Ok(reading)
    }

    fn connections(&self, by_cgroup: BTreeMap<(u64, &'static str), u64>) -> Vec<Connections> {
        let mut by_unit: BTreeMap<_, u64> = BTreeMap::new();
        for ((cgroup, state), count) in by_cgroup {
            let unit = self.owners.of(cgroup).map(|maker| self.started.by(maker).clone());
            *by_unit.entry((unit, state)).or_default() += count;
        }
        let by_unit = by_unit.into_iter();
        by_unit.map(|((unit, state), count)| Connections { unit, state, count }).collect()
    }

    /// Listeners as they are told of: addresses as text, and drops as totals.
    fn told(
        &mut self,
        listeners: Vec<(Key<Option<Arc<str>>>, Tally)>,
        diag: Option<&Diag>,
    ) -> Vec<Listener> {
        let drops = self.drops.add(&listeners);
        let listeners = listeners.into_iter().zip(drops).map(|((key, tally), drops)| Listener {
            address: match key.address {
                Address::Link(ip, interface) => {
                    match diag.and_then(|diag| diag.interface(interface)) {
                        Some(name) => format!("{ip}%{name}"),
                        None => key.address.to_string(),
                    }
                }
                address => address.to_string(),
            },
            unit: key.owner,
            socket_unit: tally.socket_unit,
            protocol: key.protocol,
            port: key.port.to_string(),
            sockets: tally.sockets,
            accept_queue: tally.queue,
            accept_queue_limit: tally.limit,
            drops,
        });
        listeners.collect()
    }
}

/// Listeners of every protocol by whose the cgroup is that they were made in: from sock_diag, or
/// from /proc, which tells of no cgroup, where that is not to be had.
fn dumped<'a, O: Ord>(
    diag: Option<&Diag>,
    wanted: &'a Wanted,
    buffer: &mut [u8],
    whose: impl Fn(Option<u64>) -> O,
    deadline: Instant,
    reading: &mut Reading,
) -> Result<Gathered<'a, O>, Error> {
    let mut all = wanted.dumped();
    for protocol in Protocol::ALL {
        let mut part = None;
        if let Some(diag) = diag {
            let listeners = diag.listeners(protocol, buffer, wanted, &whose, deadline);
            part = match listeners {
                // A kernel without IPv6 has neither its dumps nor its tables.
                Err(Error::Unavailable(_)) if !wanted.table("self", protocol).exists() => continue,
                listeners => reading.unless_unavailable(listeners)?,
            }
        }
        if part.is_none() {
            let table = wanted.table("self", protocol);
            part = proc_net::listeners(&table, protocol, wanted, || whose(None), deadline)?;
        }
        if let Some(part) = part {
            all.append(part);
        }
    }
    Ok(all)
}

/// Where cgroup v2 is mounted: at `/sys/fs/cgroup`, or below it on a hybrid host.
#[must_use]
pub fn cgroup2_mount() -> PathBuf {
    let hybrid = Path::new("/sys/fs/cgroup/unified");
    match statfs(hybrid) {
        Ok(stat) if stat.f_type == CGROUP2_SUPER_MAGIC => hybrid.to_owned(),
        _ => PathBuf::from("/sys/fs/cgroup"),
    }
}

const NO_CGROUPS: &str =
    "the kernel tells no cgroups of sockets (Linux 5.8 does): listeners are known without units";
const NO_UNITS: &str = "systemd has told of no units yet: listeners are known without units";
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
