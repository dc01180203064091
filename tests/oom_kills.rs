//! OOM kills on hybrid cgroups, where systemd reports only the signal: found in the kernel's own lines.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

use support::{Exporter, Machine, Samples, eventually};

#[test]
fn oom_kills_are_counted_once_and_are_the_cause() {
    let machine = &Machine::options().cgroup_v1().boot();
    let mut kernel = KernelLog::new(machine);
    let hog = |name: &str, then: &str| {
        format!(
            "[Service]\nMemoryMax=30M\n{then}\nEnvironment=GO=/run/{name}\n\
             ExecStart=/usr/bin/python3 /opt/hog.py\n"
        )
    };
    machine.write("opt/hog.py", HOG);
    machine.units(&[
        ("main.service", &hog("main", "")),
        ("again.service", &hog("again", "Restart=always\nRestartSec=100ms")),
        ("child.service", &hog("child", "Environment=FORK=1")),
        ("by-hand.service", "[Service]\nMemoryMax=30M\nExecStart=/bin/sleep infinity\n"),
    ]);
    let exporter = machine.exporter(&[]);
    let names = ["main.service", "again.service", "child.service", "gone.service"];
    machine.ok(&["systemctl", "start", "main", "again", "child", "by-hand"]);
    machine.ok(&[
        "systemd-run",
        "--unit=gone.service",
        "--collect",
        "--property=MemoryMax=30M",
        "--setenv=GO=/run/gone",
        "/usr/bin/python3",
        "/opt/hog.py",
    ]);
    for name in names {
        let pid = eventually("the hog waits", || {
            let file = machine.path(&format!("run/{name}.pid"));
            fs::read_to_string(file).ok()?.trim().parse().ok()
        });
        kernel.pids.insert(machine.outer_pid(pid).unwrap().to_string(), pid);
    }
    machine.ok(&["systemctl", "kill", "--signal=KILL", "by-hand"]);
    for name in names {
        machine.write(&format!("run/{}", name.trim_end_matches(".service")), "");
        eventually("the kernel has logged the kill", || kernel.relay(machine).then_some(()));
    }

    let oom =
        |page: &Samples, name| page.value("systemd_unit_kernel_oom_kills_total", &[("name", name)]);
    for name in names {
        eventually("the kernel's line counts", || {
            (oom(&exporter.samples(), name) == Some(1.0)).then_some(())
        });
    }
    let failed = |result: &str| [(result.to_owned(), 1.0)].into();
    for (name, expected) in [
        ("main.service", failed("oom-kill")),
        ("again.service", failed("oom-kill")),
        ("gone.service", failed("oom-kill")),
        ("child.service", BTreeMap::new()),
        ("by-hand.service", failed("signal")),
    ] {
        let results = || failures(&exporter.samples(), name);
        support::in_time(|| (results() == expected).then_some(()));
        assert_eq!(results(), expected, "{name}");
        let cause = expected.keys().next().map(|result| (result.clone(), "SIGKILL".to_owned()));
        assert_eq!(cause_of_failure(&exporter, name), cause, "{name}");
        let total = exporter.samples().value("systemd_service_failures_total", &[("name", name)]);
        assert_eq!(total, Some(expected.values().sum::<f64>() + 0.0), "{name}");
    }
    // counted once each, also while the page is read again and again
    thread::sleep(Duration::from_secs(3));
    let page = exporter.samples();
    assert_eq!(names.map(|name| oom(&page, name)), [Some(1.0); 4]);
    assert_eq!(oom(&page, "by-hand.service"), None);
    let host = |result| page.value("systemd_host_service_failures_total", &[("result", result)]);
    assert_eq!((host("oom-kill"), host("signal")), (Some(3.0), Some(1.0)));

    // at the first start in a boot, from the boot on
    drop(exporter);
    machine.ok(&["mkdir", "--mode=700", "/run/first"]);
    let exporter = machine.exporter(&["--state.directory=/run/first"]);
    for name in ["main.service", "again.service", "child.service"] {
        eventually(&format!("the earlier kill of {name} counts"), || {
            (oom(&exporter.samples(), name) == Some(1.0)).then_some(())
        });
    }
}

