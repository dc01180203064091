//! The rules by which starts, failures, triggers and refused starts are counted, each on several inputs.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use support::{Exporter, Machine, Samples, eventually};

#[test]
fn each_failure_of_pid_one_itself_counts() {
    let machine = &Machine::options().boot();
    // PID 1 fails these in the turn of their start: no process runs, and each has the result of the one before
    let units = [
        ("no-file.service", "Type=oneshot\nEnvironmentFile=/nonexistent\n"),
        ("no-file-simple.service", "EnvironmentFile=/nonexistent\n"),
        ("no-file-forking.service", "Type=forking\nEnvironmentFile=/nonexistent\n"),
        ("no-file-pre.service", "ExecStartPre=/bin/true\nEnvironmentFile=/nonexistent\n"),
    ];
    let limit = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/true\n";
    let units = units.map(|(name, text)| (name, format!("{limit}{text}")));
    machine.units(&units.each_ref().map(|(name, text)| (*name, &**text)));
    let exporter = machine.exporter(&[]);
    for (name, _) in &units {
        for run in 1..=3_u8 {
            machine.exec(&["systemctl", "start", name]);
            let labels = [("name", *name)];
            // the bus may deliver the signals after systemctl has returned
            let page = eventually(&format!("failure {run} of {name}"), || {
                let page = exporter.samples();
                let failures = page.value("systemd_service_failures_total", &labels);
                (failures == Some(f64::from(run))).then_some(page)
            });
            let value = |metric| page.value(metric, &labels);
            let labels = [("name", *name), ("type", "service")];
            let starts = page.value("systemd_unit_starts_total", &labels);
            assert_eq!(starts, Some(f64::from(run)), "{name}");
            assert_eq!(failures(&page, name), [("resources".to_owned(), f64::from(run))].into());
            assert_eq!(what(&exporter, name, "failed"), usize::from(run), "{name}");
            assert_eq!(value("systemd_service_start_limit_hit"), None, "{name}");
        }
    }
}

#[test]
fn failed_starts_of_other_kinds_count_as_failed_jobs() {
    let machine = &Machine::options().boot();
    machine.units(&[
        ("mnt-absent.mount", "[Unit]\nStartLimitIntervalSec=0\n[Mount]\nWhat=/nonexistent\nWhere=/mnt/absent\nType=ext4\n"),
        ("run-absent.swap", "[Unit]\nStartLimitIntervalSec=0\n[Swap]\nWhat=/run/absent\n"),
        ("taken.socket", "[Unit]\nStartLimitIntervalSec=0\n[Socket]\nListenStream=192.0.2.1:7999\nAccept=no\nService=never-run.service\n"),
        ("never-run.service", "[Service]\nExecStart=/bin/true\n"),
    ]);
    let exporter = machine.exporter(&[]);
    for name in ["mnt-absent.mount", "run-absent.swap", "taken.socket"] {
        for run in 1..=3_u8 {
            machine.exec(&["systemctl", "start", name]);
            let labels = [("name", name)];
            eventually(&format!("failed job {run} of {name}"), || {
                let page = exporter.samples();
                let jobs = page.all("systemd_unit_job_failures_total", &labels);
                (jobs.map(|sample| sample.value).sum::<f64>() == f64::from(run)).then_some(())
            });
        }
    }
}

