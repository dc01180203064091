//! The managers of users; their units are among all others, with the label `user`.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "users", title: "Managers of users" }) {
        return Ok(());
    }

    out.family(
        Family {
            name: "systemd_user_manager_up",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the user's manager is followed and answers: the states of its units are true, and nothing is missed.",
            source: "the exporter",
            labels: ["user"],
        },
        snapshot.users.iter().map(|user| {
            let status = &user.snapshot.status;
            ([&*user.name], status.following && status.trouble.is_none())
        }),
    )?;

    out.family(
        Family {
            name: "systemd_user_manager_state",
            kind: Gauge,
            per: Per::Host,
            help: "Always 1. The state of the user's manager as a whole: running, degraded, starting and others.",
            source: "D-Bus Manager.SystemState of the user's manager",
            labels: ["user", "state"],
        },
        snapshot.users.iter().filter_map(|user| {
            let systemd = user.snapshot.systemd.as_ref()?;
            Some(([&*user.name, systemd.manager.system_state.as_deref()?], true))
        }),
    )
}
