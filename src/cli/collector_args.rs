//! The flags of collectors, and those of systemd_exporter that have no effect.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use super::args::{COLLECTOR_FLAGS, expression};
use crate::collector::{COLLECTORS, Collector, Profile};
use crate::metrics::Reference;
use crate::unit_filter::anchored;

/// Collectors enabled and disabled by `--collector.NAME` and `--no-collector.NAME`; the last flag
/// for a collector counts.
#[derive(Clone, Debug, Default)]
pub struct CollectorArgs {
    pub(super) switched: BTreeMap<&'static str, bool>,
}

impl CollectorArgs {
    /// The names of the collectors that a flag or the configuration file enables.
    pub fn enabled(&self) -> Vec<&'static str> {
        self.switched.iter().filter(|(_, is_on)| **is_on).map(|(name, _)| *name).collect()
    }
}

impl clap::Args for CollectorArgs {
    fn augment_args(command: Command) -> Command {
        COLLECTORS.iter().fold(command, |command, Collector { name, reads, profile }| {
            let (with, without) = (format!("collector.{name}"), format!("no-collector.{name}"));
            let flag = |id: &String, other: &String| {
                Arg::new(id.clone())
                    .long(id.clone())
                    .action(ArgAction::SetTrue)
                    .overrides_with(other.clone())
                    .help_heading(COLLECTOR_FLAGS)
            };
            let is_default = *profile <= Profile::Default;
            let alias = (*name == "resolved").then_some("systemd.collector.enable-resolved");
            // help shows the flag that differs from the default
            let enable = flag(&with, &without).hide(is_default).aliases(alias);
            let disable = flag(&without, &with).hide(!is_default);
            command
                .arg(enable.help(format!("Enable {name}: {reads}")))
                .arg(disable.help(format!("Disable {name}: {reads}")))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CollectorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let switched = |name: &'static str| {
            let given = |id: String| match matches.value_source(&id) {
                Some(source) if matches.get_flag(&id) => Some(source),
                _ => None,
            };
            let on = given(format!("collector.{name}"));
            let off = given(format!("no-collector.{name}"));
            // a flag overrides an opposite variable of the environment
            (on.is_some() || off.is_some()).then_some((name, on >= off))
        };
        let names = COLLECTORS.iter().map(|collector| collector.name);
        Ok(Self { switched: names.filter_map(switched).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The metrics selected by name.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = COLLECTOR_FLAGS)]
pub struct MetricNameArgs {
    /// Export only metrics whose whole name matches this regular expression
    #[arg(id = "metrics_include", long = "metrics.include", value_name = "REGEX",
          default_value = ".+", value_parser = expression)]
    pub include: String,

    /// Of these, do not export metrics whose whole name matches this regular expression
    #[arg(id = "metrics_exclude", long = "metrics.exclude", value_name = "REGEX",
          default_value = "", hide_default_value = true, value_parser = expression)]
    pub exclude: String,
}

impl MetricNameArgs {
    /// The names of the metrics that the expressions exclude.
    ///
    /// # Errors
    /// An expression that matches no metric.
    pub fn excluded(&self) -> Result<Vec<&'static str>, String> {
        let rows = Reference::collect().rows;
        let names = || rows.iter().map(|row| row.name);
        let matching = |flag: &str, expression: &str| {
            let pattern = anchored(expression).map_err(|error| error.to_string())?;
            match names().any(|name| pattern.is_match(name)) {
                true => Ok(pattern),
                false => Err(format!("--metrics.{flag} matches no metric of docs/METRICS.md")),
            }
        };
        let include = matching("include", &self.include)?;
        let exclude = match &*self.exclude {
            "" => None,
            expression => Some(matching("exclude", expression)?),
        };
        let is_excluded = |name: &&str| {
            !include.is_match(name)
                || exclude.as_ref().is_some_and(|exclude| exclude.is_match(name))
        };
        Ok(names().filter(is_excluded).collect())
    }
}

/// The options of the collector `listeners`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = COLLECTOR_FLAGS)]
pub struct ListenerArgs {
    /// Maximum number of listeners to export; each unit keeps some before any keeps more
    #[arg(long = "collector.listeners.max", value_name = "N", default_value = "1000")]
    pub max: usize,

    /// Also export the unix sockets of socket units
    #[arg(long = "collector.listeners.unix")]
    pub unix: bool,

    /// Also count the TCP connections of each unit
    #[arg(long = "collector.listeners.connections")]
    pub connections: bool,

    /// Also read the network namespaces of all processes, such as those of PrivateNetwork= and of
    /// containers; about 10 ms for each namespace, and 10 µs for each process
    #[arg(long = "collector.listeners.namespaces")]
    pub namespaces: bool,
}

/// Flags of systemd_exporter that are accepted and have no effect.
#[derive(Clone, Debug, clap::Args)]
pub struct IgnoredArgs {
    /// Restarts are always counted
    #[arg(long = "systemd.collector.enable-restart-count", hide = true)]
    pub restart_count: bool,

    /// Traffic is exported for units with IPAccounting=
    #[arg(long = "systemd.collector.enable-ip-accounting", hide = true)]
    pub ip_accounting: bool,

    /// systemd is always reached through the system bus
    #[arg(long = "systemd.collector.private", hide = true)]
    pub private: bool,

    /// Open files are exported by the collector process
    #[arg(long = "systemd.collector.enable-file-descriptor-size", hide = true)]
    pub file_descriptor_size: bool,
}

impl IgnoredArgs {
    /// A log line for each flag that is given and changes less than in systemd_exporter.
    pub fn warnings(&self) -> impl Iterator<Item = &'static str> {
        let private = "--systemd.collector.private is ignored: systemd is reached through the \
                       system bus (--dbus.address)";
        let descriptors = "--systemd.collector.enable-file-descriptor-size is ignored: open files \
                           are exported as systemd_unit_open_fds by the collector process";
        let warnings = [(self.private, private), (self.file_descriptor_size, descriptors)];
        warnings.into_iter().filter_map(|(given, warning)| given.then_some(warning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(include: &str, exclude: &str) -> Result<Vec<&'static str>, String> {
        MetricNameArgs { include: include.to_owned(), exclude: exclude.to_owned() }.excluded()
    }

    #[test]
    fn excludes_metrics_that_do_not_match() {
        assert_eq!(excluded(".+", ""), Ok(Vec::new()));
        let all = Reference::collect().rows.len();
        let names = excluded(".+", "systemd_unit_(active|inactive)_(enter|exit)_time_seconds");
        assert_eq!(names.map(|names| names.len()), Ok(4));
        let names = excluded("systemd_unit_.+", "systemd_unit_state").unwrap();
        assert!(names.contains(&"systemd_unit_state") && names.contains(&"systemd_version"));
        assert!(!names.contains(&"systemd_unit_sub_state") && names.len() < all);
    }

    #[test]
    fn expression_without_a_metric_is_an_error() {
        for (include, exclude, flag) in
            [("systemd_unit", "", "--metrics.include"), (".+", "node_.+", "--metrics.exclude")]
        {
            assert!(excluded(include, exclude).unwrap_err().contains(flag), "{include} {exclude}");
        }
    }
}
