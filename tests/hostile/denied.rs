//! A bus that denies the exporter systemd, or only its signals: reported, with the reason and the remedy.

use std::time::Instant;

use crate::SLEEP;
use crate::support::{Exporter, Machine, eventually};

#[test]
fn denied_calls_are_no_success_with_zero_units() {
    let machine = Machine::options().boot();
    let user = ["User=nobody"];
    policy(&machine, "<deny send_destination='org.freedesktop.systemd1'/>");
    let begun = Instant::now();
    let exporter = machine.exporter_unit(&user, &[]);
    eventually("readiness reports the reason", || {
        let ready = exporter.get("/-/ready", &[]);
        assert_eq!(ready.status, 503, "{}", ready.text());
        ready.text().contains("AccessDenied").then_some(())
    });
    eprintln!("reported {:?} after the start", begun.elapsed());
    assert_reported(&exporter);
    let log = exporter.log();
    assert!(log.contains("allow the exporter's user to call org.freedesktop.systemd1"), "{log}");
    let samples = exporter.samples();
    assert_eq!(samples.all("systemd_unit_state", &[]).count(), 0);
    assert_eq!(samples.value("unit_exporter_systemd_last_seen_timestamp_seconds", &[]), None);
    policy(&machine, "");
    let allowed = Instant::now();
    assert_recovers(exporter.ready());
    eprintln!("recovered {:?} after the policy allowed access", allowed.elapsed());
}

#[test]
fn signals_that_never_arrive_are_reported() {
    let machine = Machine::options().boot();
    machine.unit("later.service", SLEEP);
    policy(&machine, "<deny receive_sender='org.freedesktop.systemd1' receive_type='signal'/>");
    let begun = Instant::now();
    let exporter = machine.exporter_unit(&["User=nobody"], &[]).ready();
    eventually("the log reports missing signals", || {
        exporter.log().contains("signals do not arrive").then_some(())
    });
    eprintln!("reported {:?} after the start", begun.elapsed());
    // it never claims to be current in between
    for _ in 0..20 {
        assert_reported(&exporter);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    policy(&machine, "");
    assert_recovers(exporter);
}

#[test]
fn access_that_is_denied_later_is_reported() {
    let machine = Machine::options().boot();
    let resync = ["--systemd.resync-interval=5s"];
    let exporter = machine.exporter_unit(&["User=nobody"], &resync).ready();
    eventually("the exporter follows systemd", || {
        (exporter.samples().value("unit_exporter_dbus_subscribed", &[]) == Some(1.0)).then_some(())
    });
    for rule in [
        "<deny receive_sender='org.freedesktop.systemd1' receive_type='signal'/>",
        "<deny send_destination='org.freedesktop.systemd1'/>",
    ] {
        policy(&machine, rule);
        let denied = Instant::now();
        eventually("the collector fails", || {
            let units = [("collector", "units")];
            let success = exporter.samples().value("unit_exporter_collector_success", &units);
            (success == Some(0.0)).then_some(())
        });
        eprintln!("{rule}: reported after {:?}", denied.elapsed());
        // the last known states are served
        assert!(exporter.samples().all("systemd_unit_state", &[]).count() > 100);
        policy(&machine, "");
        eventually("it recovers", || {
            (exporter.samples().value("unit_exporter_dbus_subscribed", &[]) == Some(1.0))
                .then_some(())
        });
    }
}

/// Sets a rule of the bus for the exporter's user.
fn policy(machine: &Machine, rule: &str) {
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' \
         'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>\n\
         <busconfig><policy user='nobody'>{rule}</policy></busconfig>\n"
    );
    machine.write("/etc/dbus-1/system.d/zz-denied.conf", text);
    let driver = "org.freedesktop.DBus";
    machine.ok(&["busctl", "call", driver, "/org/freedesktop/DBus", driver, "ReloadConfig"]);
}

#[track_caller]
fn assert_reported(exporter: &Exporter) {
    let samples = exporter.samples();
    let success = samples.value("unit_exporter_collector_success", &[("collector", "units")]);
    let subscribed = samples.value("unit_exporter_dbus_subscribed", &[]);
    assert_eq!((success, subscribed), (Some(0.0), Some(0.0)), "{}", exporter.log());
}

#[track_caller]
fn assert_recovers(exporter: Exporter) {
    eventually("the exporter follows systemd", || {
        let samples = exporter.samples();
        let success = samples.value("unit_exporter_collector_success", &[("collector", "units")]);
        let subscribed = samples.value("unit_exporter_dbus_subscribed", &[]);
        ((success, subscribed) == (Some(1.0), Some(1.0))).then_some(())
    });
    assert!(exporter.samples().all("systemd_unit_state", &[]).count() > 100);
}