/// Allocates more than the limit once a file exists.
const HOG: &str = r#"
import os, time
name = os.environ["GO"]
if "FORK" in os.environ and os.fork():
    time.sleep(1e6)
with open(name + ".service.tmp", "w") as file:
    file.write(str(os.getpid()))
os.rename(name + ".service.tmp", name + ".service.pid")
while not os.path.exists(name):
    time.sleep(0.05)
os.unlink(name)
hog = b"x" * (200 << 20)
"#;

/// The kernel's log, as it would be on a host whose cgroups are those of the machine. The machine's
/// journald reads it from a pipe: the kernel itself names cgroups and processes as seen from outside.
struct KernelLog {
    log: File,
    pipe: File,
    prefix: String,
    /// Pids inside, by those outside.
    pids: BTreeMap<String, u32>,
    sequence: u64,
}

impl KernelLog {
    fn new(machine: &Machine) -> Self {
        machine.ok(&["mkfifo", "/dev/kmsg"]);
        // held open: journald logs to the path as well, and would wait for a reader
        let pipe =
            OpenOptions::new().read(true).write(true).open(machine.path("dev/kmsg")).unwrap();
        machine.ok(&["systemctl", "restart", "systemd-journald"]);
        let open = |path: &str| OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path);
        let mut log = open("/dev/kmsg").expect("the kernel's log can be read");
        let mut record = [0; 8192];
        while log.read(&mut record).is_ok_and(|length| length > 0) {}
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", machine.pid1())).unwrap();
        let group = groups.lines().find_map(|line| line.split_once(":memory:/")).unwrap().1;
        let prefix = format!("/{}", group.split('/').next().unwrap());
        Self { log, pipe, prefix, pids: BTreeMap::new(), sequence: 0 }
    }

    /// Passes on the lines about kills in the machine; returns whether there were any.
    fn relay(&mut self, machine: &Machine) -> bool {
        let mut any = false;
        let mut record = [0; 8192];
        while let Ok(length) = self.log.read(&mut record) {
            let text = String::from_utf8_lossy(&record[..length]);
            let Some((_, line)) = text.lines().next().and_then(|line| line.split_once(';')) else {
                continue;
            };
            if !line.starts_with("oom-kill:") || !line.contains(&format!("={}/", self.prefix)) {
                continue;
            }
            any = true;
            let mut line = line.replace(&self.prefix, "");
            for (outer, inner) in &self.pids {
                line = line.replace(&format!(",pid={outer},"), &format!(",pid={inner},"));
            }
            eventually("the kernel's line is in the journal", || {
                writeln!(self.pipe, "6,{},{},-;{line}", self.sequence, self.sequence).unwrap();
                self.sequence += 1;
                // journald expects one record per read: one that follows another is lost
                thread::sleep(Duration::from_millis(300));
                machine.ok(&["journalctl", "-k", "-o", "cat"]).contains(&line).then_some(())
            });
        }
        any
    }
}

const O_NONBLOCK: i32 = 0o4000;

fn failures(page: &Samples, name: &str) -> BTreeMap<String, f64> {
    page.all("systemd_service_failures_by_result_total", &[("name", name)])
        .map(|sample| (sample.label("result").to_owned(), sample.value))
        .collect()
}

/// Cause and status of the only failure among the events.
fn cause_of_failure(exporter: &Exporter<'_>, name: &str) -> Option<(String, String)> {
    let answer = exporter.get(&format!("/api/v1/events?unit={name}"), &[]);
    let list: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    let events = list["events"].as_array().unwrap().iter();
    let failed: Vec<_> = events.filter(|event| event["what"] == "failed").collect();
    assert!(failed.len() <= 1, "{failed:?}");
    let text = |field: &str| failed.first()?.get(field)?.as_str().map(str::to_owned);
    text("cause").zip(text("status"))
}
