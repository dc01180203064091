//! The virtual machines and containers that are registered with systemd-machined.

use std::sync::Arc;

use zbus::wire::OwnedObjectPath;

use super::{Daemon, Daemons, MOST, Properties, text};
use crate::source::Error;
use crate::systemd::unit::value::{Word, word};

/// The machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machines {
    /// Those that run, in the order of their names; not the host itself.
    pub machines: Vec<Machine>,
    /// Machines that were not asked, there being so many.
    pub left_out: usize,
}

/// A virtual machine or container.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// `Class`: vm or container.
    pub class: Word,
    /// `Service`: who registered it, such as nspawn or libvirt-qemu.
    pub service: Word,
    /// `State`: opening, running, closing.
    pub state: Word,
}

/// Asks systemd-machined.
///
/// It ends by itself while there are no machines, so not running it is none, where it can be
/// started.
pub async fn read(daemons: Arc<Daemons>) -> Result<Machines, Error> {
    let peer = match daemons.find(MACHINED).await {
        Err(_) if daemons.can_be_started(MACHINED).await? => return Ok(Machines::default()),
        found => found?,
    };
    let listed = machines(peer.call(PATH, MANAGER, "ListMachines", &()).await?);
    let left_out = listed.len().saturating_sub(MOST);
    let mut all = Machines { machines: Vec::new(), left_out };
    for row in listed.into_iter().take(MOST) {
        let properties = peer.properties(&row.3, MACHINE).await?;
        all.machines.extend(machine(row, &properties.unwrap_or_default()));
    }
    Ok(all)
}

/// A machine as it is listed: its name, class and service, and the object that tells more.
pub(super) type Row = (String, String, String, OwnedObjectPath);

/// Those to be told, each name once.
pub(super) fn machines(mut listed: Vec<Row>) -> Vec<Row> {
    // ".host" is the host itself
    listed.retain(|(name, ..)| !name.starts_with('.'));
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    listed.dedup_by(|a, b| a.0 == b.0);
    listed
}

/// A machine; not one that has gone, which has no properties.
pub(super) fn machine((name, class, service, _): Row, properties: &Properties) -> Option<Machine> {
    let state = word(text(properties, "State")?);
    Some(Machine { name, class: word(&class), service: word(&service), state })
}

const MACHINED: Daemon = Daemon {
    name: "org.freedesktop.machine1",
    title: "systemd-machined",
    remedy: "install systemd-container, or leave out --collector.machined",
    permission: "run the exporter as root, or leave out --collector.machined",
};

const PATH: &str = "/org/freedesktop/machine1";
const MANAGER: &str = "org.freedesktop.machine1.Manager";
const MACHINE: &str = "org.freedesktop.machine1.Machine";
