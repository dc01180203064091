//! What units use, in a booted systemd on both layouts: every series beside what the kernel's own files say.

mod support;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::Value;
use support::{Machine, Samples, eventually, machine};

#[test]
fn a_known_load_is_told_as_the_kernel_tells_it_on_v2() {
    let truth = compare(machine(), &["load.service", "nest.service"]);
    let told: BTreeSet<&str> = truth.iter().map(|item| item.metric.as_str()).collect();
    for metric in ["systemd_unit_cpu_seconds_total", "systemd_unit_pressure_stalled_seconds_total"]
    {
        assert!(told.contains(metric), "the kernel said nothing of {metric}");
    }
}

#[test]
fn a_known_load_is_told_as_the_kernel_tells_it_on_v1() {
    let truth = compare(hybrid(), &["load.service", "nest.service"]);
    let of_load = |metric: &str, label: Option<(&str, &str)>| {
        let mut found = truth.iter().filter(|item| {
            let matches = |(key, value)| item.label(key) == Some(value);
            item.metric == metric && matches(("name", "load.service")) && label.is_none_or(matches)
        });
        let value = found.next().unwrap_or_else(|| panic!("the kernel said nothing of {metric}"));
        value.value
    };
    // The load is what it was made to be; its clock and its control group's are not quite the same.
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

#[test]
fn a_slice_used_at_least_what_its_units_used() {
    for machine in [machine(), hybrid()] {
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
        for slice in slices.into_iter().filter(|slice| cpu(slice) > 0.0) {
            let units =
                groups.split("\n\n").filter(|unit| unit.contains(&format!("Slice={slice}")));
            let names =
                units.filter_map(|unit| unit.lines().find_map(|line| line.strip_prefix("Id=")));
            let sum: f64 = names.map(cpu).sum();
            assert!(cpu(slice) * 1.01 >= sum, "{slice}: {} s, its units: {sum} s", cpu(slice));
            seen += 1;
        }
        assert!(seen >= 2, "-.slice and system.slice have used time");
    }
}

#[test]
fn limits_and_what_they_led_to_are_told() {
    let machine = hybrid();
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
    eventually("the quota holds back", || {
        named("systemd_unit_cpu_throttled_periods_total", "throttled.service")
            .filter(|periods| *periods > 3.0)
    });
    assert_eq!(named("systemd_unit_cpu_quota_ratio", "throttled.service"), Some(0.2));
    let space = named("systemd_process_virtual_memory_max_bytes", "throttled.service");
    assert_eq!(space, Some(1024.0 * MIB));
    eventually("the limit of tasks is hit", || {
        named("systemd_unit_tasks_limit_hits_total", "forking.service").filter(|hits| *hits >= 1.0)
    });
    assert_eq!(named("systemd_unit_tasks_current", "forking.service"), Some(5.0));
    assert_eq!(named("systemd_unit_tasks_max", "forking.service"), Some(5.0));
    machine.ok(&["systemctl", "stop", "throttled"]);
    // Slowed down for long enough, so that it stands still while both look.
    compare(machine, &["greedy.service", "forking.service"]);
}

#[test]
fn a_unit_that_starts_anew_is_read_anew() {
    let burn = "[Service]\nExecStart=/bin/sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; \
                touch /run/burnt; exec sleep infinity'\n";
    for machine in [machine(), hybrid()] {
        machine.unit("burn.service", burn);
        let exporter = machine.exporter(&[]);
        let user = [("name", "burn.service"), ("mode", "user")];
        let mut starts = Vec::new();
        for _run in 0..3 {
            machine.exec(&["rm", "-f", "/run/burnt"]);
            machine.ok(&["systemctl", "restart", "burn"]);
            eventually("it has burnt", || machine.path("run/burnt").exists().then_some(()));
            let told = eventually("its new control group is read", || {
                let page = exporter.samples();
                let since = page.value("systemd_process_start_time_seconds", &user[..1])?;
                let cpu = page.value("systemd_unit_cpu_seconds_total", &user)?;
                (!starts.contains(&since.to_bits())).then_some((since, cpu))
            });
            starts.push(told.0.to_bits());
            let group = if machine.pid1() == hybrid().pid1() { "unified" } else { "." };
            let file = format!("/sys/fs/cgroup/{group}/system.slice/burn.service/cpu.stat");
            let stat = machine.ok(&["cat", &file]);
            let kernel = stat.lines().find_map(|line| line.strip_prefix("user_usec "));
            let kernel: f64 = kernel.expect("a time").parse().expect("a number");
            assert!((told.1 - kernel / 1e6).abs() < 0.02, "told {}, kernel {kernel}", told.1);
        }
        machine.ok(&["systemctl", "stop", "burn"]);
        eventually("its series are gone", || {
            let page = exporter.samples();
            let left = page.all("systemd_unit_cpu_seconds_total", &user).count();
            (left == 0).then_some(())
        });
    }
}

#[test]
fn pressure_that_is_switched_off_is_absent_and_the_rest_stays() {
    let machine = machine();
    machine.unit("calm.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    machine.ok(&["systemctl", "start", "calm"]);
    let exporter = machine.exporter(&[]);
    let pressures = || {
        let page = exporter.samples();
        let cpu = [("name", "calm.service"), ("mode", "user")];
        assert!(page.value("systemd_unit_cpu_seconds_total", &cpu).is_some());
        assert_eq!(
            page.value("systemd_exporter_collector_failed_reads", &[("collector", "cgroup")]),
            Some(0.0)
        );
        let calm = [("name", "calm.service")];
        page.all("systemd_unit_pressure_waiting_seconds_total", &calm).count()
    };
    let switch = |on: &str| {
        let file = "/sys/fs/cgroup/system.slice/calm.service/cgroup.pressure";
        machine.ok(&["sh", "-c", &format!("echo {on} > {file}")]);
    };
    assert_eq!(pressures(), 3);
    switch("0");
    assert_eq!(pressures(), 0);
    switch("1");
    assert_eq!(pressures(), 3);
}

#[test]
fn the_layout_is_told() {
    for (machine, layout) in [(machine(), "unified"), (hybrid(), "hybrid")] {
        let exporter = machine.exporter(&[]);
        let told = exporter.samples().value("systemd_cgroup_layout_info", &[("layout", layout)]);
        assert_eq!(told, Some(1.0));
        let log = exporter.log();
        let lines = log.lines().filter(|line| line.contains("control groups found")).count();
        assert_eq!(lines, 1, "{log}");
    }
}

#[test]
fn nobody_without_capabilities_sees_what_root_sees() {
    load(machine());
    let root = machine().exporter(&[]);
    let nobody = machine().exporter_unit(&["User=nobody", "CapabilityBoundingSet="], &[]).ready();
    let series = |page: &Samples| -> BTreeSet<String> {
        let of_load = page.0.iter().filter(|sample| sample.label("name") == "load.service");
        of_load.map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
    };
    let (as_root, as_nobody) = (series(&root.samples()), series(&nobody.samples()));
    assert!(as_root.len() > 20, "{as_root:#?}");
    assert_eq!(as_nobody, as_root);
    let uid = machine().ok(&["stat", "--format=%U", &format!("/proc/{}", main_pid(nobody.unit()))]);
    assert_eq!(uid.trim(), "nobody");
}

#[test]
fn hidden_processes_are_said_to_be_hidden() {
    load(machine());
    let properties = ["User=nobody", "ProtectProc=invisible"];
    let exporter = machine().exporter_unit(&properties, &[]).ready();
    let page = exporter.samples();
    let success =
        |collector| page.value("systemd_exporter_collector_success", &[("collector", collector)]);
    assert_eq!(success("process"), Some(0.0));
    assert_eq!(success("cgroup"), Some(1.0));
    let of_load = [("name", "load.service"), ("mode", "user")];
    assert!(page.value("systemd_unit_cpu_seconds_total", &of_load).is_some());
    for metric in ["systemd_unit_processes", "systemd_unit_threads", "systemd_process_threads"] {
        assert_eq!(page.all(metric, &[]).count(), 0, "{metric} would pass for the whole");
    }
    assert!(exporter.log().contains("CAP_SYS_PTRACE"), "{}", exporter.log());
}

#[test]
fn hostile_units_change_nothing_for_others() {
    let machine = Machine::options().boot();
    load(&machine);
    for (file, program) in [("many", MANY), ("deep", DEEP), ("named", NAMED)] {
        machine.write(&format!("opt/{file}.py"), program);
    }
    let python = |file: &str| {
        format!(
            "[Service]\nType=notify\nNotifyAccess=all\nDelegate=yes\nTasksMax=infinity\n\
             TimeoutStartSec=infinity\nExecStart=/usr/bin/python3 /opt/{file}.py\n"
        )
    };
    machine.units(&[
        ("many.service", &python("many")),
        ("deep.service", &python("deep")),
        ("named.service", &python("named")),
        ("fleeting.service", "[Service]\nExecStart=/bin/sh -c 'while :; do /bin/true; done'\n"),
        (
            "removed.service",
            "[Service]\nRestart=always\nRestartSec=0\nExecStart=/bin/true\n\
             [Unit]\nStartLimitIntervalSec=0\n",
        ),
    ]);
    for unit in ["many", "deep", "named", "fleeting", "removed"] {
        machine.ok(&["systemctl", "start", unit]);
    }
    let exporter = machine.exporter(&[]);
    for _scrape in 0..20 {
        let page = exporter.samples();
        for collector in ["cgroup", "process"] {
            let of = [("collector", collector)];
            let success = page.value("systemd_exporter_collector_success", &of);
            assert_eq!(success, Some(1.0), "{}", exporter.log());
            for metric in ["failed_reads", "truncated_units"] {
                let metric = format!("systemd_exporter_collector_{metric}");
                assert_eq!(page.value(&metric, &of), Some(0.0), "{}", exporter.log());
            }
        }
        let named = |metric: &str, name: &str| page.value(metric, &[("name", name)]);
        let truncated = "systemd_unit_processes_truncated";
        assert_eq!(named("systemd_unit_threads", "load.service"), Some(47.0));
        assert_eq!(named("systemd_unit_threads", "many.service"), Some(5001.0));
        assert_eq!(named(truncated, "many.service"), None);
        // The 32 levels below the unit's own hold one process each, the other 68 are one tree.
        assert_eq!(named("systemd_unit_threads", "deep.service"), Some(33.0));
        assert_eq!(named(truncated, "deep.service"), Some(1.0));
        assert_eq!(named("systemd_unit_threads", "named.service"), Some(7.0));
        let sleeping = [("name", "named.service"), ("state", "sleeping")];
        assert_eq!(page.value("systemd_unit_processes", &sleeping), Some(7.0));
    }
    compare(&machine, &["load.service", "named.service"]);
}

/// One statement of the kernel's.
struct Truth {
    metric: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Truth {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == key).map(|(_, value)| value.as_str())
    }
}

/// Holds the exporter's page against what the kernel says, and returns the latter.
fn compare(machine: &Machine, units: &[&str]) -> Vec<Truth> {
    load(machine);
    machine.write("opt/truth.py", TRUTH);
    let exporter = machine.exporter(&EVERY_UNIT);
    let command = [&["python3", "/opt/truth.py"], units].concat();
    let before = truth(&machine.ok(&command));
    let page = exporter.samples();
    let after = truth(&machine.ok(&command));
    assert!(before.len() > 10, "the kernel says but {} things", before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.metric, &before.labels), (&after.metric, &after.labels));
        let labels: Vec<_> =
            before.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let told = page.value(&before.metric, &labels);
        let told = told.unwrap_or_else(|| panic!("{} {labels:?} is not told", before.metric));
        let slack = slack(&before.metric, before.value);
        let (low, high) = (before.value.min(after.value), before.value.max(after.value));
        assert!(
            (low - slack..=high + slack).contains(&told),
            "{} {labels:?}: told {told}, the kernel says {low} to {high}",
            before.metric
        );
    }
    before
}

