//! The state of the host in one line, for the status that systemd shows.

use crate::scrape::Scraper;

impl Scraper {
    /// Waits until the units have been read for the first time or that has failed.
    pub async fn first_read(&self) {
        self.shared.first_read().await;
    }

    /// The state of the host in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let (units, failed, trouble) = {
            let state = self.shared.lock();
            if !state.status.filled {
                let why = state.status.trouble.as_deref().unwrap_or("being read");
                return format!("no units yet: {why}");
            }
            let units = state.mirror.units().filter(|unit| unit.selected && !unit.is_absent());
            let (all, failed) = units.fold((0, 0), |(all, failed), unit| {
                (all + 1, failed + usize::from(unit.is("failed")))
            });
            (all, failed, state.status.now().trouble)
        };
        let mut line = format!("{units} units, {failed} failed");
        match self.failed().len() {
            0 => {}
            1 => line.push_str(", 1 collector failing"),
            many => line.push_str(&format!(", {many} collectors failing")),
        }
        if let Some(trouble) = trouble {
            line.push_str(&format!("; not up to date: {trouble}"));
        }
        line
    }
}
