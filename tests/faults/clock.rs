//! The wall clock jumps: ages, durations and counts stay correct.

use std::time::SystemTime;

use crate::scrapes::{Scrape, TIMEOUT};
use crate::support::{Machine, eventually};

#[test]
fn faked_clock_jump_yields_no_negative_age_or_lost_count() {
    let machine = &Machine::options().boot();
    let library = machine.ok(&["find", "/usr/lib", "-name", "libfaketimeMT.so.1"]);
    assert!(!library.is_empty(), "no libfaketimeMT.so.1: apt-get install libfaketime");
    // fakes the wall clock of the exporter alone, as far as it reads the clock through libc; PID 1 has the real one
    let environment = format!(
        "Environment=LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE=/run/clock FAKETIME_NO_CACHE=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1",
        library.trim()
    );
    machine.write("/run/clock", "+0");
    machine.unit(
        "jumps.service",
        "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=0\n",
    );
    machine.ok(&["systemctl", "start", "jumps.service"]);
    let exporter = &machine.exporter_unit(&[&environment], &["--log.level=debug"]).ready();
    let page = exporter.samples();
    let before = page.negative();
    let mut crashes = 0.0;
    for (jump, days) in [("-400d", -400.0), ("+400d", 400.0), ("+0", 0.0), ("-21000d", -21_000.0)] {
        machine.write("/run/clock", jump);
        machine.ok(&["systemctl", "kill", "--signal=KILL", "jumps.service"]);
        crashes += 1.0;
        let name = [("name", "jumps.service")];
        eventually("the crash is counted", || {
            let counted = exporter.samples().value("systemd_service_failures_total", &name);
            (counted == Some(crashes)).then_some(())
        });
        let scrape = Scrape::of(exporter);
        assert!(scrape.failed.is_empty() && scrape.took < TIMEOUT, "{jump}: {scrape:?}");
        assert_eq!(exporter.samples().negative(), before, "{jump}");
        for path in ["/", "/unit/jumps.service", "/api/v1/events"] {
            assert_eq!(exporter.get(path, &[]).status, 200, "{jump}: {path}");
        }
        let page = exporter.samples();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() + days * 86_400.0;
        let last_success = "unit_exporter_collector_last_success_timestamp_seconds";
        for (metric, labels) in [
            (last_success, &[("collector", "units")][..]),
            ("unit_exporter_systemd_last_seen_timestamp_seconds", &[]),
        ] {
            match page.value(metric, labels) {
                Some(time) => {
                    assert!((time - now).abs() < 60.0, "{jump}: not on the faked clock: {time}");
                }
                // times before the epoch are not exported
                None => assert!(now < 0.0, "{jump}: {metric}"),
            }
        }
    }
    let log = exporter.log();
    assert!(!log.contains("level=ERROR") && !log.contains("bug in unit-exporter"), "{log}");
}
