//! A deployment of a real Laravel with a real Redis, both of Debian's packages: after each step the metrics, the Workers
//! dashboard and the alerts.
//!
//! `make test-laravel` runs it, after it has installed the packages, and `make test-matrix` with the newest Laravel. The unit
//! is that of docs/laravel.md; the application is examples/laravel. Durations in the rules are divided by 30: a minute is two
//! seconds.

#![allow(clippy::unwrap_used)]

mod host;
#[path = "../promql/mod.rs"]
mod promql;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use host::Host;

#[test]
#[ignore = "needs PHP, Laravel and Redis, and takes ten minutes; make test-laravel runs it"]
fn each_step_of_a_deployment_shows_on_metrics_dashboard_and_alerts() {
    let machine = host::boot();
    machine.write(&format!("{DROP_IN}/restart.conf"), "[Service]\nRestart=on-failure\n");
    let host = &mut Host::start(&machine);

    everything_works(host);
    current_link_is_switched(host);
    workers_are_restarted_and_one_does_not_come_back(host);
    worker_ends_at_its_memory_limit(host);
    job_crashes_its_worker(host);
    redis_is_stopped_and_started(host);
}

/// Half an hour in the rules.
fn everything_works(host: &mut Host<'_>) {
    host.begin("eight workers process queue jobs");
    for _ in 0..30 {
        host.artisan(&["demo:dispatch", "8"]);
        host.stays_quiet(Duration::from_secs(2));
    }
    host.shows(&[
        ("Running", 8.0),
        ("Missing", 0.0),
        ("Not running", 0.0),
        ("Restart due", 0.0),
        ("Recycled", 0.0),
        ("Crashed", 0.0),
        ("Redis", 1.0),
    ]);
    host.templates(&[("Active", 8.0), ("Expected", 8.0), ("Current", 8.0), ("Crashed", 0.0)]);
    assert_eq!(host.exits(), BTreeMap::new());
    let log = host.machine.ok(&["journalctl", "--no-pager", "--identifier=laravel-queue"]);
    // Laravel 8, and later versions
    let done = ["Processed:", " DONE"].map(|word| log.matches(word).count());
    assert!(done.iter().sum::<usize>() >= 200, "{log}");
}

/// The new release is there, and no worker has been restarted.
fn current_link_is_switched(host: &mut Host<'_>) {
    host.begin("current is switched");
    host.machine.ok(&["ln", "-s", "releases/2", "/var/www/app/current.new"]);
    host.machine.ok(&["mv", "-T", "/var/www/app/current.new", "/var/www/app/current"]);
    // the exporter compares files once a minute
    host.shows(&[("Restart due", 8.0), ("Running", 8.0), ("Crashed", 0.0)]);
    host.templates(&[("Active", 8.0), ("Current", 0.0), ("Started", 0.0)]);
    let page = host.exporter.samples();
    let due = page.all("systemd_service_restart_due", &[]);
    let due: Vec<_> = due.map(|due| (due.label("name"), due.label("because"))).collect();
    let expected: Vec<_> = host::WORKERS.iter().map(|name| (*name, "directory")).collect();
    assert_eq!(due, expected);
    let due = host::WORKERS.map(|name| ("SystemdServiceRestartDue", name));
    host.fires(&due);
}

