//! The counters continue after a restart of the exporter, with what happened meanwhile, and begin at boot.

#![allow(clippy::unwrap_used)]

mod support;
mod truth;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use support::{EXPORTER_INSIDE, Exporter, Machine, Samples, eventually, machine};
use truth::{Truth, disable_journal_rate_limit};

#[test]
fn stop_loses_no_crash_and_no_cause() {
    let machine = machine();
    let host = Host::new(machine, "stopped", &[]);
    let exporter = host.start();
    let names = ["stopped-exit.service", "stopped-signal.service", "stopped-once.service"];
    machine.units(&[
        (names[0], &crasher("exit 3")),
        (names[1], &crasher("kill -SEGV $$$$")),
        // no restart reveals its failures
        (names[2], "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 4'\n"),
    ]);
    machine.exec(&["systemctl", "start", names[2]]);
    machine.ok(&["systemctl", "start", "--no-block", names[0], names[1]]);
    settled(&exporter, machine, &names, 2.0);

    let before = exporter.samples();
    host.stop();
    for _start in 0..3 {
        machine.exec(&["systemctl", "start", names[2]]);
    }
    thread::sleep(Duration::from_secs(8));
    let crashed = Truth::of(machine).failures(names[0]);
    assert!(crashed >= failures(&before, names[0]) + 10.0, "{crashed}");
    let exporter = host.start();
    machine.exec(&["systemctl", "stop", names[0], names[1]]);
    let page = assert_counts(&exporter, machine, &names);
    assert_eq!(page.value("unit_exporter_state_restored", &[]), Some(1.0));
    for sample in page.all("unit_exporter_events_lost_total", &[]) {
        assert_eq!(sample.value, 0.0, "{sample:?}");
    }
    // no counter fell
    for sample in before.all("systemd_unit_starts_total", &[]) {
        let labels = [("name", sample.label("name")), ("type", sample.label("type"))];
        let now = page.value("systemd_unit_starts_total", &labels);
        assert!(now >= Some(sample.value), "{sample:?}, now {now:?}");
    }
    let events = exporter.get(&format!("/api/v1/events?unit={}", names[2]), &[]);
    let events: serde_json::Value = serde_json::from_str(events.text()).unwrap();
    let failed = |before_start: bool| {
        let is_failure = |event: &&serde_json::Value| {
            event["what"] == "failed"
                && event["before_start"] == before_start
                && event["status"] == "4"
        };
        events["events"].as_array().unwrap().iter().filter(is_failure).count()
    };
    // the first was seen, by the exporter before its restart
    assert_eq!((failed(false), failed(true)), (1, 3), "{events}");
}

#[test]
fn increase_in_prometheus_over_a_restart_equals_the_journal() {
    let machine = machine();
    let host = Host::new(machine, "scraped", &[]);
    let exporter = host.start();
    let prometheus = machine.prometheus(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: systemd\n  static_configs:\n  - targets: ['127.0.0.1:{}']\n",
        host.port
    ));
    let names = ["scraped-exit.service"];
    machine.units(&[(names[0], &crasher("exit 3"))]);
    machine.ok(&["systemctl", "start", "--no-block", names[0]]);
    settled(&exporter, machine, &names, 2.0);
    let series = format!("systemd_service_failures_total{{name=\"{}\"}}", names[0]);
    let value = |query: &str| -> Option<f64> {
        prometheus.query(query).first()?["value"][1].as_str()?.parse().ok()
    };
    let before = eventually("failures in Prometheus", || value(&series).filter(|n| *n >= 2.0));
    host.stop();
    thread::sleep(Duration::from_secs(8));
    let exporter = host.start();
    machine.exec(&["systemctl", "stop", names[0]]);
    let total = failures(&assert_counts(&exporter, machine, &names), names[0]);
    assert!(total >= before + 10.0, "{total} after {before}");
    eventually("all failures in Prometheus", || (value(&series) == Some(total)).then_some(()));

    assert_eq!(value(&format!("resets({series}[5m])")), Some(0.0));
    let first = value(&format!("min_over_time({series}[5m])")).unwrap();
    let increase = value(&format!("increase({series}[5m])")).unwrap();
    // Prometheus extrapolates to the beginning of the counter
    assert!(
        (total - first..total + 1.0).contains(&increase),
        "{increase} of {total}, from {first}"
    );
}

