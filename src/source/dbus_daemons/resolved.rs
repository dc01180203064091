//! How systemd-resolved answers name lookups.

use std::sync::Arc;

use zbus::Variant;

use super::{Daemon, Daemons};
use crate::source::Error;
use crate::systemd::unit::value::as_number;

/// What systemd-resolved counts since it was started or its statistics were reset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Lookups under way.
    pub current_transactions: u64,
    /// Lookups ever.
    pub transactions: u64,
    /// Entries in the cache.
    pub cache_size: u64,
    /// Lookups answered by the cache.
    pub cache_hits: u64,
    /// Lookups that the cache had no answer for.
    pub cache_misses: u64,
    /// DNSSEC verdicts.
    pub dnssec: Dnssec,
}

/// Answers by DNSSEC verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dnssec {
    /// Proven.
    pub secure: u64,
    /// Proven to be unsigned.
    pub insecure: u64,
    /// Proven to be wrong.
    pub bogus: u64,
    /// Not to be told.
    pub indeterminate: u64,
}

/// Asks systemd-resolved.
pub async fn read(daemons: Arc<Daemons>) -> Result<Statistics, Error> {
    let peer = daemons.find(RESOLVED).await?;
    let ask = async |property| peer.property(PATH, INTERFACE, property).await;
    let transactions = ask("TransactionStatistics").await?;
    let cache = ask("CacheStatistics").await?;
    statistics(&transactions, &cache, &*ask("DNSSECStatistics").await?)
}

/// What its three properties say.
pub(super) fn statistics(
    transactions: &Variant<'_>,
    cache: &Variant<'_>,
    dnssec: &Variant<'_>,
) -> Result<Statistics, Error> {
    let [current_transactions, transactions] = numbers(transactions)?;
    let [cache_size, cache_hits, cache_misses] = numbers(cache)?;
    let [secure, insecure, bogus, indeterminate] = numbers(dnssec)?;
    let dnssec = Dnssec { secure, insecure, bogus, indeterminate };
    Ok(Statistics {
        current_transactions,
        transactions,
        cache_size,
        cache_hits,
        cache_misses,
        dnssec,
    })
}

/// A structure of so many numbers.
fn numbers<const N: usize>(value: &Variant<'_>) -> Result<[u64; N], Error> {
    let numbers: Option<Vec<u64>> = match value {
        Variant::Structure(structure) => structure.fields().iter().map(as_number).collect(),
        _ => None,
    };
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| RESOLVED.unavailable(&"its statistics make no sense"))
}

const RESOLVED: Daemon = Daemon {
    name: "org.freedesktop.resolve1",
    title: "systemd-resolved",
    remedy: "start systemd-resolved.service, or leave out --collector.resolved",
    permission: "run the exporter as root, or leave out --collector.resolved",
};

const PATH: &str = "/org/freedesktop/resolve1";
const INTERFACE: &str = "org.freedesktop.resolve1.Manager";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_another_shape_are_no_statistics() {
        let two = Variant::from((1_u64, 2_u64));
        assert_eq!(numbers::<2>(&two).unwrap(), [1, 2]);
        assert!(numbers::<3>(&two).is_err());
        assert!(numbers::<1>(&Variant::U64(1)).is_err());
        assert!(numbers::<2>(&Variant::from((1_u64, "2"))).is_err());
    }
}
