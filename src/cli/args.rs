//! The flags and their defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
};

use crate::collector::{COLLECTORS, Collector, Off};
use crate::http::ListenAddress;
use crate::logging::{Level, LogFormat};
use crate::profile::Profile;
use crate::source::journal;
use crate::source::sockets;
use crate::source::sockets::Expectation;
use crate::systemd::unit::name::is_valid;
use crate::unit_filter;
use crate::unit_filter::{Selection, anchored};

/// Prometheus exporter for systemd hosts: units, crashes and their causes, resources and
/// listeners, by unit.
#[derive(Clone, Debug, Parser)]
#[command(name = "unit-exporter", version = VERSION, max_term_width = 100)]
pub struct Args {
    /// Where to listen: HOST:PORT, or :PORT for all addresses; may be given several times
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = ":9558")]
    pub listen: Vec<ListenAddress>,

    /// The path of the metrics page
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics",
          value_parser = telemetry_path)]
    pub telemetry_path: String,

    /// The most series of one metric on a page; the rest is left out, and counted
    #[arg(long = "web.max-series", value_name = "N", default_value = "50000")]
    pub max_series: usize,

    /// The most metrics pages made at the same time; beyond it, scrapes are answered 503
    #[arg(long = "web.max-requests", value_name = "N", default_value = "40",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub max_requests: u16,

    /// TLS, passwords, headers and rate limit, in the format that Prometheus's own exporters use
    #[arg(long = "web.config.file", value_name = "PATH")]
    pub web_config: Option<PathBuf>,

    /// Listen on the sockets that systemd passes instead
    #[arg(long = "web.systemd-socket", conflicts_with = "listen")]
    pub systemd_socket: bool,

    /// Leave out what the exporter tells of itself, as --no-collector.exporter does
    #[arg(long = "web.disable-exporter-metrics")]
    pub disable_exporter_metrics: bool,

    /// Units to export: a regular expression that matches the whole name
    #[arg(long = "systemd.collector.unit-include", value_name = "REGEX",
          default_value = unit_filter::INCLUDE, value_parser = expression)]
    pub unit_include: String,

    /// Units to leave out: a regular expression that matches the whole name
    #[arg(long = "systemd.collector.unit-exclude", value_name = "REGEX",
          default_value = unit_filter::EXCLUDE, value_parser = expression)]
    pub unit_exclude: String,

    /// Also export units that have no file and do nothing: names that others mention
    #[arg(long = "systemd.collector.not-found")]
    pub not_found: bool,

    /// A unit that has to exist: systemd_unit_missing is 1 while it does not; may be given
    /// several times
    #[arg(long = "expect-unit", value_name = "UNIT", value_parser = unit)]
    pub expect_unit: Vec<String>,

    /// Which listeners are exported.
    #[command(flatten)]
    pub listeners: ListenerArgs,

    /// Export the units of the service manager of the exporter's own user instead of the system's
    #[arg(long = "systemd.collector.user")]
    pub user: bool,

    /// How often the units in memory are compared with systemd's list
    #[arg(long = "systemd.resync-interval", value_name = "DURATION", default_value = "5m",
          value_parser = duration)]
    pub resync: Duration,

    /// How long counts of a unit are kept after systemd has unloaded it
    #[arg(long = "systemd.keep-unloaded", value_name = "DURATION", default_value = "1h",
          value_parser = duration)]
    pub keep_unloaded: Duration,

    /// Counts of at most so many unloaded units are kept, the latest
    #[arg(long = "systemd.keep-unloaded-max", value_name = "N", default_value = "1000")]
    pub keep_unloaded_max: usize,

    /// The last events that are kept for /api/v1/events
    #[arg(long = "systemd.events", value_name = "N", default_value = "256")]
    pub events: usize,

    /// The system bus
    #[arg(
        long = "dbus.address",
        value_name = "ADDRESS",
        default_value = "unix:path=/run/dbus/system_bus_socket"
    )]
    pub dbus_address: String,

    /// Where /proc is mounted
    #[arg(long = "path.procfs", value_name = "PATH", default_value = "/proc")]
    pub procfs: PathBuf,

    /// How much is exported
    #[arg(long, value_name = "PROFILE", default_value = "default")]
    pub profile: Profile,

    /// Which collectors are on, and which off.
    #[command(flatten)]
    pub collectors: CollectorArgs,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Print the metrics page and end: with 0 only if everything could be read
    #[arg(long)]
    pub once: bool,

    /// How much is logged
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,

    /// How log lines are written
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    pub log_format: LogFormat,

    /// Accepted for systemd_exporter's sake: restarts are always counted
    #[arg(long = "systemd.collector.enable-restart-count", hide = true,
          action = ArgAction::SetTrue)]
    pub enable_restart_count: bool,

    /// Accepted for systemd_exporter's sake: traffic is exported wherever IPAccounting= is on
    #[arg(long = "systemd.collector.enable-ip-accounting", hide = true,
          action = ArgAction::SetTrue)]
    pub enable_ip_accounting: bool,
}

