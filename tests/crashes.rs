//! Failures, exits and restarts match the journal, also under reloads, outages and floods.

#![allow(clippy::unwrap_used)]

mod support;
mod truth;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use support::{Exporter, Machine, Samples, eventually, machine};
use truth::{Truth, disable_journal_rate_limit};

#[test]
fn counts_every_cause_exactly_scraped_or_not() {
    let machine = machine();
    disable_journal_rate_limit(machine);
    let crashers = [shortest_delay(machine), "10ms", "100ms"]
        .map(|pause| (format!("mix-{pause}.service"), pause));
    let mut units: Vec<_> =
        crashers.iter().map(|(name, pause)| (name.clone(), crasher(MIX, pause, ""))).collect();
    let silent = "Type=notify\nNotifyAccess=all\nTimeoutStartSec=300ms\n";
    units.push(("late.service".to_owned(), crasher("exec sleep 9", "0", silent)));
    let watched = "WatchdogSec=300ms\n";
    units.push(("watched.service".to_owned(), crasher("exec sleep 9", "0", watched)));
    let texts: Vec<_> = units.iter().map(|(name, text)| (&**name, &**text)).collect();
    machine.units(&texts);

    let scraped = machine.exporter(&[]);
    let unscraped = machine.exporter(&[]);
    let names: Vec<_> = units.iter().map(|(name, _)| &**name).collect();
    start(machine, &names);
    let begun = Instant::now();
    while begun.elapsed() < lasting(60) {
        thread::sleep(Duration::from_secs(15).min(lasting(60)));
        scraped.scrape();
    }
    stop(machine, &names);

    let truth = Truth::of(machine);
    let causes: Vec<_> = truth.causes().collect();
    for cause in ["exit-code", "signal", "core-dump", "timeout", "watchdog"] {
        assert!(causes.contains(&cause), "{cause} is not among {causes:?}");
    }
    for (exporter, how) in [(&scraped, "scraped every 15 s"), (&unscraped, "not scraped")] {
        let total = assert_counts(exporter, &truth, &names);
        eprintln!("{how}: {total}, difference 0");
    }
}

#[test]
fn counts_fifty_services_crashing_at_once_exactly() {
    let machine = machine();
    disable_journal_rate_limit(machine);
    let names: Vec<_> = (1..=50).map(|n| format!("fifty-{n}.service")).collect();
    let text = crasher(MIX, shortest_delay(machine), "");
    let texts: Vec<_> = names.iter().map(|name| (&**name, &*text)).collect();
    machine.units(&texts);
    let exporter = machine.exporter(&[]);
    let names: Vec<_> = names.iter().map(|name| &**name).collect();
    let before = exporter.samples();
    let begun = Instant::now();
    start(machine, &names);
    thread::sleep(lasting(120).saturating_sub(begun.elapsed()));
    stop(machine, &names);

    let truth = Truth::of(machine);
    let total = assert_counts(&exporter, &truth, &names);
    let after = exporter.samples();
    let cost =
        |name| after.value(name, &[]).unwrap_or(0.0) - before.value(name, &[]).unwrap_or(0.0);
    eprintln!(
        "{total}, difference 0; the exporter used {:.2} s of CPU, {:.1} MiB resident, {:+.1} MiB",
        cost("process_cpu_seconds_total"),
        after.value("process_resident_memory_bytes", &[]).unwrap_or(0.0) / 1048576.0,
        cost("process_resident_memory_bytes") / 1048576.0,
    );
}

#[test]
fn counts_crashes_across_resets_reloads_and_bus_restarts() {
    let machine = machine();
    disable_journal_rate_limit(machine);
    let name = "chaos.service";
    machine.unit(name, &crasher("exit 3", "50ms", ""));
    let exporter = machine.exporter(&[]);
    start(machine, &[name]);
    let disturb = |command: &[&str]| {
        thread::sleep(Duration::from_millis(700));
        machine.exec(command);
    };
    for _ in 0..3 {
        disturb(&["systemctl", "reset-failed", name]);
        disturb(&["systemctl", "daemon-reload"]);
        disturb(&["systemctl", "restart", name]);
        disturb(&["systemctl", "daemon-reexec"]);
        disturb(&["systemctl", "restart", "dbus.service"]);
        // a reset of NRestarts during the bus outage could not be detected
        thread::sleep(Duration::from_secs(2));
    }
    thread::sleep(Duration::from_secs(2));
    stop(machine, &[name]);

    let truth = Truth::of(machine);
    let page = settled(&exporter, &truth, &[name]);
    let unknown = [("name", name), ("result", "unknown")];
    let unknown = page.value("systemd_service_failures_by_result_total", &unknown).unwrap_or(0.0);
    let counted = page.value("systemd_service_failures_total", &[("name", name)]).unwrap();
    let lost = page.all("unit_exporter_events_lost_total", &[]).map(|s| s.value).sum::<f64>();
    eprintln!(
        "journal: {} failures; counted {counted}, {unknown} of them unknown",
        truth.failures(name)
    );
    // nearly always 0. NRestarts alone shows what happened in the six outages, and it is ambiguous
    // at two moments, either of which may coincide with an outage
    let difference = (counted - truth.failures(name)).abs();
    assert!(difference <= 2.0, "{difference}");
    // other services of the machine lose the bus as well
    assert!(lost >= unknown);
    let restarts = page.value("systemd_service_restart_total", &[("name", name)]).unwrap();
    assert!((restarts - truth.restarts(name)).abs() <= 2.0, "{restarts} restarts");
}

