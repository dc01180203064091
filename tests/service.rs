//! The shipped service: sandbox, watchdog, signals and status text.

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use support::{Exporter, Machine, Samples, eventually};

#[test]
fn systemd_analyze_verify_reports_no_faults() {
    for drop_ins in
        [&[][..], &["socket-activated"], &["deep-processes"], &["user-managers"], &["tls"]]
    {
        let _installed = Installed::with(drop_ins);
        for unit in [SERVICE, "unit-exporter.socket"] {
            // tests/manual.rs checks the manual page
            let verdict = machine().exec(&["systemd-analyze", "verify", "--man=no", unit]);
            let stderr = String::from_utf8_lossy(&verdict.stderr);
            // older versions ignore an unknown setting
            let faults = stderr.lines().filter(|line| {
                !line.contains("Unknown key name 'PrivateIPC'") || machine().version() >= 248
            });
            assert_eq!(faults.collect::<String>(), "", "{drop_ins:?}");
            assert!(verdict.status.success());
        }
    }
}

#[test]
fn security_exposure_stays_below_threshold() {
    if !machine().since(250, "systemd-analyze security --offline") {
        return;
    }
    for (drop_ins, threshold) in [
        (&[][..], "13"),
        (&["socket-activated"], "8"),
        (&["deep-processes"], "16"),
        (&["user-managers"], "20"),
    ] {
        let _installed = Installed::with(drop_ins);
        let command = ["systemd-analyze", "security", "--offline=true", "--threshold", threshold];
        machine().ok(&[&command[..], &[SERVICE]].concat());
    }
}

#[test]
fn default_collectors_work_in_the_sandbox() {
    let installed = Installed::with(&[]);
    let exporter = installed.start();
    assert_complete(&exporter);
    let itself = [("name", SERVICE), ("state", "active")];
    assert_eq!(exporter.samples().value("systemd_unit_state", &itself), Some(1.0));
    let owner = machine().ok(&["ps", "--no-headers", "-o", "user:32=", "-C", "unit-exporter"]);
    assert_eq!(owner.trim(), "unit-exporter");
    let groups = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("status");
    let groups = groups.lines().find_map(|line| line.strip_prefix("Groups:")).expect("groups");
    let journal = machine().ok(&["getent", "group", "systemd-journal"]);
    let journal = journal.split(':').nth(2).expect("a group id");
    assert!(groups.split_whitespace().any(|group| group == journal), "{groups:?} {journal}");
}

#[test]
fn counts_journal_messages_in_the_sandbox() {
    let installed = Installed::with(&[]);
    let exporter = installed.start();
    // the machine's boot ID differs from the host's, as in a container, and the sandbox shows the host's
    eventually("a message is counted", || {
        machine().ok(&["systemd-run", "--quiet", "--wait", "--unit=talker", "echo", "hello"]);
        let page = exporter.samples();
        page.all("systemd_unit_journal_messages_total", &[("name", "talker.service")])
            .next()
            .map(drop)
    });
}

#[test]
fn collectors_work_with_socket_activation() {
    let installed = Installed::with(&["socket-activated"]);
    machine().ok(&["systemctl", "start", "unit-exporter.socket"]);
    let exporter = installed.start();
    assert_complete(&exporter);
    assert_alive(&exporter);
}

#[test]
fn collectors_work_with_cap_sys_ptrace() {
    let installed = Installed::with(&["deep-processes"]);
    assert_complete(&installed.start());
}

#[test]
fn monitors_user_managers_with_cap_setuid() {
    let machine = machine();
    machine.ok(&["useradd", "--create-home", "--uid", "1600", "lingerer"]);
    machine.ok(&["loginctl", "enable-linger", "lingerer"]);
    let installed = Installed::with(&["user-managers"]);
    let exporter = installed.start();
    let labels = [("manager_user", "lingerer")];
    eventually("the user manager is up", || {
        let up = exporter.samples().value("systemd_user_manager_up", &labels);
        (up == Some(1.0)).then_some(())
    });
    assert_complete(&exporter);
    machine.ok(&["loginctl", "disable-linger", "lingerer"]);
}

