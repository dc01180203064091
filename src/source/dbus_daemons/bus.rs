//! The statistics of the D-Bus daemon itself.

use std::sync::Arc;

use super::{DRIVER_PATH, Daemons, Properties};
use crate::source::Error;
use crate::systemd::unit::value::as_number;

/// What the bus counts. A field is `None` where this bus does not tell it: dbus-broker tells less.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Connections that have said hello.
    pub active: Option<u64>,
    /// Connections that have not.
    pub incomplete: Option<u64>,
    /// Names owned, unique ones included.
    pub names: Option<u64>,
    /// Match rules.
    pub match_rules: Option<u64>,
    /// The most match rules that one connection ever had.
    pub most_match_rules: Option<u64>,
}

/// Asks the bus.
pub async fn read(daemons: Arc<Daemons>) -> Result<Statistics, Error> {
    let driver = daemons.driver().await?;
    Ok(statistics(&driver.call(DRIVER_PATH, STATS, "GetStats", &()).await?))
}

pub(super) fn statistics(all: &Properties) -> Statistics {
    let number = |name: &str| all.get(name).and_then(|value| as_number(value));
    Statistics {
        active: number("ActiveConnections"),
        incomplete: number("IncompleteConnections"),
        names: number("BusNames"),
        match_rules: number("MatchRules"),
        most_match_rules: number("PeakMatchRulesPerConnection"),
    }
}

const STATS: &str = "org.freedesktop.DBus.Debug.Stats";