#[test]
fn skipped_runs_are_neither_failures_nor_events() {
    let machine = &Machine::options().boot();
    let skipped = |condition: &str| {
        format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\n{condition}ExecStart=/bin/true\n")
    };
    machine.units(&[
        ("skip-1.service", &skipped("Type=oneshot\nExecCondition=/bin/false\n")),
        ("skip-254.service", &skipped("ExecCondition=/bin/sh -c 'exit 254'\nRestart=on-failure\n")),
        ("skip-second.service", &skipped("ExecCondition=/bin/true\nExecCondition=/bin/false\n")),
        ("fail-255.service", &skipped("ExecCondition=/bin/sh -c 'exit 255'\n")),
        ("fail-signal.service", &skipped("ExecCondition=/bin/sh -c 'kill -KILL $$$$'\n")),
        (
            "unmet.service",
            "[Unit]\nConditionPathExists=/nonexistent\n[Service]\nExecStart=/bin/true\n",
        ),
        (
            "asserted.service",
            "[Unit]\nAssertPathExists=/nonexistent\n[Service]\nExecStart=/bin/true\n",
        ),
    ]);
    let exporter = machine.exporter(&[]);
    let names =
        ["skip-1", "skip-254", "skip-second", "fail-255", "fail-signal", "unmet", "asserted"];
    for name in names {
        for _ in 0..3 {
            machine.exec(&["systemctl", "start", name]);
            eventually("the run has ended", || {
                let state = machine.ok(&["systemctl", "show", "-P", "ActiveState", name]);
                ["inactive", "failed"].contains(&state.trim()).then_some(())
            });
        }
    }
    let page = exporter.samples();
    for (name, result, starts, job) in [
        ("skip-1.service", None, 3.0, None),
        ("skip-254.service", None, 3.0, None),
        ("skip-second.service", None, 3.0, None),
        ("fail-255.service", Some("exit-code"), 3.0, Some("failed")),
        ("fail-signal.service", Some("signal"), 3.0, Some("failed")),
        ("unmet.service", None, 0.0, None),
        ("asserted.service", None, 0.0, Some("assert")),
    ] {
        let failed: BTreeMap<_, _> =
            result.map(|result| (result.to_owned(), 3.0)).into_iter().collect();
        assert_eq!(failures(&page, name), failed, "{name}");
        let total = failed.values().sum::<f64>();
        let labels = [("name", name)];
        assert_eq!(
            page.value("systemd_service_failures_total", &labels).unwrap_or(0.0),
            total,
            "{name}"
        );
        // systemd unloads a unit that it has not started
        assert_eq!(
            page.value("systemd_unit_starts_total", &labels).unwrap_or(0.0),
            starts,
            "{name}"
        );
        assert_eq!(what(&exporter, name, "failed"), 3 * failed.len(), "{name}");
        let jobs: Vec<_> = page
            .all("systemd_unit_job_failures_total", &labels)
            .map(|sample| (sample.label("result").to_owned(), sample.value))
            .collect();
        let expected: Vec<_> = job.map(|job| (job.to_owned(), 3.0)).into_iter().collect();
        assert_eq!(jobs, expected, "{name}");
    }
    let host = page.all("systemd_host_service_failures_total", &[("result", "exec-condition")]);
    assert_eq!(host.count(), 0);
}

#[test]
fn times_from_stamp_files_are_no_triggers() {
    let machine = &Machine::options().boot();
    let stamp = |name: &str| format!("var/lib/systemd/timers/stamp-{name}");
    for name in ["yearly.timer", "reloaded.timer", "elapsing.timer"] {
        machine.write(&stamp(name), "");
        machine.ok(&["touch", "--date=2026-01-02", &format!("/{}", stamp(name))]);
    }
    machine.units(&[
        ("yearly.timer", "[Timer]\nOnCalendar=*-12-31\nPersistent=true\nUnit=triggered.service\n"),
        (
            "reloaded.timer",
            "[Timer]\nOnCalendar=*-12-31\nPersistent=true\nUnit=triggered.service\n",
        ),
        // the time of the stamp file is long over: elapses at once
        ("elapsing.timer", "[Timer]\nOnCalendar=weekly\nPersistent=true\nUnit=triggered.service\n"),
        (
            "triggered.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
        ),
    ]);
    let exporter = machine.exporter(&[]);
    let value = |metric, name| exporter.samples().value(metric, &[("name", name)]);
    let triggers = |name| value("systemd_timer_triggers_total", name);
    let names = ["yearly.timer", "reloaded.timer", "elapsing.timer"];
    machine.ok(&[&["systemctl", "start"], &names[..]].concat());
    let stamped = 1_767_312_000.0;
    for name in ["yearly.timer", "reloaded.timer"] {
        eventually("the time of the stamp file", || {
            (value("systemd_timer_last_trigger_seconds", name) == Some(stamped)).then_some(())
        });
    }
    eventually("the overdue timer elapses", || {
        (triggers("elapsing.timer") == Some(1.0)).then_some(())
    });
    assert_eq!(triggers("yearly.timer"), Some(0.0));
    // the time read from the file is rounded, and so another one than before the restart
    for _ in 0..3 {
        machine.ok(&["systemctl", "restart", "elapsing.timer", "reloaded.timer"]);
        machine.ok(&["systemctl", "daemon-reload"]);
    }
    machine.ok(&["touch", "--date=2026-02-03", &format!("/{}", stamp("reloaded.timer"))]);
    machine.ok(&["systemctl", "restart", "reloaded.timer"]);
    eventually("the new time of the stamp file", || {
        (value("systemd_timer_last_trigger_seconds", "reloaded.timer") > Some(stamped))
            .then_some(())
    });
    assert_eq!(names.map(triggers), [Some(0.0), Some(0.0), Some(1.0)]);
    machine.ok(&[&["systemctl", "stop"], &names[..]].concat());
}