#[test]
fn takes_causes_from_journal_after_bus_outage() {
    let machine = machine();
    disable_journal_rate_limit(machine);
    let ends = [
        ("outage-clean.service", "exit 0"),
        ("outage-exit.service", "exit 3"),
        ("outage-signal.service", "kill -SEGV $$$$"),
    ];
    let units = ends.map(|(name, end)| {
        let script = format!("until test -e /run/outage; do sleep 0.05; done; {end}");
        (name, crasher(&script, "100ms", ""))
    });
    machine.units(&units.each_ref().map(|(name, text)| (*name, &**text)));
    let names = ends.map(|(name, _)| name);
    let (exporter, without_journal) =
        (machine.exporter(&[]), machine.exporter(&["--no-collector.journal"]));
    start(machine, &names);
    let count = |page: &Samples, name, result| {
        let labels = [("name", name), ("result", result)];
        page.value("systemd_service_failures_by_result_total", &labels).unwrap_or(0.0)
    };
    eventually("all run", || {
        let page = exporter.samples();
        let runs = |name: &&str| {
            let active = [("name", *name), ("state", "active")];
            page.value("systemd_unit_state", &active) == Some(1.0)
        };
        names.iter().all(runs).then_some(())
    });
    machine.write("opt/forged", FORGED);

    machine.ok(&["systemctl", "stop", "dbus.socket", "dbus.service"]);
    machine.write("run/outage", "");
    machine.ok(&["setpriv", "--reuid=65534", "logger", "--journald=/opt/forged"]);
    eventually("each was restarted three times", || {
        let truth = Truth::of(machine);
        names.iter().all(|name| truth.restarts(name) >= 3.0).then_some(())
    });
    machine.ok(&["rm", "/run/outage"]);
    // let all services run again before the bus is back: a running state is unambiguous
    thread::sleep(Duration::from_secs(1));
    let truth = Truth::of(machine);
    machine.ok(&["systemctl", "start", "dbus.socket", "dbus.service"]);

    let page = settled(&exporter, &truth, &names);
    for name in names {
        let failed: BTreeMap<_, _> = page
            .all("systemd_service_failures_by_result_total", &[("name", name)])
            .map(|sample| ((sample.label("result").to_owned(), String::new()), sample.value))
            .collect();
        assert_eq!(failed, truth.results(name), "{name}");
        let restarts = page.value("systemd_service_restart_total", &[("name", name)]);
        assert_eq!(restarts, Some(truth.restarts(name)), "{name}");
        let unknown = || count(&without_journal.samples(), name, "unknown");
        eventually("the failures are counted without the journal", || {
            (unknown() >= truth.restarts(name)).then_some(())
        });
        assert_eq!(unknown(), truth.restarts(name), "{name} without the journal");
    }
    stop(machine, &names);
}

/// A journal entry with a result that the unit did not have.
const FORGED: &str = "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c\nUNIT=outage-exit.service\n\
    INVOCATION_ID=00000000000000000000000000000001\nUNIT_RESULT=oom-kill\nMESSAGE=x\n";