impl Args {
    /// Where the journal is, and which units' messages are counted by name.
    #[must_use]
    pub fn journal(&self, selection: Selection) -> journal::JournalOptions {
        journal::JournalOptions {
            persistent: "/var/log/journal".into(),
            volatile: "/run/log/journal".into(),
            machine_id: "/etc/machine-id".into(),
            boot_id: self.procfs.join("sys/kernel/random/boot_id"),
            selection,
            keep_for: self.keep_unloaded,
            keep: self.keep_unloaded_max,
        }
    }

    /// The collectors that are off.
    #[must_use]
    pub fn off(&self) -> Off {
        let mut off = self.collectors.off(self.profile);
        off.0.extend(self.disable_exporter_metrics.then_some("exporter"));
        off
    }

    /// The bus of the manager that is followed: the system's, or the exporter's own user's.
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

/// What the program does instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Check the file that --web.config.file would name, and end: with 0 if it is good
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Tell which collectors work on this host and what to change where one does not, and end:
    /// with 0 if all that are on work
    CheckHost {
        /// Flags as for serving
        #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<OsString>,
    },
    /// Read a password and print what basic_auth_users in that file wants of it
    HashPassword {
        /// How much work each check of the password is: each step doubles it
        #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(4..=16))]
        cost: u32,
    },
}

/// Collectors switched on and off: `--collector.NAME`, `--no-collector.NAME`; the last of them
/// counts.
#[derive(Clone, Debug, Default)]
pub struct CollectorArgs {
    switched: BTreeMap<&'static str, bool>,
}

impl Args {
    /// The flags behind `check-host`, and those before it.
    #[must_use]
    pub fn to_check(flags: &[OsString]) -> Self {
        let all: Vec<_> = std::env::args_os().collect();
        let before = all.iter().take_while(|argument| *argument != "check-host");
        let args = Self::parse_from(before.chain(flags));
        if args.action.is_some() {
            let text = "check-host takes the flags for serving, and nothing else";
            Self::command().error(ErrorKind::ArgumentConflict, text).exit();
        }
        args
    }
}

impl CollectorArgs {
    /// Those that are off, by flag or by profile.
    #[must_use]
    pub fn off(&self, profile: Profile) -> Off {
        let is_on = |collector: &Collector| {
            self.switched.get(collector.name).copied().unwrap_or(profile.has(collector))
        };
        let off = COLLECTORS.iter().filter(|collector| !is_on(collector));
        Off(off.map(|collector| collector.name).collect())
    }
}

