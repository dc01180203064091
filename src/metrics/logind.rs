//! Login sessions, users and inhibitor locks.

use std::fmt;

use super::Kind::Gauge;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "logind", title: "Logins" }) {
        return Ok(());
    }
    let logins = snapshot.daemons.logins.as_ref();

    out.family(
        Family {
            name: "systemd_logind_sessions",
            kind: Gauge,
            per: Per::Host,
            help: "Login sessions by class, type, state, and whether they are remote. Absent if there are none.",
            source: "D-Bus login1 Manager.ListSessions, Session.Class, Type, State, Remote",
            profile: Profile::Full,
            labels: ["class", "type", "state", "remote"],
        },
        logins.into_iter().flat_map(|logins| &logins.sessions).map(|(session, count)| {
            let remote = if session.remote { "yes" } else { "no" };
            ([&*session.class, &*session.kind, &*session.state, remote], *count)
        }),
    )?;

    out.family(
        Family {
            name: "systemd_logind_users",
            kind: Gauge,
            per: Per::Host,
            help: "Users that are logged in or lingering, by state: active, online, closing, lingering. Absent if there are none.",
            source: "D-Bus login1 Manager.ListUsers, User.State",
            profile: Profile::Full,
            labels: ["state"],
        },
        logins
            .into_iter()
            .flat_map(|logins| &logins.users)
            .map(|(state, count)| ([&**state], *count)),
    )?;

    out.family(
        Family {
            name: "systemd_logind_inhibitors",
            kind: Gauge,
            per: Per::Host,
            help: "Inhibitor locks on shutdown or sleep (NCurrentInhibitors).",
            source: "D-Bus login1 Manager.NCurrentInhibitors (systemd 248)",
            profile: Profile::Full,
            labels: [],
        },
        logins.and_then(|logins| Some(([], logins.inhibitors?))),
    )
}