#[test]
fn real_time_signals_have_the_names_of_systemd() {
    let machine = &Machine::options().boot();
    let signals = [(31, "SIGSYS"), (34, "SIGRTMIN+0"), (35, "SIGRTMIN+1"), (64, "SIGRTMIN+30")];
    let units = signals.map(|(number, _)| {
        let script = format!("LimitCORE=0\nExecStart=/bin/sh -c 'kill -{number} $$$$'\n");
        (format!("signal-{number}.service"), format!("[Service]\n{script}"))
    });
    machine.units(&units.each_ref().map(|(name, text)| (&**name, &**text)));
    let exporter = machine.exporter(&[]);
    for ((_, signal), (name, _)) in signals.into_iter().zip(&units) {
        machine.ok(&["systemctl", "start", name]);
        let exit = eventually("the exit", || {
            let page = exporter.samples();
            let labels = [("name", &**name)];
            let mut exits = page.all("systemd_service_main_process_exits_total", &labels);
            exits.next().map(|sample| sample.label("status").to_owned())
        });
        assert_eq!(exit, signal);
        let log = machine.ok(&["journalctl", "--sync", "--output=cat", "--unit", name]);
        let log = log + &machine.ok(&["journalctl", "--output=cat", "--unit", name]);
        let shown = signal.strip_prefix("SIG").unwrap();
        assert!(log.contains(&format!("/{shown}")), "{log}");
        let events = exporter.get(&format!("/api/v1/events?unit={name}"), &[]);
        assert!(events.text().contains(&format!("\"status\":\"{signal}\"")), "{}", events.text());
    }
}

