//! Statistics of systemd-resolved.

use std::sync::Arc;

use zbus::Variant;

use super::{Daemon, DaemonClient};
use crate::source::Error;
use crate::systemd::unit::value::as_number;

/// Counters since systemd-resolved was started or its statistics were reset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolvedStatistics {
    /// Lookups in progress.
    pub current_transactions: u64,
    /// Lookups.
    pub transactions: u64,
    /// Entries in the cache.
    pub cache_size: u64,
    /// Lookups answered by the cache.
    pub cache_hits: u64,
    /// Lookups not answered by the cache.
    pub cache_misses: u64,
    /// DNSSEC verdicts.
    pub dnssec: Dnssec,
}

/// Answers by DNSSEC verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dnssec {
    /// Validated.
    pub secure: u64,
    /// Proven to be unsigned.
    pub insecure: u64,
    /// Validation failed.
    pub bogus: u64,
    /// Could not be determined.
    pub indeterminate: u64,
}

/// Reads the statistics.
pub async fn read(client: Arc<DaemonClient>) -> Result<ResolvedStatistics, Error> {
    let peer = client.find(RESOLVED).await?;
    let read = async |property| peer.property(PATH, INTERFACE, property).await;
    let transactions = read("TransactionStatistics").await?;
    let cache = read("CacheStatistics").await?;
    statistics(&transactions, &cache, &*read("DNSSECStatistics").await?)
}

/// The statistics of the three properties.
pub(super) fn statistics(
    transactions: &Variant<'_>,
    cache: &Variant<'_>,
    dnssec: &Variant<'_>,
) -> Result<ResolvedStatistics, Error> {
    let [current_transactions, transactions] = numbers(transactions)?;
    let [cache_size, cache_hits, cache_misses] = numbers(cache)?;
    let [secure, insecure, bogus, indeterminate] = numbers(dnssec)?;
    let dnssec = Dnssec { secure, insecure, bogus, indeterminate };
    Ok(ResolvedStatistics {
        current_transactions,
        transactions,
        cache_size,
        cache_hits,
        cache_misses,
        dnssec,
    })
}

/// The fields of a structure of `N` numbers.
fn numbers<const N: usize>(value: &Variant<'_>) -> Result<[u64; N], Error> {
    let numbers: Option<Vec<u64>> = match value {
        Variant::Structure(structure) => structure.fields().iter().map(as_number).collect(),
        _ => None,
    };
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| RESOLVED.unavailable(&"unexpected statistics"))
}

const RESOLVED: Daemon = Daemon {
    name: "org.freedesktop.resolve1",
    title: "systemd-resolved",
    remedy: "start systemd-resolved.service, or remove --collector.resolved",
    permission: "run the exporter as root, or remove --collector.resolved",
};

const PATH: &str = "/org/freedesktop/resolve1";
const INTERFACE: &str = "org.freedesktop.resolve1.Manager";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_statistics_of_another_type() {
        let two = Variant::from((1_u64, 2_u64));
        assert_eq!(numbers::<2>(&two).unwrap(), [1, 2]);
        assert!(numbers::<3>(&two).is_err());
        assert!(numbers::<1>(&Variant::U64(1)).is_err());
        assert!(numbers::<2>(&Variant::from((1_u64, "2"))).is_err());
    }
}
