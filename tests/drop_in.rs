//! The drop-in promise: every series of a real systemd_exporter, and every flag of it, on the same machine.

#![allow(clippy::disallowed_types)]

mod support;
#[path = "catalogue/units.rs"]
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use unit_exporter::short_lived;

use support::{EXPORTER_INSIDE, Exporter, Machine, Sample, Samples, in_time};

#[test]
fn default_flags_export_the_same_series() {
    let machine = machine();
    let ours = machine.exporter(&[]);
    let theirs = Theirs::start(&machine, &[], &[]);
    crash(&machine);
    let (compared, missing) = compare(&ours, &theirs);
    assert!(compared > 1000, "only {compared} series");
    assert!(!missing.is_empty(), "no excluded unit runs");
    for series in missing {
        assert!(excluded(&series), "{series:?}");
    }
    let their_types = types(&theirs.page());
    let our_types = types(&ours.scrape());
    let differing = their_types.iter().filter(|(name, kind)| our_types.get(*name) != Some(*kind));
    let differing: Vec<&str> = differing.map(|(name, _)| name.as_str()).collect();
    assert_eq!(differing, ["systemd_socket_refused_connections_total"]);
}

#[test]
fn all_flags_and_all_units_export_the_same_series() {
    let machine = machine();
    let flags = [
        r"--systemd.collector.unit-exclude=.+\.(device)",
        "--systemd.collector.private",
        "--systemd.collector.enable-restart-count",
        "--systemd.collector.enable-ip-accounting",
        "--systemd.collector.enable-resolved",
        "--web.disable-exporter-metrics",
    ];
    let ours = machine.exporter(&[&flags[..], &[SHORT_LIVED]].concat());
    let theirs = Theirs::start(&machine, &[], &flags);
    machine.ok(&["resolvectl", "query", "--legend=no", "localhost"]);
    crash(&machine);
    let (compared, missing) = compare(&ours, &theirs);
    assert!(compared > 1000, "only {compared} series");
    assert_eq!(missing, []);
    let page = theirs.samples();
    let metrics: BTreeSet<&str> = page.0.iter().map(|sample| &*sample.name).collect();
    for metric in [
        "systemd_service_restart_total",
        "systemd_service_ip_ingress_bytes",
        "systemd_resolved_cache_hits_total",
        "systemd_socket_refused_connections_total",
    ] {
        assert!(metrics.contains(metric), "{metrics:?}");
    }
    let restarts = [("name", "restarts.service")];
    assert!(page.value("systemd_service_restart_total", &restarts) > Some(1.0));
}

#[test]
fn manager_of_a_user_exports_the_same_series() {
    let machine = Machine::options().bind(program(), THEIRS).boot();
    machine.ok(&["useradd", "--create-home", "--uid", "1500", "app"]);
    machine.ok(&["loginctl", "enable-linger", "app"]);
    let bus = "/run/user/1500/bus";
    let listening = in_time(|| machine.path(bus).exists().then_some(()));
    assert!(listening.is_some(), "the user's bus is not there");
    let user = ["User=app", "Environment=XDG_RUNTIME_DIR=/run/user/1500"];
    let flags = ["--systemd.collector.user"];
    let ours = machine.exporter_unit(&user, &[&flags[..], &[SHORT_LIVED]].concat()).ready();
    let theirs = Theirs::start(&machine, &user, &flags);
    let (compared, missing) = compare(&ours, &theirs);
    assert!(compared > 100, "only {compared} series");
    assert_eq!(missing, []);
}

