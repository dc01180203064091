//! Other hosts: every supported systemd from 247 on, dbus-broker, no systemd at all, hidden processes.
//!
//! `make test-matrix` runs these, after it has created the Debian trees in target/hosts.
#![allow(clippy::disallowed_types)]

mod support;
#[path = "catalogue/units.rs"]
mod units;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use support::{Machine, Samples, eventually, program};
use unit_exporter::metrics::Reference;

#[test]
#[ignore = "needs other Debian versions; make test-matrix runs it"]
fn compatibility_table_is_current() {
    let declared = declared();
    let mut columns = Vec::new();
    for suite in SUITES {
        let (version, unified) = families(Machine::options().root(tree(suite)).boot());
        // 257 is the last version with cgroup v1
        let hybrid = (version <= 257)
            .then(|| families(Machine::options().root(tree(suite)).cgroup_v1().boot()).1);
        println!("{suite}: systemd {version}, {} metrics on cgroup v2", unified.len());
        columns.push((version, suite, unified, hybrid));
    }
    // metrics that need controllers, which the test machines have only on v1
    let with_controllers: BTreeSet<&String> = columns
        .iter()
        .filter_map(|(_, _, unified, hybrid)| Some(hybrid.as_ref()?.difference(unified)))
        .flatten()
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (introduction, _) = page.split_once("## Metrics\n").expect("a section");
    let mut table = format!("{introduction}## Metrics\n\n");
    let versions = columns.iter().map(|(version, ..)| version.to_string());
    let versions: Vec<_> = versions.collect();
    writeln!(table, "| | {} |", versions.join(" | ")).expect("a string");
    writeln!(table, "|---|{}", "---|".repeat(columns.len())).expect("a string");
    for name in declared.iter().filter(|name| name.starts_with("systemd_")) {
        let cells: Vec<_> = columns
            .iter()
            .map(|(_, _, unified, hybrid)| match hybrid {
                _ if unified.contains(name) => "x",
                Some(hybrid) if hybrid.contains(name) => "x",
                None if with_controllers.contains(name) => "?",
                _ => "",
            })
            .collect();
        writeln!(table, "| `{name}` | {} |", cells.join(" | ")).expect("a string");
    }
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &table).expect("a written file");
    }
    for (version, _, unified, _) in &columns {
        let unknown: Vec<_> = unified.iter().filter(|name| !declared.contains(*name)).collect();
        assert!(unknown.is_empty(), "{version} has {unknown:?}, missing in docs/METRICS.md");
        assert!(unified.len() > 120, "{version} has only {}", unified.len());
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), table, "UPDATE=1 rewrites it");
}

/// Debian with the services of a server, unchanged.
#[test]
#[ignore = "needs other Debian versions; make test-matrix runs it"]
fn plain_boot_has_no_wanted_inactive_unit_and_no_restart_due() {
    for suite in ["bookworm-server", "trixie-server"] {
        let machine = Machine::options().root(tree(suite)).boot();
        for properties in [&["User=nobody"][..], &[]] {
            let exporter = machine.exporter_unit(properties, &[]).ready();
            let page = exporter.samples();
            for unit in ["cron.service", "nginx.service", "redis-server.service", "ssh.service"] {
                let active = [("name", unit), ("state", "active")];
                assert_eq!(page.value("systemd_unit_state", &active), Some(1.0), "{suite}: {unit}");
            }
            let due: Vec<_> = page.all("systemd_service_restart_due", &[]).collect();
            let wanted: Vec<_> = page.all("systemd_unit_wanted_inactive", &[]).collect();
            assert!(due.is_empty() && wanted.is_empty(), "{suite}: {due:?} {wanted:?}");
            assert_eq!(page.value("systemd_units_wanted_inactive", &[]), Some(0.0), "{suite}");
        }
    }
}

