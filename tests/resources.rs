//! Resource usage of units in a booted systemd on both cgroup layouts: every series matches the kernel's files.

#[path = "resources/kernel.rs"]
mod kernel;
mod support;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use kernel::{compare, known_load, limits, load, slices};
use support::{Machine, Samples, eventually, machine};

#[test]
fn usage_of_known_load_matches_kernel_files_on_v2() {
    let truth = compare(machine(), &["load.service", "nest.service"]);
    let compared: BTreeSet<&str> = truth.iter().map(|item| item.metric.as_str()).collect();
    for metric in ["systemd_unit_cpu_seconds_total", "systemd_unit_pressure_stalled_seconds_total"]
    {
        assert!(compared.contains(metric), "the kernel has no value for {metric}");
    }
}

#[test]
fn usage_of_known_load_matches_kernel_files_on_v1() {
    hybrid().into_iter().for_each(known_load);
}

#[test]
fn slice_usage_is_at_least_that_of_its_units() {
    for machine in [Some(machine()), hybrid()].into_iter().flatten() {
        slices(machine);
    }
}

#[test]
fn reports_limits_and_their_events() {
    hybrid().into_iter().for_each(limits);
}

#[test]
fn restarted_unit_is_read_from_its_new_cgroup() {
    let burn = "[Service]\nExecStart=/bin/sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; \
                touch /run/burnt; exec sleep infinity'\n";
    for machine in [Some(machine()), hybrid()].into_iter().flatten() {
        machine.unit("burn.service", burn);
        let exporter = machine.exporter(&[]);
        let user = [("name", "burn.service"), ("mode", "user")];
        let mut starts = Vec::new();
        for _run in 0..3 {
            machine.exec(&["rm", "-f", "/run/burnt"]);
            machine.ok(&["systemctl", "restart", "burn"]);
            eventually("the load is done", || machine.path("run/burnt").exists().then_some(()));
            let (since, cpu) = eventually("the new control group is read", || {
                let page = exporter.samples();
                let since = page.value("systemd_process_start_time_seconds", &user[..1])?;
                let cpu = page.value("systemd_unit_cpu_seconds_total", &user)?;
                (!starts.contains(&since.to_bits())).then_some((since, cpu))
            });
            starts.push(since.to_bits());
            let unified = machine.path("sys/fs/cgroup/unified").exists();
            let group = if unified { "unified" } else { "." };
            let file = format!("/sys/fs/cgroup/{group}/system.slice/burn.service/cpu.stat");
            let stat = machine.ok(&["cat", &file]);
            let kernel = stat.lines().find_map(|line| line.strip_prefix("user_usec "));
            let kernel: f64 = kernel.expect("a time").parse().expect("a number");
            assert!((cpu - kernel / 1e6).abs() < 0.02, "exported {cpu}, kernel {kernel}");
        }
        machine.ok(&["systemctl", "stop", "burn"]);
        eventually("the unit's series are gone", || {
            let page = exporter.samples();
            let left = page.all("systemd_unit_cpu_seconds_total", &user).count();
            (left == 0).then_some(())
        });
    }
}

