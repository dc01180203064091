//! User managers; their units are in the other families, with the label `manager_user`.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "user-managers", title: "User managers" }) {
        return Ok(());
    }

    out.family(
        Family {
            name: "systemd_user_manager_up",
            kind: Gauge,
            per: Per::Host,
            help: "Whether the exporter receives the signals of the user's service manager and its replies.",
            source: "the exporter",
            profile: Profile::Full,
            labels: ["manager_user"],
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
            help: "Current state of the user's service manager (SystemState); constant 1, current state only.",
            source: "D-Bus Manager.SystemState of the user's manager",
            profile: Profile::Full,
            labels: ["manager_user", "state"],
        },
        snapshot.users.iter().filter_map(|user| {
            let systemd = user.snapshot.systemd.as_ref()?;
            Some(([&*user.name, systemd.manager.system_state.as_deref()?], true))
        }),
    )
}