#[test]
fn every_command_of_a_oneshot_counts() {
    let machine = &Machine::options().boot();
    let commands = |lines: &[&str]| {
        let lines: String = lines.iter().map(|line| format!("ExecStart={line}\n")).collect();
        format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nLimitCORE=0\n{lines}")
    };
    let exits = [
        ("three.service", &[("exited", "0", 2.0), ("exited", "4", 1.0)][..]),
        ("killed.service", &[("exited", "0", 1.0), ("killed", "SIGRTMIN+1", 1.0)]),
        ("stops.service", &[("exited", "0", 1.0), ("exited", "5", 1.0)]),
        ("one.service", &[("exited", "0", 1.0)]),
    ];
    machine.units(&[
        ("three.service", &commands(&["/bin/true", "-/bin/sh -c \"exit 4\"", "/bin/true"])),
        ("killed.service", &commands(&["-/bin/sh -c 'kill -35 $$$$'", "/bin/true"])),
        // the third command does not run
        ("stops.service", &commands(&["/bin/sleep 0.3", "/bin/sh -c 'exit 5'", "/bin/true"])),
        ("one.service", &commands(&["/bin/true"])),
        // a unit that nothing refers to is unloaded at once, with the exits of its commands
        ("refers.target", "[Unit]\nAfter=three.service killed.service stops.service one.service\n"),
    ]);
    machine.ok(&["systemctl", "start", "refers.target"]);
    // first started before and after the exporter
    machine.ok(&["systemctl", "start", "three"]);
    let exporter = machine.exporter(&[]);
    for round in 1..=3 {
        for (name, exits) in exits {
            machine.exec(&["systemctl", "start", name]);
            let expected: BTreeMap<_, _> = exits
                .iter()
                .map(|(code, status, count)| {
                    (((*code).to_owned(), (*status).to_owned()), count * f64::from(round))
                })
                .collect();
            let labels = [("name", name)];
            let counted = || -> BTreeMap<_, _> {
                let page = exporter.samples();
                let exits = page.all("systemd_service_main_process_exits_total", &labels);
                let key = |sample: &support::Sample| {
                    (sample.label("code").to_owned(), sample.label("status").to_owned())
                };
                exits.map(|sample| (key(sample), sample.value)).collect()
            };
            support::in_time(|| (counted() == expected).then_some(()));
            assert_eq!(counted(), expected, "{name}, round {round}");
        }
    }
    let failed = failures(&exporter.samples(), "stops.service");
    assert_eq!(failed, [("exit-code".to_owned(), 3.0)].into());
}

#[test]
fn refused_starts_are_start_limit_hits_before_and_after_the_start() {
    let machine = &Machine::options().boot();
    let limit = "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=600\n";
    let exits = |more: &str| format!("{limit}[Service]\nExecStart=/bin/false\n{more}");
    machine.units(&[
        ("gives-up.service", &exits("Restart=always\nRestartSec=10ms\n")),
        ("clean.service", &format!("{limit}[Service]\nExecStart=/bin/true\nRestart=always\nRestartSec=10ms\n")),
        (
            "forced.service",
            &format!("{limit}[Service]\nExecStart=/bin/sh -c 'exit 3'\nRestart=no\nRestartForceExitStatus=3\nRestartSec=10ms\n"),
        ),
        ("no-file-loop.service", &exits("EnvironmentFile=/nonexistent\nRestart=always\nRestartSec=10ms\n")),
        ("by-hand.service", &exits("")),
        ("ping.service", &format!("{limit}OnFailure=pong.service\n[Service]\nExecStart=/bin/false\n")),
        ("pong.service", &format!("{limit}OnFailure=ping.service\n[Service]\nExecStart=/bin/false\n")),
        // not refused: failed once
        ("fails-once.service", &exits("")),
        ("no-file-once.service", &exits("EnvironmentFile=/nonexistent\n")),
        ("prevented.service", &exits("Restart=always\nRestartPreventExitStatus=1\n")),
    ]);
    let refused = ["gives-up", "clean", "forced", "no-file-loop", "by-hand", "ping"]
        .map(|name| format!("{name}.service"));
    let others = ["fails-once", "no-file-once", "prevented"].map(|name| format!("{name}.service"));
    let live = machine.exporter(&[]);
    for name in [
        "gives-up",
        "clean",
        "forced",
        "no-file-loop",
        "ping",
        "fails-once",
        "no-file-once",
        "prevented",
    ] {
        machine.exec(&["systemctl", "start", name]);
    }
    for _ in 0..4 {
        machine.exec(&["systemctl", "start", "by-hand"]);
        eventually("it has failed", || {
            let state = machine.ok(&["systemctl", "show", "-P", "ActiveState", "by-hand"]);
            (state.trim() == "failed").then_some(())
        });
    }
    let hit = |exporter: &Exporter<'_>, name: &str| {
        exporter.samples().value("systemd_service_start_limit_hit", &[("name", name)])
    };
    for name in &refused {
        eventually(&format!("{name} is refused"), || (hit(&live, name) == Some(1.0)).then_some(()));
        assert_eq!(what(&live, name, "given-up"), 1, "{name}");
    }
    let late = machine.exporter(&[]);
    for exporter in [&live, &late] {
        for name in &refused {
            assert_eq!(hit(exporter, name), Some(1.0), "{name}");
        }
        for name in &others {
            assert_ne!(hit(exporter, name), Some(1.0), "{name}");
        }
    }
    assert_eq!(refused.iter().map(|name| what(&late, name, "given-up")).sum::<usize>(), 0);
    // still hit after a reload and a restart of the bus
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "restart", "dbus.service"]);
    for exporter in [&live, &late] {
        eventually("the exporter follows systemd again", || {
            (exporter.samples().value("unit_exporter_dbus_subscribed", &[]) == Some(1.0))
                .then_some(())
        });
        let hits = refused.each_ref().map(|name| hit(exporter, name));
        assert_eq!(hits, [Some(1.0); 6]);
        assert!(others.iter().all(|name| hit(exporter, name) != Some(1.0)));
    }
    machine.ok(&["systemctl", "reset-failed"]);
    for name in &refused {
        eventually("the start limit is reset", || (hit(&live, name) != Some(1.0)).then_some(()));
    }
}