#[test]
fn kill_between_saves_loses_no_crash() {
    let machine = machine();
    let host = Host::new(machine, "killed", &[]);
    let exporter = host.start();
    let names = ["killed-exit.service", "killed-abort.service"];
    machine.units(&[(names[0], &crasher("exit 5")), (names[1], &crasher("kill -ABRT $$$$"))]);
    machine.ok(&["systemctl", "start", "--no-block", names[0], names[1]]);
    settled(&exporter, machine, &names, 3.0);
    for pause in [0, 700, 3100] {
        machine.ok(&["systemctl", "kill", "--signal=KILL", &host.unit]);
        eventually("the exporter is dead", || {
            machine.exec(&["systemctl", "is-failed", &host.unit]).status.success().then_some(())
        });
        thread::sleep(Duration::from_millis(pause));
        let exporter = host.start();
        thread::sleep(Duration::from_millis(pause));
        drop(exporter);
    }
    let exporter = host.start();
    machine.exec(&[&["systemctl", "stop"], &names[..]].concat());
    let page = assert_counts(&exporter, machine, &names);
    assert_eq!(page.value("unit_exporter_state_restored", &[]), Some(1.0));
}

#[test]
fn reload_and_reset_while_stopped_count_no_restart_twice() {
    let machine = &Machine::options().boot();
    let host = Host::new(machine, "reloaded", &[]);
    let exporter = host.start();
    let names = ["reloaded-exit.service", "reloaded-reset.service"];
    machine.units(&[(names[0], &crasher("exit 6")), (names[1], &crasher("exit 7"))]);
    machine.ok(&["systemctl", "start", "--no-block", names[0], names[1]]);
    settled(&exporter, machine, &names, 2.0);
    let reloads = exporter.samples().value("systemd_manager_reloads_total", &[]).unwrap();
    host.stop();
    for command in ["daemon-reload", "daemon-reexec"] {
        machine.ok(&["systemctl", command]);
        thread::sleep(Duration::from_millis(1300));
    }
    machine.ok(&["systemctl", "reset-failed", names[1]]);
    machine.exec(&["systemctl", "restart", "--no-block", names[1]]);
    thread::sleep(Duration::from_secs(2));
    let exporter = host.start();
    machine.exec(&[&["systemctl", "stop"], &names[..]].concat());
    let page = settled(&exporter, machine, &names, 1.0);
    let truth = Truth::of(machine);
    for name in names {
        assert_eq!(results(&page, name), truth.results(name), "{name}");
    }
    assert!(page.value("systemd_manager_reloads_total", &[]).unwrap() > reloads);
}

#[test]
fn failures_of_units_that_came_and_went_while_stopped_are_counted() {
    let machine = machine();
    let host = Host::new(machine, "transient", &[]);
    host.start();
    host.stop();
    let run = ["systemd-run", "--quiet", "--collect", "--wait", "--unit=gone", "/bin/false"];
    machine.exec(&run);
    machine.exec(&run);
    // loaded meanwhile, and still loaded
    machine.unit("came.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 9'\n");
    machine.exec(&["systemctl", "start", "came"]);
    let exporter = host.start();
    let page = settled(&exporter, machine, &["gone.service", "came.service"], 1.0);
    assert_eq!(failures(&page, "gone.service"), 2.0);
    assert_eq!(failures(&page, "came.service"), 1.0);
}

