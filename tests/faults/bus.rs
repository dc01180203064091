//! The bus or PID 1 away for a moment: every scrape is answered meanwhile, with all that needs neither.

use std::thread;
use std::time::Duration;

use crate::scrapes::{Scrapes, TIMEOUT};
use crate::support::{Exporter, Samples, ask, eventually, machine};

#[test]
fn a_restarted_bus_costs_a_moments_freshness() {
    suffers("restart of the bus", &["timeout", "60", "systemctl", "restart", "dbus.service"], true);
}

#[test]
fn a_killed_bus_costs_a_moments_freshness() {
    let kill = ["timeout", "60", "systemctl", "kill", "--signal=KILL", "dbus.service"];
    suffers("SIGKILL of the bus", &kill, true);
}

#[test]
fn a_daemon_reexec_costs_a_moments_freshness() {
    suffers("daemon-reexec", &["timeout", "60", "systemctl", "daemon-reexec"], true);
}

#[test]
fn three_daemon_reloads_cost_no_scrape_anything() {
    let reload = "for n in 1 2 3; do systemctl daemon-reload; done";
    suffers("daemon-reload ×3", &["timeout", "90", "sh", "-c", reload], false);
}

/// Does that to a machine with a service that has crashed, while it is scraped. Only `units` may be said
/// to be stale, and only if the bus is away, or PID 1 leaves it.
#[track_caller]
fn suffers(what: &str, command: &[&str], bus_away: bool) {
    let machine = machine();
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    machine.units(&[
        (KEPT, "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=0\n"),
        ("after.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
    ]);
    machine.ok(&["systemctl", "start", KEPT]);
    machine.ok(&["systemctl", "stop", "after.service"]);
    let exporter = machine.exporter(&[]);
    machine.ok(&["systemctl", "kill", "--signal=KILL", KEPT]);
    let before = eventually("it is counted", || {
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
    eprintln!("{what}: {count} scrapes, at most {longest:?}; units stale for {stale:?}");
    assert!(count > 10, "{count}");
    assert!(longest < TIMEOUT, "{longest:?}");
    let may_fail: &[&str] = if bus_away { &["units"] } else { &[] };
    let wrong = scrapes.failed_but(may_fail);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", exporter.log());
    // as last seen, never none
    assert!(scrapes.0.iter().all(|scrape| scrape.units > 10), "{:#?}", scrapes.0);
    assert!(scrapes.0.last().is_some_and(|last| last.failed.is_empty()), "{}", exporter.log());

    // no count fell or rose, and what happens next is seen
    assert_eq!(counts(&exporter), before);
    machine.ok(&["systemctl", "start", "after.service"]);
    let started = [("name", "after.service"), ("state", "active")];
    eventually("it is followed again", || {
        let page = exporter.samples();
        let followed = page.value("systemd_exporter_subscription_active", &[]) == Some(1.0);
        (followed && page.value("systemd_unit_state", &started) == Some(1.0)).then_some(())
    });
}

fn counts(exporter: &Exporter<'_>) -> [Option<f64>; 2] {
    let page = exporter.samples();
    ["systemd_service_failures_total", "systemd_service_restart_total"]
        .map(|metric| page.value(metric, &[("name", KEPT)]))
}

#[test]
fn without_systemd_and_without_a_bus_it_serves_what_a_container_has() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let exporter = env!("CARGO_BIN_EXE_unit-exporter");
    // as in a container: other processes, nothing below /run, and a user without rights; who changes
    // users is not killed with its parent any more, unless that is asked again
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
        ask(connection, "GET", path, &[]).ok()
    };
    let page = eventually("it answers", || get("/metrics"));
    assert_eq!(page.status, 200);
    let page = Samples::parse(page.text());
    let works =
        |collector| page.value("systemd_exporter_collector_success", &[("collector", collector)]);
    assert_eq!((works("units"), works("exporter")), (Some(0.0), Some(1.0)));
    assert_eq!(page.value("systemd_exporter_subscription_active", &[]), Some(0.0));
    assert_eq!(page.all("systemd_unit_state", &[]).count(), 0);
    let ready = get("/-/ready").expect("an answer");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("system_bus_socket"), "{}", ready.text());
    // it does not give up
    thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

const KEPT: &str = "kept.service";

/// They do to one machine what the others must not see.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
