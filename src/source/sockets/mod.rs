//! Listening sockets by unit: one netlink dump for all of them, with the cgroup that each was made in.
//!
//! The kernel reports for every inet socket the inode number of the cgroup it was made in
//! (Linux ≥ 5.8), without any privilege and without a look at a single process.

mod cgroup_owners;
mod drops;
mod endpoint;
mod expected;
mod fair_limit;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod holders;
mod netlink;
mod netns;
mod proc_net;
mod reading;
mod sock_diag;
mod socket_activation;
mod udp_servers;
mod unit_listeners;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::statfs;

pub use crate::source::sockets::endpoint::Protocol;
pub use crate::source::sockets::expected::{Expectation, ParseExpectationError};
pub use crate::source::sockets::reading::{Connections, Listener, ListenerReading, UnixListener};
pub use crate::source::sockets::socket_activation::SocketUnit;

use super::Error;
use crate::source::sockets::cgroup_owners::CgroupOwners;
use crate::source::sockets::drops::DropTotals;
use crate::source::sockets::endpoint::Address;
use crate::source::sockets::fair_limit::{FairLimit, ListenerKey, SocketTally};
use crate::source::sockets::filter::ListenerFilter;
use crate::source::sockets::holders::{SocketHolders, UnitsByPath};
use crate::source::sockets::sock_diag::{ConnectionCounts, SockDiag};
use crate::source::sockets::socket_activation::{Activation, SocketToService};
use crate::source::sockets::udp_servers::UdpSockets;
use crate::source::sockets::unit_listeners::UnitListeners;

/// Which sockets are read, and the limit of their number.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// The mount point of cgroup v2; see [`cgroup2_mount`].
    pub cgroup_root: PathBuf,
    /// `/proc`, for what sock_diag does not report.
    pub proc: PathBuf,
    /// The maximum number of listeners. Each unit's first ones come first, and among those the
    /// ports of `expected`.
    pub max: usize,
    /// Whether to read the unix listeners that socket units name.
    pub unix: bool,
    /// Whether to count connections by unit and state.
    pub connections: bool,
    /// Whether to read the private network namespaces of services.
    pub namespaces: bool,
    /// The listeners that should exist.
    pub expected: Vec<Arc<Expectation>>,
}

impl Default for SocketOptions {
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

/// The units of PID 1, as far as listeners need them. A listener of a unit that is not among them
/// has no unit.
#[derive(Clone, Debug, Default)]
pub struct ListenerInput {
    /// Whether PID 1 has listed its units, of which none may be exported.
    pub is_listed: bool,
    /// Units with a control group: the name, and the group's path below the cgroup root (D-Bus
    /// `ControlGroup`).
    pub units: Vec<(Arc<str>, Arc<str>)>,
    /// Socket units.
    pub sockets: Vec<SocketUnit>,
    /// The primary names of expected units that are expected by another name.
    pub primary: BTreeMap<Arc<str>, Arc<str>>,
}

/// Reads listeners; between readings it keeps the units of cgroups and the totals of drops.
#[derive(Debug)]
pub struct Listeners {
    options: SocketOptions,
    owners: CgroupOwners,
    services: SocketToService,
    drops: DropTotals,
    holders: SocketHolders,
    udp: UdpSockets,
    buffer: Vec<u8>,
}

impl Listeners {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(mut options: SocketOptions) -> Self {
        let owners = CgroupOwners::new(options.cgroup_root.clone());
        let expected = std::mem::take(&mut options.expected);
        let holders = SocketHolders::new(options.proc.clone());
        let mut listeners = Self {
            options,
            owners,
            holders,
            udp: UdpSockets::default(),
            services: SocketToService::default(),
            drops: DropTotals::default(),
            buffer: vec![0; sock_diag::BUFFER_SIZE],
        };
        listeners.expect(expected);
        listeners
    }

    /// Replaces the expected listeners.
    pub fn expect(&mut self, mut expected: Vec<Arc<Expectation>>) {
        let mut before = BTreeSet::new();
        expected.retain(|expected| before.insert(expected.to_string()));
        self.options.expected = expected;
    }

