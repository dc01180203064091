//! The units in examples/ and in the documents: systemd accepts them, and exits mean what docs/laravel.md states.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::{Exporter, Machine, Options, Samples, eventually};

#[test]
fn systemd_verifies_every_unit() {
    let machine = &examples_machine().boot();
    let mut units: Vec<String> = unit_files(&root().join("examples"))
        .into_iter()
        .map(|path| format!("/opt/{}", path.strip_prefix(root()).unwrap().display()))
        .collect();
    for page in ["laravel.md", "from-supervisor.md"] {
        for (name, text) in units_of(page) {
            machine.write(&format!("opt/{page}/{name}"), text);
            units.push(format!("/opt/{page}/{name}"));
        }
    }
    assert!(units.len() > 20, "{units:?}");
    for unit in &units {
        install_missing_programs(machine, unit);
        let verified = machine.exec(&["systemd-analyze", "verify", "--man=no", unit]);
        let output = String::from_utf8_lossy(&verified.stderr).into_owned();
        let (_, name) = unit.rsplit_once('/').unwrap();
        let stem = name.split(['@', '.']).next().unwrap();
        let objections: Vec<_> = output.lines().filter(|line| line.contains(stem)).collect();
        assert!(verified.status.success() && objections.is_empty(), "{unit}: {output}");
    }
}

#[test]
fn documented_expectations_are_a_valid_configuration() {
    let machine = support::machine();
    let text = fs::read_to_string(root().join("docs/laravel.md")).unwrap();
    let (_, block) = text.split_once("```yaml\n").unwrap();
    machine.write("run/config.yml", block.split_once("```").unwrap().0);
    machine.ok(&[support::EXPORTER_INSIDE, "check", "config", "/run/config.yml"]);
    let exporter = machine.exporter(&["--config.file=/run/config.yml"]);
    let page = exporter.samples();
    let reverb = [("name", "laravel-reverb.service"), ("port", "6001")];
    assert_eq!(page.value("systemd_listener_missing", &reverb), Some(1.0));
    let reverb = [("name", "laravel-reverb.service")];
    assert_eq!(page.value("systemd_unit_missing", &reverb), Some(1.0));
    let workers = [("name", "laravel-queue@.service")];
    assert_eq!(page.value("systemd_template_expected_instances", &workers), Some(8.0));
    let active = [("name", "laravel-queue@.service"), ("state", "active")];
    assert_eq!(page.value("systemd_template_instances", &active), Some(0.0));
}

#[test]
fn exits_of_laravel_workers_are_counted_as_documented() {
    let machine = &examples_machine().boot();
    let template = "laravel-queue@.service";
    machine.unit(template, &unit_of("laravel.md", template));
    machine.write("var/www/app/current/artisan", "");
    // each exits once, and then runs
    let exits = [
        ("clean", "exit 0", ""),
        ("clean-on-failure", "exit 0", "Restart=on-failure\n"),
        ("memory", "exit 12", ""),
        ("memory-is-failure", "exit 12", "SuccessExitStatus=\n"),
        ("error", "exit 1", ""),
        ("cache", "exit 13", ""),
        ("php", "exit 255", ""),
        ("job-timeout", "kill -KILL $$$$", ""),
        ("job-timeout-in-shell", "/bin/sh -c 'kill -KILL $$$$'; exit $$?", ""),
        ("crash", "kill -SEGV $$$$", ""),
        ("slow", "trap : TERM", "TimeoutStopSec=500ms\n"),
    ];
    for (instance, exit, settings) in exits {
        let script = format!(
            "[ -e $STATE_DIRECTORY/%i ] || {{ : > $STATE_DIRECTORY/%i; {exit}; }}; \
             while :; do sleep 0.1; done"
        );
        let text = format!(
            "[Service]\nStateDirectory=exits\nRestartSec=100ms\n\
             ExecStart=\nExecStart=/bin/sh -c \"{script}\"\n{settings}"
        );
        let path = format!("etc/systemd/system/laravel-queue@{instance}.service.d/exit.conf");
        machine.write(&path, text);
    }
    machine.ok(&["systemctl", "daemon-reload"]);
    let exporter = machine.exporter(&[]);
    let names = exits.map(|(instance, ..)| format!("laravel-queue@{instance}.service"));
    let systemctl = |verb| {
        let command = ["systemctl", "--quiet", verb].into_iter();
        machine.ok(&command.chain(names.iter().map(String::as_str)).collect::<Vec<_>>());
    };
    systemctl("enable");
    eventually("the exporter knows the units", || {
        let page = exporter.samples();
        let known = |name: &String| {
            let inactive = [("name", name.as_str()), ("state", "inactive")];
            page.value("systemd_unit_state", &inactive) == Some(1.0)
        };
        names.iter().all(known).then_some(())
    });
    systemctl("start");

    for (instance, result, exit, restarts) in [
        ("clean", None, Some(("exited", "0")), 1.0),
        ("clean-on-failure", None, Some(("exited", "0")), 0.0),
        ("memory", None, Some(("exited", "12")), 1.0),
        ("memory-is-failure", Some("exit-code"), Some(("exited", "12")), 1.0),
        ("error", Some("exit-code"), Some(("exited", "1")), 1.0),
        ("cache", Some("exit-code"), Some(("exited", "13")), 1.0),
        ("php", Some("exit-code"), Some(("exited", "255")), 1.0),
        ("job-timeout", Some("signal"), Some(("killed", "SIGKILL")), 1.0),
        ("job-timeout-in-shell", Some("exit-code"), Some(("exited", "137")), 1.0),
        ("crash", Some("signal"), Some(("killed", "SIGSEGV")), 1.0),
        ("slow", None, None, 0.0),
    ] {
        let name = format!("laravel-queue@{instance}.service");
        let state = if instance == "clean-on-failure" { "inactive" } else { "active" };
        let expected = counts(restarts, result, exit, state);
        let page = settled(&exporter, &name, &expected);
        assert_eq!(counts_of(&page, &name), expected, "{name}");
    }

    // the stop of a queue job that lasts too long
    machine.ok(&["systemctl", "stop", "laravel-queue@slow"]);
    let name = "laravel-queue@slow.service";
    let expected = counts(0.0, Some("timeout"), Some(("killed", "SIGKILL")), "failed");
    assert_eq!(counts_of(&settled(&exporter, name, &expected), name), expected);

    // the glob does not start the inactive worker; its name does
    let runs = |name: &str| machine.ok(&["systemctl", "show", "-P", "ActiveState", name]);
    let dead = "laravel-queue@clean-on-failure.service";
    machine.ok(&["systemctl", "restart", "laravel-queue@*"]);
    assert_eq!(runs(dead).trim(), "inactive");
    assert_eq!(runs(name).trim(), "active");
    machine.ok(&["systemctl", "restart", dead]);
    assert_eq!(runs(dead).trim(), "active");
}

