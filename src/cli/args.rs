//! The flags, their defaults, and their precedence over the environment and the configuration file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches, Parser};
use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

use super::collector_args::{CollectorArgs, IgnoredArgs, ListenerArgs, MetricNameArgs};
use super::commands::Action;
use super::config_file::{ConfigFile, Expression};
use super::serve::telemetry_path;
use crate::collector::{COLLECTORS, Collector, Disabled, Profile};
use crate::http::ListenAddress;
use crate::logging::{Level, LogFormat};
use crate::scrape::expected::Expected;
use crate::source::sockets::{Expectation, SocketOptions};
use crate::systemd::unit::name::check_expected;
use crate::systemd::unit::template::ExpectedInstances;
use crate::unit_filter::{self, anchored};

/// Prometheus exporter for systemd hosts: units, crashes and their causes, resources and
/// listeners, by unit.
#[derive(Clone, Debug, Parser)]
#[command(name = "unit-exporter", version = VERSION, max_term_width = 100,
          after_help = ENVIRONMENT, mut_args(with_environment), args_override_self = true)]
pub struct Args {
    /// The subcommand; none to serve.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Configuration file (YAML) with expectations, filters, profile and collectors; flags take
    /// precedence
    #[arg(long = "config.file", value_name = "PATH", value_parser = path_or_empty())]
    pub config_file: Option<PathBuf>,

    /// Print the metrics to stdout and exit; the exit status is 0 only if all collectors succeeded
    #[arg(long)]
    pub once: bool,