#[test]
fn dependencies_that_systemd_treats_as_started_are_met() {
    let machine = &Machine::options().boot();
    let sleeps = "[Service]\nExecStart=/bin/sleep infinity\n";
    let unmet = "[Unit]\nConditionPathExists=/run/condition\n";
    let names = "skip-service.service skip-exec.service skip-hidden.service skip-target.target \
                 mnt-skip.mount done-hidden.service";
    let dependent = |relation: &str| format!("[Unit]\nAfter={names}\n{relation}={names}\n{sleeps}");
    let mut requires = dependent("Requires");
    if !machine.since(252, "Requires= of a service whose ExecCondition= failed") {
        requires = requires.replace("skip-exec.service ", "");
    }
    machine.units(&[
        ("skip-service.service", &format!("{unmet}{sleeps}")),
        ("skip-exec.service", "[Service]\nExecCondition=/bin/false\nExecStart=/bin/sleep infinity\n"),
        // these two are not exported
        ("skip-hidden.service", &format!("{unmet}{sleeps}")),
        ("done-hidden.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
        ("skip-target.target", unmet),
        ("mnt-skip.mount", &format!("{unmet}[Mount]\nWhat=tmpfs\nWhere=/mnt/skip\nType=tmpfs\n")),
        ("requires-all.service", &requires),
        ("wants-all.service", &dependent("Wants")),
        ("upholds.service", &format!("[Unit]\nUpholds=upheld.service absent.service skip-service.service\n{sleeps}")),
        ("upheld.service", "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=600\n[Service]\nExecStart=/bin/false\n"),
        ("needs-upheld.service", &format!("[Unit]\nWants=upheld.service\n{sleeps}")),
    ]);
    let exclude = "--systemd.collector.unit-exclude=.*-hidden.service";
    let live = machine.exporter(&[exclude]);
    machine.ok(&["systemctl", "start", "requires-all", "wants-all", "upholds", "needs-upheld"]);
    eventually("the oneshot has completed", || {
        let state =
            machine.ok(&["systemctl", "show", "-P", "InactiveEnterTimestamp", "done-hidden"]);
        (!state.trim().is_empty()).then_some(())
    });
    eventually("the upheld service is refused", || {
        let state = machine.ok(&["systemctl", "show", "-P", "SubState,NRestarts", "upheld"]);
        state.contains("failed").then_some(())
    });
    let late = machine.exporter(&[exclude]);
    let unmet = |exporter: &Exporter<'_>, name| -> BTreeMap<String, f64> {
        let page = exporter.samples();
        let labels = [("name", name)];
        let all = page.all("systemd_unit_unmet_dependencies", &labels);
        all.map(|sample| (sample.label("relation").to_owned(), sample.value)).collect()
    };
    let upholds = machine.since(249, "Upholds=");
    for exporter in [&live, &late] {
        for name in ["requires-all.service", "wants-all.service"] {
            eventually(&format!("all dependencies of {name} are met"), || {
                unmet(exporter, name).is_empty().then_some(())
            });
        }
        let failed = |relation: &str| [(relation.to_owned(), 1.0)].into();
        assert_eq!(unmet(exporter, "needs-upheld.service"), failed("wants"));
        if upholds {
            assert_eq!(unmet(exporter, "upholds.service"), failed("upholds"));
        }
    }
    // a dependency whose condition is met, and which is stopped, is unmet again
    machine.write("run/condition", "");
    machine.ok(&["systemctl", "start", "skip-service", "skip-hidden"]);
    machine.ok(&["systemctl", "stop", "upholds", "requires-all", "skip-service", "skip-hidden"]);
    for exporter in [&live, &late] {
        eventually("both are unmet", || {
            (unmet(exporter, "wants-all.service") == [("wants".to_owned(), 2.0)].into())
                .then_some(())
        });
    }
    machine.ok(&["rm", "/run/condition"]);
}

