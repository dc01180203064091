//! Compares the exporter's metrics with the kernel's own numbers, under a known load and when limits are hit.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Machine, eventually};

/// Checks that the metrics of the known load match the kernel and the load's parameters. Needs every controller.
pub fn known_load(machine: &Machine) {
    let truth = compare(machine, &["load.service", "nest.service"]);
    let of_load = |metric: &str, label: Option<(&str, &str)>| {
        let mut found = truth.iter().filter(|item| {
            let matches = |(key, value)| item.label(key) == Some(value);
            item.metric == metric && matches(("name", "load.service")) && label.is_none_or(matches)
        });
        let value = found.next().unwrap_or_else(|| panic!("no value of {metric} from the kernel"));
        value.value
    };
    // The load uses 2 s by its own clock; the cgroup's clock differs slightly.
    let user = of_load("systemd_unit_cpu_seconds_total", Some(("mode", "user")));
    assert!((1.9..4.0).contains(&user), "{user} s");
    let anon = of_load("systemd_unit_memory_stat_bytes", Some(("kind", "anon")));
    assert!((200.0..260.0).contains(&(anon / MIB)), "{} MiB", anon / MIB);
    assert_eq!(of_load("systemd_unit_tasks_current", None), 47.0, "40 threads and 7 children");
    assert_eq!(of_load("systemd_unit_threads", None), 47.0);
    assert_eq!(of_load("systemd_process_threads", None), 40.0);
    assert_eq!(of_load("systemd_unit_processes", Some(("state", "sleeping"))), 8.0);
    assert_eq!(of_load("systemd_process_open_fds", None), 500.0);
    assert_eq!(of_load("systemd_unit_open_fds", None), 8.0 * 500.0);
    let written = of_load("systemd_unit_io_write_bytes_total", None) / MIB;
    assert!((50.0..60.0).contains(&written), "{written} MiB");
}

/// Checks that each slice used at least as much CPU time as its units.
pub fn slices(machine: &Machine) {
    load(machine);
    let page = machine.exporter(&EVERY_UNIT).samples();
    let cpu = |name: &str| -> f64 {
        let of = [("name", name)];
        page.all("systemd_unit_cpu_seconds_total", &of).map(|sample| sample.value).sum()
    };
    let groups = machine.ok(&["systemctl", "show", "*", "--property=Id,Slice"]);
    let slices: BTreeSet<&str> =
        groups.lines().filter_map(|line| line.strip_prefix("Slice=")).collect();
    let mut seen = 0;
    // In the root cgroup the kernel counts CPU time by timer ticks, of which an emulated processor misses many.
    let root = machine.path("sys/fs/cgroup/cgroup.controllers").exists()
        && !machine.path("sys/fs/cgroup/cgroup.type").exists();
    let exact = |slice: &&str| !(root && *slice == "-.slice");
    for slice in slices.into_iter().filter(exact).filter(|slice| cpu(slice) > 0.0) {
        let units = groups.split("\n\n").filter(|unit| unit.contains(&format!("Slice={slice}")));
        let names = units.filter_map(|unit| unit.lines().find_map(|line| line.strip_prefix("Id=")));
        let sum: f64 = names.map(cpu).sum();
        assert!(cpu(slice) * 1.01 >= sum, "{slice}: {} s, its units: {sum} s", cpu(slice));
        seen += 1;
    }
    assert!(
        seen >= 2,
        "expected -.slice and system.slice, or system.slice and those of the consoles"
    );
}

/// Checks limits of memory, CPU time and tasks, and the events when they are hit. Needs every controller.
pub fn limits(machine: &Machine) {
    machine.units(&[
        (
            "greedy.service",
            "[Service]\nMemoryMax=64M\nMemorySwapMax=0\nOOMPolicy=continue\nExecStart=/bin/sh -c '\
             python3 -c \"b = bytearray(200 << 20)\" || true; sleep infinity'\n",
        ),
        (
            "throttled.service",
            "[Service]\nCPUQuota=20%\nLimitAS=1G\nExecStart=/bin/sh -c 'while :; do :; done'\n",
        ),
    ]);
    machine.write(
        "opt/forks.py",
        "import os, time\ntry:\n while os.fork(): pass\nexcept OSError: pass\ntime.sleep(10000)\n",
    );
    machine.unit(
        "forking.service",
        "[Service]\nTasksMax=5\nExecStart=/usr/bin/python3 /opt/forks.py\n",
    );
    machine.ok(&["systemctl", "start", "greedy", "throttled", "forking"]);
    let exporter = machine.exporter(&[]);
    let named = |metric: &str, name: &str| exporter.samples().value(metric, &[("name", name)]);

    eventually("the kill is counted", || {
        let killed = [("name", "greedy.service"), ("event", "oom_kill")];
        let kills = exporter.samples().value("systemd_unit_memory_events_total", &killed);
        kills.filter(|kills| *kills == 1.0)
    });
    let max = named("systemd_unit_memory_max_bytes", "greedy.service");
    assert_eq!(max, Some(64.0 * MIB));
    eventually("the service is throttled", || {
        named("systemd_unit_cpu_throttled_periods_total", "throttled.service")
            .filter(|periods| *periods > 3.0)
    });
    assert_eq!(named("systemd_unit_cpu_quota_cores", "throttled.service"), Some(0.2));
    let space = named("systemd_process_virtual_memory_max_bytes", "throttled.service");
    assert_eq!(space, Some(1024.0 * MIB));
    eventually("the tasks limit is hit", || {
        named("systemd_unit_tasks_limit_hits_total", "forking.service").filter(|hits| *hits >= 1.0)
    });
    assert_eq!(named("systemd_unit_tasks_current", "forking.service"), Some(5.0));
    assert_eq!(named("systemd_unit_tasks_max", "forking.service"), Some(5.0));
    machine.ok(&["systemctl", "stop", "throttled"]);
    // Without the throttled service, the values do not change between the two reads.
    compare(machine, &["greedy.service", "forking.service"]);
}