#[test]
fn background_tasks_outlive_scheduler_with_kill_mode_process() {
    let machine = &examples_machine().boot();
    let name = "laravel-schedule.service";
    let documented = unit_of("laravel.md", name);
    machine.unit(name, &documented);
    machine.unit("killing.service", &documented.replace("KillMode=process\n", ""));
    machine.write("var/www/app/current/artisan", "");
    let background = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'sleep infinity & true'\n";
    for name in [name, "killing.service"] {
        machine.write(&format!("etc/systemd/system/{name}.d/task.conf"), background);
    }
    machine.ok(&["systemctl", "daemon-reload"]);
    let tasks = |name: &str| {
        machine.ok(&["systemctl", "start", name]);
        let processes = format!("{name}/cgroup.procs");
        let found = machine.ok(&["find", "/sys/fs/cgroup", "-path", &format!("*/{processes}")]);
        found.lines().map(|file| machine.ok(&["cat", file]).lines().count()).sum::<usize>()
    };
    assert_eq!(tasks(name), 1);
    assert_eq!(tasks("killing.service"), 0);
}

#[test]
fn exits_of_node_are_counted_as_documented() {
    let machine = &examples_machine().boot();
    let found = machine.exec(&["test", "-x", "/usr/bin/node"]);
    assert!(found.status.success(), "/usr/bin/node is missing: apt-get install nodejs");
    let unit = fs::read_to_string(root().join("examples/workers/node-app.service")).unwrap();
    let programs = [
        ("exception", "throw new Error('on purpose')"),
        ("await", "await new Promise(() => {})"),
        ("heap", "const all = []; for (;;) all.push({ numbers: [1, 2, 3] })"),
        ("done", "console.log('no work')"),
        ("server", "setInterval(() => {}, 1000)"),
    ];
    for (name, program) in programs {
        let directory = format!("/var/www/{name}");
        machine.write(&format!("{directory}/server.mjs"), program);
        let once = unit
            .replace("/var/www/node-app", &directory)
            .replace("Restart=always", "Restart=no")
            .replace("--max-old-space-size=256", "--max-old-space-size=16");
        machine.write(&format!("etc/systemd/system/node-{name}.service"), once);
    }
    machine.ok(&["systemctl", "daemon-reload"]);
    let exporter = machine.exporter(&[]);
    for (name, _) in programs {
        machine.ok(&["systemctl", "start", &format!("node-{name}")]);
    }
    let server = "node-server.service";
    settled(&exporter, server, &counts(0.0, None, None, "active"));
    // the signal must not come before the program runs
    eventually("node runs", || {
        let pid = machine.ok(&["systemctl", "show", "-P", "MainPID", server]);
        let path = format!("/proc/{}/cmdline", pid.trim());
        machine.ok(&["cat", &path]).starts_with("/usr/bin/node").then_some(())
    });
    machine.ok(&["systemctl", "stop", server]);
    for (name, result, exit, state) in [
        ("exception", Some("exit-code"), ("exited", "1"), "failed"),
        ("await", Some("exit-code"), ("exited", "13"), "failed"),
        ("heap", Some("signal"), ("killed", "SIGABRT"), "failed"),
        ("done", None, ("exited", "0"), "inactive"),
        ("server", None, ("killed", "SIGTERM"), "inactive"),
    ] {
        let name = format!("node-{name}.service");
        let mut expected = counts(0.0, result, Some(exit), state);
        let page = settled(&exporter, &name, &expected);
        let mut found = counts_of(&page, &name);
        if state == "inactive" {
            // systemd unloads an inactive unit that no other unit needs
            expected.remove("state inactive");
            found.remove("state inactive");
        }
        assert_eq!(found, expected, "{name}");
    }
}

