//! What main.rs runs inside the VM: here the machine is this host itself.

use std::env;

use crate::kernel::{known_load, limits, slices};
use crate::support::{HERE, Machine, eventually};

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn a_known_load_is_told_as_the_kernel_tells_it() {
    known_load(here());
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn a_slice_used_at_least_what_its_units_used() {
    slices(here());
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn limits_and_what_they_led_to_are_told() {
    limits(here());
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn a_service_killed_for_its_memory_failed_of_that() {
    let exporter = here().exporter(&[]);
    here().unit(
        "hungry.service",
        "[Service]\nMemoryMax=32M\nMemorySwapMax=0\nRestart=on-failure\nRestartSec=1s\n\
         ExecStart=/usr/bin/python3 -c 'b = bytearray(200 << 20)'\n\
         [Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2\n",
    );
    here().exec(&["systemctl", "start", "hungry"]);
    let result = eventually("it is given up", || {
        let shown = here().ok(&["systemctl", "show", "--property=ActiveState,Result", "hungry"]);
        shown.contains("ActiveState=failed").then_some(shown)
    });
    assert!(result.contains("Result=oom-kill"), "{result}");
    eventually("both kills are counted as such", || {
        let page = exporter.samples();
        let hungry = [("name", "hungry.service"), ("result", "oom-kill")];
        let failures = page.value("systemd_service_failures_by_result_total", &hungry)?;
        assert!(failures <= 2.0, "{failures} for two kills");
        (failures == 2.0).then_some(())
    });
    let page = exporter.samples();
    let hungry = [("name", "hungry.service")];
    let causes = page.all("systemd_service_failures_by_result_total", &hungry);
    assert_eq!(causes.map(|cause| cause.value).sum::<f64>(), 2.0, "and as nothing else");
}

#[test]
#[ignore = "main.rs runs it inside the VM"]
fn a_clock_that_is_set_makes_no_negative_age_and_loses_no_count() {
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
        let failed: Vec<_> = page.all("systemd_exporter_collector_success", &[]).collect();
        assert!(failed.iter().all(|collector| collector.value == 1.0), "{jump}: {failed:?}");
    }
}

fn here() -> &'static Machine {
    assert!(env::var_os(HERE).is_some(), "this runs inside the VM alone: make test-vm");
    crate::support::machine()
}
