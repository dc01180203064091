//! Fuzzing: the bodies of replies of the other daemons.

use std::vec::IntoIter;

use serde::de::DeserializeOwned;
use zbus::OwnedVariant;
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{Endian, Type};

use super::{bus, logind, machined, networkd, resolved};
use crate::fuzzing::{self, page};
use crate::snapshot::{Daemons, Snapshot};
use crate::systemd::unit::value::as_number;

/// Bodies of replies, each after one byte with its kind. Properties of a machine or link are those of
/// the next one that was listed.
pub(crate) fn bodies(data: &[u8]) {
    let mut replies = Replies::default();
    for (what, body) in fuzzing::bodies(data) {
        replies.body(what % 12, &Data::new(body, Context::new(Endian::Little, 0)));
    }
    replies.end();
}

#[derive(Default)]
struct Replies {
    daemons: Daemons,
    machines: IntoIter<machined::MachineRow>,
    links: IntoIter<networkd::LinkRow>,
    /// The properties of systemd-resolved: transactions, cache, DNSSEC.
    resolved: Vec<OwnedVariant>,
}

impl Replies {
    fn body(&mut self, what: u8, body: &Data<'_, '_>) {
        let logins = self.daemons.logins.get_or_insert_default();
        let machines = self.daemons.machines.get_or_insert_default();
        let network = self.daemons.network.get_or_insert_default();
        match what {
            0 => self.daemons.bus = read(body).map(|all| bus::statistics(&all)),
            1 => drop(read::<Vec<logind::SessionRow>>(body)),
            2 => logins.session(&read(body).unwrap_or_default()),
            3 => drop(read::<Vec<logind::UserRow>>(body)),
            4 => logins.user(&read(body).unwrap_or_default()),
            5 => logins.inhibitors = read(body).and_then(|value: OwnedVariant| as_number(&value)),
            6 => {
                machines.machines.clear();
                self.machines = machined::machines(read(body).unwrap_or_default()).into_iter();
            }
            7 => {
                let properties = read(body).unwrap_or_default();
                let machine = self.machines.next().map(|row| machined::machine(row, &properties));
                machines.machines.extend(machine.flatten());
            }
            8 => {
                network.links.clear();
                self.links = networkd::links(read(body).unwrap_or_default()).into_iter();
            }
            9 => network.states = networkd::states(&read(body).unwrap_or_default()),
            10 => {
                let states = networkd::states(&read(body).unwrap_or_default());
                let link = self.links.next().map(|(_, name, _)| networkd::Link { name, states });
                network.links.extend(link);
            }
            _ => self.resolved.extend(read::<OwnedVariant>(body)),
        }
    }

    fn end(mut self) {
        if let [transactions, cache, dnssec, ..] = &*self.resolved {
            self.daemons.resolved = resolved::statistics(transactions, cache, dnssec).ok();
        }
        page(Snapshot { daemons: self.daemons, ..Snapshot::default() });
    }
}

fn read<T: DeserializeOwned + Type>(body: &Data<'_, '_>) -> Option<T> {
    body.deserialize().ok().map(|(value, _)| value)
}