/// The metrics of one service after at most one exit.
fn counts(
    restarts: f64,
    result: Option<&str>,
    exit: Option<(&str, &str)>,
    state: &str,
) -> BTreeMap<String, f64> {
    let failures = result.map_or(0.0, |_| 1.0);
    let mut counts: BTreeMap<String, f64> =
        [("restarts".to_owned(), restarts), ("failures".to_owned(), failures)].into();
    counts.extend(result.map(|result| (format!("failures {result}"), 1.0)));
    counts.extend(exit.map(|(code, status)| (format!("exits {code} {status}"), 1.0)));
    counts.insert(format!("state {state}"), 1.0);
    counts
}

/// The same, as exported.
fn counts_of(page: &Samples, name: &str) -> BTreeMap<String, f64> {
    let labels = [("name", name)];
    let value = |metric| page.value(metric, &labels).unwrap_or(0.0);
    let mut counts: BTreeMap<String, f64> = [
        ("restarts".to_owned(), value("systemd_service_restart_total")),
        ("failures".to_owned(), value("systemd_service_failures_total")),
    ]
    .into();
    let failures = page.all("systemd_service_failures_by_result_total", &labels);
    counts.extend(failures.map(|each| (format!("failures {}", each.label("result")), each.value)));
    let exits = page.all("systemd_service_main_process_exits_total", &labels);
    counts.extend(exits.map(|each| {
        (format!("exits {} {}", each.label("code"), each.label("status")), each.value)
    }));
    let states = page.all("systemd_unit_state", &labels).filter(|each| each.value != 0.0);
    counts.extend(states.map(|each| (format!("state {}", each.label("state")), each.value)));
    counts
}

/// The response in which a service has these metrics, or else the last one.
fn settled(exporter: &Exporter<'_>, name: &str, expected: &BTreeMap<String, f64>) -> Samples {
    let mut last = None;
    support::in_time(|| {
        let page = exporter.samples();
        let reached = counts_of(&page, name) == *expected;
        last = Some(page);
        reached.then_some(())
    });
    last.unwrap()
}

/// Boots with examples/ at the path that the units use.
fn examples_machine() -> Options {
    Machine::options().bind(root().join("examples"), "/opt/examples")
}

/// The programs of a unit that are not installed here, as empty files: `verify` requires that they exist.
fn install_missing_programs(machine: &Machine, unit: &str) {
    let text = machine.ok(&["cat", unit]);
    let lines = text.lines().filter_map(|line| line.strip_prefix("Exec")?.split_once('='));
    for (_, command) in lines {
        let program = command.trim_start_matches('-').split(' ').next().unwrap();
        if !machine.exec(&["test", "-e", program]).status.success() {
            machine.write(program, "");
            machine.ok(&["chmod", "+x", program]);
        }
    }
}

/// The unit with this name in a document.
fn unit_of(page: &str, name: &str) -> String {
    let found = units_of(page).into_iter().find(|(unit, _)| unit == name);
    found.unwrap_or_else(|| panic!("{page} has no {name}")).1
}

/// Names and texts of the units in a document: blocks that begin with the path of the unit file.
fn units_of(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let blocks = text.split("```ini\n").skip(1);
    blocks
        .map(|block| {
            let (unit, _) = block.split_once("```").expect("the end of a block");
            let (path, _) = unit.split_once('\n').unwrap();
            let name = path.strip_prefix("# /etc/systemd/system/").expect("the path of a unit");
            (name.to_owned(), unit.to_owned())
        })
        .collect()
}

/// The unit files below a directory.
fn unit_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { unit_files(&path) } else { vec![path] })
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("service" | "socket" | "timer"))
        })
        .collect();
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