    /// Address to listen on: HOST:PORT, or :PORT for all addresses; repeatable
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = ":9558",
          value_delimiter = ',', help_heading = WEB)]
    pub listen: Vec<ListenAddress>,

    /// Listen on the sockets passed by systemd instead
    #[arg(long = "web.systemd-socket", conflicts_with = "listen", help_heading = WEB)]
    pub systemd_socket: bool,

    /// Path of the metrics
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics",
          value_parser = telemetry_path, help_heading = WEB)]
    pub telemetry_path: String,

    /// TLS, passwords, headers and rate limit, in the format of the Prometheus exporter-toolkit
    #[arg(long = "web.config.file", value_name = "PATH", value_parser = path_or_empty(),
          help_heading = WEB)]
    pub web_config: Option<PathBuf>,

    /// Maximum number of parallel scrape requests; more are answered 503. 0: no limit
    #[arg(long = "web.max-requests", value_name = "N", default_value = "40", help_heading = WEB)]
    pub max_requests: u16,

    /// Maximum number of series in a scrape response, a quarter of them of one metric. Beyond it,
    /// the response has the metrics of a smaller profile; dropped series are counted
    #[arg(long = "web.max-series", value_name = "N", default_value = "200000", help_heading = WEB)]
    pub max_series: usize,

    /// Exclude metrics about the exporter itself, as --no-collector.exporter does
    #[arg(long = "web.disable-exporter-metrics", help_heading = WEB)]
    pub disable_exporter_metrics: bool,

    /// Units to export: a regular expression that matches the whole name, or an alias
    #[arg(long = "systemd.collector.unit-include", value_name = "REGEX",
          default_value = unit_filter::INCLUDE, value_parser = expression, help_heading = FILTERS)]
    pub unit_include: String,

    /// Units to exclude: a regular expression that matches the whole name, or an alias
    #[arg(long = "systemd.collector.unit-exclude", value_name = "REGEX",
          default_value = unit_filter::EXCLUDE, value_parser = expression, help_heading = FILTERS)]
    pub unit_exclude: String,

    /// Export units with short-lived names (connections, containers, sessions) one by one, not summed
    #[arg(long = "systemd.collector.short-lived", help_heading = FILTERS)]
    pub short_lived: bool,

    /// Also export units that are referenced but have no unit file (load state not-found)
    #[arg(long = "systemd.collector.not-found", help_heading = FILTERS)]
    pub not_found: bool,

    /// Export the units of the service manager of the exporter's own user instead of the system's
    #[arg(long = "systemd.collector.user", help_heading = FILTERS)]
    pub user: bool,

    /// Set of collectors and metrics
    #[arg(long, value_name = "PROFILE", default_value = "default", help_heading = COLLECTOR_FLAGS)]
    pub profile: Profile,

    /// The metrics selected by name.
    #[command(flatten)]
    pub metric_names: MetricNameArgs,

    /// Disable all collectors that no --collector.NAME and no configuration file enables
    #[arg(long = "collector.disable-defaults", help_heading = COLLECTOR_FLAGS)]
    pub disable_defaults: bool,

    /// The collectors enabled and disabled by name.
    #[command(flatten)]
    pub collectors: CollectorArgs,

    /// The options of the collector `listeners`.
    #[command(flatten)]
    pub listeners: ListenerArgs,

    /// Unit that must exist, by any name, e.g. nginx.service (systemd_unit_missing); repeatable
    #[arg(long = "expect-unit", value_name = "UNIT", value_parser = expected_unit,
          value_delimiter = ',', help_heading = EXPECTATIONS)]
    pub expect_unit: Vec<String>,

    /// Active instances of a template, e.g. laravel-queue@.service:8 (systemd_template_expected_instances)
    #[arg(long = "expect-instances", value_name = "TEMPLATE:NUMBER", value_delimiter = ',',
          help_heading = EXPECTATIONS)]
    pub expect_instances: Vec<ExpectedInstances>,

    /// Listener that must exist, e.g. nginx.service:tcp:443 (systemd_listener_missing); repeatable
    #[arg(long = "expect-listener", value_name = "UNIT:PROTO:PORT", value_delimiter = ',',
          help_heading = EXPECTATIONS)]
    pub expect_listener: Vec<Expectation>,

    /// Interval at which the units in memory are compared with systemd's list
    #[arg(long = "systemd.resync-interval", value_name = "DURATION", default_value = "5m",
          value_parser = duration, help_heading = TUNING)]
    pub resync: Duration,

    /// How long counters of a unit are kept after systemd has unloaded the unit
    #[arg(long = "systemd.keep-unloaded", value_name = "DURATION", default_value = "1h",
          value_parser = duration, help_heading = TUNING)]
    pub keep_unloaded: Duration,

    /// Maximum number of unloaded units whose counters are kept
    #[arg(long = "systemd.keep-unloaded-max", value_name = "N", default_value = "1000",
          help_heading = TUNING)]
    pub keep_unloaded_max: usize,

    /// Number of events kept for /api/v1/events
    #[arg(long = "systemd.events", value_name = "N", default_value = "256", help_heading = TUNING)]
    pub events: usize,

    /// Directory of the state file, which lets counters continue after a restart of the exporter;
    /// default: RuntimeDirectory= of the service
    #[arg(long = "state.directory", value_name = "PATH", help_heading = TUNING)]
    pub state_directory: Option<PathBuf>,

    /// D-Bus address of the system bus
    #[arg(long = "dbus.address", value_name = "ADDRESS", default_value = DBUS_ADDRESS,
          help_heading = TUNING)]
    pub dbus_address: String,

    /// procfs mount point
    #[arg(long = "path.procfs", value_name = "PATH", default_value = "/proc",
          help_heading = TUNING)]
    pub procfs: PathBuf,

    /// Lowest level that is logged
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info",
          help_heading = LOGGING)]
    pub log_level: Level,

    /// Format of log lines
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt",
          help_heading = LOGGING)]
    pub log_format: LogFormat,

    /// The flags of systemd_exporter that have no effect.
    #[command(flatten)]
    pub ignored: IgnoredArgs,

    /// The settings given by a flag or the environment, by the name of their field.
    #[arg(skip)]
    pub given: BTreeSet<String>,
}

impl Args {
    /// Parses the command line and the environment.
    ///
    /// # Errors
    /// An invalid flag or value; also the texts of `--help` and `--version`.
    pub fn from_command_line(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(arguments)?;
        let mut args = Self::from_arg_matches(&matches)?;
        let is_given = |id: &&str| {
            matches.value_source(id).is_some_and(|source| source != ValueSource::DefaultValue)
        };
        args.given =
            matches.ids().map(|id| id.as_str()).filter(is_given).map(str::to_owned).collect();
        // empty means none, as in the exporter-toolkit
        for file in [&mut args.config_file, &mut args.web_config] {
            file.take_if(|path| path.as_os_str().is_empty());
        }
        // where /var/run is not a link to /run, a container may have mounted only that
        let exists = |path: &str| Path::new(path).exists();
        if !args.is_given("dbus_address") && !exists(RUN_BUS) && exists(VAR_RUN_BUS) {
            args.dbus_address = format!("unix:path={VAR_RUN_BUS}");
        }
        Ok(args)
    }