#[test]
fn tls_drop_in_enables_basic_auth_and_reload() {
    let installed = Installed::with(&["tls"]);
    machine().write(
        "etc/unit-exporter/web.yml",
        "basic_auth_users:\n  prometheus: $2y$05$XbU/xh2lJcFXPDkM0SlHOOCcFXF9hZ/5v4cSAyjOZpXeLH5rW/Pki\n",
    );
    machine().ok(&["systemctl", "start", SERVICE]);
    let status = || machine().get(9558, "/metrics", &[]).expect("an answer").status;
    assert_eq!(status(), 401);

    // a reload reads the file again and, valid or not, never stops the service
    let pid = show("MainPID");
    machine().write("etc/unit-exporter/web.yml", "basic_auth_users: [nonsense]\n");
    machine().ok(&["systemctl", "reload", SERVICE]);
    eventually("the error is logged", || {
        log().contains("SIGHUP: invalid web configuration").then_some(())
    });
    assert_eq!(status(), 500);
    machine().write("etc/unit-exporter/web.yml", "{}\n");
    machine().ok(&["systemctl", "reload", SERVICE]);
    eventually("the reload is logged", || log().contains("SIGHUP: reloaded").then_some(()));
    assert_eq!((status(), show("MainPID"), show("ActiveState")), (200, pid, "active".to_owned()));
    drop(installed);
}

#[test]
fn watchdog_restarts_the_exporter_only_when_it_hangs() {
    let installed = Installed::with(&[]);
    installed.drop_in("short.conf", "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n");
    let exporter = installed.start();
    assert_alive(&exporter);
    assert_eq!(show("NRestarts"), "0");

    let hung = show("MainPID");
    let start = Instant::now();
    machine().ok(&["kill", "-STOP", &hung]);
    eventually("the watchdog restarts the service", || {
        let pid = show("MainPID");
        (pid != hung && pid != "0" && show("SubState") == "running").then_some(())
    });
    eprintln!(
        "restarted {:.1} s after it hung, with WatchdogSec=4s",
        start.elapsed().as_secs_f64()
    );
    assert!(log().contains("Watchdog timeout"), "{}", log());
    assert_complete(&installed.start());
}

