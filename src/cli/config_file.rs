//! The file of `--config.file`.

use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use serde::Deserialize;

use super::args::{expected_unit, expression};
use crate::collector::{COLLECTORS, Collector, Profile, unknown};
use crate::source::sockets::Expectation;
use crate::systemd::unit::template::ExpectedInstances;

/// The content of the file; `None` for a key that is not set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigFile {
    /// As `--expect-unit`.
    pub expect_units: Option<Vec<ExpectedUnit>>,
    /// As `--expect-instances`.
    pub expect_instances: Option<Vec<InstancesOfTemplate>>,
    /// As `--expect-listener`.
    pub expect_listeners: Option<Vec<ExpectedListener>>,
    /// As `--systemd.collector.unit-include`.
    pub unit_include: Option<Expression>,
    /// As `--systemd.collector.unit-exclude`.
    pub unit_exclude: Option<Expression>,
    /// As `--systemd.collector.short-lived`.
    pub short_lived: Option<bool>,
    /// As `--profile`.
    pub profile: Option<ProfileName>,
    /// As `--collector.NAME` and `--no-collector.NAME`.
    pub collectors: Switched,
    /// As `--metrics.include` and `--metrics.exclude`.
    pub metrics: MetricNames,
}

/// The metrics that the file selects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricNames {
    /// As `--metrics.include`.
    pub include: Option<Expression>,
    /// As `--metrics.exclude`.
    pub exclude: Option<Expression>,
}

/// Collectors that the file enables and disables.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switched {
    enable: Vec<CollectorName>,
    disable: Vec<CollectorName>,
}

/// The name of a unit that must exist.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct ExpectedUnit(pub String);

/// A number of instances that must be active.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct InstancesOfTemplate(pub ExpectedInstances);

/// A listener that must exist.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct ExpectedListener(pub Expectation);

/// A valid regular expression.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Expression(pub String);

/// A profile by its name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProfileName(pub Profile);

/// The name of a collector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct CollectorName(&'static Collector);

impl ConfigFile {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read or is invalid; the text names the file and the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    }

    /// Parses and checks the text of a file.
    ///
    /// # Errors
    /// One line with the line number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! { with_snippet: false };
        let file = serde_saphyr::from_str_with_options::<Option<Self>>(text, options);
        let file = file.map_err(|error| error.to_string())?.unwrap_or_default();
        let both =
            file.collectors.enable.iter().find(|name| file.collectors.disable.contains(name));
        match both {
            Some(CollectorName(collector)) => {
                let name = collector.name;
                Err(format!("collectors: {name} is both in enable and in disable"))
            }
            None => Ok(file),
        }
    }

    /// The keys whose new value takes effect only after a restart.
    #[must_use]
    pub fn restart_required(&self, new: &Self) -> Vec<&'static str> {
        let changed = [
            ("unit_include", self.unit_include != new.unit_include),
            ("unit_exclude", self.unit_exclude != new.unit_exclude),
            ("short_lived", self.short_lived != new.short_lived),
            ("profile", self.profile != new.profile),
            ("collectors", self.collectors != new.collectors),
            ("metrics", self.metrics != new.metrics),
        ];
        changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}

impl Switched {
    /// Each collector, and whether it is enabled.
    pub fn switched(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let enabled = self.enable.iter().map(|name| (name.0.name, true));
        enabled.chain(self.disable.iter().map(|name| (name.0.name, false)))
    }
}

impl TryFrom<String> for ExpectedUnit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        expected_unit(&text).map(Self).map_err(|error| format!("{text:?}: {error}"))
    }
}

impl TryFrom<String> for InstancesOfTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?}: {error}"))
    }
}

impl TryFrom<String> for ExpectedListener {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?}: {error}"))
    }
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        expression(&text).map(Self)
    }
}

impl TryFrom<String> for ProfileName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Profile::from_str(&text, false).map(Self).map_err(|_| {
            format!("unknown profile {text:?}; the profiles are minimal, fleet, default, full")
        })
    }
}

impl TryFrom<String> for CollectorName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = COLLECTORS.iter().find(|collector| collector.name == text);
        known.map(Self).ok_or_else(|| unknown(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_file_sets_nothing() {
        for text in ["", "---\n", "# nothing\n", "{}\n", "expect_units:\n"] {
            assert_eq!(ConfigFile::parse(text), Ok(ConfigFile::default()), "{text:?}");
        }
    }

    #[test]
    fn error_names_line_and_reason() {
        for (text, line, reason) in [
            ("profile: full\nexpect_unit: []\n", 2, "expect_unit"),
            ("expect_units:\n- a.service\n- nginx\n", 3, "nginx.service"),
            ("expect_listeners:\n- nginx:443\n", 2, "nginx.service:tcp:443"),
            ("expect_instances:\n- queue:8\n", 2, "laravel-queue@.service:8"),
            ("\n\nunit_include: a(b\n", 3, "a(b"),
            ("\nprofile: small\n", 2, "minimal, fleet, default, full"),
            ("collectors:\n  enable: [resolve]\n", 2, "boot, cgroup"),
            ("collectors:\n  enabled: []\n", 2, "enabled"),
            ("expect_units: nginx.service\n", 1, "sequence"),
        ] {
            let error = ConfigFile::parse(text).unwrap_err();
            assert!(error.contains(&format!("line {line}")), "{text}: {error}");
            assert!(error.contains(reason), "{text}: {error}");
        }
        let both = "collectors: {enable: [boot], disable: [boot]}\n";
        assert!(ConfigFile::parse(both).unwrap_err().contains("boot is both"));
    }

    #[test]
    fn changed_filters_and_collectors_require_a_restart() {
        let old = ConfigFile::parse("expect_units: [a.service]\n").unwrap();
        let new = ConfigFile::parse("profile: full\ncollectors: {disable: [boot]}\n").unwrap();
        assert_eq!(old.restart_required(&new), ["profile", "collectors"]);
        assert!(old.restart_required(&ConfigFile::default()).is_empty());
    }
}
