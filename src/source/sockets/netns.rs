//! Listeners in private network namespaces, which sock_diag does not report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::stat;

use super::endpoint::Protocol;
use super::fair_limit::{ListenerKey, SocketTally};
use super::filter::ListenerFilter;
use super::holders::{UnitsByPath, pids};
use super::proc_net;
use crate::source::Error;

/// A network namespace other than the exporter's.
#[derive(Debug)]
pub(super) struct NetworkNamespace<'a> {
    /// The units with processes in it.
    units: BTreeSet<Option<&'a Arc<str>>>,
    pub(super) listeners: Vec<(ListenerKey<()>, SocketTally)>,
}

impl<'a> NetworkNamespace<'a> {
    /// The unit of every listener in it; `None` if several units share it, or processes of no unit.
    pub(super) fn only_unit(&self) -> Option<&'a Arc<str>> {
        let mut units = self.units.iter();
        match (units.next(), units.next()) {
            (Some(unit), None) => *unit,
            _ => None,
        }
    }
}

/// The namespaces of all processes, but for the exporter's own, with their listeners. A service may
/// enter one below its main process, and a container's manager stays outside.
pub(super) fn read<'a>(
    filter: &ListenerFilter,
    units: &UnitsByPath<'a>,
    deadline: Instant,
) -> Result<Vec<NetworkNamespace<'a>>, Error> {
    let own = namespace(filter, "self")
        .ok_or_else(|| Error::Unavailable("cannot read /proc/self/net/tcp".into()))?;
    let mut others: BTreeMap<u64, (String, BTreeSet<_>)> = BTreeMap::new();
    for pid in pids(filter.proc()).take(MAX_PROCESSES) {
        if Instant::now() >= deadline {
            return Err(Error::Late);
        }
        let pid = pid.to_string();
        let Some(namespace) = namespace(filter, &pid).filter(|namespace| *namespace != own) else {
            continue;
        };
        let unit = units.of_process(&filter.proc().join(&pid));
        others.entry(namespace).or_insert_with(|| (pid, BTreeSet::new())).1.insert(unit);
    }
    let mut namespaces = Vec::new();
    for (pid, units) in others.into_values().take(MAX_NAMESPACES) {
        let mut listeners = Vec::new();
        for protocol in Protocol::ALL {
            let table = filter.table(&pid, protocol);
            if let Some(found) = proc_net::listeners(&table, protocol, filter, || (), deadline)? {
                listeners.extend(found.finish().0);
            }
        }
        namespaces.push(NetworkNamespace { units, listeners });
    }
    Ok(namespaces)
}

/// Identifies a process's network namespace without any privilege: files below /proc/PID/net have
/// other inode numbers in each. `None` if the process has exited.
fn namespace(filter: &ListenerFilter, pid: &str) -> Option<u64> {
    stat(filter.table(pid, Protocol::Tcp)).ok().map(|stat| stat.st_ino)
}

/// Processes whose namespaces are looked up, about 10 µs each.
const MAX_PROCESSES: usize = 50_000;

/// Namespaces that are read, about 10 ms each.
const MAX_NAMESPACES: usize = 200;