#[test]
fn failures_of_connections_are_summed_while_followed_and_while_stopped() {
    let machine = machine();
    let include = "--systemd.collector.unit-include=sum@[0-9].+";
    let host = Host::new(machine, "connections", &[include]);
    let exporter = host.start();
    machine.units(&[
        ("sum.socket", "[Socket]\nListenStream=127.0.0.1:7312\nAccept=yes\nMaxConnections=9\n"),
        ("sum@.service", "[Service]\nExecStart=/bin/sh -c 'exit 4'\nStandardInput=socket\n"),
    ]);
    machine.ok(&["systemctl", "start", "sum.socket"]);
    let name = "sum@.service";
    let connect = || {
        drop(machine.tcp(7312));
        thread::sleep(Duration::from_millis(500));
    };
    (0..3).for_each(|_| connect());
    eventually("three failures", || (failures(&exporter.samples(), name) >= 3.0).then_some(()));
    // the journal's entries of the same failures count nothing, however late they are
    thread::sleep(Duration::from_secs(8));
    assert_eq!(failures(&exporter.samples(), name), 3.0);
    host.stop();
    connect();
    connect();
    machine.ok(&["systemctl", "reset-failed", "sum@*.service"]);
    connect();
    let exporter = host.start();
    eventually("six failures", || (failures(&exporter.samples(), name) >= 6.0).then_some(()));
    thread::sleep(Duration::from_secs(8));
    assert_eq!(failures(&exporter.samples(), name), 6.0);
    // the starts of the two units that came and went are in no state
    let starts = |page: &Samples| {
        let labels = [("name", name)];
        page.all("systemd_unit_starts_total", &labels).map(|sample| sample.value).sum::<f64>()
    };
    assert_eq!(starts(&exporter.samples()), 4.0);

    // the sum of units that are not loaded continues, too
    machine.ok(&["systemctl", "stop", "sum.socket"]);
    machine.ok(&["systemctl", "reset-failed", "sum@*.service"]);
    host.stop();
    let page = host.start().samples();
    assert_eq!((failures(&page, name), starts(&page)), (6.0, 4.0));
    let messages = [("name", name), ("priority", "warning")];
    let messages = page.value("systemd_unit_journal_messages_total", &messages);
    assert_eq!(messages, Some(6.0), "each failure is one");
}

#[test]
fn messages_logged_while_stopped_are_counted() {
    let machine = machine();
    let host = Host::new(machine, "logged", &[]);
    let exporter = host.start();
    machine.unit(
        "logs.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'for n in 1 2 3 4 5; do echo \"<4>$$n\"; done; sleep 0.2'\n",
    );
    let messages = |page: &Samples| {
        let labels = [("name", "logs.service"), ("priority", "warning")];
        page.value("systemd_unit_journal_messages_total", &labels)
    };
    machine.ok(&["systemctl", "start", "logs"]);
    eventually("five messages", || (messages(&exporter.samples()) == Some(5.0)).then_some(()));
    host.stop();
    machine.ok(&["systemctl", "start", "logs"]);
    machine.ok(&["journalctl", "--rotate"]);
    machine.ok(&["systemctl", "start", "logs"]);
    let exporter = host.start();
    eventually("fifteen messages", || (messages(&exporter.samples()) == Some(15.0)).then_some(()));
}

#[test]
fn nothing_is_saved_while_nothing_changes() {
    let machine = &Machine::options().boot();
    let host = Host::new(machine, "quiet", &[]);
    let exporter = host.start();
    let saves = || exporter.samples().value("unit_exporter_state_saves_total", &[]).unwrap();
    eventually("the first save", || (saves() >= 1.0).then_some(()));
    // the start of the exporter itself is the last change
    thread::sleep(Duration::from_secs(8));
    let before = saves();
    thread::sleep(Duration::from_secs(20));
    assert_eq!(saves(), before);
    let mode = machine.ok(&["stat", "--format=%a %U", "/run/quiet/state.json", "/run/quiet"]);
    assert_eq!(mode, "600 root\n700 root\n");
}

#[test]
fn first_start_counts_crashes_since_boot() {
    let machine = &Machine::options().boot();
    let host = Host::new(machine, "first", &[]);
    let names = ["first-exit.service", "first-reset.service", "first-once.service"];
    machine.units(&[
        (names[0], &crasher("exit 3").replace("sleep 0.25", "test -e /run/calm && sleep 999")),
        (names[1], &crasher("kill -SEGV $$$$")),
        (names[2], "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 4'\n"),
    ]);
    machine.ok(&["systemctl", "start", "--no-block", names[0], names[1]]);
    for _start in 0..2 {
        machine.exec(&["systemctl", "start", names[2]]);
    }
    eventually("five crashes", || (Truth::of(machine).failures(names[0]) >= 5.0).then_some(()));
    machine.write("run/calm", "");
    // systemd's own counter begins again
    machine.exec(&["systemctl", "restart", names[1]]);
    machine.ok(&["journalctl", "--rotate"]);
    thread::sleep(Duration::from_secs(2));

    let exporter = host.start();
    machine.exec(&["systemctl", "stop", names[1]]);
    let page = assert_counts(&exporter, machine, &names);
    assert!(failures(&page, names[0]) >= 5.0);
    assert_eq!(page.value("unit_exporter_state_restored", &[]), Some(0.0));
    let events = exporter.get(&format!("/api/v1/events?unit={}", names[2]), &[]);
    let events: serde_json::Value = serde_json::from_str(events.text()).unwrap();
    for event in events["events"].as_array().unwrap() {
        let [what, cause, status] = ["what", "cause", "status"].map(|field| event[field].as_str());
        if what == Some("failed") {
            assert_eq!((cause, status), (Some("exit-code"), Some("4")), "{events}");
            assert_eq!(event["before_start"], true, "{events}");
        }
    }
    assert!(exporter.get("/", &[]).text().contains("before the exporter started"));

    // a restart continues from there
    host.stop();
    let exporter = host.start();
    let again = assert_counts(&exporter, machine, &names);
    assert_eq!(again.value("unit_exporter_state_restored", &[]), Some(1.0));
    assert_eq!(failures(&again, names[2]), 2.0);
}

