//! Listeners in the private network namespaces of services, which sock_diag does not report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::stat;

use super::endpoint::Protocol;
use super::fair_limit::{ListenerKey, SocketTally};
use super::filter::ListenerFilter;
use super::proc_net;
use crate::source::Error;

/// Calls `found` for every listener in the namespaces of `main_pids` other than this process's own,
/// with its unit: `None` in a namespace that several units share.
pub(super) fn read(
    main_pids: &[(Arc<str>, u32)],
    filter: &ListenerFilter,
    deadline: Instant,
    mut found: impl FnMut(Option<&Arc<str>>, ListenerKey<()>, SocketTally),
) -> Result<(), Error> {
    let own = namespace(filter, "self")
        .ok_or_else(|| Error::Unavailable("cannot read /proc/self/net/tcp".into()))?;
    let mut others: BTreeMap<u64, Vec<(&Arc<str>, u32)>> = BTreeMap::new();
    for (unit, pid) in main_pids {
        match namespace(filter, &pid.to_string()) {
            Some(namespace) if namespace != own => {
                others.entry(namespace).or_default().push((unit, *pid));
            }
            _ => {}
        }
    }
    for units in others.values() {
        let unit = if let [(unit, _)] = units[..] { Some(unit) } else { None };
        for protocol in Protocol::ALL {
            let pid = units[0].1.to_string();
            let table = filter.table(&pid, protocol);
            if let Some(listeners) = proc_net::listeners(&table, protocol, filter, || (), deadline)?
            {
                for (key, tally) in listeners.finish().0 {
                    found(unit, key, tally);
                }
            }
        }
    }
    Ok(())
}

/// Identifies a process's network namespace without any privilege: files below /proc/PID/net have
/// other inode numbers in each. `None` if the process has exited.
fn namespace(filter: &ListenerFilter, pid: &str) -> Option<u64> {
    stat(filter.table(pid, Protocol::Tcp)).ok().map(|stat| stat.st_ino)
}
