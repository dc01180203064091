//! Reads other daemons on the system bus: those whose collectors are on.

use std::sync::Arc;

use super::Scraper;
use crate::scrape::attempt::take;
use crate::snapshot::{Attempt, Daemons};
use crate::source::Error;
use crate::source::dbus_daemons;
use crate::source::dbus_daemons::{bus, logind, machined, networkd, resolved};

impl Scraper {
    /// Reads the enabled daemons; returns the values and an attempt for each.
    pub(super) async fn daemons(
        &self,
        wants: impl Fn(&'static str) -> bool,
    ) -> (Daemons, Vec<Attempt>) {
        let security = self.security.clone();
        let (bus, logind, machined, networkd, resolved, security) = tokio::join!(
            self.daemon("dbus", &wants, bus::read, |_| 0),
            self.daemon("logind", &wants, logind::read, |logins| logins.left_out),
            self.daemon("machined", &wants, machined::read, |machines| machines.left_out),
            self.daemon("networkd", &wants, networkd::read, |network| network.left_out),
            self.daemon("resolved", &wants, resolved::read, |_| 0),
            self.daemon("security", &wants, |_| security.read(), |_| 0),
        );
        let mut attempts = Vec::new();
        let daemons = Daemons {
            bus: take(bus, &mut attempts),
            logins: take(logind, &mut attempts),
            machines: take(machined, &mut attempts),
            network: take(networkd, &mut attempts),
            resolved: take(resolved, &mut attempts),
            exposures: take(security, &mut attempts),
        };
        (daemons, attempts)
    }

    async fn daemon<T, F>(
        &self,
        collector: &'static str,
        wants: impl Fn(&'static str) -> bool,
        read: impl FnOnce(Arc<dbus_daemons::DaemonClient>) -> F,
        left_out: impl Fn(&T) -> usize,
    ) -> Option<(Option<T>, Attempt)>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let reading = read(self.daemons.clone());
        // a separate task: a panic fails this collector only
        let reading = async {
            let outcome = tokio::spawn(reading).await?;
            Ok(outcome.map(|value| {
                let left_out = left_out(&value);
                let shortfall = (left_out > 0)
                    .then(|| format!("{left_out} objects were not read: the limit is 256"));
                (value, shortfall)
            }))
        };
        self.collectors.attempt_in_part(collector, wants(collector), reading).await
    }
}
