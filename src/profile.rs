//! How much is exported: three answers for those who do not want to choose by collector.

use clap::ValueEnum;

use crate::collector::Collector;

/// How much is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Profile {
    /// What tells that something is wrong: states, crashes, timers; no resources and no settings
    Minimal,
    /// All that is cheap
    #[default]
    Default,
    /// The collectors too that are off by default
    Full,
}

impl Profile {
    /// Whether a collector is on, unless a flag says otherwise.
    #[must_use]
    pub fn has(self, collector: &Collector) -> bool {
        match self {
            Self::Minimal => MINIMAL.iter().any(|(name, _)| *name == collector.name),
            Self::Default => collector.off.is_none(),
            Self::Full => true,
        }
    }

    /// Whether it has this family of a collector that is on.
    #[must_use]
    pub fn has_family(self, collector: &str, family: &str) -> bool {
        match MINIMAL.iter().find(|(name, _)| *name == collector) {
            Some((_, families)) if self == Self::Minimal => families.contains(&family),
            _ => true,
        }
    }

    /// Whether a sample at zero is left out: of a unit's five states only one is true.
    #[must_use]
    pub fn leaves_out_zeros_of(self, family: &str) -> bool {
        self == Self::Minimal && family == "systemd_unit_state"
    }
}

/// The collectors of the minimal profile, and which of their families it has.
pub const MINIMAL: &[(&str, &[&str])] = &[
    (
        "exporter",
        &[
            "unit_exporter_build_info",
            "unit_exporter_collector_success",
            "unit_exporter_events_lost_total",
            "unit_exporter_systemd_last_seen_timestamp_seconds",
            "unit_exporter_series_dropped_total",
            "unit_exporter_dbus_subscribed",
        ],
    ),
    (
        "manager",
        &[
            "systemd_version",
            "systemd_failed_units",
            "systemd_host_service_failures_total",
            "systemd_job_oldest_enqueued_timestamp_seconds",
            "systemd_system_running",
            "systemd_system_state",
        ],
    ),
    (
        "services",
        &[
            "systemd_service_failures_by_result_total",
            "systemd_service_failures_total",
            "systemd_service_start_limit_hit",
            "systemd_service_restart_total",
        ],
    ),
    (
        "timers",
        &[
            "systemd_timer_accuracy_seconds",
            "systemd_timer_info",
            "systemd_timer_last_trigger_seconds",
            "systemd_timer_next_trigger_seconds",
        ],
    ),
    (
        "units",
        &[
            "systemd_unit_info",
            "systemd_unit_job_failures_total",
            "systemd_unit_load_state",
            "systemd_unit_missing",
            "systemd_unit_starts_total",
            "systemd_unit_state",
            "systemd_unit_sub_state",
            "systemd_unit_unmet_dependencies",
            "systemd_units_needing_daemon_reload",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::COLLECTORS;
    use crate::metrics::Reference;

    #[test]
    fn minimal_names_collectors_and_families_that_there_are() {
        let rows = Reference::collect().rows;
        for (collector, families) in MINIMAL {
            assert!(COLLECTORS.iter().any(|each| each.name == *collector), "{collector}");
            for family in *families {
                let row = rows.iter().find(|row| row.name == *family).expect(family);
                assert_eq!(row.subject.collector, *collector, "{family}");
            }
        }
    }

    #[test]
    fn each_profile_has_more_than_the_one_before() {
        let on = |profile: Profile| COLLECTORS.iter().filter(move |each| profile.has(each)).count();
        assert!(on(Profile::Minimal) < on(Profile::Default));
        assert!(on(Profile::Default) < on(Profile::Full));
        assert_eq!(on(Profile::Full), COLLECTORS.len());
    }

    #[test]
    fn a_collector_switched_on_in_minimal_is_whole() {
        assert!(Profile::Minimal.has_family("cgroup", "systemd_unit_cpu_seconds_total"));
        assert!(!Profile::Minimal.has_family("units", "systemd_unit_state_changes_total"));
        assert!(Profile::Default.has_family("units", "systemd_unit_state_changes_total"));
    }
}
