//! The links that systemd-networkd sees, and how far it has brought them.

use std::collections::HashSet;
use std::sync::Arc;

use zbus::wire::OwnedObjectPath;

use super::{Daemon, Daemons, MOST, Properties, text};
use crate::source::Error;
use crate::systemd::unit::value::{Word, word};

/// The network as a whole, and its links.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// The network as a whole, by aspect.
    pub states: Vec<(&'static str, Word)>,
    /// The links in the order of their index.
    pub links: Vec<Link>,
    /// Links that were not asked, there being so many.
    pub left_out: usize,
}

/// One network interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its states by aspect.
    pub states: Vec<(&'static str, Word)>,
}

/// Asks systemd-networkd.
pub async fn read(daemons: Arc<Daemons>) -> Result<Network, Error> {
    let peer = daemons.find(NETWORKD).await?;
    let whole = peer.properties(PATH, MANAGER).await?.unwrap_or_default();
    let listed = links(peer.call(PATH, MANAGER, "ListLinks", &()).await?);
    let left_out = listed.len().saturating_sub(MOST);
    let mut links = Vec::new();
    for (_, name, path) in listed.into_iter().take(MOST) {
        if let Some(properties) = peer.properties(&path, LINK).await? {
            links.push(Link { name, states: states(&properties) });
        }
    }
    Ok(Network { states: states(&whole), links, left_out })
}

/// A link as it is listed: its index and name, and the object that tells more.
pub(super) type Row = (i32, String, OwnedObjectPath);

/// The links in the order of their index, each name once.
pub(super) fn links(mut listed: Vec<Row>) -> Vec<Row> {
    listed.sort_by_key(|(index, ..)| *index);
    let mut names = HashSet::new();
    listed.retain(|(_, name, _)| names.insert(name.clone()));
    listed
}

pub(super) fn states(properties: &Properties) -> Vec<(&'static str, Word)> {
    let state = |(aspect, property): &(&'static str, &str)| {
        text(properties, property).map(|state| (*aspect, word(state)))
    };
    ASPECTS.iter().filter_map(state).collect()
}

/// What is told of a link, and the property that tells it. `online` comes with systemd 249.
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
    remedy: "start systemd-networkd.service, or leave out --collector.networkd",
    permission: "run the exporter as root, or leave out --collector.networkd",
};

const PATH: &str = "/org/freedesktop/network1";
const MANAGER: &str = "org.freedesktop.network1.Manager";
const LINK: &str = "org.freedesktop.network1.Link";
