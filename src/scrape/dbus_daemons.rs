//! Asking other daemons on the system bus: those whose collectors are on.

use std::sync::Arc;

use super::Scraper;
use crate::snapshot::{Attempt, Daemons};
use crate::source::Error;
use crate::source::dbus_daemons;
use crate::source::dbus_daemons::{bus, logind, machined, networkd, resolved};

impl Scraper {
    /// What the daemons say that are wanted, and how asking each of them went.
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
            bus: super::take(bus, &mut attempts),
            logins: super::take(logind, &mut attempts),
            machines: super::take(machined, &mut attempts),
            network: super::take(networkd, &mut attempts),
            resolved: super::take(resolved, &mut attempts),
            exposures: super::take(security, &mut attempts),
        };
        (daemons, attempts)
    }

    async fn daemon<T, F>(
        &self,
        collector: &'static str,
        wants: impl Fn(&'static str) -> bool,
        read: impl FnOnce(Arc<dbus_daemons::Daemons>) -> F,
        left_out: impl Fn(&T) -> usize,
    ) -> Option<(Option<T>, Attempt)>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let reading = read(self.daemons.clone());
        // a task of its own: a panic in it costs this collector only
        let reading = async {
            let outcome = tokio::spawn(reading).await?;
            Ok(outcome.map(|value| {
                let left_out = left_out(&value);
                let shortfall = (left_out > 0)
                    .then(|| format!("{left_out} were not asked: only the first 256 are"));
                (value, shortfall)
            }))
        };
        self.attempt_in_part(collector, wants(collector), reading).await
    }
}
