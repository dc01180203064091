//! Listeners of services that have a network namespace of their own, which sock_diag does not see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::stat;

use super::endpoint::Protocol;
use super::fair_limit::{Key, Tally};
use super::filter::Wanted;
use super::proc_net;
use crate::source::Error;

/// Gives `found` every listener in the namespaces of `main_pids` other than this process's own,
/// and its unit: `None` in a namespace that several units share.
pub(super) fn read(
    main_pids: &[(Arc<str>, u32)],
    wanted: &Wanted,
    deadline: Instant,
    mut found: impl FnMut(Option<&Arc<str>>, Key<()>, Tally),
) -> Result<(), Error> {
    let own = namespace(wanted, "self")
        .ok_or_else(|| Error::Unavailable("/proc/self/net/tcp is not to be seen".into()))?;
    let mut others: BTreeMap<u64, Vec<(&Arc<str>, u32)>> = BTreeMap::new();
    for (unit, pid) in main_pids {
        match namespace(wanted, &pid.to_string()) {
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
            let table = wanted.table(&pid, protocol);
            if let Some(listeners) = proc_net::listeners(&table, protocol, wanted, || (), deadline)?
            {
                for (key, tally) in listeners.finish().0 {
                    found(unit, key, tally);
                }
            }
        }
    }
    Ok(())
}

/// What tells a process's network namespace from others, without any privilege: each has files
/// of its own below /proc/PID/net. `None` if the process is gone.
fn namespace(wanted: &Wanted, pid: &str) -> Option<u64> {
    stat(wanted.table(pid, Protocol::Tcp)).ok().map(|stat| stat.st_ino)
}