    /// Reads all listeners. Blocks for about 0.1 ms, 1 ms at 1,000 listeners.
    ///
    /// Where the kernel refuses netlink, listeners come from the tables in /proc, and
    /// [`ListenerReading::degraded`] has the reason.
    ///
    /// # Errors
    /// Those of the kernel, and [`Error::Late`] at the deadline.
    pub fn read(
        &mut self,
        input: &ListenerInput,
        deadline: Instant,
    ) -> Result<ListenerReading, Error> {
        let Self { options, owners, services, drops, holders, udp, buffer } = self;
        services.update(&input.sockets);
        let activation = Activation::new(&input.sockets, services);
        let filter = ListenerFilter::new(options, &activation, udp.begin(Instant::now()));
        let mut reading = ListenerReading::default();
        let diag = reading.unless_unavailable(SockDiag::open(deadline))?;
        let mut dump = Dump { diag: diag.as_ref(), filter: &filter, buffer, deadline };

        let (by_cgroup, truncated) = dump.listeners(|cgroup| cgroup, &mut reading)?.finish();
        if options.unix {
            reading.unix = dump.unix(&activation, &mut reading)?;
        }
        let mut connections = None;
        if options.connections {
            connections = dump.connections(&mut reading)?;
        }

        // The tables in /proc have no cgroups: to read them again by unit would change nothing.
        let repeat = truncated > 0 && diag.is_some();
        let cgroups = cgroups_of(&by_cgroup, connections.as_ref());
        if let Err(error) = owners.learn(&cgroups, repeat, &input.units, deadline) {
            reading.degrade(error.to_string());
        }
        if input.units.is_empty() && !input.is_listed {
            reading.degrade(NO_UNITS);
        }
        if !by_cgroup.is_empty() && by_cgroup.iter().all(|(key, _)| key.owner.is_none()) {
            reading.degrade(NO_CGROUPS);
        }

        let units = UnitsByPath::new(&input.units);
        let mut namespaces = Vec::new();
        if options.namespaces {
            match netns::read(&filter, &units, deadline) {
                Ok(read) => namespaces = read,
                Err(error) => reading.degrade(error.to_string()),
            }
        }
        let gone: BTreeSet<_> = cgroups.into_iter().filter(|id| !owners.exists(*id)).collect();
        let is_gone = |cgroup: Option<u64>| cgroup.is_some_and(|cgroup| gone.contains(&cgroup));
        let orphans = by_cgroup.iter().filter(|(key, _)| is_gone(key.owner));
        let shared = namespaces.iter().filter(|namespace| namespace.only_unit().is_none());
        let shared = shared.flat_map(|namespace| &namespace.listeners);
        let orphans = orphans.map(|(_, tally)| tally).chain(shared.map(|(_, tally)| tally));
        holders.learn(&orphans.filter_map(|tally| tally.inode).collect(), &units, deadline);
        if let Some(counts) = connections {
            let gone = by_cgroup.iter().filter(|(key, _)| is_gone(key.owner));
            let held =
                gone.filter_map(|(key, tally)| Some((key.owner?, holders.of(tally.inode?)?)));
            reading.connections = Some(by_unit(counts, &held.collect(), owners, services));
        }

        let maker = |cgroup: Option<u64>| owners.of(cgroup?).cloned();
        let (by_maker, truncated) = if repeat {
            // A user may make any number of cgroups, and each would have its share of the limit.
            dump.listeners(maker, &mut reading)?.finish()
        } else {
            let by_maker = by_cgroup.into_iter().map(|(key, mut tally)| {
                tally.is_orphan = is_gone(key.owner);
                let maker = maker(key.owner);
                (key.owned_by(maker), tally)
            });
            (by_maker.collect(), truncated)
        };

        let mut by_unit =
            UnitListeners::new(filter.unit_limit(), &options.expected, &input.primary);
        for (key, tally) in by_maker {
            let holder = tally.inode.filter(|_| tally.is_orphan).and_then(|id| holders.of(id));
            by_unit.add_activated(key, tally, holder, &activation);
        }
        for namespace in namespaces {
            let only_unit = namespace.only_unit();
            for (key, mut tally) in namespace.listeners {
                let holder = || holders.of(tally.inode?);
                let unit = only_unit.or_else(holder).cloned();
                tally.is_orphan = unit.is_none();
                by_unit.add(key.owned_by(unit), tally);
            }
        }

        if reading.degraded.is_none() {
            reading.expected = by_unit.found(&options.expected);
        }
        let (listeners, truncated_by_unit) = by_unit.listeners.finish();
        reading.truncated = truncated + truncated_by_unit;
        let totals = drops.add(&listeners);
        let listeners = listeners.into_iter().zip(totals);
        reading.listeners = listeners
            .map(|((key, tally), drops)| listener(key, tally, drops, diag.as_ref()))
            .collect();
        udp.end(filter.udp);
        Ok(reading)
    }
}

/// The dumps of one reading, from sock_diag or, without it, from /proc.
struct Dump<'a> {
    diag: Option<&'a SockDiag>,
    filter: &'a ListenerFilter,
    buffer: &'a mut [u8],
    deadline: Instant,
}

