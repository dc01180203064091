//! Tests that main.rs runs inside the VM, where the machine under test is the VM itself.

use std::env;

use crate::changes::cgroup_rows;
use crate::kernel::{known_load, limits, slices};
use crate::support::{HERE, Machine, eventually};

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn metrics_of_known_load_match_kernel() {
    known_load(here());
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn slice_cpu_time_is_at_least_that_of_its_units() {
    slices(here());
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn limits_and_limit_hits_are_exported() {
    limits(here());
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn limits_changed_at_run_time_are_exported() {
    let exporter = here().exporter(&[]);
    let names = ["web.service", "other.service"];
    for name in names {
        here().unit(name, "[Service]\nExecStart=/bin/sleep infinity\n");
    }
    here().ok(&["systemctl", "start", names[0], names[1]]);
    let rows = cgroup_rows(here(), &exporter, names[0], names[1]);
    // main.rs writes them to docs/settings.md
    rows.iter().for_each(|row| println!("{row}"));
    assert_eq!(rows.len(), 7, "{rows:?}");
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn oom_killed_service_is_counted_with_result_oom_kill() {
    let exporter = here().exporter(&[]);
    here().unit(
        "hungry.service",
        "[Service]\nMemoryMax=32M\nMemorySwapMax=0\nRestart=on-failure\nRestartSec=1s\n\
         ExecStart=/usr/bin/python3 -c 'b = bytearray(200 << 20)'\n\
         [Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2\n",
    );
    here().exec(&["systemctl", "start", "hungry"]);
    let result = eventually("the start limit is hit", || {
        let shown = here().ok(&["systemctl", "show", "--property=ActiveState,Result", "hungry"]);
        shown.contains("ActiveState=failed").then_some(shown)
    });
    assert!(result.contains("Result=oom-kill"), "{result}");
    eventually("both kills are counted as oom-kill", || {
        let page = exporter.samples();
        let hungry = [("name", "hungry.service"), ("result", "oom-kill")];
        let failures = page.value("systemd_service_failures_by_result_total", &hungry)?;
        assert!(failures <= 2.0, "{failures} for two kills");
        (failures == 2.0).then_some(())
    });
    let page = exporter.samples();
    let hungry = [("name", "hungry.service")];
    let causes = page.all("systemd_service_failures_by_result_total", &hungry);
    let failures: f64 = causes.map(|cause| cause.value).sum();
    assert_eq!(failures, 2.0, "failures with another result");
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn set_clock_yields_no_negative_age_or_lost_count() {
    let exporter = here().exporter(&[]);
    here().unit(
        "jumps.service",
        "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=0\n",
    );
    here().ok(&["systemctl", "start", "jumps"]);
    let page = exporter.samples();
    let before = page.negative();
    let name = [("name", "jumps.service")];
    for (jump, crashes) in [("-1 day", 1.0), ("+2 days", 2.0), ("-1 day", 3.0)] {
        here().ok(&["date", "--set", jump]);
        here().ok(&["systemctl", "kill", "--signal=KILL", "jumps"]);
        eventually("the crash is counted", || {
            let counted = exporter.samples().value("systemd_service_failures_total", &name);
            (counted == Some(crashes)).then_some(())
        });
        let page = exporter.samples();
        assert_eq!(page.negative(), before, "{jump}");
        let failed: Vec<_> = page.all("unit_exporter_collector_success", &[]).collect();
        assert!(failed.iter().all(|collector| collector.value == 1.0), "{jump}: {failed:?}");
    }
}

fn here() -> &'static Machine {
    assert!(env::var_os(HERE).is_some(), "runs only inside the VM: make test-vm");
    crate::support::machine()
}