#[test]
fn response_in_progress_completes_when_service_stops() {
    let names: Vec<String> = (0..200).map(|number| format!("many-{number}.service")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    machine().units(&names.iter().map(|name| (*name, DONE)).collect::<Vec<_>>());
    machine().ok(&[&["systemctl", "start"], &*names].concat());
    let installed = Installed::with(&[]);
    let _exporter = installed.start();
    let mut scrape = machine().tcp(9558).expect("a connection");
    // the kernel buffers half of the response; the rest is read only after the stop
    set_socket_recv_buffer_size(&scrape, 64 << 10).expect("a small buffer");
    scrape.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    let mut answer = vec![0; 12];
    scrape.read_exact(&mut answer).expect("the start of a response");
    assert_eq!(answer, b"HTTP/1.1 200");

    machine().ok(&["systemctl", "stop", "--no-block", SERVICE]);
    eventually("the port is closed", || machine().tcp(9558).is_err().then_some(()));
    scrape.read_to_end(&mut answer).expect("the rest of the response");
    let answer = String::from_utf8(answer).expect("text");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    assert_eq!(length, Some(&*page.len().to_string()));
    assert!(page.len() > 400 << 10, "{} bytes would fit into the kernel's buffers", page.len());
    machine().ok(&[&["systemctl", "stop"], &*names].concat());
    eventually("the service stops", || (show("ActiveState") == "inactive").then_some(()));
    assert_eq!((show("Result"), show("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
}

#[test]
fn serves_without_a_bus_and_is_not_restarted() {
    let machine = boot();
    machine.ok(&["systemctl", "mask", "--runtime", "--now", "dbus.socket", "dbus.service"]);
    let installed = Installed::on(&machine, &[]);
    installed.drop_in("short.conf", "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n");
    machine.ok(&["systemctl", "start", SERVICE]);
    thread::sleep(Duration::from_secs(6));
    assert_eq!(
        (installed.show("NRestarts"), installed.show("ActiveState")),
        ("0".into(), "active".into())
    );
    let status = installed.show("StatusText");
    assert!(status.starts_with("no units yet: cannot connect to the bus"), "{status}");
    let page = machine.get(9558, "/metrics", &[]).expect("an answer");
    assert_eq!(page.status, 200);
    let page = Samples::parse(page.text());
    let success =
        |collector| page.value("unit_exporter_collector_success", &[("collector", collector)]);
    assert_eq!((success("units"), success("exporter")), (Some(0.0), Some(1.0)));

    // the exporter subscribes once the bus appears
    machine.ok(&["systemctl", "unmask", "--runtime", "dbus.socket", "dbus.service"]);
    machine.ok(&["systemctl", "start", "dbus.socket"]);
    let _exporter = machine.exporter_of(SERVICE, 9558);
    eventually("StatusText has the number of units", || {
        installed.show("StatusText").contains(" units, ").then_some(())
    });
}

#[test]
fn unknown_flag_fails_once_without_restart() {
    let installed = Installed::with(&[]);
    machine().write("etc/default/unit-exporter", "ARGS=\"--no-such-flag\"\n");
    machine().exec(&["systemctl", "start", SERVICE]);
    eventually("the service fails", || (show("ActiveState") == "failed").then_some(()));
    assert_eq!((show("ExecMainStatus"), show("NRestarts")), ("2".to_owned(), "0".to_owned()));
    drop(installed);
}

/// The files of systemd/ in the paths of the packages; stopped and removed on drop.
struct Installed<'a> {
    machine: &'a Machine,
}

impl Installed<'static> {
    fn with(drop_ins: &[&str]) -> Self {
        Self::on(machine(), drop_ins)
    }
}

impl<'a> Installed<'a> {
    fn on(machine: &'a Machine, drop_ins: &[&str]) -> Self {
        let installed = Self { machine };
        for (from, to) in [
            ("system/unit-exporter.service", "etc/systemd/system/unit-exporter.service"),
            ("system/unit-exporter.socket", "etc/systemd/system/unit-exporter.socket"),
            ("sysusers.d/unit-exporter.conf", "etc/sysusers.d/unit-exporter.conf"),
            ("default/unit-exporter", "etc/default/unit-exporter"),
        ] {
            machine.write(to, shipped(from));
        }
        machine.ok(&["systemd-sysusers"]);
        for name in drop_ins {
            installed.drop_in(&format!("{name}.conf"), &shipped(&format!("drop-ins/{name}.conf")));
        }
        machine.ok(&["systemctl", "daemon-reload"]);
        installed
    }

    fn drop_in(&self, name: &str, text: &str) {
        self.machine.write(&format!("etc/systemd/system/{SERVICE}.d/{name}"), text);
        self.machine.ok(&["systemctl", "daemon-reload"]);
    }

    fn start(&self) -> Exporter<'a> {
        self.machine.ok(&["systemctl", "start", SERVICE]);
        self.machine.exporter_of(SERVICE, 9558)
    }

    fn show(&self, property: &str) -> String {
        show_on(self.machine, property)
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        self.machine.exec(&["systemctl", "stop", SERVICE, "unit-exporter.socket"]);
        self.machine.exec(&["systemctl", "reset-failed", SERVICE]);
        fs::remove_dir_all(self.machine.path(&format!("etc/systemd/system/{SERVICE}.d"))).ok();
    }
}

fn assert_complete(exporter: &Exporter) {
    let page = exporter.samples();
    let collectors: Vec<_> = page.all("unit_exporter_collector_success", &[]).collect();
    assert!(!collectors.is_empty());
    assert!(
        collectors.iter().all(|collector| collector.value == 1.0),
        "{collectors:#?}\n{}",
        exporter.log()
    );
    eventually("StatusText has the number of units and no failing collector", || {
        let status = show("StatusText");
        (status.contains(" units, ") && !status.contains("failing")).then_some(())
    });
}

/// The exporter has sent watchdog keep-alives since it was ready.
fn assert_alive(exporter: &Exporter) {
    let started = show("ExecMainStartTimestampMonotonic");
    let since = eventually("a watchdog keep-alive", || {
        let at = show("WatchdogTimestampMonotonic");
        (at != started && at != "0").then_some(at)
    });
    eventually("another keep-alive", || {
        (show("WatchdogTimestampMonotonic") != since).then_some(())
    });
    assert_eq!(show("ActiveState"), "active", "{}", exporter.log());
}

fn show(property: &str) -> String {
    show_on(machine(), property)
}

fn show_on(machine: &Machine, property: &str) -> String {
    machine.ok(&["systemctl", "show", "--value", "--property", property, SERVICE]).trim().to_owned()
}

fn log() -> String {
    machine().ok(&["journalctl", "--sync"]);
    machine().ok(&["journalctl", "--no-pager", "--output=cat", "--unit", SERVICE])
}

fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The machine shared by most tests.
fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(boot)
}

/// A machine with the exporter in the path of the packages.
fn boot() -> Machine {
    Machine::options().bind(support::program(), "/usr/bin/unit-exporter").boot()
}

const DONE: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
const SERVICE: &str = "unit-exporter.service";