/// The value of each flag in the list of `--help`; None for a flag that is started elsewhere in this file.
#[test]
fn every_flag_starts_the_exporter() {
    let machine = machine();
    machine.write("/run/web.yml", "{}\n");
    let help = machine.exec(&[THEIRS, "--help"]);
    let help = String::from_utf8([help.stdout, help.stderr].concat()).expect("a text");
    let flag = Regex::new(r"(?m)^  (?:-\w, |    )--([a-z.-]+)(=?)").expect("a pattern");
    let flags: Vec<_> = flag.captures_iter(&help).map(|found| found.extract::<2>().1).collect();
    assert!(flags.len() > 15, "{help}");
    for [flag, value] in flags {
        let value = match flag {
            "help" | "version" => {
                machine.ok(&[EXPORTER_INSIDE, &format!("--{flag}")]);
                continue;
            }
            "web.listen-address" => continue, // in every start
            "web.systemd-socket" => {
                starts_by_socket(&machine);
                continue;
            }
            // the manager of a user: the test above
            "systemd.collector.user" => continue,
            "systemd.collector.unit-include" => r"=.+\.service",
            "systemd.collector.unit-exclude" => r"=.+\.(device|mount)",
            "web.telemetry-path" => "=/numbers",
            "web.max-requests" => "=0",
            "web.config.file" => "=/run/web.yml",
            "log.level" => "=debug",
            "log.format" => "=json",
            _ => {
                assert_eq!(value, "", "a new flag with a value: {flag}");
                ""
            }
        };
        let ours = machine.exporter(&[&format!("--{flag}{value}")]);
        let path = if flag == "web.telemetry-path" { "/numbers" } else { "/metrics" };
        let response = ours.get(path, &[]);
        assert_eq!(response.status, 200, "{flag}: {}", response.text());
        assert!(Samples::parse(response.text()).all("systemd_unit_state", &[]).count() > 100);
    }
    let vsock = machine.exec(&[EXPORTER_INSIDE, "--web.listen-address=vsock://:9558"]);
    let error = String::from_utf8_lossy(&vsock.stderr);
    assert!(error.contains("vsock is not supported"), "{error}");
}

fn starts_by_socket(machine: &Machine) {
    machine.ok(&[
        "systemd-run",
        "--quiet",
        "--unit=by-socket",
        "--socket-property=ListenStream=127.0.0.1:9700",
        EXPORTER_INSIDE,
        "--web.systemd-socket",
    ]);
    let units = in_time(|| {
        let response = machine.get(9700, "/metrics", &[]).ok()?;
        Samples::parse(response.text()).all("systemd_unit_state", &[]).next().map(|_| ())
    });
    assert!(units.is_some(), "no units by --web.systemd-socket");
    machine.ok(&["systemctl", "stop", "by-socket.socket", "by-socket.service"]);
}

/// A machine with units of every kind, a session's scope, a user's manager and a running systemd-resolved.
fn machine() -> Machine {
    let machine = Machine::options().daemons().bind(program(), THEIRS).boot();
    machine.write("/opt/all-set.py", units::ALL_SET_SCRIPT);
    machine.write("/opt/talks.py", units::TALKS_SCRIPT);
    let units = units::all();
    // these start again and again
    let quiet =
        units.iter().filter(|(name, _)| !name.starts_with("beat") && *name != "thrice.timer");
    machine.units(&quiet.map(|(name, text)| (*name, &**text)).collect::<Vec<_>>());
    machine.unit("restarts.service", RESTARTS);
    machine.ok(&["systemd-sysusers"]);
    machine.ok(&["systemctl", "reload", "dbus.service"]);
    machine.ok(&["systemctl", "start", "systemd-resolved", "all.target"]);
    machine.ok(&[
        "systemctl",
        "start",
        "weekly.timer",
        "echo.socket",
        "lazy.socket",
        "redis-server",
    ]);
    machine.exec(&["systemctl", "start", "fails.service"]);
    machine.ok(&["useradd", "--create-home", "--uid", "1500", "app"]);
    machine.ok(&["loginctl", "enable-linger", "app"]);
    machine.ok(&["systemd-run", "--quiet", "--scope", "sh", "-c", "sleep 1000 > /dev/null 2>&1 &"]);
    let connections: Vec<_> = (0..3).map(|_| machine.tcp(7007).expect("a connection")).collect();
    drop(connections);
    machine
}

/// Lets a service crash three times, while both exporters run.
fn crash(machine: &Machine) {
    machine.ok(&["systemctl", "start", "restarts"]);
    let failed = in_time(|| {
        let state = machine.exec(&["systemctl", "is-failed", "restarts"]);
        state.status.success().then_some(())
    });
    assert!(failed.is_some(), "restarts.service does not fail");
}