    /// The flags before and after `check host`.
    #[must_use]
    pub fn to_check(flags: &[OsString]) -> Self {
        let all: Vec<_> = std::env::args_os().collect();
        let before =
            all.iter().take_while(|argument| *argument != "check" && *argument != "check-host");
        let args = Self::from_command_line(before.chain(flags)).unwrap_or_else(|e| e.exit());
        if args.action.is_some() {
            let text = "check host accepts only the flags for serving";
            Self::command().error(ErrorKind::ArgumentConflict, text).exit();
        }
        args
    }

    /// Whether a flag or the environment sets this field.
    #[must_use]
    pub fn is_given(&self, field: &str) -> bool {
        self.given.contains(field)
    }

    /// Takes the settings of a configuration file, except those given by a flag or the environment.
    pub fn apply(&mut self, file: &ConfigFile) {
        self.expect(file);
        for (field, expression, setting) in [
            ("unit_include", &file.unit_include, &mut self.unit_include),
            ("unit_exclude", &file.unit_exclude, &mut self.unit_exclude),
            ("metrics_include", &file.metrics.include, &mut self.metric_names.include),
            ("metrics_exclude", &file.metrics.exclude, &mut self.metric_names.exclude),
        ] {
            if let Some(Expression(text)) = expression
                && !self.given.contains(field)
            {
                setting.clone_from(text);
            }
        }
        self.short_lived |= file.short_lived == Some(true) && !self.is_given("short_lived");
        if let Some(profile) = file.profile.as_ref().filter(|_| !self.is_given("profile")) {
            self.profile = profile.0;
        }
        for (name, on) in file.collectors.switched() {
            self.collectors.switched.entry(name).or_insert(on);
        }
    }

    /// Takes the expectations of the file, except those given by a flag or the environment.
    pub fn expect(&mut self, file: &ConfigFile) {
        let file = file.clone();
        if !self.is_given("expect_unit") {
            let units = file.expect_units.unwrap_or_default();
            self.expect_unit = units.into_iter().map(|unit| unit.0).collect();
        }
        if !self.is_given("expect_instances") {
            let instances = file.expect_instances.unwrap_or_default();
            self.expect_instances = instances.into_iter().map(|expected| expected.0).collect();
        }
        if !self.is_given("expect_listener") {
            let listeners = file.expect_listeners.unwrap_or_default();
            self.expect_listener = listeners.into_iter().map(|listener| listener.0).collect();
        }
    }

    /// The units, instances and listeners that must exist.
    #[must_use]
    pub fn expected(&self) -> Expected {
        Expected {
            units: self.expect_unit.iter().map(|name| name.as_str().into()).collect(),
            instances: self.expect_instances.clone(),
            listeners: self.expect_listener.iter().cloned().map(Arc::new).collect(),
        }
    }

    /// The options for reading listeners.
    #[must_use]
    pub fn sockets(&self) -> SocketOptions {
        SocketOptions {
            proc: self.procfs.clone(),
            max: self.listeners.max,
            unix: self.listeners.unix,
            connections: self.listeners.connections,
            namespaces: self.listeners.namespaces,
            expected: self.expect_listener.iter().cloned().map(Arc::new).collect(),
            ..SocketOptions::default()
        }
    }

    /// The collectors that are disabled.
    #[must_use]
    pub fn disabled(&self) -> Disabled {
        let is_on = |collector: &Collector| {
            let default = !self.disable_defaults && self.profile.has(collector);
            self.collectors.switched.get(collector.name).copied().unwrap_or(default)
        };
        let off = COLLECTORS.iter().filter(|collector| !is_on(collector));
        let mut off: Vec<_> = off.map(|collector| collector.name).collect();
        off.extend(self.disable_exporter_metrics.then_some("exporter"));
        Disabled(off)
    }

