//! Events name the command that failed, where that is not the main process, and its exit status.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{Exporter, Machine, Samples, eventually, in_time};

/// Each row: the unit, its settings, and cause, command and status of its failure.
const FAILURES: &[(&str, &str, [Option<&str>; 3])] = &[
    (
        "condition.service",
        "ExecCondition=/bin/sh -c 'exit 255'\nExecStart=/bin/true\n",
        [Some("exit-code"), Some("ExecCondition"), Some("255")],
    ),
    (
        "pre.service",
        "ExecStartPre=-/bin/false\nExecStartPre=/bin/sh -c 'exit 3'\nExecStartPre=/bin/true\n\
         ExecStart=/bin/true\n",
        [Some("exit-code"), Some("ExecStartPre"), Some("3")],
    ),
    (
        "pre-killed.service",
        "ExecStartPre=/bin/sh -c 'kill -KILL $$$$'\nExecStart=/bin/true\n",
        [Some("signal"), Some("ExecStartPre"), Some("SIGKILL")],
    ),
    (
        "forking.service",
        "Type=forking\nExecStart=/bin/sh -c 'exit 7'\n",
        [Some("exit-code"), Some("ExecStart"), Some("7")],
    ),
    (
        "post.service",
        "ExecStart=/bin/sleep infinity\nExecStartPost=/bin/sh -c 'exit 4'\n",
        [Some("exit-code"), Some("ExecStartPost"), Some("4")],
    ),
    (
        "stop-post.service",
        "ExecStart=/bin/sleep 0.2\nExecStopPost=/bin/sh -c 'exit 6'\n",
        [Some("exit-code"), Some("ExecStopPost"), Some("6")],
    ),
    ("main.service", "ExecStart=/bin/sh -c 'exit 9'\n", [Some("exit-code"), None, Some("9")]),
    (
        "main-first.service",
        "ExecStart=/bin/sh -c 'exit 9'\nExecStopPost=/bin/sh -c 'exit 6'\n",
        [Some("exit-code"), None, Some("9")],
    ),
    (
        "no-file.service",
        "EnvironmentFile=/absent\nExecStartPre=/bin/true\nExecStart=/bin/true\n",
        [Some("resources"), None, None],
    ),
];

/// Other failures, which only a running exporter can attribute.
const STOP: &str = "ExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'exit 5'\n";
const SLOW: &str = "TimeoutStartSec=300ms\nExecStartPre=/bin/sleep 60\nExecStart=/bin/true\n";
const RELOAD: &str = "ExecStart=/bin/sleep infinity\nExecReload=/bin/sh -c 'exit 8'\n";

#[test]
fn event_names_the_command_that_failed_and_its_status() {
    let machine = &Machine::options().boot();
    let all = FAILURES.iter().map(|(name, text, _)| (*name, *text));
    let all = all.chain([("stop.service", STOP), ("slow.service", SLOW), ("re.service", RELOAD)]);
    let units: Vec<_> = all.map(|(name, text)| (name, format!("[Service]\n{text}"))).collect();
    let units: Vec<_> = units.iter().map(|(name, text)| (*name, &**text)).collect();
    machine.units(&units);
    let exporter = machine.exporter(&[]);
    // without access to the journal
    let by_signals = machine.exporter_unit(&["User=nobody"], &[]).ready();
    for (name, _, failure) in FAILURES {
        machine.exec(&["systemctl", "start", name]);
        for exporter in [&exporter, &by_signals] {
            assert_eq!(settled(exporter, name, "failed", failure), 1, "{name}");
        }
    }
    machine.ok(&["systemctl", "start", "stop", "re"]);
    machine.exec(&["systemctl", "stop", "stop"]);
    machine.exec(&["systemctl", "reload", "re"]);
    machine.exec(&["systemctl", "start", "slow"]);
    for (name, what, failure) in [
        ("stop.service", "failed", [Some("exit-code"), Some("ExecStop"), Some("5")]),
        ("re.service", "job-failed", [Some("failed"), Some("ExecReload"), Some("8")]),
        ("slow.service", "failed", [Some("timeout"), Some("ExecStartPre"), None]),
    ] {
        settled(&exporter, name, what, &failure);
        settled(&by_signals, name, what, &failure);
    }
    let page = exporter.get("/", &[]);
    assert!(page.text().contains("exited with status 3 (ExecStartPre=)"), "{}", page.text());
    let page = exporter.get("/unit/re.service", &[]);
    let text = "systemd job result: failed, status 8 (ExecReload=)";
    assert!(page.text().contains(text), "{}", page.text());

    // the same from the journal, of runs before the exporter was started
    machine.ok(&["journalctl", "--sync"]);
    let later = machine.exporter_unit(&["RuntimeDirectory=later"], &[]).ready();
    for (name, _, failure) in FAILURES {
        assert_eq!(settled(&later, name, "failed", failure), 1, "{name}");
    }
}

#[test]
fn crash_loop_costs_at_most_one_call_per_failure() {
    let machine = &Machine::options().boot();
    machine.unit(
        "loop.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=100ms\n\
         ExecStartPre=/bin/sh -c 'exit 3'\nExecStart=/bin/true\n",
    );
    let exporter = machine.exporter(&[]);
    // makes the same calls otherwise
    let other = machine.exporter(&["--systemd.collector.unit-exclude=loop.service"]);
    machine.exec(&["systemctl", "start", "loop"]);
    let failure = [Some("exit-code"), Some("ExecStartPre"), Some("3")];
    let calls = |page: &Samples| {
        page.value("unit_exporter_dbus_calls_total", &[("kind", "get_unit")]).expect("a total")
    };
    let (failures, page) = eventually("thirty failures", || {
        let page = exporter.samples();
        let failures = page.value("systemd_service_failures_total", &[("name", "loop.service")])?;
        (failures >= 30.0).then_some((failures, page))
    });
    machine.ok(&["systemctl", "stop", "loop"]);
    let calls = calls(&page) - calls(&other.samples());
    eprintln!("{calls} calls, {failures} failures");
    // with those that read the unit
    assert!(calls <= failures + 30.0, "{calls} calls, {failures} failures");
    let found = settled(&exporter, "loop.service", "failed", &failure);
    assert!(found >= 30, "{found} events");
}

/// How many events of a unit have this cause, command and status, once all of them have.
#[track_caller]
fn settled(exporter: &Exporter<'_>, unit: &str, what: &str, expected: &[Option<&str>; 3]) -> usize {
    let mut error = String::new();
    let found = in_time(|| failed(exporter, unit, what, expected).map_err(|it| error = it).ok());
    found.unwrap_or_else(|| panic!("{unit}: {expected:?} is not in {error}"))
}

/// How many events of a unit have this cause, command and status; an error if one has others, or if
/// there are none.
fn failed(
    exporter: &Exporter<'_>,
    unit: &str,
    what: &str,
    expected: &[Option<&str>; 3],
) -> Result<usize, String> {
    let response = exporter.get(&format!("/api/v1/events?unit={unit}"), &[]);
    let events: Value = serde_json::from_str(response.text()).unwrap();
    let events = events["events"].as_array().unwrap().iter();
    let mut failures: Vec<_> = events.filter(|event| event["what"] == what).collect();
    let is_expected = |event: &&Value| {
        ["cause", "command", "status"].map(|field| event[field].as_str()) == *expected
    };
    // the latest failure of a loop may not have its status yet
    if failures.len() > 1 && !is_expected(&failures[0]) {
        failures.remove(0);
    }
    match !failures.is_empty() && failures.iter().all(is_expected) {
        true => Ok(failures.len()),
        false => Err(response.text().to_owned()),
    }
}
