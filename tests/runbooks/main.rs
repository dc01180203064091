//! Runbooks followed command by command, in the state that their alert describes.

#![allow(clippy::disallowed_types)]

mod follow;
mod hosts;
#[path = "../support/mod.rs"]
mod support;

use std::sync::OnceLock;
use std::time::Duration;
use std::{process, thread};

use follow::{Host, Runbook};
use regex::Regex;
use support::{Machine, Options};

#[test]
fn unit_failed() {
    let host = host();
    host.machine.unit("bad.service", &fails("no database", "exit 3"));
    host.machine.exec(&["systemctl", "start", "bad"]);
    let runbook = Runbook::of(host, "SystemdUnitFailed", "bad.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: failed (Result: exit-code)"),
        ("journalctl", 0, "no database"),
        ("systemctl show", 0, "Result=exit-code"),
        ("systemctl show", 0, "ExecMainStatus=3"),
        ("systemctl show", 0, "InactiveEnterTimestamp="),
    ]);
    host.machine.unit("bad.service", SLEEPS);
    runbook.mitigation(1).verification();
    runbook.shows("systemctl is-failed UNIT", 1, "active");
}

#[test]
fn service_start_limit_hit() {
    let host = host();
    let text = fails("no license", "exit 1") + "Restart=always\n";
    host.machine.unit("hopeless.service", &text);
    host.machine.exec(&["systemctl", "start", "hopeless"]);
    host.wait_for(r#"systemd_service_start_limit_hit{name="hopeless.service"} == 1"#);
    let runbook = Runbook::of(host, "SystemdServiceStartLimitHit", "hopeless.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: failed (Result: exit-code)"),
        ("journalctl", 0, "Start request repeated too quickly"),
        ("journalctl", 0, "no license"),
        ("systemctl show", 0, "NRestarts="),
        ("systemctl show", 0, "StartLimitBurst=5"),
        ("systemctl show", 0, "RestartUSec=100ms"),
    ]);
    host.machine.unit("hopeless.service", SLEEPS);
    runbook.mitigation(2).verification();
}