#[test]
fn counts_kill_between_scrapes_as_one_failure_with_cause() {
    let machine = machine();
    machine.unit("killed.service", &crasher("exec sleep infinity", "0", ""));
    machine.ok(&["systemctl", "start", "killed.service"]);
    let exporter = machine.exporter(&[]);
    let failures = |page: &Samples| {
        page.value("systemd_service_failures_total", &[("name", "killed.service")])
    };
    assert_eq!(failures(&exporter.samples()), Some(0.0));
    let run = machine.ok(&["systemctl", "show", "-P", "InvocationID", "killed.service"]);
    machine.ok(&["systemctl", "kill", "-s", "KILL", "killed.service"]);
    eventually("the service runs again", || {
        let now = machine.ok(&["systemctl", "show", "-P", "InvocationID", "killed.service"]);
        (now != run).then_some(())
    });
    let page = exporter.samples();
    assert_eq!(failures(&page), Some(1.0));
    let labels = [("name", "killed.service"), ("code", "killed"), ("status", "SIGKILL")];
    assert_eq!(page.value("systemd_service_main_process_exits_total", &labels), Some(1.0));
    let state = [("name", "killed.service"), ("state", "failed")];
    assert_eq!(page.value("systemd_unit_state", &state), Some(0.0));

    // the exemplar has the invocation ID of the run that failed
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let page = exporter.get("/metrics", &accept);
    let line = page
        .text()
        .lines()
        .find(|line| line.starts_with("systemd_service_failures_total{name=\"killed.service\"}"));
    let id = line.unwrap().split("invocation_id=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(id, run.trim());
    machine.ok(&["journalctl", "--sync"]);
    let records = machine.ok(&["journalctl", "-o", "cat", &format!("INVOCATION_ID={id}")]);
    assert!(records.contains("status=9/KILL"), "{records}");

    // the event list, newest first
    let events = |query: &str| exporter.get(&format!("/api/v1/events{query}"), &[]);
    let answer = events("?unit=killed.service");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let list: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    let kinds: Vec<_> =
        list["events"].as_array().unwrap().iter().map(|event| event["what"].clone()).collect();
    assert_eq!(kinds, ["restarted", "failed"]);
    let failed = &list["events"][1];
    assert_eq!(failed["cause"], "signal");
    assert_eq!(failed["status"], "SIGKILL");
    assert_eq!(failed["invocation_id"], id);
    let one: serde_json::Value =
        serde_json::from_str(events("?unit=killed.service&limit=1").text()).unwrap();
    assert_eq!(one["events"].as_array().unwrap().len(), 1);
    for bad in ["?limit=0", "?limit=many", "?unit=killed", "?since=yesterday"] {
        assert_eq!(events(bad).status, 400, "{bad}");
    }
}

#[test]
fn reports_start_limit_hit_until_next_start() {
    let machine = machine();
    let limits = "[Unit]\nStartLimitBurst=5\nStartLimitIntervalSec=60\n";
    let text = "[Service]\nExecStart=/bin/sh -c 'test -e /run/good && exec sleep 99; exit 3'\nRestart=on-failure\nRestartSec=50ms\n";
    machine.unit("limited.service", &format!("{limits}{text}"));
    machine.unit("stopped.service", "[Service]\nExecStart=/bin/sh -c 'trap \"exit 9\" TERM; while :; do sleep 0.1; done'\nRestart=always\n");
    let exporter = machine.exporter(&["--log.level=debug"]);
    let start_limit_hit =
        |name| exporter.samples().value("systemd_service_start_limit_hit", &[("name", name)]);
    machine.ok(&["systemctl", "start", "limited.service"]);
    eventually("the start limit is hit", || {
        (show(machine, "ActiveState", "limited.service") == "failed").then_some(())
    });
    let begun = Instant::now();
    while start_limit_hit("limited.service") != Some(1.0) {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "start limit hit not reported within 5 s:\n{}",
            exporter.log()
        );
    }
    eprintln!("start limit hit reported after {:?}", begun.elapsed());
    let page = exporter.samples();
    let name = [("name", "limited.service")];
    let failures = |result| {
        let labels = [("name", "limited.service"), ("result", result)];
        page.value("systemd_service_failures_by_result_total", &labels).unwrap_or(0.0)
    };
    assert_eq!(failures("exit-code"), 5.0);
    // systemd 262 reports the start limit hit as another failure; 257 and older keep the last run's result
    let refused = if machine.version() > 257 { 1.0 } else { 0.0 };
    assert_eq!(failures("start-limit-hit"), refused);
    assert_eq!(page.value("systemd_service_failures_total", &name), Some(5.0 + refused));
    assert_eq!(page.value("systemd_service_restart_total", &name), Some(5.0));

    machine.write("/run/good", "");
    machine.ok(&["systemctl", "reset-failed", "limited.service"]);
    machine.ok(&["systemctl", "start", "limited.service"]);
    eventually("the start limit hit is cleared", || {
        (start_limit_hit("limited.service") == Some(0.0)).then_some(())
    });

    // a failure during a manual stop is not a start limit hit
    machine.ok(&["systemctl", "start", "stopped.service"]);
    thread::sleep(Duration::from_millis(300));
    machine.ok(&["systemctl", "kill", "-s", "KILL", "stopped.service"]);
    eventually("the service is restarted", || {
        (show(machine, "NRestarts", "stopped.service") == "1").then_some(())
    });
    thread::sleep(Duration::from_millis(300));
    machine.ok(&["systemctl", "stop", "stopped.service"]);
    assert_eq!(show(machine, "ActiveState", "stopped.service"), "failed");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(start_limit_hit("stopped.service"), Some(0.0));
}

