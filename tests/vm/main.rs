//! Debian in a VM with the package installed: pure cgroup v2 with every controller, the stages of a real boot, and a
//! reboot. `make test-vm` runs these; QEMU and the Debian tree are cached in target/vm.

#![allow(clippy::disallowed_types)]

#[path = "../resources/changes.rs"]
mod changes;
mod inside;
#[path = "../resources/kernel.rs"]
mod kernel;
#[path = "../support/mod.rs"]
mod support;
mod vm;

use std::collections::BTreeMap;
use std::time::Instant;

use support::{EXPORTER_INSIDE, HERE, Samples};
use vm::Vm;

#[test]
#[ignore = "takes minutes, and needs make package; make test-vm runs it"]
fn resource_metrics_match_kernel_on_pure_cgroup_v2() {
    let mut vm = vm::booted();
    installed(&mut vm);
    let controllers = vm.ok("cat /sys/fs/cgroup/cgroup.controllers");
    for controller in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.split_whitespace().any(|one| one == controller), "{controllers}");
    }
    let start = Instant::now();
    let output =
        vm.ok(&format!("{HERE}=1 {} inside:: --ignored --nocapture --test-threads=1", vm::PROGRAM));
    println!("{output}\n{:.0} s inside the VM", start.elapsed().as_secs_f64());
    assert!(output.contains("test result: ok. 6 passed"), "{output}");
    let rows = output.lines().filter_map(|line| line.find("| `").map(|at| line[at..].to_owned()));
    changes::update_document(&rows.collect::<Vec<_>>());
}

#[test]
#[ignore = "takes minutes, and needs make package; make test-vm runs it"]
fn package_works_and_reboot_resets_counters() {
    let mut vm = vm::booted();
    installed(&mut vm);
    let before = boot_times(&mut vm);
    vm.ok("printf '[Service]\\nExecStart=/bin/false\\n' > /etc/systemd/system/bad.service");
    vm.ok("systemctl daemon-reload; systemctl start bad; sleep 1; systemctl start bad; sleep 1");
    let failures = [("name", "bad.service"), ("result", "exit-code")];
    let failures =
        |page: &Samples| page.value("systemd_service_failures_by_result_total", &failures);
    assert_eq!(failures(&page(&mut vm)), Some(2.0));
    let id = vm.ok("cat /proc/sys/kernel/random/boot_id");
    let starts = start_time(&page(&mut vm));
    // crashes five times before the exporter starts
    vm.ok(&format!("printf '{BOOT_CRASH}' > /etc/systemd/system/boot-crash.service"));
    let drop_in = "/etc/systemd/system/unit-exporter.service.d";
    let late = "[Service]\\nExecStartPre=/bin/sleep 5\\n";
    vm.ok(&format!("mkdir -p {drop_in}; printf '{late}' > {drop_in}/late.conf"));
    vm.ok("systemctl daemon-reload; systemctl enable boot-crash");

    let start = Instant::now();
    vm.reboot();
    println!("rebooted in {:.0} s", start.elapsed().as_secs_f64());
    complete(&mut vm);
    assert_ne!(vm.ok("cat /proc/sys/kernel/random/boot_id"), id);
    let after = boot_times(&mut vm);
    println!("stages, in seconds since the epoch: {before:#?}\n{after:#?}");
    for (stage, time) in after.iter().filter(|(_, time)| **time > 0.0) {
        assert!(before.values().all(|earlier| earlier < time), "{stage} is before the reboot");
    }
    let page = page(&mut vm);
    assert!(start_time(&page) > starts);
    assert_eq!(failures(&page), None, "failures from before the reboot");
    let failed = [("name", "bad.service"), ("state", "failed")];
    assert_ne!(page.value("systemd_unit_state", &failed), Some(1.0));
    crashes_of_boot_are_counted(&mut vm, &page);
}

/// The crashes before the start of the exporter, with cause and event, equal those in the journal.
fn crashes_of_boot_are_counted(vm: &mut Vm, page: &Samples) {
    let exits = "journalctl -b -u boot-crash --grep 'Main process exited' -o cat | wc -l";
    let exits: f64 = vm.ok(exits).trim().parse().expect("a number");
    let name = ("name", "boot-crash.service");
    let value = |metric, label| page.value(metric, &[name, label]);
    let exit = [name, ("code", "exited"), ("status", "3")];
    assert_eq!(
        (
            exits,
            value("systemd_service_failures_by_result_total", ("result", "exit-code")),
            page.value("systemd_service_main_process_exits_total", &exit),
            page.value("systemd_service_start_limit_hit", &[name]),
        ),
        (5.0, Some(5.0), Some(5.0), Some(1.0))
    );
    let url = "http://127.0.0.1:9558/api/v1/events?unit=boot-crash.service";
    let events = vm.ok(&format!(
        "python3 -c \"import urllib.request as r, json; \
         print(sum(e['what'] == 'failed' and e['before_start'] and e['status'] == '3' \
         for e in json.load(r.urlopen('{url}'))['events']))\""
    ));
    assert_eq!(events.trim(), "5");
}