#[test]
fn invalid_state_is_logged_once_and_ignored() {
    let machine = machine();
    let host = Host::new(machine, "invalid", &[]);
    let file = "/run/invalid/state.json";
    host.start();
    host.stop();
    let valid = machine.ok(&["cat", file]);
    let boot = machine.ok(&["cat", "/proc/sys/kernel/random/boot_id"]);
    let other_boot = valid.replace(boot.trim(), "00000000-0000-0000-0000-000000000000");
    assert_ne!(valid, other_boot);
    let write = |content: &str| {
        machine.ok(&["rm", "--force", "--recursive", file]);
        machine.write(file, content);
    };
    let cases: [(&dyn Fn(), &str); 8] = [
        (&|| write(&valid[..valid.len() / 2]), "corrupt"),
        (&|| write("[Unit]\nDescription=x\n"), "corrupt"),
        (&|| write("{\"format\":\"x\"}"), "not a state of unit-exporter"),
        (&|| write(""), "not a state of unit-exporter"),
        (&|| write(&valid.replace("\"version\":1", "\"version\":99")), "another version"),
        (
            &|| {
                write(&valid);
                machine.ok(&["mv", file, "/run/elsewhere.json"]);
                machine.ok(&["ln", "--symbolic", "/run/elsewhere.json", file]);
            },
            "not a regular file",
        ),
        (
            &|| {
                write("");
                machine.ok(&["truncate", "--size=1G", file]);
            },
            "too large",
        ),
        (
            &|| {
                write(&valid);
                machine.ok(&["chown", "65534", file]);
            },
            "owned by another user",
        ),
    ];
    for (place, reason) in cases {
        place();
        let begun = machine.ok(&["date", "+%s.%N"]);
        let exporter = host.start();
        let page = exporter.samples();
        assert_eq!(page.value("unit_exporter_state_restored", &[]), Some(0.0), "{reason}");
        let since = format!("--since=@{}", begun.trim());
        machine.ok(&["journalctl", "--sync"]);
        let log = ["journalctl", "--output=cat", "--unit", &host.unit, &since];
        let log = machine.ok(&log);
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains("failed to restore the state")).collect();
        assert_eq!(lines.len(), 1, "{reason}: {log}");
        assert!(lines[0].contains(reason), "{reason}: {}", lines[0]);
        // the exporter replaces it
        host.stop();
        assert_eq!(machine.ok(&["stat", "--format=%F %a", file]), "regular file 600\n", "{reason}");
    }
    // a link's target is neither read nor written
    assert_eq!(machine.ok(&["cat", "/run/elsewhere.json"]), valid);
    write(&other_boot);
    let exporter = host.start();
    assert_eq!(exporter.samples().value("unit_exporter_state_restored", &[]), Some(0.0));
    host.stop();
    let exporter = host.start();
    assert_eq!(exporter.samples().value("unit_exporter_state_restored", &[]), Some(1.0));
}

