//! The exporter's web server.

use std::fmt;

use super::Kind::Counter;
use super::Resets::WithExporter;
use super::{Family, Per, Sink};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    out.family(
        Family {
            name: "unit_exporter_http_requests_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "HTTP responses by status code.",
            source: "the exporter",
            profile: Profile::Default,
            labels: ["code"],
        },
        snapshot.exporter.requests.iter().map(|(code, count)| ([code.as_str()], *count)),
    )?;

    out.family(
        Family {
            name: "unit_exporter_http_limited_total",
            kind: Counter(WithExporter),
            per: Per::Host,
            help: "Clients that reached a shared limit of the web server: requests or connections refused, idle connections closed for newcomers.",
            source: "the exporter",
            profile: Profile::Default,
            labels: ["limit", "action"],
        },
        snapshot.exporter.limited.iter().map(|((limit, action), count)| ([*limit, *action], *count)),
    )
}