#[test]
#[ignore = "needs other Debian versions; make test-matrix runs it"]
fn works_with_dbus_broker() {
    let machine = Machine::options().root(tree("trixie-broker")).boot();
    let bus = machine.ok(&["systemctl", "show", "--property=Id,MainPID", "dbus.service"]);
    assert!(bus.contains("dbus-broker.service"), "{bus}");
    machine.unit("bad.service", "[Service]\nExecStart=/bin/false\n");
    let properties = ["User=nobody", "SupplementaryGroups=systemd-journal"];
    let exporter = machine.exporter_unit(&properties, &[]).ready();
    machine.exec(&["systemctl", "start", "bad"]);
    let bad = [("name", "bad.service")];
    eventually("the failure is counted and the state is failed", || {
        let page = exporter.samples();
        let state = [("name", "bad.service"), ("state", "failed")];
        let failed = page.value("systemd_unit_state", &state) == Some(1.0);
        (failed && page.value("systemd_service_failures_total", &bad) == Some(1.0)).then_some(())
    });
    // the bus restarts
    machine.ok(&["systemctl", "restart", "dbus-broker.service"]);
    machine.exec(&["systemctl", "reset-failed", "bad"]);
    machine.exec(&["systemctl", "start", "bad"]);
    eventually("the second failure is counted", || {
        let page = exporter.samples();
        (page.value("systemd_service_failures_total", &bad) >= Some(2.0)).then_some(())
    });
    eventually("every collector succeeds", || {
        let page = exporter.samples();
        let mut collectors = page.all("unit_exporter_collector_success", &[]);
        collectors.all(|collector| collector.value == 1.0).then_some(())
    });
    let page = exporter.samples();
    assert_eq!(page.value("systemd_service_failures_total", &bad), Some(2.0));
}