#[test]
fn service_crash_looping() {
    let host = host();
    host.machine.unit("looping.service", &loops("2s"));
    host.machine.ok(&["systemctl", "start", "looping"]);
    host.wait_for(r#"increase(systemd_service_failures_total{name="looping.service"}[1h]) > 1"#);
    let runbook = Runbook::of(host, "SystemdServiceCrashLooping", "looping.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: activating (auto-restart) (Result: signal)"),
        ("journalctl", 0, "starting up"),
        // LimitCORE=0
        ("coredumpctl", 1, "No coredumps found"),
        ("curl", 0, r#""cause":"signal""#),
    ]);
    let events = runbook.shows(
        "curl -s 'http://localhost:9558/api/v1/events?unit=UNIT&limit=5'",
        0,
        "invocation_id",
    );
    let id = events.split(r#""invocation_id":""#).nth(1).and_then(|rest| rest.split('"').next());
    let id = id.expect("an id");
    runbook.shows(
        &format!("journalctl _SYSTEMD_INVOCATION_ID={id} + INVOCATION_ID={id}"),
        0,
        "starting up",
    );
    runbook.mitigation(3).verification();
    runbook.shows("systemctl is-active UNIT", 3, "inactive");
}

#[test]
fn service_failure_burst() {
    let host = host();
    host.machine.unit("burst.service", &loops("50ms"));
    host.machine.ok(&["systemctl", "start", "burst"]);
    host.wait_for(
        r#"instance_name:systemd_service_failures:increase10m{name="burst.service"} > 10"#,
    );
    // the crashes so far would hit the default start limit
    host.machine.unit("burst.service", &format!("[Unit]\nStartLimitIntervalSec=0\n{SLEEPS}"));
    host.machine.ok(&["systemctl", "restart", "burst"]);
    let runbook = Runbook::of(host, "SystemdServiceFailureBurst", "burst.service");
    runbook.diagnosis(&[
        ("systemctl status", 0, "Active: active (running)"),
        ("journalctl", 0, "starting up"),
        ("curl", 0, r#""what":"failed""#),
    ]);
    runbook.verification();
}

#[test]
fn service_keeps_failing() {
    let host = host();
    host.machine.unit("leaks.service", &(SLEEPS.to_owned() + "Restart=always\n"));
    host.machine.ok(&["systemctl", "start", "leaks", "systemd-coredump.socket"]);
    dump_core(host, "leaks.service");
    host.machine.ok(&["systemctl", "kill", "--signal=SEGV", "leaks"]);
    host.wait_for(r#"increase(systemd_service_failures_total{name="leaks.service"}[1h])"#);
    let runbook = Runbook::of(host, "SystemdServiceKeepsFailing", "leaks.service");
    runbook.diagnosis(&[
        ("curl", 0, r#""what":"failed""#),
        ("journalctl", 0, "code=dumped, status=11/SEGV"),
        ("coredumpctl", 0, "SIGSEGV"),
    ]);
    runbook.verification();
    host.machine.ok(&["systemctl", "stop", "leaks"]);
}

#[test]
fn service_restarting_often() {
    let host = host();
    host.machine.unit("often.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/true\nRestart=always\nRestartSec=50ms\n");
    host.machine.ok(&["systemctl", "start", "often"]);
    host.wait_for(r#"increase(systemd_unit_starts_total{name="often.service"}[30m]) > 10"#);
    let runbook = Runbook::of(host, "SystemdServiceRestartingOften", "often.service");
    runbook.diagnosis(&[
        ("journalctl --unit", 0, "Scheduled restart job, restart counter is at"),
        ("systemctl show", 0, "Restart=always"),
        ("systemctl show", 0, "TriggeredBy="),
        // started by no user
        ("journalctl --identifier=sudo", 1, "-- No entries --"),
    ]);
    host.machine.ok(&["systemctl", "stop", "often"]);
}

#[test]
fn service_fds_near_limit() {
    let host = host();
    host.machine.write("/opt/descriptors.py", DESCRIPTORS);
    host.machine.unit(
        "descriptors.service",
        "[Service]\nExecStart=/usr/bin/python3 /opt/descriptors.py\nLimitNOFILE=64\n",
    );
    host.machine.ok(&["systemctl", "start", "descriptors"]);
    host.wait_for(r#"systemd_unit_worst_fd_ratio{name="descriptors.service"} > 0.9"#);
    let runbook = Runbook::of(host, "SystemdServiceFdsNearLimit", "descriptors.service");
    runbook.diagnosis(&[
        ("systemctl show", 0, "LimitNOFILE=64"),
        ("systemctl show", 0, "MainPID="),
        ("ls -l", 0, " socket:["),
        ("ls -l", 0, "30 /etc/hostname"),
        ("ss", 0, "UDP"),
    ]);
    runbook.mitigation(1);
}

#[test]
fn unit_tasks_near_limit() {
    let machine = with_controllers(Machine::options());
    let host = &Host::start(&machine, "");
    machine.write("/opt/threads.py", THREADS);
    machine.unit(
        "threads.service",
        "[Service]\nExecStart=/usr/bin/python3 /opt/threads.py\nTasksMax=11\n",
    );
    machine.ok(&["systemctl", "start", "threads"]);
    host.wait_for(
        r#"instance_name:systemd_unit_tasks_current_per_max:ratio{name="threads.service"} > 0.9"#,
    );
    let runbook = Runbook::of(host, "SystemdUnitTasksNearLimit", "threads.service");
    runbook.diagnosis(&[
        ("systemctl status", 0, "Tasks: 11 (limit: 11)"),
        ("systemd-cgls", 0, "threads.py"),
        ("ps", 0, "python3"),
    ]);
    let threads = runbook.shows("ps -L -o pid,lwp,comm,etime --pid MAINPID --ppid MAINPID", 0, "");
    assert_eq!(threads.lines().count(), 1 + 11, "{threads}");
    runbook.mitigation(1);
    host.wait_for(r#"systemd_unit_tasks_max{name="threads.service"} == 8192"#);
}

#[test]
fn listener_accept_queue_near_limit_and_dropping() {
    let host = host();
    host.machine.write("/opt/deaf.py", DEAF);
    host.machine.unit("deaf.service", "[Service]\nExecStart=/usr/bin/python3 /opt/deaf.py\n");
    host.machine.ok(&["systemctl", "start", "deaf"]);
    host.wait_for(r#"systemd_listener_info{name="deaf.service"}"#);
    let clients = "for n in 1 2 3 4 5; do timeout 60 bash -c 'exec 3<> /dev/tcp/localhost/7300; sleep 60' & done";
    host.machine.ok(&[
        "systemd-run",
        "--quiet",
        "--unit=clients",
        "--property=KillMode=control-group",
        "bash",
        "-c",
        &format!("{clients}; wait"),
    ]);
    host.wait_for(r#"systemd_listener_accept_queue_length{name="deaf.service"} / systemd_listener_accept_queue_limit > 0.8"#);
    let runbook = Runbook::of(host, "SystemdListenerAcceptQueueNearLimit", "deaf.service")
        .with("PORT", "7300");
    runbook.diagnosis(&[
        ("ss", 0, "Recv-Q"),
        ("systemctl status", 0, "Active: active (running)"),
        ("sysctl", 0, "net.core.somaxconn = "),
    ]);
    let sockets = runbook.shows("ss --listening --tcp --numeric 'sport = :PORT'", 0, "LISTEN");
    let columns: Vec<&str> =
        sockets.lines().nth(1).expect("a listener").split_whitespace().collect();
    assert_eq!(columns[..3], ["LISTEN", "3", "2"], "{sockets}");

    host.wait_for(r#"systemd_listener_drops_total{name="deaf.service"} > 0"#);
    let dropping = Runbook::of(host, "SystemdListenerDroppingConnections", "deaf.service")
        .with("PORT", "7300");
    dropping.diagnosis(&[("ss", 0, "LISTEN"), ("nstat", 0, "TcpExtListenOverflows")]);
    let counts = dropping.shows("nstat --zeros TcpExtListenOverflows TcpExtListenDrops", 0, "");
    assert!(!counts.contains("TcpExtListenDrops                0 "), "{counts}");
    host.machine.ok(&["systemctl", "stop", "clients"]);
    runbook.mitigation(1);
}

#[test]
fn listener_missing() {
    let host = host();
    host.machine.write("/opt/listens.py", LISTENS);
    for unit in ["squatter.service", "wanted.service"] {
        host.machine.unit(unit, "[Service]\nExecStart=/usr/bin/python3 /opt/listens.py\n");
    }
    host.machine.ok(&["systemctl", "start", "squatter"]);
    host.wait_for(r#"systemd_listener_info{name="squatter.service"}"#);
    host.machine.exec(&["systemctl", "start", "wanted"]);
    let runbook =
        Runbook::of(host, "SystemdListenerMissing", "wanted.service").with("PORT", "7400");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: failed"),
        ("ss", 0, "python3"),
        ("journalctl", 0, "Address already in use"),
        (r#"systemd_listener_info{instance="INSTANCE", name"#, 0, ""),
    ]);
    host.machine.ok(&["systemctl", "stop", "squatter"]);
    runbook.mitigation(2).verification();
    host.wait_for(r#"systemd_listener_missing{name="wanted.service"} == 0"#);
}

#[test]
fn socket_refusing_connections() {
    let host = host();
    host.machine.units(&[
        ("echo.socket", "[Socket]\nListenStream=7500\nAccept=yes\nMaxConnections=2\n"),
        ("echo@.service", "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n"),
    ]);
    host.machine.ok(&["systemctl", "start", "echo.socket"]);
    let clients: Vec<_> = (0..4).map(|_| host.machine.tcp(7500).expect("a connection")).collect();
    host.wait_for(r#"systemd_socket_refused_connections_total{name="echo.socket"} > 1"#);
    let runbook = Runbook::of(host, "SystemdSocketRefusingConnections", "echo.socket");
    runbook.diagnosis(&[
        ("systemctl status", 0, "Active: active (listening)"),
        ("systemctl status", 0, "Accepted: 2; Connected: 2;"),
        ("systemctl show", 0, "NRefused=2"),
        ("systemctl show", 0, "MaxConnections=2"),
        ("systemctl list-units", 0, "echo@0-"),
    ]);
    runbook.mitigation(2);
    runbook.shows("systemctl show UNIT --property=NConnections", 0, "NConnections=0");
    drop(clients);
}

#[test]
fn unit_load_error() {
    let host = host();
    host.machine.units(&[
        ("broken.service", "[Service]\nType=simple\n"),
        (
            "wants-broken.service",
            "[Unit]\nWants=broken.service\n[Service]\nExecStart=/bin/sleep infinity\n",
        ),
    ]);
    host.machine.ok(&["systemctl", "start", "wants-broken"]);
    host.wait_for(r#"systemd_unit_load_state{name="broken.service", load_state="bad-setting"}"#);
    let runbook = Runbook::of(host, "SystemdUnitLoadError", "broken.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Loaded: bad-setting"),
        ("systemctl status", 3, "broken.service: Service has no ExecStart="),
        ("systemd-analyze verify", 1, "Service has no ExecStart="),
        ("systemctl cat", 0, "# /etc/systemd/system/broken.service"),
    ]);
    host.machine.write("/etc/systemd/system/broken.service", SLEEPS);
    runbook.mitigation(2).verification();
}

#[test]
fn unit_missing() {
    let host = host();
    host.machine.unit("absent.service", SLEEPS);
    host.machine.ok(&["systemctl", "start", "absent"]);
    host.machine.ok(&["systemctl", "stop", "absent"]);
    host.machine.ok(&["rm", "/etc/systemd/system/absent.service"]);
    host.machine.ok(&["systemctl", "daemon-reload"]);
    host.wait_for(r#"systemd_unit_missing{name="absent.service"} == 1"#);
    let runbook = Runbook::of(host, "SystemdUnitMissing", "absent.service");
    runbook.diagnosis(&[
        ("systemctl cat", 1, "No files found for absent.service"),
        ("systemctl list-unit-files", 1, "0 unit files listed."),
        ("journalctl", 0, "Stopped absent.service"),
    ]);
    host.machine.write("/etc/systemd/system/absent.service", SLEEPS);
    runbook.mitigation(3).verification();
    host.wait_for(r#"systemd_unit_missing{name="absent.service"} == 0"#);
    // systemd unloads it, with its file in place
    host.machine.ok(&["systemctl", "stop", "absent"]);
    host.wait_for(r#"systemd_unit_missing{name="absent.service"} == 1"#);
    runbook.shows("systemctl cat UNIT", 0, "# /etc/systemd/system/absent.service");
    runbook.shows("systemctl list-unit-files 'PART*'", 0, "absent.service");
    runbook.mitigation(3).verification();
}

#[test]
fn unit_exited() {
    let host = host();
    host.machine.unit(
        "quits.service",
        "[Service]\nExecStart=/bin/sh -c 'echo no more work; sleep 0.5'\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n",
    );
    host.machine.ok(&["systemctl", "enable", "--now", "quits"]);
    host.wait_for(r#"systemd_unit_wanted_inactive{name="quits.service", because="exited"}"#);
    let runbook = Runbook::of(host, "SystemdUnitExited", "quits.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: inactive (dead)"),
        ("systemctl show", 0, "Restart=on-failure"),
        ("journalctl", 0, "no more work"),
        ("systemctl list-dependencies", 0, "multi-user.target"),
    ]);
    host.machine.unit("quits.service", SLEEPS);
    runbook.mitigation(1).verification();
    host.wait_for(r#"absent(systemd_unit_wanted_inactive{name="quits.service"})"#);
}

#[test]
fn unit_wanted_inactive() {
    let host = host();
    let wanted = "[Install]\nWantedBy=multi-user.target\n";
    host.machine.units(&[
        ("base.service", &format!("{SLEEPS}{wanted}")),
        (
            "above.service",
            &format!("[Unit]\nRequires=base.service\nAfter=base.service\n{SLEEPS}{wanted}"),
        ),
    ]);
    host.machine.ok(&["systemctl", "enable", "--now", "base", "above"]);
    // the exporter reads the dependencies of a new unit within a second
    host.wait_for(r#"systemd_unit_info{name="above.service"}"#);
    host.machine.ok(&["systemctl", "stop", "base"]);
    host.machine.ok(&["systemctl", "start", "base"]);
    host.wait_for(r#"systemd_unit_wanted_inactive{name="above.service", because="dependency"}"#);
    let runbook = Runbook::of(host, "SystemdUnitWantedInactive", "above.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: inactive (dead)"),
        ("systemctl show", 0, "base.service"),
        ("journalctl", 0, "Stopped above.service"),
        ("systemctl list-dependencies", 0, "multi-user.target"),
        ("increase(systemd_unit_job_failures_total", 0, ""),
    ]);
    runbook.mitigation(1).verification();
}

#[test]
fn service_restart_due() {
    let machine = Machine::options().boot();
    machine.unit("old.service", SLEEPS);
    machine.ok(&["systemctl", "start", "old"]);
    // the kernel stamps a change with the time of its last tick, up to 10 ms earlier
    thread::sleep(Duration::from_millis(20));
    machine.unit("old.service", &(SLEEPS.to_owned() + "Nice=5\n"));
    // a check is made once a minute, first at the start of the exporter
    let host = &Host::start(&machine, "");
    host.wait_for(r#"systemd_service_restart_due{name="old.service", because="unit-file"}"#);
    let runbook = Runbook::of(host, "SystemdServiceRestartDue", "old.service");
    runbook.diagnosis(&[
        ("systemctl show", 0, "FragmentPath=/etc/systemd/system/old.service"),
        ("systemctl status", 0, "Active: active (running)"),
    ]);
    runbook.mitigation(1).verification();
    host.wait_for(r#"absent(systemd_service_restart_due{name="old.service"})"#);
}

#[test]
fn template_instances_missing() {
    let machine = Machine::options().boot();
    machine.unit("many@.service", SLEEPS);
    machine.ok(&["systemctl", "start", "many@1"]);
    let host = &Host::start(&machine, "--expect-instances=many@.service:3");
    host.wait_for("systemd_template_expected_instances == 3");
    let runbook = Runbook::of(host, "SystemdTemplateInstancesMissing", "many@.service");
    runbook.diagnosis(&[
        ("systemctl list-units", 0, "many@1.service"),
        ("journalctl", 0, "Started many@1.service"),
    ]);
    machine.ok(&["systemctl", "start", "many@2", "many@3"]);
    host.wait_for(r#"systemd_template_instances{name="many@.service", state="active"} == 3"#);
}

#[test]
fn units_need_daemon_reload() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "");
    machine.unit("changed.service", SLEEPS);
    machine.ok(&["systemctl", "start", "changed"]);
    thread::sleep(Duration::from_millis(1100)); // systemd compares modification times
    machine.write("/etc/systemd/system/changed.service", SLEEPS.to_owned() + "Nice=5\n");
    // two units per second
    thread::sleep(Duration::from_secs(30));
    host.wait_for(r#"systemd_unit_need_daemon_reload{name="changed.service"} == 1"#);
    let runbook = Runbook::of(host, "SystemdUnitsNeedDaemonReload", "changed.service");
    runbook.diagnosis(&[
        ("systemctl show", 0, "Id=changed.service\nNeedDaemonReload=yes"),
        ("systemctl status", 0, "changed on disk. Run 'systemctl daemon-reload'"),
    ]);
    runbook.mitigation(1);
    runbook.mitigation(2);
    host.wait_for("systemd_units_needing_daemon_reload == 0");
}

#[test]
fn job_stuck() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "");
    machine.units(&[
        ("stuck.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo waiting for the disk; sleep infinity'\n"),
        ("later.service", "[Unit]\nAfter=stuck.service\n[Service]\nExecStart=/bin/sleep infinity\n"),
    ]);
    machine.ok(&["systemctl", "start", "--no-block", "stuck", "later"]);
    host.wait_for("time() - systemd_job_oldest_enqueued_timestamp_seconds > 1");
    let runbook = Runbook::of(host, "SystemdJobStuck", "stuck.service");
    runbook.diagnosis(&[
        ("systemctl list-jobs", 0, "start running"),
        ("systemctl list-jobs", 0, "waiting for job"),
        ("systemctl --state", 0, "stuck.service"),
        ("systemctl status", 3, "Active: activating (start)"),
        ("journalctl", 0, "waiting for the disk"),
    ]);
    let jobs = machine.ok(&["systemctl", "list-jobs", "--no-legend"]);
    let job = jobs.lines().find(|line| line.contains("stuck.service")).expect("a job");
    let id = job.split_whitespace().next().expect("a number");
    let runbook = runbook.with("ID", id);
    runbook.mitigation(1);
    runbook.shows("systemctl is-active later", 0, "active");
    runbook.verification();
}

#[test]
fn critical_unit_not_active() {
    let host = host();
    host.machine.unit("vital.service", SLEEPS);
    host.machine.unit(
        "needs-vital.service",
        "[Unit]\nWants=vital.service\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    host.machine.ok(&["systemctl", "start", "needs-vital"]);
    host.machine.ok(&["systemctl", "stop", "vital"]);
    let runbook = Runbook::of(host, "SystemdCriticalUnitNotActive", "vital.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "Active: inactive (dead)"),
        ("journalctl", 0, "Stopped vital.service"),
        ("systemctl list-dependencies", 0, "vital.service"),
        // absent after a success
        ("systemd_service_result", 0, ""),
    ]);
    runbook.mitigation(1).verification();
}

/// The commands with a timer whose service waits for another systemd job, the query of the next elapse with a stopped PID 1.
#[test]
fn timer_overdue() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "");
    machine.units(&[
        ("stuck.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n"),
        (
            "backup.service",
            "[Unit]\nAfter=stuck.service\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
        ),
        ("backup.timer", "[Timer]\nOnCalendar=*:*:0/5\nAccuracySec=1s\n"),
    ]);
    machine.ok(&["systemctl", "start", "--no-block", "stuck"]);
    machine.ok(&["systemctl", "start", "backup.timer"]);
    host.wait_for(r#"systemd_timer_last_trigger_seconds{name="backup.timer"} > 0"#);
    let runbook = Runbook::of(host, "SystemdTimerOverdue", "backup.timer");
    runbook.diagnosis(&[
        ("systemctl list-timers", 0, "backup.service"),
        ("systemctl status", 0, "Active: active (running)"),
        ("systemctl list-jobs", 0, "waiting"),
        ("timedatectl", 0, "Local time:"),
        // absent while the timer is running
        ("systemd_timer_next_trigger_seconds", 0, ""),
    ]);
    machine.ok(&["systemctl", "cancel"]);
    machine.ok(&["systemctl", "stop", "stuck"]);
    runbook.mitigation(1).verification();
    host.wait_for(r#"systemd_timer_next_trigger_seconds{name="backup.timer"} > time()"#);
    let frozen = machine.freeze();
    host.wait_for(r#"time() - systemd_timer_next_trigger_seconds{name="backup.timer"} > 5"#);
    drop(frozen);
}

#[test]
fn service_oom_killed() {
    let machine = with_controllers(Machine::options());
    let host = &Host::start(&machine, "");
    machine.unit("greedy.service", GREEDY);
    machine.ok(&["systemctl", "start", "greedy"]);
    host.wait_for(
        r#"systemd_unit_memory_events_total{name="greedy.service", event="oom_kill"} == 1"#,
    );
    let runbook = Runbook::of(host, "SystemdServiceOomKilled", "greedy.service");
    runbook.diagnosis(&[
        // a namespace has no messages of the kernel
        ("journalctl", 1, "-- No entries --"),
        ("systemctl show", 0, "MemoryMax=67108864"),
        ("systemctl show", 0, "OOMPolicy=continue"),
        ("free", 0, "Mem:"),
        // only of units that use more than half of their limit
        ("instance_name:systemd_unit_memory_current_per_max:ratio", 0, ""),
    ]);
    let kernel = process::Command::new("dmesg").output().expect("dmesg runs");
    let kernel = String::from_utf8_lossy(&kernel.stdout).into_owned();
    let pattern = Regex::new("Out of memory|oom-kill|Killed process").expect("a pattern");
    let mut found = kernel.lines().filter(|line| pattern.is_match(line));
    let is_ours = |line: &str| line.contains("greedy.service") && line.contains("CONSTRAINT_MEMCG");
    assert!(found.any(is_ours), "{kernel}");
    runbook.mitigation(2);
    runbook.mitigation(1).verification();
}

#[test]
fn unit_memory_pressure() {
    let machine = with_controllers(Machine::options());
    let host = &Host::start(&machine, "");
    machine.write("/opt/thrashes.py", THRASHES);
    machine.unit(
        "thrashes.service",
        "[Service]\nExecStart=/usr/bin/python3 /opt/thrashes.py\nMemoryMax=64M\nMemoryHigh=48M\nMemorySwapMax=0\n",
    );
    machine.ok(&["systemctl", "start", "thrashes"]);
    host.wait_for(
        r#"rate(systemd_unit_pressure_stalled_seconds_total{name="thrashes.service", resource="memory"}[15s]) > 0.1"#,
    );
    let runbook = Runbook::of(host, "SystemdUnitMemoryPressure", "thrashes.service");
    runbook.diagnosis(&[
        ("systemctl show", 0, "MemoryMax=67108864"),
        ("cat /proc/pressure/memory", 0, "full avg10="),
        ("free", 0, "Mem:"),
    ]);
    runbook.mitigation(1);
    runbook.mitigation(2);
}

#[test]
fn exporter_down() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "");
    machine.write("etc/default/unit-exporter", "ARGS=--collector.systemd\n");
    machine.exec(&["systemctl", "restart", "unit-exporter"]);
    host.wait_for(r#"up{job="hosts"} == 0"#);
    let runbook = Runbook::of(host, "UnitExporterDown", "unit-exporter.service");
    runbook.diagnosis(&[
        ("systemctl status", 3, "status=2"),
        ("journalctl", 0, "unexpected argument '--collector.systemd' found"),
        ("curl", 7, "Failed to connect"),
        ("ss", 0, "Local Address:Port"),
    ]);
    machine.write("etc/default/unit-exporter", "ARGS=\n");
    runbook.mitigation(1).verification();
    host.wait_for(r#"up{job="hosts"} == 1"#);
}

#[test]
fn exporter_collector_failing() {
    let machine = Machine::options().boot();
    machine.write(
        "/etc/systemd/system/unit-exporter.service.d/hides.conf",
        "[Service]\nInaccessiblePaths=/sys/fs/cgroup\n",
    );
    let host = &Host::start(&machine, "");
    let runbook = Runbook::of(host, "UnitExporterCollectorFailing", "unit-exporter.service")
        .with("NAME", "cgroup");
    runbook.diagnosis(&[
        ("journalctl", 0, "/sys/fs/cgroup"),
        ("systemctl status", 0, "Active: active (running)"),
    ]);
    machine.write("etc/default/unit-exporter", "ARGS=--no-collector.cgroup\n");
    runbook.mitigation(3);
    host.wait_for(r#"absent(unit_exporter_collector_success{collector="cgroup"})"#);
}

#[test]
fn exporter_series_truncated() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "--web.max-series=1000");
    let runbook = Runbook::of(host, "UnitExporterSeriesTruncated", "unit-exporter.service");
    runbook.diagnosis(&[("systemctl list-units", 0, "1")]);
}

#[test]
fn systemd_not_responding() {
    let machine = Machine::options().boot();
    let host = &Host::start(&machine, "");
    let runbook = Runbook::of(host, "SystemdNotResponding", "unit-exporter.service");
    let frozen = machine.freeze();
    runbook.diagnosis(&[
        ("timeout 10 systemctl status", 124, ""),
        ("timeout 10 busctl list", 0, "org.freedesktop.systemd1"),
        ("timeout 10 systemctl status dbus", 124, ""),
        ("ps", 0, "T"),
        ("journalctl", 0, "unit-exporter"),
        ("dmesg", 0, ""),
    ]);
    drop(frozen);
    host.wait_for("time() - unit_exporter_systemd_last_seen_timestamp_seconds < 30");
}

/// The machine that most tests share.
fn host() -> &'static Host<'static> {
    static HOST: OnceLock<Host<'static>> = OnceLock::new();
    HOST.get_or_init(|| {
        let flags =
            "--expect-unit=absent.service,vital.service --expect-listener=wanted.service:tcp:7400";
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        Host::start(MACHINE.get_or_init(|| with_controllers(Machine::options().daemons())), flags)
    })
}

/// Boots a machine with the cgroup controllers, which this host has either in cgroup v1 or in v2.
fn with_controllers(options: Options) -> Machine {
    options.clone().cgroup_v1().try_boot().unwrap_or_else(|_| options.boot())
}

/// The call of the kernel for a core dump of the service's main process.
fn dump_core(host: &Host<'_>, unit: &str) {
    let pid = host.machine.ok(&["systemctl", "show", "--value", "--property=MainPID", unit]);
    let arguments = format!("{} 0 0 11 $(date +%s) 9223372036854775808 booted", pid.trim());
    let call = format!("/lib/systemd/systemd-coredump {arguments} < /bin/true");
    host.machine.ok(&["sh", "-c", &call]);
}

/// A service that prints a line and exits.
fn fails(line: &str, command: &str) -> String {
    format!("[Service]\nExecStart=/bin/sh -c 'echo {line}; {command}'\n")
}

/// A service that crashes and is restarted without end.
fn loops(pause: &str) -> String {
    // journald looks up the run of a process that logs: it must not have ended
    let service = fails("starting up", "sleep 0.2; kill -SEGV $$$$");
    format!(
        "[Unit]\nStartLimitIntervalSec=0\n{service}Restart=always\nRestartSec={pause}\nLimitCORE=0\n"
    )
}

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Its child reaches the limit and is killed; the service goes on.
const GREEDY: &str = "[Service]\nMemoryMax=64M\nMemorySwapMax=0\nOOMPolicy=continue\nExecStart=/bin/sh -c \
    'python3 -c \"b = bytearray(200 << 20)\" || true; sleep infinity'\n";

/// Reads a file that is larger than the memory limit again and again.
const THRASHES: &str = "
import mmap
with open('/run/host/thrashes', 'w+b') as file:
    file.truncate(100 << 20)
    for _ in range(100):
        file.write(bytes(1 << 20))
    file.flush()
    pages = mmap.mmap(file.fileno(), 0)
    while True:
        for page in range(0, len(pages), 4096):
            pages[page]
";

const DESCRIPTORS: &str = "
import socket, time
kept = [socket.socket() for _ in range(30)] + [open('/etc/hostname') for _ in range(30)]
time.sleep(1e6)
";

const THREADS: &str = "
import threading, time
try:
    while True:
        threading.Thread(target=time.sleep, args=[1e6]).start()
except RuntimeError:
    pass # the limit is reached
";

const DEAF: &str = "
import socket, time
listener = socket.create_server(('127.0.0.1', 7300), backlog=2)
time.sleep(1e6)
";

const LISTENS: &str = "
import socket, time
listener = socket.create_server(('', 7400))
time.sleep(1e6)
";
