//! The statistics of the D-Bus daemon itself.

use std::sync::Arc;

use super::{DRIVER_PATH, DaemonClient, Properties};
use crate::source::Error;
use crate::systemd::unit::value::as_number;

/// Statistics of the bus. A field is `None` where the bus does not report it: dbus-broker has fewer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BusStatistics {
    /// Connections that have completed Hello().
    pub active: Option<u64>,
    /// Connections that have not.
    pub incomplete: Option<u64>,
    /// Owned names, unique ones included.
    pub names: Option<u64>,
    /// Match rules.
    pub match_rules: Option<u64>,
    /// The maximum number of match rules that one connection ever had.
    pub most_match_rules: Option<u64>,
}

/// Reads the statistics.
pub async fn read(client: Arc<DaemonClient>) -> Result<BusStatistics, Error> {
    let driver = client.driver().await?;
    Ok(statistics(&driver.call(DRIVER_PATH, STATS, "GetStats", &()).await?))
}

pub(super) fn statistics(all: &Properties) -> BusStatistics {
    let number = |name: &str| all.get(name).and_then(|value| as_number(value));
    BusStatistics {
        active: number("ActiveConnections"),
        incomplete: number("IncompleteConnections"),
        names: number("BusNames"),
        match_rules: number("MatchRules"),
        most_match_rules: number("PeakMatchRulesPerConnection"),
    }
}

const STATS: &str = "org.freedesktop.DBus.Debug.Stats";