/// Counts are exact; time and memory may differ by 2 %, and memory by what one reading of it
/// leaves uncounted on each processor.
fn slack(metric: &str, value: f64) -> f64 {
    let share = (value * 0.02).abs();
    if metric == "systemd_unit_resident_memory_bytes" {
        // of every process; the test's units have some eight
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
    let items: Vec<Value> = serde_json::from_str(json).expect("a list of statements");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let statement = |item: &Value| Truth {
        metric: text(&item[0]),
        labels: item[1]
            .as_object()
            .expect("labels")
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        value: item[2].as_f64().expect("a number"),
    };
    items.iter().map(statement).collect()
}

/// Starts the known load, unless it runs.
fn load(machine: &Machine) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().expect("a machine");
    if machine.exec(&["systemctl", "is-active", "--quiet", "load"]).status.success() {
        return;
    }
    machine.write("opt/load.py", LOAD);
    machine.unit(
        "load.service",
        // The supervisor's directory is on a disk. v1 counts nothing there but under a limit.
        "[Service]\nLimitNOFILE=4096\nIOAccounting=yes\nCPUAccounting=yes\nMemoryAccounting=yes\n\
         IOWriteBandwidthMax=/run/host 100G\n\
         ExecStart=/usr/bin/python3 /opt/load.py /run/host/load\n",
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

fn main_pid(unit: &str) -> String {
    machine().ok(&["systemctl", "show", "--property=MainPID", "--value", unit]).trim().to_owned()
}

/// The machine with controllers on v1, shared by the tests of this file.
fn hybrid() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| Machine::options().cgroup_v1().boot())
}

