//! DNS lookups by systemd-resolved, under the names of systemd_exporter.

use std::fmt;

use super::Kind::{Counter, Gauge};
use super::Resets::WithUnit;
use super::{Family, Per, Sink, Subject};
use crate::collector::Profile;
use crate::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, out: &mut impl Sink) -> fmt::Result {
    if !out.subject(Subject { collector: "resolved", title: "DNS lookups" }) {
        return Ok(());
    }
    let resolved = snapshot.daemons.resolved.as_ref();
    let dnssec = resolved.map(|counts| &counts.dnssec);

    out.family(
        Family {
            name: "systemd_resolved_current_transactions",
            kind: Gauge,
            per: Per::Host,
            help: "DNS lookups in progress.",
            source: "D-Bus resolve1 Manager.TransactionStatistics",
            profile: Profile::Full,
            labels: [],
        },
        resolved.map(|counts| ([], counts.current_transactions)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_transactions_total",
            kind: Counter(WithUnit),
            per: Per::Host,
            help: "DNS lookups, over the network or from the cache.",
            source: "D-Bus resolve1 Manager.TransactionStatistics",
            profile: Profile::Full,
            labels: [],
        },
        resolved.map(|counts| ([], counts.transactions)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_current_cache_size",
            kind: Gauge,
            per: Per::Host,
            help: "Entries in the DNS cache.",
            source: "D-Bus resolve1 Manager.CacheStatistics",
            profile: Profile::Full,
            labels: [],
        },
        resolved.map(|counts| ([], counts.cache_size)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_cache_hits_total",
            kind: Counter(WithUnit),
            per: Per::Host,
            help: "DNS lookups answered from the cache.",
            source: "D-Bus resolve1 Manager.CacheStatistics",
            profile: Profile::Full,
            labels: [],
        },
        resolved.map(|counts| ([], counts.cache_hits)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_cache_misses_total",
            kind: Counter(WithUnit),
            per: Per::Host,
            help: "DNS lookups not found in the cache.",
            source: "D-Bus resolve1 Manager.CacheStatistics",
            profile: Profile::Full,
            labels: [],
        },
        resolved.map(|counts| ([], counts.cache_misses)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_dnssec_secure_total",
            kind: Counter(WithUnit),
            per: Per::Host,
            help: "DNSSEC validations with verdict secure.",
            source: "D-Bus resolve1 Manager.DNSSECStatistics",
            profile: Profile::Full,
            labels: [],
        },
        dnssec.map(|verdicts| ([], verdicts.secure)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_dnssec_insecure_total",
            kind: Counter(WithUnit),
            per: Per::Host,
            help: "DNSSEC validations with verdict insecure.",
            source: "D-Bus resolve1 Manager.DNSSECStatistics",
            profile: Profile::Full,
            labels: [],
        },
        dnssec.map(|verdicts| ([], verdicts.insecure)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_dnssec_bogus_total",
            kind: Counter(WithUnit),
            per: Per::Host,
            help: "DNSSEC validations with verdict bogus.",
            source: "D-Bus resolve1 Manager.DNSSECStatistics",
            profile: Profile::Full,
            labels: [],
        },
        dnssec.map(|verdicts| ([], verdicts.bogus)),
    )?;

    out.family(
        Family {
            name: "systemd_resolved_dnssec_indeterminate_total",
            kind: Counter(WithUnit),
            per: Per::Host,
            help: "DNSSEC validations with verdict indeterminate.",
            source: "D-Bus resolve1 Manager.DNSSECStatistics",
            profile: Profile::Full,
            labels: [],
        },
        dnssec.map(|verdicts| ([], verdicts.indeterminate)),
    )
}