    /// The bus of the manager to follow: the system's, or that of the exporter's own user.
    #[must_use]
    pub fn manager_address(&self) -> String {
        if !self.user {
            return self.dbus_address.clone();
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        variable("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|| {
            let uid = rustix::process::getuid();
            let directory = variable("XDG_RUNTIME_DIR");
            let directory = directory.unwrap_or_else(|| format!("/run/user/{uid}"));
            format!("unix:path={directory}/bus")
        })
    }
}

fn path_or_empty() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Lets an environment variable set the flag.
fn with_environment(arg: Arg) -> Arg {
    let Some(long) = arg.get_long() else { return arg };
    let variable = format!("UNIT_EXPORTER_{}", long.to_uppercase().replace(['.', '-'], "_"));
    let arg = arg.env(variable).hide_env(true);
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    }
}

pub(super) fn expression(text: &str) -> Result<String, String> {
    anchored(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn expected_unit(text: &str) -> Result<String, String> {
    check_expected(text).map(|()| text.to_owned())
}

/// A duration as in Prometheus's configuration: `30s`, `1h30m`, `1d`.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || {
        "a duration is a number and ms, s, m, h, d or w, or several of these: 30s, 5m, 1h30m, 1d"
            .to_owned()
    };
    let span = SpanParser::new().parse_span(text).map_err(|_| invalid())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| invalid())?;
    let duration = Duration::try_from(duration).map_err(|_| invalid())?;
    if duration < MIN_DURATION || duration > MAX_DURATION {
        return Err("between 1s and 365d".to_owned());
    }
    Ok(duration)
}

const MIN_DURATION: Duration = Duration::from_secs(1);

/// A year.
const MAX_DURATION: Duration = Duration::from_secs(365 * 86_400);

const RUN_BUS: &str = "/run/dbus/system_bus_socket";

const VAR_RUN_BUS: &str = "/var/run/dbus/system_bus_socket";

const DBUS_ADDRESS: &str = "unix:path=/run/dbus/system_bus_socket";

const WEB: &str = "Web";
const FILTERS: &str = "Filters";
pub(super) const COLLECTOR_FLAGS: &str = "Collectors";
const EXPECTATIONS: &str = "Expectations";
const TUNING: &str = "Tuning";
const LOGGING: &str = "Logging";

const ENVIRONMENT: &str = "\
Each flag can be set by an environment variable: --web.listen-address by
UNIT_EXPORTER_WEB_LISTEN_ADDRESS. Order of precedence: flag, environment, --config.file, default.";