const EVERY_UNIT: [&str; 1] = ["--systemd.collector.unit-exclude="];
const MIB: f64 = 1_048_576.0;
const TRUTH: &str = include_str!("resources/truth.py");
const LOAD: &str = include_str!("resources/load.py");

/// A process, and one in a control group of its own below the unit's.
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

/// A process with 5,000 children.
const MANY: &str = "\
import os, subprocess, time
for _ in range(5000):
    if os.fork() == 0:
        time.sleep(10000)
subprocess.run(['systemd-notify', '--ready'])
time.sleep(10000)
";

/// A process, and a tree of control groups 100 deep with a process in each.
const DEEP: &str = "\
import os, subprocess, time
group = open('/proc/self/cgroup').read().rsplit('::', 1)[1].strip()
path = '/sys/fs/cgroup' + group
for _ in range(100):
    path += '/d'
    os.mkdir(path)
    child = os.fork()
    if child == 0:
        time.sleep(10000)
    open(path + '/cgroup.procs', 'w').write(str(child))
subprocess.run(['systemd-notify', '--ready'])
time.sleep(10000)
";

/// A process, and six whose names are made to be misread.
const NAMED: &str = r"
import os, subprocess, time
for name in [b'a) R 1 (b', b'two\nlines', b'\xff\xfe\xfd', b') Z 0 0 0 0 0 0', b'))))))', b'((((((']:
    if os.fork() == 0:
        open('/proc/self/comm', 'wb').write(name)
        time.sleep(10000)
time.sleep(0.5)
subprocess.run(['systemd-notify', '--ready'])
time.sleep(10000)
";
