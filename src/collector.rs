//! The collectors, which of them are enabled, and the profiles.

use std::fmt::Write;

use clap::ValueEnum;

/// Every collector, by name.
pub const COLLECTORS: &[Collector] = &[
    on("boot", "duration of the boot and the slowest units, from systemd"),
    on("cgroup", "CPU, memory, I/O, pressure and tasks of units, from cgroup files"),
    off("conditions", "units not started because of a failed condition, from systemd"),
    off("dbus", "connections, names and match rules, from the D-Bus daemon"),
    off("dependencies", "required and wanted units of each service, from systemd"),
    on("exporter", "the exporter's own metrics, from the exporter and /proc/self"),
    on("journal", "messages and core dumps by unit, from journal files"),
    on("listeners", "listening sockets by unit, from the kernel (netlink)"),
    off("logind", "sessions and users, from systemd-logind"),
    off("machined", "virtual machines and containers, from systemd-machined"),
    on("manager", "state, jobs and resources of PID 1, from systemd and /proc/1"),
    off("networkd", "state of network links, from systemd-networkd"),
    on("process", "processes, threads and open files of units, from /proc"),
    off("resolved", "DNS queries and cache, from systemd-resolved"),
    off("sandbox", "sandbox settings of each service, from systemd"),
    off("security", "exposure of each service, from an hourly systemd-analyze security"),
    on("services", "failures, restarts and exits of services, from systemd"),
    on("sockets", "connections of socket units, from systemd"),
    on("timers", "last and next run of timers, from systemd"),
    off("unit-files", "which units are enabled, from systemd; up to 6 ms a unit after a reload"),
    on("units", "states and starts of units, from systemd"),
    off("user-managers", "units of lingering users, from their managers; needs CAP_SETUID"),
];

/// A group of metrics that is enabled or disabled as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The name in `?collect[]=`, `?exclude[]=` and `--[no-]collector.NAME`.
    pub name: &'static str,
    /// The exported values and their source, for `--help`.
    pub reads: &'static str,
    /// Whether the default profile enables it.
    pub on: bool,
}

/// The collectors that are disabled, by default or by a setting.
#[derive(Clone, Debug, Default)]
pub struct Disabled(pub Vec<&'static str>);

impl Disabled {
    /// Whether a collector is disabled.
    #[must_use]
    pub fn has(&self, collector: &str) -> bool {
        self.0.contains(&collector)
    }

    /// The collectors to exclude from a response to a request for `collect` only, or for all but
    /// `exclude`.
    ///
    /// # Errors
    /// One line for the client: an unknown name, a disabled collector in `collect`, or names in
    /// both lists.
    pub fn excluded_for(
        &self,
        collect: &[String],
        exclude: &[String],
    ) -> Result<Vec<&'static str>, String> {
        if !collect.is_empty() && !exclude.is_empty() {
            return Err("collect[] and exclude[] cannot be combined".to_owned());
        }
        let names = || COLLECTORS.iter().map(|collector| collector.name);
        if let Some(name) = collect.iter().chain(exclude).find(|name| names().all(|n| n != **name))
        {
            return Err(unknown(name));
        }
        if let Some(name) = collect.iter().find(|name| self.has(name)) {
            let text = format!(
                "the collector {name} is disabled; start the exporter with --collector.{name}"
            );
            return Err(text);
        }
        let is_excluded = |collector: &&str| {
            self.has(collector)
                || exclude.iter().any(|name| name == collector)
                || !(collect.is_empty() || collect.iter().any(|name| name == collector))
        };
        Ok(names().filter(is_excluded).collect())
    }
}

/// The error text for a name that no collector has.
#[must_use]
pub fn unknown(name: &str) -> String {
    let mut text = format!("unknown collector {name:?}; the collectors are ");
    for (at, collector) in COLLECTORS.iter().enumerate() {
        let _ = write!(text, "{}{}", if at > 0 { ", " } else { "" }, collector.name);
    }
    text
}

const fn on(name: &'static str, reads: &'static str) -> Collector {
    Collector { name, reads, on: true }
}

const fn off(name: &'static str, reads: &'static str) -> Collector {
    Collector { name, reads, on: false }
}

/// A set of collectors and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Profile {
    /// States, failures and timers; no resources, no settings
    Minimal,
    /// All inexpensive collectors
    #[default]
    Default,
    /// All collectors
    Full,
}

impl Profile {
    /// Whether the profile enables a collector.
    #[must_use]
    pub fn has(self, collector: &Collector) -> bool {
        match self {
            Self::Minimal => MINIMAL.iter().any(|(name, _)| *name == collector.name),
            Self::Default => collector.on,
            Self::Full => true,
        }
    }

    /// Whether the profile exports this metric of an enabled collector.
    #[must_use]
    pub fn has_family(self, collector: &str, family: &str) -> bool {
        match MINIMAL.iter().find(|(name, _)| *name == collector) {
            Some((_, families)) if self == Self::Minimal => families.contains(&family),
            _ => true,
        }
    }

    /// Whether samples with value 0 are dropped: only one of a unit's five states is 1.
    #[must_use]
    pub fn drops_zeros_of(self, family: &str) -> bool {
        self == Self::Minimal && family == "systemd_unit_state"
    }
}

/// The collectors of the minimal profile, with the metrics exported by each.
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
    use crate::metrics::Reference;

    #[test]
    fn minimal_profile_names_existing_metrics() {
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
    fn profiles_are_ordered_by_size() {
        let on = |profile: Profile| COLLECTORS.iter().filter(move |each| profile.has(each)).count();
        assert!(on(Profile::Minimal) < on(Profile::Default));
        assert!(on(Profile::Default) < on(Profile::Full));
        assert_eq!(on(Profile::Full), COLLECTORS.len());
    }

    #[test]
    fn enabling_a_collector_in_minimal_adds_all_its_metrics() {
        assert!(Profile::Minimal.has_family("cgroup", "systemd_unit_cpu_seconds_total"));
        assert!(!Profile::Minimal.has_family("units", "systemd_unit_state_changes_total"));
        assert!(Profile::Default.has_family("units", "systemd_unit_state_changes_total"));
    }

    fn excluded(
        off: &[&'static str],
        collect: &[&str],
        exclude: &[&str],
    ) -> Result<Vec<&'static str>, String> {
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Disabled(off.to_vec()).excluded_for(&owned(collect), &owned(exclude))
    }

    #[test]
    fn excludes_disabled_and_unrequested_collectors() {
        assert_eq!(excluded(&["resolved"], &[], &[]), Ok(vec!["resolved"]));
        assert_eq!(excluded(&["resolved"], &[], &["boot"]), Ok(vec!["boot", "resolved"]));
        assert_eq!(excluded(&["resolved"], &[], &["resolved"]), Ok(vec!["resolved"]));
        let one = excluded(&["resolved"], &["units"], &[]).unwrap();
        assert_eq!(one.len(), COLLECTORS.len() - 1);
        assert!(!one.contains(&"units"));
        assert!(!excluded(&[], &["resolved"], &[]).unwrap().contains(&"resolved"));
    }

    #[test]
    fn invalid_request_error_names_the_valid_choices() {
        for (collect, exclude, hint) in [
            (&["resolved"][..], &[][..], "--collector.resolved"),
            (&["nonsense"], &[], "boot, cgroup"),
            (&[], &["nonsense"], "sockets, timers"),
            (&["units"], &["boot"], "cannot be combined"),
        ] {
            let error = excluded(&["resolved"], collect, exclude).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }
}