const VERSION: &str = concat!(
    "version ",
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("BUILT_FROM"),
    ", rustc ",
    env!("BUILT_BY"),
    ")"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Args::from_command_line(["unit-exporter"].iter().chain(arguments))
    }

    fn error(arguments: &[&str]) -> clap::Error {
        parse(arguments).unwrap_err()
    }

    #[test]
    fn flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn invalid_expression_is_shown_with_the_position() {
        let error = error(&["--systemd.collector.unit-include=nginx(.service"]);
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("--systemd.collector.unit-include"), "{text}");
        assert!(text.contains("nginx(.service\n         ^"), "{text}");
    }

    #[test]
    fn invalid_value_error_names_a_valid_one() {
        for (argument, hint) in [
            ("--expect-unit=nginx", "nginx.service"),
            ("--expect-listener=nginx:443", "nginx.service:tcp:443"),
            ("--expect-instances=laravel-queue:8", "laravel-queue@.service:8"),
            ("--systemd.resync-interval=5", "5m"),
            ("--systemd.resync-interval=5m ago", "5m"),
            ("--systemd.resync-interval=0s", "1s"),
            ("--systemd.resync-interval=500ms", "1s"),
            ("--web.telemetry-path=metrics", "/metrics"),
            ("--web.listen-address=9558", ":PORT"),
            ("--web.listen-address=vsock://:9558", "--web.systemd-socket"),
        ] {
            let error = error(&[argument]);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(hint), "{error}");
        }
    }

    #[test]
    fn last_flag_for_a_collector_counts() {
        for (arguments, resolved, boot) in [
            (&[][..], false, true),
            (&["--collector.resolved", "--no-collector.boot"], true, false),
            (&["--systemd.collector.enable-resolved"], true, true),
            (&["--collector.resolved", "--no-collector.resolved"], false, true),
            (&["--no-collector.resolved", "--collector.resolved"], true, true),
            (&["--no-collector.boot", "--collector.boot"], false, true),
            (&["--collector.disable-defaults", "--collector.resolved"], true, false),
            (&["--profile=full", "--collector.disable-defaults"], false, false),
        ] {
            let off = parse(arguments).unwrap().disabled();
            assert_eq!(!off.has("resolved"), resolved, "{arguments:?}");
            assert_eq!(!off.has("boot"), boot, "{arguments:?}");
        }
    }

    /// A repeated flag would end with status 2, after which systemd does not start the service again.
    #[test]
    fn last_of_repeated_flags_counts_and_empty_path_is_none() {
        for arguments in [
            &["--web.config.file="][..],
            &["--web.config.file=/a", "--web.config.file="],
            &["--config.file="],
            &["--web.disable-exporter-metrics", "--web.disable-exporter-metrics"],
            &["--collector.resolved", "--collector.resolved"],
            &["--no-collector.boot", "--no-collector.boot"],
            &["--systemd.collector.enable-restart-count"; 2],
        ] {
            let args = parse(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            assert_eq!((args.web_config, args.config_file), (None, None), "{arguments:?}");
        }
        let args = parse(&["--web.max-requests=1", "--web.max-requests=2"]).unwrap();
        assert_eq!(args.max_requests, 2);
        let args = parse(&["--web.listen-address=:1", "--web.listen-address=:2"]).unwrap();
        assert_eq!(args.listen.len(), 2, "this flag is repeatable");
    }

    #[test]
    fn accepts_every_flag_of_systemd_exporter() {
        let ignored = [
            "--systemd.collector.private",
            "--systemd.collector.enable-file-descriptor-size",
            "--systemd.collector.enable-restart-count",
            "--systemd.collector.enable-ip-accounting",
        ];
        let args = parse(&ignored).unwrap();
        assert_eq!(args.ignored.warnings().count(), 2);
        assert_eq!(parse(&["--web.max-requests=0"]).unwrap().max_requests, 0);
    }

    #[test]
    fn every_flag_has_a_variable_in_the_environment() {
        let command = Args::command();
        let flags = command.get_arguments().filter(|argument| argument.get_long().is_some());
        let mut variables = BTreeSet::new();
        for argument in flags {
            let variable = argument.get_env().expect("a variable").to_owned();
            assert!(variables.insert(variable), "{argument}");
        }
        for name in ["UNIT_EXPORTER_WEB_LISTEN_ADDRESS", "UNIT_EXPORTER_NO_COLLECTOR_UNIT_FILES"] {
            assert!(variables.contains(std::ffi::OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn configuration_file_sets_what_no_flag_sets() {
        let text = "profile: full\nexpect_units: [a.service]\nexpect_listeners: [a:tcp:1]\n\
                    expect_instances: ['a@.service:2']\n\
                    unit_include: a.*\nunit_exclude: b.*\n\
                    collectors: {enable: [resolved], disable: [boot, logind]}\n";
        let file = ConfigFile::parse(text).unwrap();
        let mut args = parse(&[]).unwrap();
        args.apply(&file);
        assert_eq!((args.expect_unit.len(), args.expect_listener.len()), (1, 1));
        assert_eq!(args.expect_instances, ["a@.service:2".parse().unwrap()]);
        assert_eq!((&*args.unit_include, &*args.unit_exclude), ("a.*", "b.*"));
        assert_eq!(args.disabled().0, ["boot", "logind"]);
        let mut args = parse(&[
            "--profile=minimal",
            "--expect-unit=b.service,c.service",
            "--systemd.collector.unit-include=c.*",
            "--no-collector.resolved",
            "--collector.boot",
        ])
        .unwrap();
        args.apply(&file);
        assert_eq!(args.expect_unit, ["b.service", "c.service"]);
        assert_eq!((&*args.unit_include, &*args.unit_exclude), ("c.*", "b.*"));
        let off = args.disabled();
        assert!(off.has("resolved") && !off.has("boot") && off.has("cgroup"), "{off:?}");
    }

    #[test]
    fn durations_are_those_of_prometheus() {
        for (text, seconds) in
            [("1h30m5s", 5405), ("1d", 86_400), ("1w", 604_800), ("5m", 300), ("1000ms", 1)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["18446744073709551615h", "366d", "", "-5m", "1mo"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