#[test]
fn counts_failed_dependency_of_unit_that_stays_inactive() {
    let machine = machine();
    machine.units(&[
        ("broken.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n"),
        ("needs.service", "[Unit]\nRequires=broken.service\nAfter=broken.service\n[Service]\nExecStart=/bin/sleep 99\n"),
        ("holds.target", "[Unit]\nWants=needs.service\n"),
    ]);
    machine.exec(&["systemctl", "start", "holds.target"]);
    let exporter = machine.exporter(&[]);
    let labels = [("name", "needs.service"), ("result", "dependency")];
    let count = || exporter.samples().value("systemd_unit_job_failures_total", &labels);
    assert_eq!(count(), None);
    machine.exec(&["systemctl", "start", "needs.service"]);
    eventually("the failed job is counted", || (count() == Some(1.0)).then_some(()));
    let inactive = [("name", "needs.service"), ("state", "inactive")];
    assert_eq!(exporter.samples().value("systemd_unit_state", &inactive), Some(1.0));
}

#[test]
fn counts_from_zero_when_started_during_a_crash_loop() {
    let machine = machine();
    disable_journal_rate_limit(machine);
    let name = "before.service";
    machine.unit(name, &crasher("exit 7", "300ms", ""));
    start(machine, &[name]);
    thread::sleep(Duration::from_secs(3));
    for round in 1..=3 {
        let before = Truth::of(machine).failures(name);
        let exporter = machine.exporter(&[]);
        let first = exporter.samples();
        // the service may crash until the exporter is ready; earlier crashes must not count
        let seen = first.value("systemd_service_failures_total", &[("name", name)]).unwrap();
        let since = Truth::of(machine).failures(name) - before;
        assert!(seen <= since, "round {round}: {seen} failures at once, {since} since it started");
        let result = [("name", name), ("result", "exit-code")];
        let restarts = first.value("systemd_service_restart_total", &[("name", name)]).unwrap();
        // the service crashes on while the journal and the metrics are read, one after the other
        let measure = || {
            let earliest = Truth::of(machine).failures(name);
            let page = exporter.samples();
            (earliest, page, Truth::of(machine).failures(name))
        };
        let counted = |page: &Samples| {
            page.value("systemd_service_failures_total", &[("name", name)]).unwrap()
        };
        let (least_before, before, most_before) = measure();
        thread::sleep(Duration::from_secs(4));
        let (least, page, most) = measure();
        let counted = counted(&page) - counted(&before);
        // one crash may be in the journal and not yet in the metrics, or the other way round
        let truth = least - most_before - 1.0..=most - least_before + 1.0;
        assert!(truth.contains(&counted), "round {round}: {counted} of {truth:?}");
        assert!(page.value("systemd_service_failures_by_result_total", &result).is_some());
        assert!(restarts <= seen + 1.0);
    }
    stop(machine, &[name]);
}

#[test]
fn counts_every_exit_during_status_notification_flood() {
    let machine = machine();
    disable_journal_rate_limit(machine);
    let flood = "import os, socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\na = os.environ['NOTIFY_SOCKET']\nfor n in range(30000):\n    s.sendto(f'STATUS={n}'.encode(), a)\n";
    machine.write("/run/flood.py", flood);
    machine.units(&[
        (
            "flood.service",
            "[Service]\nNotifyAccess=all\nExecStart=/usr/bin/python3 /run/flood.py\n",
        ),
        ("during.service", &crasher("exit 4", "20ms", "")),
    ]);
    let exporter = machine.exporter(&[]);
    let resident = |page: &Samples| page.value("process_resident_memory_bytes", &[]).unwrap();
    let before = resident(&exporter.samples());
    start(machine, &["during.service"]);
    let begun = Instant::now();
    machine.ok(&["systemctl", "start", "--wait", "flood.service"]);
    let took = begun.elapsed();
    stop(machine, &["during.service"]);
    let truth = Truth::of(machine);
    let total = assert_counts(&exporter, &truth, &["during.service"]);
    let page = exporter.samples();
    let grown = (resident(&page) - before) / 1048576.0;
    let signals =
        page.value("unit_exporter_dbus_signals_total", &[("signal", "PropertiesChanged")]);
    eprintln!(
        "30,000 notifications in {took:?}: {total}, difference 0; {signals:?} signals, {grown:+.1} MiB"
    );
    assert!(grown < 32.0, "{grown} MiB");
}

