//! Boot duration, and the state of the configuration.

use serde_json::{Map, json};

use super::super::builder::{Builder, Hosts, Units};
use super::super::grafana::{Dashboard, Override, Panel};
use super::super::panel::{HOST, bar_chart, bars, lines, ref_id, stat, to_host};
use super::super::query::events;
use super::super::style::{BAD, GOOD, INFO, QUIET, WARNING, fixed, thresholds};
use super::super::table::{Cell, table};

pub(crate) fn dashboard() -> Dashboard {
    Builder::new(
        "systemd-boot",
        "Boot and configuration",
        "Boot duration, slowest units, and state of the configuration of all hosts.",
        Hosts::All,
        Units::All,
    )
    .row("Overview", vec![
        stat("Still booting", "Hosts whose boot has not finished.", r#"count(systemd_system_state{state=~"initializing|starting"}) or vector(0)"#)
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Maintenance", "Hosts in rescue or emergency mode: only the console accepts logins.", r#"count(systemd_system_state{state="maintenance"}) or vector(0)"#)
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Booted", "Hosts that booted in the time range.", r#"count(systemd_boot_time_seconds{stage="Userspace"} > time() - $__range_s) or vector(0)"#)
            .colored(thresholds(QUIET, &[(0.5, INFO)]))
            .if_empty("0"),
        stat("Slowest boot", "Longest boot of all hosts, from the start of systemd until the boot finished.", r#"max((systemd_boot_monotonic_seconds{stage="Finish"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Userspace"})"#)
            .unit("s")
            .decimals(1)
            .colored(thresholds(GOOD, &[(60.0, WARNING), (300.0, BAD)]))
            .if_empty("Not finished"),
        stat("Longest uptime", "Longest uptime of all hosts: that host runs the oldest kernel.", r#"max(time() - systemd_boot_time_seconds{stage="Userspace"})"#)
            .unit("dtdurations")
            .colored(thresholds(GOOD, &[(7_776_000.0, WARNING), (15_552_000.0, BAD)]))
            .if_empty("Not reporting"),
        stat("Not loaded", "Units whose file could not be loaded: not found, or an invalid setting. Masked units are not included.", r#"count(systemd_unit_load_state{load_state!="masked"}) or vector(0)"#)
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Units missing", "Units named by --expect-unit that do not exist. 0 also if none is named.", "sum(systemd_unit_missing) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Reload required", "Units whose files are newer than the configuration loaded by systemd. Run systemctl daemon-reload; until then, restarts use the old configuration.", "sum(systemd_units_needing_daemon_reload) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
    ])
    .row("Boot duration", vec![
        stages().size(14, 8),
        table("Slowest units", "Units with the longest start during the boot; the exporter reports the 20 slowest of each host.", &["instance", "name"])
            .column("Duration", "topk(20, max by (instance, name) (systemd_unit_boot_activation_seconds))", Cell::unit("s").decimals(2).bar(INFO))
            .sort("Duration", true)
            .size(10, 8)
            .if_empty("No slow units"),
        table("Hosts", "Boot time, virtualization, cgroup layout and systemd version of each host.", &["instance"])
            .column("Booted", r#"max by (instance) (systemd_boot_time_seconds{stage="Userspace"}) * 1000"#, Cell::ago())
            .labels_of("max by (instance, version) (systemd_version)")
            .label("version", "systemd", Cell::plain())
            .labels_of("max by (instance, virtualization_type) (systemd_virtualization_info)")
            .label("virtualization_type", "Virtualization", Cell::plain())
            .labels_of("max by (instance, layout) (systemd_cgroup_layout_info)")
            .label("layout", "cgroup layout", Cell::plain())
            .sort("Booted", true)
            .size(14, 7)
            .if_empty("No host reports"),
        lines("Boot duration", "Time from the start of systemd until the boot finished. A step is a new boot, a step up a slower one.")
            .line(r#"max by (instance) ((systemd_boot_monotonic_seconds{stage="Finish"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Userspace"})"#, "{{instance}}")
            .unit("s")
            .link(to_host(HOST))
            .size(10, 7)
            .if_empty("No boot has finished"),
    ])
    .row("Configuration", vec![
        table("Units not loaded", "bad-setting: systemd-analyze verify shows the error. not-found: another unit depends on a unit that is not installed.", &["instance", "name"])
            .label("load_state", "Load state", Cell::words(&[("error", BAD), ("bad-setting", BAD), ("not-found", WARNING)]).width(125))
            .labels_of(r#"max by (instance, name, load_state) (systemd_unit_load_state{load_state!="masked"})"#)
            .size(8, 7)
            .if_empty("All units are loaded"),
        table("daemon-reload required", "Units whose files are newer than the configuration loaded by systemd. systemctl daemon-reload loads them.", &["instance", "name"])
            .labels_of("max by (instance, name) (systemd_unit_need_daemon_reload)")
            .size(8, 7)
            .if_empty("All unit files are loaded"),
        table("Expected units", "Units named by --expect-unit and their status.", &["instance", "name"])
            .column("Status", "1 - max by (instance, name) (systemd_unit_missing)", Cell::presence().width(90))
            .sort("Status", false)
            .size(8, 7)
            .if_empty("--expect-unit is not set"),
        table("Taints", "Unusual properties of a host as reported by systemd. cgroupsv1 and unmerged-usr: support will be removed. local-hwclock: breaks timers.", &["instance"])
            .labels_of("max by (instance, taint) (systemd_taint_info)")
            .label("taint", "Taint", Cell::plain())
            .size(8, 7)
            .if_empty("No host is tainted"),
        bars("Configuration reloads", "Completed daemon-reload and daemon-reexec operations. Each one is a configuration change or a package installation.")
            .line(&events("instance", "systemd_manager_reloads_total"), "{{instance}}")
            .link(to_host(HOST))
            .size(16, 7)
            .if_empty("No reloads"),
    ])
    .collapsed("Masked units and hardware watchdogs", vec![
        table("Masked units", "Masked units and their number of hosts. A unit that is masked on a few hosts only may have been forgotten there.", &["name"])
            .column("Hosts", r#"count by (name) (systemd_unit_load_state{load_state="masked"})"#, Cell::plain().decimals(0).bar(QUIET))
            .sort("Hosts", true)
            .size(12, 7)
            .if_empty("No masked units"),
        lines("Time since last watchdog ping", "Time since systemd pinged the hardware watchdog. Dashed: timeout, after which the machine is reset.")
            .line("max by (instance, device) (time() - systemd_watchdog_last_ping_time_seconds)", "{{instance}} {{device}}")
            .limit("min(systemd_watchdog_runtime_seconds)", "reset", BAD)
            .unit("s")
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("No hardware watchdog is in use"),
    ])
    .collapsed("Optional collectors", vec![
        table("Unit files", "Units by state of their file and preset of the distribution. Requires --collector.unit-files.", &[])
            .label("unit_file_state", "File state", Cell::plain())
            .label("preset", "Preset", Cell::plain())
            .column("Units", "count by (unit_file_state, preset) (systemd_unit_file_info)", Cell::plain().decimals(0).bar(INFO))
            .sort("Units", true)
            .size(8, 8)
            .if_empty("--collector.unit-files is not set"),
        table("Unmet conditions", "Units that were not started because one of their conditions was not met. Requires --collector.conditions.", &["instance", "name"])
            .labels_of("max by (instance, name) (systemd_unit_condition_failed)")
            .size(8, 8)
            .if_empty("All conditions are met, or --collector.conditions is not set"),
        table("Most exposed services", "Exposure level of services from 0 to 10, as computed by systemd-analyze security. Requires --collector.security.", &["name"])
            .column("Exposure", "topk(20, max by (name) (systemd_unit_security_exposure_score))", Cell::plain().decimals(1).bar(WARNING))
            .sort("Exposure", true)
            .size(8, 8)
            .if_empty("--collector.security is not set"),
    ])
    .build()
}

/// One bar per host, divided into stages.
fn stages() -> Panel {
    let mut panel = bar_chart(
        "Boot stages",
        "Duration of each stage of the last boot. Firmware and loader are absent if the firmware does not report them; a container has userspace only.",
        "Host",
    );
    let stages = [
        (
            "Firmware",
            r#"max by (instance) ((systemd_boot_monotonic_seconds{stage="Firmware"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Loader"})"#,
            QUIET,
        ),
        (
            "Loader",
            r#"max by (instance) (systemd_boot_monotonic_seconds{stage="Loader"} > 0)"#,
            "light-blue",
        ),
        (
            "Kernel",
            r#"max by (instance) ((systemd_boot_monotonic_seconds{stage="InitRD"} > 0 or systemd_boot_monotonic_seconds{stage="Userspace"}) and on (instance) systemd_boot_time_seconds{stage="Kernel"} > 0)"#,
            INFO,
        ),
        (
            "Initrd",
            r#"max by (instance) (systemd_boot_monotonic_seconds{stage="Userspace"} - on (instance) (systemd_boot_monotonic_seconds{stage="InitRD"} > 0))"#,
            "purple",
        ),
        (
            "Userspace",
            r#"max by (instance) ((systemd_boot_monotonic_seconds{stage="Finish"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Userspace"})"#,
            GOOD,
        ),
    ];
    let mut names = Map::from_iter([("instance".to_owned(), "Host".into())]);
    for (index, (stage, expression, color)) in stages.into_iter().enumerate() {
        let field = format!("Value #{}", ref_id(index));
        names.insert(field, stage.into());
        panel = panel.target(expression, "", "table", true);
        panel.config().overrides.push(Override::of(stage).with("color", fixed(color)));
    }
    panel.transformations = vec![
        json!({"id": "merge", "options": {}}),
        json!({"id": "organize", "options": {
            "excludeByName": {"Time": true}, "indexByName": {}, "renameByName": names
        }}),
    ];
    panel
        .unit("s")
        .decimals(2)
        .link(to_host("${__data.fields.Host}"))
        .if_empty("No boot has finished")
}
