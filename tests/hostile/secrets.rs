//! T16 and T24: secrets of other processes are not exported, and the exporter's memory is protected.

use std::thread;
use std::time::Duration;

use crate::run_script;
use crate::support::{Machine, eventually, machine};

#[test]
fn secrets_appear_in_no_response_and_no_log() {
    let machine = Machine::options().boot();
    machine.write("/opt/environment", format!("FROM_FILE={CANARY}\n"));
    machine.units(&[
        (
            "secret.service",
            &format!(
                "[Unit]\nDescription={CANARY}\nDocumentation=man:{CANARY}\n[Service]\nType=notify\nNotifyAccess=all\n\
                 Environment=TOKEN={CANARY}\nEnvironmentFile=/opt/environment\nStandardInputText={CANARY}\n\
                 ExecStart=/usr/bin/python3 /opt/secret.py {CANARY}\n"
            ),
        ),
        (
            "crashing.service",
            &format!(
                "[Service]\nEnvironment=TOKEN={CANARY}\nExecStart=/bin/sh -c 'echo {CANARY}; echo \"<3>{CANARY}\"; kill -ABRT $$$$' {CANARY}\n"
            ),
        ),
    ]);
    machine.write("/opt/secret.py", SECRET);
    let log = "StandardError=file:/opt/log";
    let collectors: Vec<String> = [
        "conditions",
        "dependencies",
        "unit-files",
        "sandbox",
        "listeners.unix",
        "listeners.connections",
        "listeners.namespaces",
        "user-managers",
        "logind",
        "dbus",
    ]
    .map(|collector| format!("--collector.{collector}"))
    .into();
    let mut arguments = vec!["--profile=full", "--log.level=debug"];
    arguments.extend(collectors.iter().map(String::as_str));
    let exporter = machine.exporter_unit(&[log], &arguments).ready();
    machine.ok(&["systemctl", "start", "secret"]);
    machine.exec(&["systemctl", "start", "crashing"]);
    machine.ok(&[
        "sh",
        "-c",
        &format!("logger --priority user.err {CANARY}; echo {CANARY} | systemd-cat -t {CANARY}"),
    ]);
    eventually("the crash is counted", || {
        let samples = exporter.samples();
        samples
            .all("systemd_service_failures_by_result_total", &[("name", "crashing.service")])
            .next()
            .map(drop)
    });
    thread::sleep(Duration::from_secs(2));
    let basic = format!("Basic {}", base64(&format!("admin:{CANARY}")));
    let accept = "application/openmetrics-text; version=1.0.0";
    for path in [
        "/metrics",
        "/",
        "/unit/secret.service",
        "/unit/crashing.service",
        "/api/v1/events",
        "/metrics/reference",
        "/nowhere",
    ] {
        for headers in [
            &[][..],
            &[
                ("accept", accept),
                ("authorization", &*basic),
                ("cookie", CANARY),
                ("x-token", CANARY),
            ],
        ] {
            let response = exporter.get(path, headers);
            assert!(!response.text().contains(CANARY), "{path}");
            assert!(!response.headers.iter().any(|(_, value)| value.contains(CANARY)), "{path}");
        }
    }
    let log = std::fs::read_to_string(machine.path("/opt/log")).expect("a log");
    assert!(log.contains("level=DEBUG") && log.lines().count() > 20, "not at level debug: {log}");
    for secret in [CANARY, &*basic] {
        assert!(!log.contains(secret), "in the log: {log}");
    }
    let status = machine.ok(&["systemctl", "status", "secret"]);
    assert!(status.contains(CANARY), "the service has no secret: {status}");
}

#[test]
fn same_user_cannot_read_memory_and_no_core_is_dumped() {
    let machine = machine();
    machine.exec(&["useradd", "--uid", "1700", "keeper"]);
    machine.ok(&["install", "-d", "-o", "keeper", "/opt/cores"]);
    let properties =
        ["User=keeper", "LimitCORE=infinity", "WorkingDirectory=/opt/cores", "Restart=no"];
    let exporter = machine.exporter_unit(&properties, &[]).ready();
    // the control: another process of the same user is accessible
    let mut control = vec!["systemd-run", "--quiet", "--unit=control"];
    control.extend(properties.iter().flat_map(|property| ["--property", property]));
    control.extend(["sleep", "infinity"]);
    machine.ok(&control);
    let main_pid = |unit: &str| {
        machine.ok(&["systemctl", "show", "--property=MainPID", "--value", unit]).trim().to_owned()
    };
    machine.write("/opt/peek.py", PEEK);
    let peek = |unit: &str| {
        let pid = main_pid(unit);
        let command = [
            "setpriv",
            "--reuid=1700",
            "--regid=1700",
            "--clear-groups",
            "/usr/bin/python3",
            "/opt/peek.py",
            &pid,
        ];
        machine.ok(&command).trim().to_owned()
    };
    assert_eq!(peek("control.service"), "mem environ maps fd trace");
    assert_eq!(peek(exporter.unit()), "");
    // the exporter can still read its own files in /proc
    let samples = exporter.samples();
    for name in ["process_open_fds", "process_max_fds", "process_resident_memory_bytes"] {
        assert!(samples.value(name, &[]) > Some(0.0), "{name}");
    }
    let own = [("name", exporter.unit())];
    assert!(samples.value("systemd_unit_threads", &own) > Some(0.0));
    let (unit, pid) = (exporter.unit().to_owned(), main_pid(exporter.unit()));
    machine.ok(&["kill", "-ABRT", &pid, &main_pid("control")]);
    let result = |unit: &str| {
        eventually("the service has ended", || {
            let result = machine.ok(&["systemctl", "show", "--property=Result", "--value", unit]);
            Some(result.trim().to_owned()).filter(|result| result != "success")
        })
    };
    assert_eq!(result("control.service"), "core-dump");
    assert_eq!(result(&unit), "signal");
    machine.ok(&["systemctl", "reset-failed", "control"]);
    let service = include_str!("../../systemd/system/unit-exporter.service");
    assert!(service.contains("\nLimitCORE=0\n"));
}

#[test]
fn processes_are_exported_only_as_totals_of_their_unit() {
    let machine = machine();
    run_script(machine, "plain", SECRET, &[&format!("Environment=A={CANARY}")], &[CANARY]);
    let exporter = machine.exporter(&[]);
    let samples = exporter.samples();
    assert_eq!(samples.value("systemd_unit_threads", &[("name", "plain.service")]), Some(1.0));
    let pid = machine.ok(&["systemctl", "show", "--property=MainPID", "--value", "plain"]);
    for sample in &samples.0 {
        for (label, value) in &sample.labels {
            let identifies = value.contains(CANARY)
                || *value == pid.trim()
                || ["pid", "comm", "cmdline", "exe"].contains(&&**label);
            assert!(!identifies, "{sample:?}");
        }
    }
    machine.ok(&["systemctl", "stop", "plain"]);
}

fn base64(text: &str) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        let digit = |at: usize| {
            if at > chunk.len() { '=' } else { char::from(digits[bits >> (18 - 6 * at) & 63]) }
        };
        (0..4).map(digit).collect::<String>()
    };
    text.as_bytes().chunks(3).map(of).collect()
}

const CANARY: &str = "canary7f3a9c51";
/// Exposes its argument in every text that a process can set.
const SECRET: &str = include_str!("secret.py");
const PEEK: &str = include_str!("peek.py");
