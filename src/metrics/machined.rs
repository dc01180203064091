//! Virtual machines and containers.

use std::collections::BTreeMap;
use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    let title = "Virtual machines and containers";
    if !out.subject(Subject { collector: "machined", title }) {
        return Ok(());
    }
    let machines = || snapshot.daemons.machines.iter().flat_map(|reading| &reading.machines);
    let classes = snapshot.daemons.machines.iter().flat_map(|_| CLASSES);
    let mut counts: BTreeMap<&str, u64> = classes.map(|class| (class, 0)).collect();
    for machine in machines() {
        *counts.entry(&machine.class).or_default() += 1;
    }

    out.family(
        Family {
            name: "systemd_machines",
            kind: Gauge,
            per: Per::Host,
            help: "Machines registered with systemd-machined by class: container, vm.",
            source: "D-Bus machine1 Manager.ListMachines",
            profile: Profile::Full,
            labels: ["class"],
        },
        counts.into_iter().map(|(class, count)| ([class], count)),
    )?;

    out.family(
        Family {
            name: "systemd_machine_state",
            kind: Gauge,
            per: Per::Host,
            help: "Current state of the machine and the service that registered it; constant 1, the first 256 machines by name.",
            source: "D-Bus machine1 Machine.State",
            profile: Profile::Full,
            labels: ["machine", "class", "service", "state"],
        },
        machines().map(|machine| {
            ([&*machine.name, &*machine.class, &*machine.service, &*machine.state], true)
        }),
    )
}

/// Classes that are exported with a count of 0 too.
const CLASSES: [&str; 2] = ["container", "vm"];