/// Scrapes both until nothing changes meanwhile and each series of theirs is ours with the same value, but those of
/// units that are not exported at all. Returns the number of equal series, and the other ones.
#[track_caller]
fn compare(ours: &Exporter<'_>, theirs: &Theirs<'_>) -> (usize, Vec<Sample>) {
    let mut different = Vec::new();
    let found = in_time(|| {
        let ours = ours.samples();
        let theirs = theirs.samples();
        let units: BTreeSet<&str> = ours.0.iter().map(|sample| sample.label("name")).collect();
        let unset = theirs.0.iter().filter(|sample| sample.value == UNSET).count();
        let expected: Vec<Sample> = theirs.0.into_iter().filter(is_promised).collect();
        let (equal, other): (Vec<Sample>, Vec<Sample>) =
            expected.into_iter().partition(|sample| ours.0.contains(sample));
        let (missing, differs) =
            other.into_iter().partition(|sample| !units.contains(sample.label("name")));
        eprintln!("{} equal, {unset} of theirs not set", equal.len());
        different = differs;
        different.is_empty().then_some((equal.len(), missing))
    });
    found.unwrap_or_else(|| {
        panic!("{} series differ: {:#?}", different.len(), &different[..different.len().min(20)])
    })
}

/// Not a value that is not set, the version of the program or its own Go runtime.
fn is_promised(sample: &Sample) -> bool {
    sample.value != UNSET
        && sample.name.starts_with("systemd_")
        && sample.name != "systemd_exporter_build_info"
}

/// The types of the metrics in the text format.
fn types(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE systemd_"));
    let pairs = lines.filter_map(|line| line.split_once(' '));
    pairs.map(|(name, kind)| (format!("systemd_{name}"), kind.to_owned())).collect()
}

/// Whether only a default differs, of `--systemd.collector.unit-exclude` or of sums over short-lived units:
/// docs/migrating.md.
fn excluded(sample: &Sample) -> bool {
    let name = Regex::new(r"^((session|run)-.+\.scope|user@.+\.service)$").expect("a pattern");
    let unit = sample.label("name");
    name.is_match(unit) || short_lived::group(unit).is_some()
}

/// Exports units with short-lived names one by one, as systemd_exporter does.
const SHORT_LIVED: &str = "--systemd.collector.short-lived";

/// A systemd_exporter as a unit in the machine; stopped when dropped.
struct Theirs<'m> {
    machine: &'m Machine,
}

impl<'m> Theirs<'m> {
    #[track_caller]
    fn start(machine: &'m Machine, properties: &[&str], flags: &[&str]) -> Self {
        let listen = format!("--web.listen-address=127.0.0.1:{PORT}");
        let mut command = vec!["systemd-run", "--quiet", "--unit=systemd-exporter"];
        command.extend(properties.iter().flat_map(|property| ["--property", property]));
        command.extend(["--", THEIRS, &listen]);
        command.extend(flags);
        machine.ok(&command);
        let up = in_time(|| machine.get(PORT, "/metrics", &[]).ok());
        let log = || machine.ok(&["journalctl", "--no-pager", "--unit=systemd-exporter"]);
        assert!(up.is_some(), "{}", log());
        Self { machine }
    }

    #[track_caller]
    fn page(&self) -> String {
        let response = self.machine.get(PORT, "/metrics", &[]).expect("a response");
        assert_eq!(response.status, 200, "{}", response.text());
        response.text().to_owned()
    }

    #[track_caller]
    fn samples(&self) -> Samples {
        Samples::parse(&self.page())
    }
}

impl Drop for Theirs<'_> {
    fn drop(&mut self) {
        self.machine.exec(&["systemctl", "stop", "systemd-exporter"]);
    }
}

/// Its program outside of the machine.
fn program() -> std::path::PathBuf {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/forky/prometheus-systemd-exporter");
    assert!(program.exists(), "no {}: scripts/setup test unpacks it", program.display());
    program
}

const RESTARTS: &str = "[Unit]
StartLimitBurst=4
StartLimitIntervalSec=1h
[Service]
ExecStart=/bin/false
Restart=always
RestartSec=100ms
";

const THEIRS: &str = "/usr/local/bin/systemd_exporter";
const PORT: u16 = 9600;
/// u64::MAX, for "not set".
const UNSET: f64 = 18_446_744_073_709_551_615.0;