impl clap::Args for CollectorArgs {
    fn augment_args(command: Command) -> Command {
        COLLECTORS.iter().fold(command, |command, Collector { name, off }| {
            let (with, without) = (format!("collector.{name}"), format!("no-collector.{name}"));
            let flag =
                |id: &String| Arg::new(id.clone()).long(id.clone()).action(ArgAction::SetTrue);
            let tells = off.map(|tells| format!("Also tell {tells}"));
            let leaves = format!("Leave out the collector {name}");
            let renamed = RENAMED.iter().filter(|(_, now)| now == name).map(|(was, _)| *was);
            // help shows what differs from the default
            let on =
                flag(&with).overrides_with(without.clone()).hide(off.is_none()).aliases(renamed);
            let on = tells.into_iter().fold(on, Arg::help);
            command
                .arg(on)
                .arg(flag(&without).overrides_with(with).hide(off.is_some()).help(leaves))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CollectorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let switched = |name: &'static str| {
            let given = |prefix: &str| matches.get_flag(&format!("{prefix}collector.{name}"));
            let (on, off) = (given(""), given("no-"));
            (on || off).then_some((name, on))
        };
        let names = COLLECTORS.iter().map(|collector| collector.name);
        Ok(Self { switched: names.filter_map(switched).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Which listeners are exported.
#[derive(Clone, Debug, clap::Args)]
pub struct ListenerArgs {
    /// Who ought to listen where: systemd_listener_missing is 1 while nobody does, as in
    /// nginx.service:tcp:443; may be given several times
    #[arg(long = "expect-listener", value_name = "UNIT:PROTO:PORT")]
    pub expect_listener: Vec<Expectation>,

    /// The most listeners to export: each unit keeps some before any keeps more
    #[arg(long = "collector.listeners.max", value_name = "N", default_value = "1000")]
    pub max: usize,

    /// Also export the unix sockets that socket units listen on
    #[arg(long = "collector.listeners.unix")]
    pub unix: bool,

    /// Also count the TCP connections of each unit
    #[arg(long = "collector.listeners.connections")]
    pub connections: bool,

    /// Also look into the network namespaces of services, such as those with PrivateNetwork=;
    /// takes about 10 ms for each
    #[arg(long = "collector.listeners.namespaces")]
    pub namespaces: bool,
}

impl ListenerArgs {
    /// The same for what reads listeners.
    #[must_use]
    pub fn options(&self, proc: &Path) -> sockets::SocketOptions {
        sockets::SocketOptions {
            proc: proc.to_owned(),
            max: self.max,
            unix: self.unix,
            connections: self.connections,
            namespaces: self.namespaces,
            expected: self.expect_listener.iter().cloned().map(Arc::new).collect(),
            ..sockets::SocketOptions::default()
        }
    }
}

fn expression(text: &str) -> Result<String, String> {
    anchored(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\"<>".contains(&byte);
    if !text.starts_with('/') || text.len() < 2 || !text.bytes().all(plain) {
        return Err("a path starts with / and holds no ?, # or %: /metrics".to_owned());
    }
    let taken = ["/-/healthy", "/-/ready", "/reference"];
    let below = ["/api/", "/unit/"];
    if taken.contains(&text) || below.iter().any(|path| text.starts_with(path)) {
        return Err("this path is taken: choose another, such as /metrics".to_owned());
    }
    Ok(text.to_owned())
}

fn unit(text: &str) -> Result<String, String> {
    if is_valid(text) {
        return Ok(text.to_owned());
    }
    Err("not the name of a unit: write it whole, such as nginx.service".to_owned())
}

/// A number and a unit: `30s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "a duration is a number and s, m or h: 30s, 5m, 1h30m".to_owned();
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let factor = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            _ => return Err(bad()),
        };
        let part = number.checked_mul(factor).ok_or_else(bad)?;
        seconds = seconds.checked_add(part).ok_or_else(bad)?;
        rest = &rest[digits + 1..];
    }
    if seconds == 0 || seconds > LONGEST {
        return Err("between 1s and 8760h".to_owned());
    }
    Ok(Duration::from_secs(seconds))
}

/// Other names of flags that switch a collector on: systemd_exporter's, and a longer one.
const RENAMED: [(&str, &str); 2] =
    [("systemd.collector.enable-resolved", "resolved"), ("user-managers", "users")];

/// A year.
const LONGEST: u64 = 8760 * 3600;

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
    use clap::CommandFactory;

    use super::*;

    fn error(arguments: &[&str]) -> clap::Error {
        Args::try_parse_from(["unit-exporter"].iter().chain(arguments)).unwrap_err()
    }

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_bad_expression_is_shown_with_the_place() {
        let error = error(&["--systemd.collector.unit-include=nginx(.service"]);
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("--systemd.collector.unit-include"), "{text}");
        assert!(text.contains("nginx(.service\n         ^"), "{text}");
    }

    #[test]
    fn bad_values_say_what_is_good() {
        for (argument, hint) in [
            ("--expect-unit=nginx", "nginx.service"),
            ("--expect-listener=nginx:443", "nginx.service:tcp:443"),
            ("--systemd.resync-interval=5", "5m"),
            ("--systemd.resync-interval=0s", "1s"),
            ("--web.telemetry-path=metrics", "/metrics"),
            ("--web.listen-address=9558", ":PORT"),
        ] {
            let error = error(&[argument]);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(hint), "{error}");
        }
    }

    #[test]
    fn collectors_are_switched_by_the_last_flag_and_by_systemd_exporters() {
        for (arguments, resolved, boot) in [
            (&[][..], false, true),
            (&["--collector.resolved", "--no-collector.boot"], true, false),
            (&["--systemd.collector.enable-resolved"], true, true),
            (&["--collector.resolved", "--no-collector.resolved"], false, true),
            (&["--no-collector.resolved", "--collector.resolved"], true, true),
            (&["--no-collector.boot", "--collector.boot"], false, true),
        ] {
            let args = Args::try_parse_from(["unit-exporter"].iter().chain(arguments)).unwrap();
            let off = args.collectors.off(args.profile).0;
            assert_eq!(!off.contains(&"resolved"), resolved, "{arguments:?}");
            assert_eq!(!off.contains(&"boot"), boot, "{arguments:?}");
        }
    }

    #[test]
    fn durations_add_up() {
        assert_eq!(duration("1h30m5s"), Ok(Duration::from_secs(5405)));
        assert!(duration("18446744073709551615h").is_err());
    }
}
