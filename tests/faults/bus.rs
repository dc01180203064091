//! The bus is down, or PID 1 is off the bus, for a moment: every scrape is still answered, and only metrics that need
//! the bus may be stale.

use std::thread;
use std::time::Duration;

use crate::scrapes::{Scrapes, TIMEOUT};
use crate::support::{Exporter, Samples, eventually, machine, send_request};

#[test]
fn scrapes_and_counts_survive_bus_restart() {
    let restart = ["timeout", "60", "systemctl", "restart", "dbus.service"];
    assert_scrapes_survive("bus restart", &restart, true);
}

#[test]
fn scrapes_and_counts_survive_bus_kill() {
    let kill = ["timeout", "60", "systemctl", "kill", "--signal=KILL", "dbus.service"];
    assert_scrapes_survive("bus SIGKILL", &kill, true);
}

#[test]
fn scrapes_and_counts_survive_daemon_reexec() {
    let reexec = ["timeout", "60", "systemctl", "daemon-reexec"];
    assert_scrapes_survive("daemon-reexec", &reexec, true);
}

#[test]
fn no_collector_fails_during_three_daemon_reloads() {
    let reload = "for n in 1 2 3; do systemctl daemon-reload; done";
    assert_scrapes_survive("daemon-reload ×3", &["timeout", "90", "sh", "-c", reload], false);
}

/// Runs `command` on a machine with a service that has crashed, while the exporter is scraped. Only the collector
/// `units` may fail, and only if the bus is down or PID 1 leaves it.
#[track_caller]
fn assert_scrapes_survive(fault: &str, command: &[&str], bus_away: bool) {
    let machine = machine();
    let _exclusive = EXCLUSIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    machine.units(&[
        (CRASHING, "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=0\n"),
        ("after.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
    ]);
    machine.ok(&["systemctl", "start", CRASHING]);
    machine.ok(&["systemctl", "stop", "after.service"]);
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemctl", "kill", "--signal=KILL", CRASHING]);
    let before = eventually("the crash is counted", || {
        let counts = counts(&exporter);
        (counts == [Some(1.0), Some(1.0)]).then_some(counts)
    });

    let (scrapes, ()) = Scrapes::during(&exporter, Duration::from_millis(50), || {
        machine.ok(command);
        thread::sleep(Duration::from_secs(5));
    });
    let stale = scrapes.longest_failure("units");
    let count = scrapes.0.len();
    let longest = scrapes.longest();
    eprintln!("{fault}: {count} scrapes, at most {longest:?}; units stale for {stale:?}");
    assert!(count > 10, "{count}");
    assert!(longest < TIMEOUT, "{longest:?}");
    let may_fail: &[&str] = if bus_away { &["units"] } else { &[] };
    let wrong = scrapes.failed_but(may_fail);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", exporter.log());
    // units keep their last known states
    assert!(scrapes.0.iter().all(|scrape| scrape.units > 10), "{:#?}", scrapes.0);
    assert!(scrapes.0.last().is_some_and(|last| last.failed.is_empty()), "{}", exporter.log());

    // no counter changed, and later events are exported
    assert_eq!(counts(&exporter), before);
    machine.ok(&["systemctl", "start", "after.service"]);
    let started = [("name", "after.service"), ("state", "active")];
    eventually("subscription active and the started unit exported", || {
        let page = exporter.samples();
        let subscribed = page.value("unit_exporter_dbus_subscribed", &[]) == Some(1.0);
        (subscribed && page.value("systemd_unit_state", &started) == Some(1.0)).then_some(())
    });
}

fn counts(exporter: &Exporter<'_>) -> [Option<f64>; 2] {
    let page = exporter.samples();
    ["systemd_service_failures_total", "systemd_service_restart_total"]
        .map(|metric| page.value(metric, &[("name", CRASHING)]))
}

#[test]
fn serves_metrics_in_container_without_systemd_and_bus() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let exporter = env!("CARGO_BIN_EXE_unit-exporter");
    // As in a container: another pid namespace, an empty /run, an unprivileged user. A change of user clears
    // the parent-death signal, so setpriv sets it again.
    let inside = format!(
        "mount -t tmpfs tmpfs /run && exec setpriv --pdeathsig=KILL --reuid=65534 --regid=65534 --clear-groups \
         --bounding-set=-all {exporter} --web.listen-address=127.0.0.1:{port}"
    );
    let mut child = std::process::Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &inside])
        .spawn()
        .expect("unshare");
    let get = |path: &str| {
        let connection = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        send_request(connection, "GET", path, &[]).ok()
    };
    let page = eventually("a scrape response", || get("/metrics"));
    assert_eq!(page.status, 200);
    let page = Samples::parse(page.text());
    let success =
        |collector| page.value("unit_exporter_collector_success", &[("collector", collector)]);
    assert_eq!((success("units"), success("exporter")), (Some(0.0), Some(1.0)));
    assert_eq!(page.value("unit_exporter_dbus_subscribed", &[]), Some(0.0));
    assert_eq!(page.all("systemd_unit_state", &[]).count(), 0);
    let ready = get("/-/ready").expect("an answer");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("system_bus_socket"), "{}", ready.text());
    // the exporter keeps running
    thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

const CRASHING: &str = "crashing.service";

/// Serializes the faults: the tests share one machine.
static EXCLUSIVE: std::sync::Mutex<()> = std::sync::Mutex::new(());
