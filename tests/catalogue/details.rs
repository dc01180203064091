//! Properties that are expensive for systemd, and collectors that are off by default.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Machine, eventually};
use crate::units::SLEEP;
use crate::{prepared, show};

#[test]
fn changed_unit_file_needs_daemon_reload_until_reloaded() {
    let machine = Machine::options().boot();
    machine.unit("edited.service", SLEEP);
    machine.ok(&["systemctl", "start", "edited.service"]);
    let exporter = machine.exporter(&[]);
    let needs = || {
        let page = exporter.samples();
        let unit = page.value("systemd_unit_need_daemon_reload", &[("name", "edited.service")]);
        (unit, page.value("systemd_units_needing_daemon_reload", &[]))
    };
    assert_eq!(needs(), (None, Some(0.0)));
    // systemd compares mtimes
    thread::sleep(Duration::from_millis(50));
    machine.write("/etc/systemd/system/edited.service", format!("{SLEEP}Nice=1\n"));
    let shown = ["systemctl", "show", "-P", "NeedDaemonReload", "edited.service"];
    assert_eq!(machine.ok(&shown).trim(), "yes");
    let (begun, mut seen) = (Instant::now(), needs());
    while seen != (Some(1.0), Some(1.0)) {
        assert!(begun.elapsed() < Duration::from_secs(240), "{seen:?}");
        thread::sleep(Duration::from_millis(200));
        seen = needs();
    }
    eprintln!("changed file exported after {:?}", begun.elapsed());
    machine.ok(&["systemctl", "daemon-reload"]);
    eventually("no unit needs a reload", || (needs() == (None, Some(0.0))).then_some(()));
}

#[test]
fn optional_collectors_match_systemctl_when_enabled() {
    let (machine, _) = prepared();
    machine.exec(&["systemctl", "start", "never.service"]);
    let all = ["conditions", "dependencies", "sandbox", "unit-files"];
    let flags = all.map(|name| format!("--collector.{name}"));
    let exporter = machine.exporter(&flags.each_ref().map(String::as_str));
    let page = exporter.samples();

    let edges: BTreeSet<_> = page
        .all("systemd_unit_dependency_info", &[("name", "dbus.service")])
        .map(|sample| (sample.label("relation").to_owned(), sample.label("dependency").to_owned()))
        .collect();
    let shown =
        &show(machine, "dbus.service", "Id,Requires,BindsTo,Requisite,Wants")["dbus.service"];
    let pairs = [
        ("requires", "Requires"),
        ("binds_to", "BindsTo"),
        ("requisite", "Requisite"),
        ("wants", "Wants"),
    ];
    let expected: BTreeSet<_> = pairs
        .iter()
        .flat_map(|(relation, property)| {
            let names = shown[*property].split(' ').filter(|name| !name.is_empty());
            names.map(|name| ((*relation).to_owned(), name.to_owned()))
        })
        .collect();
    assert!(expected.len() > 2, "{shown:?}");
    assert_eq!(edges, expected);

    let failed: Vec<_> =
        page.all("systemd_unit_condition_failed", &[]).map(|sample| sample.label("name")).collect();
    assert!(failed.contains(&"never.service"), "{failed:?}");
    let shown = show(machine, "*", "Id,ConditionResult,ConditionTimestampMonotonic,LoadState");
    for name in &failed {
        assert_eq!(
            (
                &*shown[*name]["ConditionResult"],
                &*shown[*name]["ConditionTimestampMonotonic"] != "0"
            ),
            ("no", true),
            "{name}"
        );
    }
    // a condition that fails after the start of the exporter, reported by signal
    machine.exec(&["systemctl", "start", "neither.service"]);
    eventually("the failed condition is exported", || {
        exporter.samples().value("systemd_unit_condition_failed", &[("name", "neither.service")])
    });

    let setting = |name: &str, setting: &str| {
        page.value("systemd_service_sandbox_enabled", &[("name", name), ("setting", setting)])
    };
    let on = [
        "PrivateTmp",
        "ProtectSystem",
        "ProtectHome",
        "NoNewPrivileges",
        "SystemCallFilter",
        "RestrictNamespaces",
        "RestrictAddressFamilies",
    ];
    for each in on {
        assert_eq!(setting("boxed.service", each), Some(1.0), "{each}");
        assert_eq!(setting("redis-server.service", each), Some(0.0), "{each}");
    }
    for (name, value) in [("PrivateDevices", "no"), ("PrivateTmp", "yes"), ("ProtectClock", "no")] {
        let shown = machine.ok(&["systemctl", "show", "-P", name, "boxed.service"]);
        assert_eq!(shown.trim(), value);
        assert_eq!(setting("boxed.service", name), Some(f64::from(u8::from(value == "yes"))));
    }

    // one unit is read per second: ten seconds give at least three
    thread::sleep(Duration::from_secs(10));
    let page = exporter.samples();
    let files: Vec<_> = page.all("systemd_unit_file_info", &[]).collect();
    assert!(files.len() >= 3, "{files:?}");
    let shown = show(machine, "*", "Id,UnitFileState,UnitFilePreset");
    for file in files {
        let unit = &shown[file.label("name")];
        let labels = [file.label("unit_file_state"), file.label("preset")];
        assert_eq!(labels, [&*unit["UnitFileState"], &*unit["UnitFilePreset"]], "{file:?}");
    }
}