#[test]
fn disabled_pressure_omits_only_pressure_metrics() {
    let machine = machine();
    machine.unit("calm.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    machine.ok(&["systemctl", "start", "calm"]);
    let exporter = machine.exporter(&[]);
    let pressures = || {
        let page = exporter.samples();
        let cpu = [("name", "calm.service"), ("mode", "user")];
        assert!(page.value("systemd_unit_cpu_seconds_total", &cpu).is_some());
        assert_eq!(
            page.value("unit_exporter_failed_reads_total", &[("collector", "cgroup")]),
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
fn reports_the_cgroup_layout() {
    let hybrid = hybrid().map(|machine| (machine, "hybrid"));
    for (machine, layout) in [Some((machine(), "unified")), hybrid].into_iter().flatten() {
        let exporter = machine.exporter(&[]);
        let info = exporter.samples().value("systemd_cgroup_layout_info", &[("layout", layout)]);
        assert_eq!(info, Some(1.0));
        let log = exporter.log();
        let lines = log.lines().filter(|line| line.contains("control groups found")).count();
        assert_eq!(lines, 1, "{log}");
    }
}

#[test]
fn unprivileged_user_collects_the_same_series_as_root() {
    load(machine());
    let root = machine().exporter(&[]);
    let unprivileged =
        machine().exporter_unit(&["User=nobody", "CapabilityBoundingSet="], &[]).ready();
    let series = |page: &Samples| -> BTreeSet<String> {
        let of_load = page.0.iter().filter(|sample| sample.label("name") == "load.service");
        of_load.map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
    };
    let (as_root, as_user) = (series(&root.samples()), series(&unprivileged.samples()));
    assert!(as_root.len() > 20, "{as_root:#?}");
    assert_eq!(as_user, as_root);
    let uid =
        machine().ok(&["stat", "--format=%U", &format!("/proc/{}", main_pid(unprivileged.unit()))]);
    assert_eq!(uid.trim(), "nobody");
}

#[test]
fn reports_failure_when_processes_are_hidden() {
    load(machine());
    let properties = ["User=nobody", "ProtectProc=invisible"];
    let exporter = machine().exporter_unit(&properties, &[]).ready();
    let page = exporter.samples();
    let success =
        |collector| page.value("unit_exporter_collector_success", &[("collector", collector)]);
    assert_eq!(success("process"), Some(0.0));
    assert_eq!(success("cgroup"), Some(1.0));
    let of_load = [("name", "load.service"), ("mode", "user")];
    assert!(page.value("systemd_unit_cpu_seconds_total", &of_load).is_some());
    for metric in ["systemd_unit_processes", "systemd_unit_threads", "systemd_process_threads"] {
        assert_eq!(page.all(metric, &[]).count(), 0, "{metric} from visible processes only");
    }
    assert!(exporter.log().contains("CAP_SYS_PTRACE"), "{}", exporter.log());
}

#[test]
fn hostile_units_do_not_affect_other_units() {
    let machine = Machine::options().boot();
    load(&machine);
    for (file, program) in
        [("many", MANY_PROCESSES), ("deep", DEEP_CGROUPS), ("named", HOSTILE_NAMES)]
    {
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
    let mut truncated = exporter.samples().value("unit_exporter_truncated_processes_total", &[]);
    for _scrape in 0..20 {
        let page = exporter.samples();
        for collector in ["cgroup", "process"] {
            let of = [("collector", collector)];
            let success = page.value("unit_exporter_collector_success", &of);
            assert_eq!(success, Some(1.0), "{}", exporter.log());
            for metric in ["failed_reads", "truncated_units"] {
                let metric = format!("unit_exporter_{metric}_total");
                assert_eq!(page.value(&metric, &of), Some(0.0), "{}", exporter.log());
            }
        }
        let named = |metric: &str, name: &str| page.value(metric, &[("name", name)]);
        assert_eq!(named("systemd_unit_threads", "load.service"), Some(47.0));
        assert_eq!(named("systemd_unit_threads", "many.service"), Some(5001.0));
        // 32 levels below the unit's cgroup are read, with one process each; the other 68 count as one truncated tree.
        assert_eq!(named("systemd_unit_threads", "deep.service"), Some(33.0));
        let total = page.value("unit_exporter_truncated_processes_total", &[]);
        assert_eq!(total, truncated.map(|before| before + 1.0));
        truncated = total;
        assert_eq!(named("systemd_unit_threads", "named.service"), Some(7.0));
        let sleeping = [("name", "named.service"), ("state", "sleeping")];
        assert_eq!(page.value("systemd_unit_processes", &sleeping), Some(7.0));
    }
    compare(&machine, &["load.service", "named.service"]);
}

fn main_pid(unit: &str) -> String {
    machine().ok(&["systemctl", "show", "--property=MainPID", "--value", unit]).trim().to_owned()
}

/// The shared machine with controllers on v1; none where systemd supports only v2.
fn hybrid() -> Option<&'static Machine> {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    if machine().version() > 257 {
        eprintln!("not on this systemd, {}: cgroup v1 needs 257 or older", machine().version());
        return None;
    }
    Some(MACHINE.get_or_init(|| Machine::options().cgroup_v1().boot()))
}

/// A process with 5,000 children.
const MANY_PROCESSES: &str = "\
import os, subprocess, time
for _ in range(5000):
    if os.fork() == 0:
        time.sleep(10000)
subprocess.run(['systemd-notify', '--ready'])
time.sleep(10000)
";

/// A process, and 100 nested control groups with a process in each.
const DEEP_CGROUPS: &str = "\
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

/// A process, and six whose names a naive parser misreads.
const HOSTILE_NAMES: &str = r"
import os, subprocess, time
for name in [b'a) R 1 (b', b'two\nlines', b'\xff\xfe\xfd', b') Z 0 0 0 0 0 0', b'))))))', b'((((((']:
    if os.fork() == 0:
        open('/proc/self/comm', 'wb').write(name)
        time.sleep(10000)
time.sleep(0.5)
subprocess.run(['systemd-notify', '--ready'])
time.sleep(10000)
";