impl<'a> Dump<'a> {
    /// Listeners of every protocol by the owner of the cgroup that they were made in, which /proc
    /// does not report.
    fn listeners<O: Ord>(
        &mut self,
        owner_of: impl Fn(Option<u64>) -> O,
        reading: &mut ListenerReading,
    ) -> Result<FairLimit<'a, O>, Error> {
        let Self { diag, filter, deadline, .. } = *self;
        let mut all = filter.dump_limit();
        for protocol in Protocol::ALL {
            let table = filter.table("self", protocol);
            let mut part = None;
            if let Some(diag) = diag {
                part = match diag.listeners(protocol, self.buffer, filter, &owner_of, deadline) {
                    // A kernel without IPv6 has neither its dumps nor its tables.
                    Err(Error::Unavailable(_)) if !table.exists() => continue,
                    listeners => reading.unless_unavailable(listeners)?,
                }
            }
            if part.is_none() {
                part = proc_net::listeners(&table, protocol, filter, || owner_of(None), deadline)?;
            }
            if let Some(part) = part {
                all.append(part);
            }
        }
        Ok(all)
    }

    /// The unix listeners that socket units name; `None` without sock_diag.
    fn unix(
        &mut self,
        activation: &Activation<'_>,
        reading: &mut ListenerReading,
    ) -> Result<Option<Vec<UnixListener>>, Error> {
        let Some(diag) = self.diag else { return Ok(None) };
        reading.unless_unavailable(diag.unix(self.buffer, activation, self.deadline))
    }

    /// TCP connections by cgroup and state; `None` without sock_diag.
    fn connections(
        &mut self,
        reading: &mut ListenerReading,
    ) -> Result<Option<ConnectionCounts>, Error> {
        let Some(diag) = self.diag else { return Ok(None) };
        reading.unless_unavailable(diag.connections(self.buffer, self.deadline))
    }
}

/// The cgroups of listeners and of connections.
fn cgroups_of(
    listeners: &[(ListenerKey<Option<u64>>, SocketTally)],
    connections: Option<&ConnectionCounts>,
) -> BTreeSet<u64> {
    let listening = listeners.iter().filter_map(|(key, _)| key.owner);
    let connected = connections.into_iter().flat_map(BTreeMap::keys).map(|(cgroup, _)| *cgroup);
    listening.chain(connected).collect()
}

/// Connections by unit and state. A connection has the cgroup of its listener: `held` are the units of
/// listeners whose cgroup no longer exists.
fn by_unit(
    counts: ConnectionCounts,
    held: &BTreeMap<u64, &Arc<str>>,
    owners: &CgroupOwners,
    services: &SocketToService,
) -> Vec<Connections> {
    let mut by_unit: BTreeMap<_, u64> = BTreeMap::new();
    for ((cgroup, state), count) in counts {
        let maker = || owners.of(cgroup).map(|maker| services.of(maker));
        let unit = held.get(&cgroup).copied().or_else(maker).cloned();
        *by_unit.entry((unit, state)).or_default() += count;
    }
    let by_unit = by_unit.into_iter();
    by_unit.map(|((unit, state), count)| Connections { unit, state, count }).collect()
}

/// A listener with its address as text and the total of its drops.
fn listener(
    key: ListenerKey<Option<Arc<str>>>,
    tally: SocketTally,
    drops: Option<u64>,
    diag: Option<&SockDiag>,
) -> Listener {
    let interface = match key.address {
        Address::Link(ip, index) => diag.and_then(|diag| diag.interface(index)).zip(Some(ip)),
        _ => None,
    };
    Listener {
        address: match interface {
            Some((name, ip)) => format!("{ip}%{name}"),
            None => key.address.to_string(),
        },
        unit: key.owner,
        socket_unit: tally.socket_unit,
        protocol: key.protocol,
        port: key.port.to_string(),
        sockets: tally.sockets,
        accept_queue: tally.queue,
        accept_queue_limit: tally.limit,
        drops,
    }
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

const NO_CGROUPS: &str = "the kernel does not report the cgroups of sockets (Linux 5.8 or later is \
                          needed): listeners are exported without units";
const NO_UNITS: &str =
    "systemd has not reported any units yet: listeners are exported without units";
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