/// `queue:restart`: each worker exits with 0. Restart=on-failure leaves worker 8 inactive.
fn workers_are_restarted_and_one_does_not_come_back(host: &mut Host<'_>) {
    host.begin("queue:restart");
    host.artisan(&["queue:restart"]);
    host.shows(&[
        ("Running", 7.0),
        ("Missing", 1.0),
        ("Not running", 1.0),
        ("Restart due", 0.0),
        ("Recycled", 7.0),
        ("Crashed", 0.0),
    ]);
    host.templates(&[("Active", 7.0), ("Current", 7.0), ("Started", 7.0), ("Recycled", 7.0)]);
    assert_eq!(host.exits(), [("0".to_owned(), 8.0)].into());
    let page = host.exporter.samples();
    let wanted = [("name", "laravel-queue@8.service"), ("because", "exited")];
    assert_eq!(page.value("systemd_unit_wanted_inactive", &wanted), Some(1.0));
    let pid = host.machine.ok(&["systemctl", "show", "-P", "MainPID", host::WORKERS[0]]);
    let directory = host.machine.ok(&["readlink", &format!("/proc/{}/cwd", pid.trim())]);
    assert_eq!(directory, "/var/www/app/releases/2\n");
    host.fires(&[
        ("SystemdUnitExited", "laravel-queue@8.service"),
        ("SystemdTemplateInstancesMissing", "laravel-queue@.service"),
    ]);

    host.begin("the missing worker is started");
    // with it, exit 12 would stop worker 8, too
    host.machine.ok(&["rm", "-r", DROP_IN]);
    host.machine.ok(&["systemctl", "daemon-reload"]);
    host.machine.ok(&["systemctl", "start", "laravel-queue@8"]);
    host.shows(&[("Running", 8.0), ("Missing", 0.0), ("Not running", 0.0)]);
    host.templates(&[("Active", 8.0), ("Current", 8.0), ("Started", 1.0)]);
    host.fires(&[]);
}

/// Status 12 is a success with `SuccessExitStatus=12`.
fn worker_ends_at_its_memory_limit(host: &mut Host<'_>) {
    host.begin("a worker exits with 12");
    host.artisan(&["demo:dispatch", "1", "--mode=grow"]);
    host.shows(&[("Recycled", 1.0), ("Crashed", 0.0), ("Running", 8.0), ("Missing", 0.0)]);
    assert_eq!(host.exits(), [("0".to_owned(), 8.0), ("12".to_owned(), 1.0)].into());
    host.stays_quiet(Duration::from_secs(30));
}

/// One crash is counted and restarted; no alert fires for one.
fn job_crashes_its_worker(host: &mut Host<'_>) {
    host.begin("a queue job crashes its worker");
    host.artisan(&["demo:dispatch", "1", "--mode=segv"]);
    host.shows(&[("Crashed", 1.0), ("Recycled", 0.0), ("Running", 8.0)]);
    assert_eq!(host.exits()["SIGSEGV"], 1.0);
    let page = host.exporter.samples();
    let signal = [("result", "signal")];
    let failures = page.all("systemd_service_failures_by_result_total", &signal);
    assert_eq!(failures.map(|failure| failure.value).sum::<f64>(), 1.0);
    // Laravel would try the queue job again
    host.machine.ok(&["redis-cli", "-n", "0", "flushdb"]);
    host.stays_quiet(Duration::from_secs(30));
}

/// Workers without Redis exit with 1; systemd restarts them until Redis is back.
fn redis_is_stopped_and_started(host: &mut Host<'_>) {
    // on a busy machine this step takes four minutes, two hours of the rules
    host.tolerated = Some("SystemdServiceKeepsFailing");
    host.begin("Redis is stopped");
    host.machine.ok(&["systemctl", "stop", "redis-server"]);
    host.shows(&[("Redis", 0.0), ("Not running", 0.0), ("Recycled", 0.0)]);
    let page = host.exporter.samples();
    let redis = [("name", "redis-server.service")];
    assert_eq!(page.value("systemd_listener_missing", &redis), Some(1.0));
    let mut expected = host::WORKERS.map(|name| ("SystemdServiceCrashLooping", name)).to_vec();
    expected.push(("SystemdListenerMissing", "redis-server.service"));
    expected.push(("SystemdTemplateInstancesMissing", "laravel-queue@.service"));
    host.fires(&expected);
    assert!(host.exits()["1"] >= 8.0, "{:?}", host.exits());

    host.begin("Redis is started");
    host.machine.ok(&["systemctl", "start", "redis-server"]);
    host.shows(&[("Redis", 1.0), ("Running", 8.0), ("Missing", 0.0), ("Not running", 0.0)]);
    host.templates(&[("Active", 8.0), ("Current", 8.0)]);
    host.fires(&[]);
    host.begin("everything works again");
    host.artisan(&["demo:dispatch", "8"]);
    host.stays_quiet(Duration::from_secs(30));
}

const DROP_IN: &str = "/etc/systemd/system/laravel-queue@8.service.d";