/// One value from the kernel.
pub struct Truth {
    pub metric: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Truth {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == key).map(|(_, value)| value.as_str())
    }
}

/// Compares the exporter's metrics with the kernel's values, and returns the latter.
pub fn compare(machine: &Machine, units: &[&str]) -> Vec<Truth> {
    load(machine);
    machine.write("opt/truth.py", TRUTH);
    let exporter = machine.exporter(&EVERY_UNIT);
    let command = [&["python3", "/opt/truth.py"], units].concat();
    let before = truth(&machine.ok(&command));
    let page = exporter.samples();
    let after = truth(&machine.ok(&command));
    assert!(before.len() > 10, "only {} values from the kernel", before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.metric, &before.labels), (&after.metric, &after.labels));
        let labels: Vec<_> =
            before.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let exported = page.value(&before.metric, &labels);
        let exported =
            exported.unwrap_or_else(|| panic!("{} {labels:?} is not exported", before.metric));
        let slack = slack(&before.metric, before.value);
        let (low, high) = (before.value.min(after.value), before.value.max(after.value));
        assert!(
            (low - slack..=high + slack).contains(&exported),
            "{} {labels:?}: exported {exported}, kernel {low} to {high}",
            before.metric
        );
    }
    before
}

/// The tolerance: counts are exact; times and memory may differ by 2 %, and memory also by the part that the kernel
/// keeps in per-CPU counters.
fn slack(metric: &str, value: f64) -> f64 {
    let share = (value * 0.02).abs();
    if metric == "systemd_unit_resident_memory_bytes" {
        // per process; the test's units have about eight
        share.max(8.0 * MIB)
    } else if metric.contains("_memory_") && metric.ends_with("_bytes") {
        share.max(MIB)
    } else if metric.ends_with("start_time_seconds") {
        0.01
    } else if metric.ends_with("_seconds_total") {
        share.max(0.01)
    } else {
        0.0
    }
}

fn truth(json: &str) -> Vec<Truth> {
    let items: Vec<Value> = serde_json::from_str(json).expect("a list of values");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let parse = |item: &Value| Truth {
        metric: text(&item[0]),
        labels: item[1]
            .as_object()
            .expect("labels")
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        value: item[2].as_f64().expect("a number"),
    };
    items.iter().map(parse).collect()
}

/// Starts the known load, unless it is running.
pub fn load(machine: &Machine) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().expect("a machine");
    if machine.exec(&["systemctl", "is-active", "--quiet", "load"]).status.success() {
        return;
    }
    machine.write("opt/load.py", LOAD);
    // In a machine made of namespaces, only the supervisor's directory is on a disk.
    let disk = if machine.path("run/host").exists() { "/run/host" } else { "/var" };
    machine.unit(
        "load.service",
        // cgroup v1 counts I/O on a disk only if a limit is set
        &format!(
            "[Service]\nLimitNOFILE=4096\nIOAccounting=yes\nCPUAccounting=yes\n\
             MemoryAccounting=yes\nIOWriteBandwidthMax={disk} 100G\n\
             ExecStart=/usr/bin/python3 /opt/load.py {disk}/load\n"
        ),
    );
    machine.write("opt/nest.py", NEST);
    let nest = "[Service]\nType=notify\nNotifyAccess=all\nDelegate=yes\n\
                ExecStart=/usr/bin/python3 /opt/nest.py\n";
    machine.unit("nest.service", nest);
    machine.ok(&["systemctl", "start", "load", "nest"]);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !machine.path("run/load-is-ready").exists() {
        assert!(std::time::Instant::now() < limit, "the load is not ready after a minute");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

pub const EVERY_UNIT: [&str; 1] = ["--systemd.collector.unit-exclude="];
const MIB: f64 = 1_048_576.0;
const TRUTH: &str = include_str!("truth.py");
const LOAD: &str = include_str!("load.py");

/// Two processes, one of them in a cgroup below the unit's.
const NEST: &str = "\
import os, subprocess, time
root = '/sys/fs/cgroup/unified' if os.path.exists('/sys/fs/cgroup/unified') else '/sys/fs/cgroup'
own = next(line for line in open('/proc/self/cgroup') if line.startswith('0::'))
path = root + own[3:].strip() + '/payload'
os.mkdir(path)
child = os.fork()
if child == 0:
    time.sleep(10000)
open(path + '/cgroup.procs', 'w').write(str(child))
subprocess.run(['systemd-notify', '--ready'])
time.sleep(10000)
";