/// Exits with 3 five times, and is not started again.
const BOOT_CRASH: &str = "[Unit]\\nStartLimitIntervalSec=60\\nStartLimitBurst=5\\n\
    [Service]\\nRestart=always\\nRestartSec=200ms\\nExecStart=/bin/sh -c \"exit 3\"\\n\
    [Install]\\nWantedBy=multi-user.target\\n";

/// Installs the package with dpkg, unless it is installed.
fn installed(vm: &mut Vm) {
    if vm.run("systemctl is-active --quiet unit-exporter").0 != 0 {
        println!("{}", vm.ok(&format!("dpkg -i {}", vm::PACKAGE)));
        vm.ok(&format!("ln -sf /usr/bin/unit-exporter {EXPORTER_INSIDE}"));
    }
    complete(vm);
}

/// Waits until the exporter is ready, and checks that every collector works in the sandbox.
fn complete(vm: &mut Vm) {
    vm.ok(
        "for i in $(seq 120); do systemctl is-active --quiet unit-exporter && break; sleep 1; done",
    );
    vm.ok("for i in $(seq 120); do systemctl show -P StatusText unit-exporter | grep ' units, ' && break; sleep 1; done");
    let page = page(vm);
    let collectors: Vec<_> = page.all("unit_exporter_collector_success", &[]).collect();
    assert!(!collectors.is_empty());
    assert!(
        collectors.iter().all(|collector| collector.value == 1.0),
        "{collectors:#?}\n{}",
        vm.ok("journalctl --no-pager -u unit-exporter")
    );
    assert_eq!(page.value("systemd_cgroup_layout_info", &[("layout", "unified")]), Some(1.0));
    let itself = [("name", "unit-exporter.service")];
    for (metric, value) in [
        ("systemd_unit_memory_max_bytes", f64::from(256 << 20)),
        ("systemd_unit_memory_high_bytes", f64::from(192 << 20)),
        ("systemd_unit_tasks_max", 64.0),
    ] {
        assert_eq!(page.value(metric, &itself), Some(value), "{metric}");
    }
    assert!(page.value("systemd_unit_memory_current_bytes", &itself) > Some(0.0));
}

/// Timestamps of the boot stages, in seconds since the epoch; checks that the exported ones match systemd's.
fn boot_times(vm: &mut Vm) -> BTreeMap<String, f64> {
    vm.ok("systemctl is-system-running --wait || true");
    let page = page(vm);
    let stages: BTreeMap<_, _> = page
        .all("systemd_boot_time_seconds", &[])
        .map(|sample| (sample.label("stage").to_owned(), sample.value))
        .collect();
    for stage in ["Kernel", "Userspace", "UnitsLoadStart", "UnitsLoadFinish", "Finish"] {
        assert!(stages[stage] > 0.0, "{stage} was not reached: {stages:#?}");
    }
    for (stage, exported) in &stages {
        let property = format!("{stage}Timestamp");
        let output = vm.ok(&format!(
            "busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1 \
             org.freedesktop.systemd1.Manager {property}"
        ));
        let micros: f64 = output.trim().trim_start_matches("t ").parse().expect("a number");
        assert!((exported - micros / 1e6).abs() < 1e-6, "{stage}: {exported} s, {micros} µs");
    }
    let (kernel, finish) = (stages["Kernel"], stages["Finish"]);
    assert!(kernel < stages["Userspace"] && stages["Userspace"] < finish, "{stages:#?}");
    // the kernel's timestamp matches the uptime
    let times = vm.ok("date +%s.%N; cut -d ' ' -f 1 /proc/uptime");
    let times: Vec<f64> = times.lines().map(|time| time.parse().expect("a number")).collect();
    assert!(
        (times[0] - times[1] - kernel).abs() < 2.0,
        "kernel {kernel}, now and uptime {times:?}"
    );
    println!("{}", vm.ok("systemd-analyze --no-pager"));
    stages
}

/// When the exporter started.
fn start_time(page: &Samples) -> f64 {
    page.value("process_start_time_seconds", &[]).expect("a start time")
}

/// A scrape of the service as shipped.
fn page(vm: &mut Vm) -> Samples {
    let get = "import urllib.request as r; \
               print(r.urlopen('http://127.0.0.1:9558/metrics').read().decode(), end='')";
    Samples::parse(&vm.ok(&format!("python3 -c \"{get}\"")))
}