/// How long to crash: the full time with `CRASHES=long`, otherwise a quarter of it.
fn lasting(seconds: u64) -> Duration {
    let long = std::env::var_os("CRASHES").is_some_and(|crashes| crashes == "long");
    Duration::from_secs(if long { seconds } else { seconds / 4 })
}

/// The shortest restart delay: without one, systemd 247 never runs the systemd jobs that stop such services.
fn shortest_delay(machine: &Machine) -> &'static str {
    if machine.since(252, "stopping services that restart without a delay") { "0" } else { "50ms" }
}

/// A service that crashes as fast as systemd lets it.
fn crasher(script: &str, pause: &str, more: &str) -> String {
    let script = script.replace('\n', " ");
    format!(
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nLimitCORE=64K\nWorkingDirectory=/tmp\nRestart=always\nRestartSec={pause}\n{more}\
         ExecStart=/bin/sh -c '{script}'\n"
    )
}

/// Exits in a different way each time, in turn.
const MIX: &str = r#"n=0; f=/run/turn-$$$$; f=/run/turn-$(cut -d/ -f3- /proc/self/cgroup | tr / _);
read n < $f; echo $(( (n + 1) %% 5 )) > $f;
case $n in 1) exit 3;; 2) kill -SEGV $$$$;; 3) kill -KILL $$$$;; 4) kill -ABRT $$$$;; esac"#;

fn start(machine: &Machine, names: &[&str]) {
    machine.ok(&[&["systemctl", "start", "--no-block"], names].concat());
}

/// Stops the services, and waits until the journal is synced.
fn stop(machine: &Machine, names: &[&str]) {
    machine.exec(&[&["systemctl", "stop"], names].concat());
    machine.ok(&["journalctl", "--sync"]);
}

fn show(machine: &Machine, property: &str, name: &str) -> String {
    machine.ok(&["systemctl", "show", "-P", property, name]).trim().to_owned()
}

/// The metrics once they have all failures and restarts that the journal has.
#[track_caller]
fn settled(exporter: &Exporter<'_>, truth: &Truth, names: &[&str]) -> Samples {
    let begun = Instant::now();
    loop {
        let page = exporter.samples();
        let all = names.iter().all(|name| {
            let counted = |metric| page.value(metric, &[("name", name)]).unwrap_or(0.0);
            counted("systemd_service_failures_total") >= truth.failures(name)
                && counted("systemd_service_restart_total") >= truth.restarts(name)
        });
        // after a flood a busy machine has a backlog
        if all || begun.elapsed() > Duration::from_secs(60) {
            return page;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Compares every count of these services with the journal; returns the totals as text.
#[track_caller]
fn assert_counts(exporter: &Exporter<'_>, truth: &Truth, names: &[&str]) -> String {
    let page = settled(exporter, truth, names);
    let (mut exits, mut failures, mut restarts) = (0.0, 0.0, 0.0);
    for name in names {
        let by = |metric, labels: [&'static str; 2]| -> BTreeMap<(String, String), f64> {
            page.all(metric, &[("name", name)])
                .map(|sample| {
                    let [first, second] = labels.map(|label| sample.label(label).to_owned());
                    ((first, second), sample.value)
                })
                .collect()
        };
        let mut exited = by("systemd_service_main_process_exits_total", ["code", "status"]);
        // the journal does not have each exit that is not a failure
        exited.remove(&("exited".to_owned(), "0".to_owned()));
        exited.remove(&("killed".to_owned(), "SIGTERM".to_owned()));
        assert_eq!(exited, truth.exits(name), "{name}: main exits");
        let failed = by("systemd_service_failures_by_result_total", ["result", ""]);
        assert_eq!(failed, truth.results(name), "{name}: failures by result");
        let restarted = page.value("systemd_service_restart_total", &[("name", name)]);
        assert_eq!(restarted, Some(truth.restarts(name)), "{name}: restarts");
        exits += exited.values().sum::<f64>();
        failures += failed.values().sum::<f64>();
        restarts += restarted.unwrap_or(0.0);
    }
    for sample in page.all("unit_exporter_events_lost_total", &[]) {
        assert_eq!(sample.value, 0.0, "{sample:?}");
    }
    assert!(failures > 0.0 && restarts > 0.0);
    format!("{exits} exits, {failures} failures, {restarts} restarts of {} services", names.len())
}