#[test]
#[ignore = "make test-matrix runs it"]
fn serves_and_logs_why_in_container_without_systemd() {
    let directory = tempfile::tempdir().expect("a directory");
    let inside = directory.path().join("unit-exporter");
    fs::copy(program(), &inside).expect("a copy");
    Command::new("chmod").args(["-R", "a+rx"]).arg(directory.path()).status().expect("chmod");
    let script = format!(
        "mount -t tmpfs tmpfs /run && ip link set lo up || exit 9
         {} > /tmp/log.$$ 2>&1 &
         for i in $(seq 100); do curl -sf localhost:9558/metrics > /dev/null && break; sleep 0.1; done
         sleep 1
         curl -s -w 'ready is %{{http_code}}\\n' localhost:9558/-/ready; curl -s localhost:9558/metrics
         kill %1; cat /tmp/log.$$; rm /tmp/log.$$",
        inside.display()
    );
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user"])
        .args(["--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "--net"])
        .args(["bash", "-m", "-c", &script])
        .output()
        .expect("setpriv and unshare, of util-linux");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("ready is 503"),
        "{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let page = Samples::parse(
        &stdout
            .lines()
            .filter(|line| line.starts_with("systemd_") || line.starts_with("unit_exporter_"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let success =
        |collector| page.value("unit_exporter_collector_success", &[("collector", collector)]);
    assert_eq!((success("units"), success("exporter")), (Some(0.0), Some(1.0)), "{stdout}");
    assert_eq!(page.all("systemd_unit_state", &[]).count(), 0);
    assert!(stdout.contains("cannot subscribe to systemd"), "{stdout}");
}

#[test]
#[ignore = "make test-matrix runs it"]
fn reports_failure_when_hidepid_hides_processes() {
    let machine = Machine::options().boot();
    machine.ok(&["mount", "-o", "remount,hidepid=2", "/proc"]);
    let exporter = machine.exporter_unit(&["User=nobody"], &[]);
    let page = eventually("the exporter is subscribed", || {
        let page = exporter.samples();
        (page.value("unit_exporter_dbus_subscribed", &[]) == Some(1.0)).then_some(page)
    });
    let success =
        |collector| page.value("unit_exporter_collector_success", &[("collector", collector)]);
    assert_eq!((success("process"), success("cgroup")), (Some(0.0), Some(1.0)));
    for metric in ["systemd_unit_processes", "systemd_unit_threads", "systemd_process_threads"] {
        assert_eq!(page.all(metric, &[]).count(), 0, "{metric} from visible processes only");
    }
    assert!(exporter.log().contains("CAP_SYS_PTRACE"), "{}", exporter.log());
}

/// The systemd version of a machine, and the exported metrics with every collector enabled and units of most types.
fn families(machine: Machine) -> (u32, BTreeSet<String>) {
    machine.write("/opt/all-set.py", units::ALL_SET_SCRIPT);
    machine.write("/opt/talks.py", units::TALKS_SCRIPT);
    let mut all = units::all();
    all.push(("hungry.service", LIMITED.to_owned()));
    all.push(("crashes.service", CRASHES.to_owned()));
    machine.units(&all.iter().map(|(name, text)| (*name, &**text)).collect::<Vec<_>>());
    machine.ok(&["useradd", "--create-home", "--uid", "1500", "app"]);
    machine.ok(&["loginctl", "enable-linger", "app"]);
    for daemon in ["systemd-networkd", "systemd-resolved", "systemd-machined"] {
        machine.exec(&["systemctl", "start", daemon]);
    }
    let arguments = [
        "--profile=full",
        "--collector.user-managers",
        "--collector.listeners.unix",
        "--collector.listeners.connections",
        "--collector.listeners.namespaces",
        "--expect-unit=dbus.service",
        "--expect-listener=echo.socket:tcp:7007",
    ];
    let exporter = machine.exporter(&arguments);
    let units = ["redis-server", "laravel-queue", "all.target", "hungry", "crashes"];
    machine.exec(&[&["systemctl", "start"][..], &units].concat());
    // a systemd job that keeps running
    machine.ok(&["systemctl", "start", "--no-block", "slow"]);
    let session = ["systemd-run", "--quiet", "--property=PAMName=login", "--property=User=app"];
    machine.ok(&[&session[..], &["sleep", "infinity"]].concat());
    // connections to the socket unit with Accept=yes, more than it allows
    let held: Vec<_> = (0..3).map(|_| machine.tcp(7007)).collect();
    let mut families = BTreeSet::new();
    // some metrics are exported only for a time, such as those of systemd jobs
    for pause in [0, 1, 2, 3, 4, 6] {
        std::thread::sleep(std::time::Duration::from_secs(pause));
        let page = exporter.scrape();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        families.extend(types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
    }
    drop(held);
    let version = machine.ok(&["systemctl", "--version"]);
    let version = version.split(' ').nth(1).and_then(|version| version.parse().ok());
    // process_* and the like come from the client library
    families.retain(|name| name.starts_with("systemd_") || name.starts_with("unit_exporter_"));
    (version.expect("a version"), families)
}

/// Every metric of the reference, in its order.
fn declared() -> Vec<String> {
    Reference::collect().rows.into_iter().map(|row| row.name.to_owned()).collect()
}

fn tree(suite: &str) -> PathBuf {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/hosts").join(suite);
    assert!(tree.exists(), "{} is missing: make test-matrix creates it", tree.display());
    tree
}

const SUITES: [&str; 5] = ["bullseye", "bookworm", "bookworm-backports", "trixie", "forky"];

const LIMITED: &str = "[Service]\nCPUQuota=20%\nMemoryMax=64M\nMemoryHigh=60M\nTasksMax=5\n\
    MemorySwapMax=0\nIPAccounting=yes\nIOReadBandwidthMax=/run/host 1G\n\
    ExecStart=/bin/sh -c 'while :; do :; done'\n";
const CRASHES: &str = "[Service]\nRestart=always\nRestartSec=100ms\nExecStart=/bin/sh -c 'sleep 0.3; exit 3'\n\
    [Unit]\nStartLimitIntervalSec=0\n";
