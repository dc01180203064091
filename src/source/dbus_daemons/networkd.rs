//! The network interfaces of systemd-networkd, and their states.

use std::collections::HashSet;
use std::sync::Arc;

use zbus::wire::OwnedObjectPath;

use super::{Daemon, DaemonClient, MAX_OBJECTS, Properties, text};
use crate::source::Error;
use crate::systemd::unit::value::{InternedStr, intern};

/// The network as a whole, and its links.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// The states of the network as a whole, by aspect.
    pub states: Vec<(&'static str, InternedStr)>,
    /// The links, sorted by index.
    pub links: Vec<Link>,
    /// Links beyond the limit, which were not read.
    pub left_out: usize,
}

/// One network interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The name.
    pub name: String,
    /// The states by aspect.
    pub states: Vec<(&'static str, InternedStr)>,
}

/// Reads the network and its links.
pub async fn read(client: Arc<DaemonClient>) -> Result<Network, Error> {
    let peer = client.find(NETWORKD).await?;
    let whole = peer.properties(PATH, MANAGER).await?.unwrap_or_default();
    let listed = links(peer.call(PATH, MANAGER, "ListLinks", &()).await?);
    let left_out = listed.len().saturating_sub(MAX_OBJECTS);
    let mut links = Vec::new();
    for (_, name, path) in listed.into_iter().take(MAX_OBJECTS) {
        if let Some(properties) = peer.properties(&path, LINK).await? {
            links.push(Link { name, states: states(&properties) });
        }
    }
    Ok(Network { states: states(&whole), links, left_out })
}

/// A link in `ListLinks`: index, name, object path.
pub(super) type LinkRow = (i32, String, OwnedObjectPath);

/// The links sorted by index, each name once.
pub(super) fn links(mut listed: Vec<LinkRow>) -> Vec<LinkRow> {
    listed.sort_by_key(|(index, ..)| *index);
    let mut names = HashSet::new();
    listed.retain(|(_, name, _)| names.insert(name.clone()));
    listed
}

pub(super) fn states(properties: &Properties) -> Vec<(&'static str, InternedStr)> {
    let state = |(aspect, property): &(&'static str, &str)| {
        text(properties, property).map(|state| (*aspect, intern(state)))
    };
    ASPECTS.iter().filter_map(state).collect()
}

/// The aspects of a link and their properties. `online` needs systemd 249.
const ASPECTS: [(&str, &str); 5] = [
    ("operational", "OperationalState"),
    ("carrier", "CarrierState"),
    ("address", "AddressState"),
    ("online", "OnlineState"),
    ("setup", "AdministrativeState"),
];

const NETWORKD: Daemon = Daemon {
    name: "org.freedesktop.network1",
    title: "systemd-networkd",
    remedy: "start systemd-networkd.service, or remove --collector.networkd",
    permission: "run the exporter as root, or remove --collector.networkd",
};

const PATH: &str = "/org/freedesktop/network1";
const MANAGER: &str = "org.freedesktop.network1.Manager";
const LINK: &str = "org.freedesktop.network1.Link";