/// Failures of a service by result.
fn failures(page: &Samples, name: &str) -> BTreeMap<String, f64> {
    page.all("systemd_service_failures_by_result_total", &[("name", name)])
        .map(|sample| (sample.label("result").to_owned(), sample.value))
        .collect()
}

/// Number of events of this kind.
fn what(exporter: &Exporter<'_>, name: &str, kind: &str) -> usize {
    let answer = exporter.get(&format!("/api/v1/events?unit={name}"), &[]);
    let list: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    let events = list["events"].as_array().unwrap().iter();
    events.filter(|event| event["what"] == kind).count()
}

#[test]
fn first_runs_of_new_units_count() {
    let machine = &Machine::options().boot();
    let exporter = machine.exporter(&[]);
    let limit = "[Unit]\nStartLimitIntervalSec=0\n";
    let install = "[Install]\nWantedBy=multi-user.target\n";
    // enabling reloads the configuration, which loads the unit: the run ends before it can be listed
    let names: Vec<_> = (0..24)
        .map(|number| {
            let (name, service) = match number % 4 {
                0 => ("fails", "ExecStart=/bin/false\n"),
                1 => ("oneshot", "Type=oneshot\nExecStart=/bin/false\n"),
                2 => ("killed", "ExecStart=/bin/sh -c 'kill -KILL $$$$'\n"),
                _ => ("no-file", "Type=oneshot\nEnvironmentFile=/absent\nExecStart=/bin/true\n"),
            };
            let name = format!("new-{name}-{number}.service");
            let text = format!("{limit}[Service]\n{service}{install}");
            machine.write(&format!("etc/systemd/system/{name}"), &text);
            machine.exec(&["systemctl", "enable", "--now", &name]);
            name
        })
        .collect();
    let mount = "[Mount]\nWhat=/absent\nWhere=/mnt/new\nType=ext4\n";
    machine.write("etc/systemd/system/mnt-new.mount", format!("{mount}{install}"));
    machine.exec(&["systemctl", "enable", "--now", "mnt-new.mount"]);

    let wrong = || -> Vec<_> {
        let page = exporter.samples();
        let counted = |name: &str| {
            let count = |metric| page.value(metric, &[("name", name)]);
            let failures = count("systemd_service_failures_total");
            (failures, count("systemd_unit_starts_total"), what(&exporter, name, "failed"))
        };
        let counts = names.iter().map(|name| (name.as_str(), counted(name)));
        counts.filter(|(_, counts)| *counts != (Some(1.0), Some(1.0), 1)).collect()
    };
    support::in_time(|| wrong().is_empty().then_some(()));
    assert_eq!(wrong(), []);
    let page = exporter.samples();
    let job = [("name", "mnt-new.mount"), ("result", "failed")];
    assert_eq!(page.value("systemd_unit_job_failures_total", &job), Some(1.0));
}
