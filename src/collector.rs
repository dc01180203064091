//! The collectors, which of them are enabled, and the profiles.

use std::fmt::Write;

use clap::ValueEnum;

/// Every collector, by name.
pub const COLLECTORS: &[Collector] = &[
    fleet("boot", "duration of the boot and the slowest units, from systemd"),
    fleet("cgroup", "CPU, memory, I/O, pressure and tasks of units, from cgroup files"),
    full("conditions", "units not started because of a failed condition, from systemd"),
    full("dbus", "connections, names and match rules, from the D-Bus daemon"),
    full("dependencies", "required and wanted units of each service, from systemd"),
    minimal("exporter", "the exporter's own metrics, from the exporter and /proc/self"),
    fleet("journal", "messages and core dumps by unit, from journal files"),
    fleet("listeners", "listening sockets by unit, from the kernel (netlink)"),
    full("logind", "sessions and users, from systemd-logind"),
    full("machined", "virtual machines and containers, from systemd-machined"),
    minimal("manager", "state, jobs and resources of PID 1, from systemd and /proc/1"),
    full("networkd", "state of network links, from systemd-networkd"),
    fleet("process", "processes, threads and open files of units, from /proc"),
    full("resolved", "DNS queries and cache, from systemd-resolved"),
    full("sandbox", "sandbox settings of each service, from systemd"),
    full("security", "exposure of each service, from an hourly systemd-analyze security"),
    minimal("services", "failures, restarts and exits of services, from systemd"),
    fleet("sockets", "connections of socket units, from systemd"),
    minimal("timers", "last and next run of timers, from systemd"),
    full("unit-files", "which units are enabled, from systemd; up to 6 ms a unit after a reload"),
    minimal("units", "states and starts of units, from systemd"),
    full("user-managers", "units of lingering users, from their managers; needs CAP_SETUID"),
];

/// A group of metrics that is enabled or disabled as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The name in `?collect[]=`, `?exclude[]=` and `--[no-]collector.NAME`.
    pub name: &'static str,
    /// The exported values and their source, for `--help`.
    pub reads: &'static str,
    /// The smallest profile that enables it.
    pub profile: Profile,
}

/// The collectors that are disabled, by default or by a setting.
#[derive(Clone, Debug, Default)]
pub struct Disabled(pub Vec<&'static str>);

/// The metrics that responses contain by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SelectedMetrics {
    /// The metrics of this profile.
    pub profile: Profile,
    /// The names of the collectors of which all metrics are exported, whatever the profile.
    pub whole_collectors: Vec<&'static str>,
    /// The names of metrics that are never exported.
    pub excluded: Vec<&'static str>,
}

impl From<Profile> for SelectedMetrics {
    fn from(profile: Profile) -> Self {
        Self { profile, ..Self::default() }
    }
}

impl SelectedMetrics {
    /// Whether a metric of a collector, with its smallest profile, is exported.
    #[must_use]
    pub fn has(&self, collector: &str, profile: Profile) -> bool {
        profile <= self.profile || self.whole_collectors.contains(&collector)
    }

    /// The series of a collector's metric that are exported; all, if `None`.
    #[must_use]
    pub fn reduction(&self, collector: &str, family: &str) -> Option<Reduction> {
        let is_whole = self.whole_collectors.contains(&collector);
        self.profile.reduction(family).filter(|_| !is_whole)
    }
}

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

const fn minimal(name: &'static str, reads: &'static str) -> Collector {
    Collector { name, reads, profile: Profile::Minimal }
}

const fn fleet(name: &'static str, reads: &'static str) -> Collector {
    Collector { name, reads, profile: Profile::Fleet }
}

const fn full(name: &'static str, reads: &'static str) -> Collector {
    Collector { name, reads, profile: Profile::Full }
}

/// Metrics of which only some series are exported, up to a profile.
pub const REDUCED: &[(&str, Profile, Reduction)] = &[
    // as the result success, which has no series in any profile
    ("systemd_service_main_process_exit_code", Profile::Default, Reduction::NonZero),
    ("systemd_service_start_limit_hit", Profile::Default, Reduction::NonZero),
    // the sums of a host; systemd_unit_memory_current_bytes is of each unit
    ("systemd_unit_memory_stat_bytes", Profile::Default, Reduction::Slices),
    ("systemd_unit_pressure_stalled_seconds_total", Profile::Default, Reduction::NonZero),
    ("systemd_unit_pressure_waiting_seconds_total", Profile::Default, Reduction::NonZero),
    // only one of a unit's five states is 1
    ("systemd_unit_state", Profile::Fleet, Reduction::NonZero),
    ("systemd_unit_tasks_limit_hits_total", Profile::Default, Reduction::NonZero),
];

/// The series of a metric that are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Those with another value than 0: most units have only zeros.
    NonZero,
    /// Those of slices.
    Slices,
}

/// A set of metrics, and of the collectors that have one of them. Each contains those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Profile {
    /// States, failures and timers; no resources, no settings
    Minimal,
    /// All that alerts read, and the panels of the dashboards for fleets, hosts and units that
    /// show causes
    Fleet,
    /// All that alerts, rules and dashboards read, all that systemd_exporter has, and the
    /// resources of each service
    #[default]
    Default,
    /// All metrics of all collectors
    Full,
}

impl Profile {
    /// Whether the profile enables a collector.
    #[must_use]
    pub fn has(self, collector: &Collector) -> bool {
        collector.profile <= self
    }

    /// The next smaller profile.
    #[must_use]
    pub fn smaller(self) -> Option<Self> {
        match self {
            Self::Minimal => None,
            Self::Fleet => Some(Self::Minimal),
            Self::Default => Some(Self::Fleet),
            Self::Full => Some(Self::Default),
        }
    }

    /// The series of a metric that the profile exports; all, if `None`.
    #[must_use]
    pub fn reduction(self, family: &str) -> Option<Reduction> {
        let mut reduced = REDUCED.iter();
        let (.., reduction) = reduced.find(|(name, up_to, _)| *name == family && self <= *up_to)?;
        Some(*reduction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Reference;

    #[test]
    fn collector_is_in_the_smallest_profile_of_its_metrics() {
        let rows = Reference::collect().rows;
        for collector in COLLECTORS {
            let families = rows.iter().filter(|row| row.subject.collector == collector.name);
            let smallest = families.map(|row| row.profile).min();
            assert_eq!(smallest, Some(collector.profile), "{}", collector.name);
        }
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