#[test]
fn state_that_cannot_be_saved_is_logged_once() {
    let machine = machine();
    machine.units(&[("changes.service", &crasher("exit 2"))]);
    machine.ok(&["systemctl", "start", "--no-block", "changes"]);
    let mounts = [
        // 4 KiB: less than any state has
        ("full", "mount -t tmpfs -o size=4k tmpfs /opt/full"),
        ("readonly", "mount -t tmpfs -o ro tmpfs /opt/readonly"),
        ("absent", "rmdir /opt/absent"),
    ];
    for (name, prepare) in mounts {
        let directory = format!("/opt/{name}");
        machine.ok(&["mkdir", "--parents", &directory]);
        machine.ok(&["sh", "-c", prepare]);
        let host = Host::new(machine, name, &[&format!("--state.directory={directory}")]);
        let exporter = host.start();
        eventually("two saves fail", || {
            let failed = exporter.samples().value("unit_exporter_state_failed_saves_total", &[]);
            (failed >= Some(2.0)).then_some(())
        });
        let lines = exporter.log().matches("failed to save the state").count();
        assert_eq!(lines, 1, "{name}: {}", exporter.log());
        host.stop();
        assert_eq!(machine.ok(&["sh", "-c", &format!("ls {directory} 2> /dev/null || :")]), "");
    }
    machine.exec(&["systemctl", "stop", "changes"]);
}

/// An exporter whose unit keeps its state.
struct Host<'a> {
    machine: &'a Machine,
    unit: String,
    port: u16,
}

impl<'a> Host<'a> {
    fn new(machine: &'a Machine, name: &str, arguments: &[&str]) -> Self {
        disable_journal_rate_limit(machine);
        let port = 7000 + name.bytes().map(u16::from).sum::<u16>();
        let unit = format!("exporter-{name}.service");
        let arguments = arguments.join(" ");
        machine.unit(
            &unit,
            &format!(
                "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nRuntimeDirectory={name}\nRuntimeDirectoryMode=0700\n\
                 RuntimeDirectoryPreserve=yes\n\
                 ExecStart={EXPORTER_INSIDE} --web.listen-address=127.0.0.1:{port} --log.level=debug {arguments}\n"
            ),
        );
        Self { machine, unit, port }
    }

    #[track_caller]
    fn start(&self) -> Exporter<'a> {
        self.machine.ok(&["systemctl", "start", &self.unit]);
        self.machine.exporter_of(&self.unit, self.port).left_running()
    }

    #[track_caller]
    fn stop(&self) {
        self.machine.ok(&["systemctl", "stop", &self.unit]);
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        self.machine.exec(&["systemctl", "stop", &self.unit]);
    }
}

/// A service that crashes about twice a second.
fn crasher(end: &str) -> String {
    format!(
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nLimitCORE=0\nRestart=always\nRestartSec=250ms\n\
         ExecStart=/bin/sh -c 'sleep 0.25; {end}'\n"
    )
}

fn failures(page: &Samples, name: &str) -> f64 {
    page.value("systemd_service_failures_total", &[("name", name)]).unwrap_or(0.0)
}

fn results(page: &Samples, name: &str) -> BTreeMap<(String, String), f64> {
    page.all("systemd_service_failures_by_result_total", &[("name", name)])
        .map(|sample| ((sample.label("result").to_owned(), String::new()), sample.value))
        .collect()
}

/// The metrics once they have all failures that the journal has, and at least this many.
#[track_caller]
fn settled(exporter: &Exporter<'_>, machine: &Machine, names: &[&str], least: f64) -> Samples {
    let begun = Instant::now();
    loop {
        let truth = Truth::of(machine);
        let page = exporter.samples();
        let is_settled = |name: &&str| failures(&page, name) >= truth.failures(name).max(least);
        if names.iter().all(is_settled) || begun.elapsed() > Duration::from_secs(20) {
            return page;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Compares failures, exits and restarts with the journal.
#[track_caller]
fn assert_counts(exporter: &Exporter<'_>, machine: &Machine, names: &[&str]) -> Samples {
    let page = settled(exporter, machine, names, 1.0);
    let truth = Truth::of(machine);
    for name in names {
        assert_eq!(results(&page, name), truth.results(name), "{name}: failures by result");
        assert_eq!(failures(&page, name), truth.failures(name), "{name}: failures");
        let label = |sample: &support::Sample, label| sample.label(label).to_owned();
        let mut exits: BTreeMap<_, _> = page
            .all("systemd_service_main_process_exits_total", &[("name", name)])
            .map(|sample| ((label(sample, "code"), label(sample, "status")), sample.value))
            .collect();
        exits.remove(&("killed".to_owned(), "SIGTERM".to_owned()));
        assert_eq!(exits, truth.exits(name), "{name}: main exits");
        let restarts = page.value("systemd_service_restart_total", &[("name", name)]);
        assert_eq!(restarts, Some(truth.restarts(name)), "{name}: restarts");
    }
    page
}
