//! The virtual machines and containers that are registered with systemd-machined.

use std::sync::Arc;

use zbus::wire::OwnedObjectPath;

use super::{Daemon, DaemonClient, MAX_OBJECTS, Properties, text};
use crate::source::Error;
use crate::systemd::unit::value::{InternedStr, intern};

/// The machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machines {
    /// The running machines, sorted by name, without the host.
    pub machines: Vec<Machine>,
    /// Machines beyond the limit, which were not read.
    pub left_out: usize,
}

/// A virtual machine or container.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The name.
    pub name: String,
    /// `Class`: vm or container.
    pub class: InternedStr,
    /// `Service`: the registrant, such as nspawn or libvirt-qemu.
    pub service: InternedStr,
    /// `State`: opening, running, closing.
    pub state: InternedStr,
}

/// Reads the machines.
///
/// systemd-machined exits while there are no machines. If it does not run but can be activated, there
/// are none.
pub async fn read(client: Arc<DaemonClient>) -> Result<Machines, Error> {
    let peer = match client.find(MACHINED).await {
        Err(_) if client.is_activatable(MACHINED).await? => return Ok(Machines::default()),
        found => found?,
    };
    let listed = machines(peer.call(PATH, MANAGER, "ListMachines", &()).await?);
    let left_out = listed.len().saturating_sub(MAX_OBJECTS);
    let mut all = Machines { machines: Vec::new(), left_out };
    for row in listed.into_iter().take(MAX_OBJECTS) {
        let properties = peer.properties(&row.3, MACHINE).await?;
        all.machines.extend(machine(row, &properties.unwrap_or_default()));
    }
    Ok(all)
}

/// A machine in `ListMachines`: name, class, service, object path.
pub(super) type MachineRow = (String, String, String, OwnedObjectPath);

/// The machines to read, each name once.
pub(super) fn machines(mut listed: Vec<MachineRow>) -> Vec<MachineRow> {
    // ".host" is the host itself
    listed.retain(|(name, ..)| !name.starts_with('.'));
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    listed.dedup_by(|a, b| a.0 == b.0);
    listed
}

/// A machine; `None` if it no longer exists, and so has no properties.
pub(super) fn machine(
    (name, class, service, _): MachineRow,
    properties: &Properties,
) -> Option<Machine> {
    let state = intern(text(properties, "State")?);
    Some(Machine { name, class: intern(&class), service: intern(&service), state })
}

const MACHINED: Daemon = Daemon {
    name: "org.freedesktop.machine1",
    title: "systemd-machined",
    remedy: "install systemd-container, or remove --collector.machined",
    permission: "run the exporter as root, or remove --collector.machined",
};

const PATH: &str = "/org/freedesktop/machine1";
const MANAGER: &str = "org.freedesktop.machine1.Manager";
const MACHINE: &str = "org.freedesktop.machine1.Machine";
