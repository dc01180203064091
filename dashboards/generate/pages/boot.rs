//! How did the hosts boot, and is their configuration whole?

use serde_json::{Map, json};

use super::super::grafana::{Dashboard, Override, Panel};
use super::super::page::{Hosts, Page, Units};
use super::super::panel::{HOST, bar_chart, bars, lines, ref_id, stat, to_host};
use super::super::query::events;
use super::super::style::{BAD, GOOD, INFO, QUIET, WARNING, fixed, thresholds};
use super::super::table::{Cell, table};

pub(crate) fn page() -> Dashboard {
    Page::new(
        "systemd-boot",
        "Boot and configuration",
        "How long did the hosts take to boot, what made them wait, and is their configuration whole?",
        Hosts::All,
        Units::All,
    )
    .row("Did they boot well?", vec![
        stat("Still booting", "Hosts whose boot is not finished.", r#"count(systemd_system_state{state=~"initializing|starting"}) or vector(0)"#)
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Maintenance", "Hosts in rescue or emergency mode: nobody gets in but at the console.", r#"count(systemd_system_state{state="maintenance"}) or vector(0)"#)
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Booted", "Hosts that booted in the time shown.", r#"count(systemd_boot_time_seconds{stage="Userspace"} > time() - $__range_s) or vector(0)"#)
            .colored(thresholds(QUIET, &[(0.5, INFO)]))
            .if_empty("0"),
        stat("Slowest boot", "The longest boot of all hosts, from the start of systemd until it was finished.", r#"max((systemd_boot_monotonic_seconds{stage="Finish"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Userspace"})"#)
            .unit("s")
            .decimals(1)
            .colored(thresholds(GOOD, &[(60.0, WARNING), (300.0, BAD)]))
            .if_empty("None has finished"),
        stat("Longest up", "The host that has not booted for the longest time: its kernel is the oldest.", r#"max(time() - systemd_boot_time_seconds{stage="Userspace"})"#)
            .unit("dtdurations")
            .colored(thresholds(GOOD, &[(7_776_000.0, WARNING), (15_552_000.0, BAD)]))
            .if_empty("Not reporting"),
        stat("Units not loaded", "Units whose file could not be loaded: not found, or with a bad setting. Masked ones are not among them.", r#"count(systemd_unit_load_state{load_state!="masked"}) or vector(0)"#)
            .zero_is_good(WARNING)
            .if_empty("0"),
        stat("Units missing", "Units that --expect-unit names and that are not there. 0 also where nothing is expected.", "sum(systemd_unit_missing) or vector(0)")
            .zero_is_good(BAD)
            .if_empty("0"),
        stat("Changed on disk", "Units whose files are newer than what systemd has read: a daemon-reload is due, or the next restart brings a surprise.", "sum(systemd_units_need_daemon_reload) or vector(0)")
            .zero_is_good(WARNING)
            .if_empty("0"),
    ])
    .row("What took how long?", vec![
        stages().size(14, 8),
        table("Slowest units", "What took longest to start when the hosts booted; of each host, the exporter tells the 20 slowest.", &["instance", "name"])
            .column("Took", "topk(20, max by (instance, name) (systemd_unit_boot_activation_seconds))", Cell::unit("s").decimals(2).bar(INFO))
            .sort("Took", true)
            .size(10, 8)
            .if_empty("No unit took long"),
        table("Hosts", "When each host booted, what it runs on, and with which systemd.", &["instance"])
            .column("Booted", r#"max by (instance) (systemd_boot_time_seconds{stage="Userspace"}) * 1000"#, Cell::ago())
            .labels_of("max by (instance, version) (systemd_version)")
            .label("version", "systemd", Cell::plain())
            .labels_of("max by (instance, virtualization_type) (systemd_virtualization_info)")
            .label("virtualization_type", "Runs on", Cell::plain())
            .labels_of("max by (instance, layout) (systemd_cgroup_layout_info)")
            .label("layout", "cgroups", Cell::plain())
            .sort("Booted", true)
            .size(14, 7)
            .if_empty("No host reports"),
        lines("Boots over time", "How long after systemd's start the boot was finished. A step is a new boot; up, and it has become slower.")
            .line(r#"max by (instance) ((systemd_boot_monotonic_seconds{stage="Finish"} > 0) - on (instance) systemd_boot_monotonic_seconds{stage="Userspace"})"#, "{{instance}}")
            .unit("s")
            .link(to_host(HOST))
            .size(10, 7)
            .if_empty("No boot has finished"),
    ])
    .row("Is the configuration whole?", vec![
        table("Units that could not be loaded", "Bad-setting: systemd-analyze verify says what. Not-found: something needs a unit that is not installed.", &["instance", "name"])
            .label("load_state", "Load state", Cell::words(&[("error", BAD), ("bad-setting", BAD), ("not-found", WARNING)]).width(110))
            .labels_of(r#"max by (instance, name, load_state) (systemd_unit_load_state{load_state!="masked"})"#)
            .size(8, 7)
            .if_empty("Every unit could be loaded"),
        table("Changed since systemd read them", "Units whose files are newer than what systemd has read. systemctl daemon-reload makes it read them.", &["instance", "name"])
            .labels_of("max by (instance, name) (systemd_unit_need_daemon_reload)")
            .size(8, 7)
            .if_empty("Every unit is as systemd has read it"),
        table("Expected units", "What --expect-unit names, and whether it is there.", &["instance", "name"])
            .column("There", "1 - max by (instance, name) (systemd_unit_missing)", Cell::there().width(90))
            .sort("There", false)
            .size(8, 7)
            .if_empty("Nothing is expected: --expect-unit is not used"),
        table("Taints", "What is unusual about a host in the eyes of systemd: cgroupsv1 and unmerged-usr will not be served any more, local-hwclock breaks timers.", &["instance"])
            .labels_of("max by (instance, taint) (systemd_tainted)")
            .label("taint", "Taint", Cell::plain())
            .size(8, 7)
            .if_empty("No host is tainted"),
        bars("Reloads", "Times that systemd read its configuration anew, or executed itself anew: each is a change, or a package installed.")
            .line(&events("instance", "systemd_manager_reloads_total"), "{{instance}}")
            .link(to_host(HOST))
            .size(16, 7)
            .if_empty("No host has reloaded"),
    ])
    .collapsed("What is masked, and are the watchdogs fed?", vec![
        table("Masked units", "Units that somebody forbade, and on how many hosts. One that is masked on a few only may have been forgotten there.", &["name"])
            .column("Hosts", r#"count by (name) (systemd_unit_load_state{load_state="masked"})"#, Cell::plain().decimals(0).bar(QUIET))
            .sort("Hosts", true)
            .size(12, 7)
            .if_empty("No unit is masked"),
        lines("Time since the last feeding", "How long ago systemd fed the hardware watchdog. Dashed: past this, the machine is reset.")
            .line("max by (instance, device) (time() - systemd_watchdog_last_ping_time_seconds)", "{{instance}} {{device}}")
            .limit("min(systemd_watchdog_runtime_seconds)", "reset", BAD)
            .unit("s")
            .link(to_host(HOST))
            .size(12, 7)
            .if_empty("No host feeds a hardware watchdog"),
    ])
    .collapsed("What do collectors tell that are off by default?", vec![
        table("Files of units", "Units by whether their file is enabled, and by what the distribution presets. Needs --collector.unit-files.", &[])
            .label("unit_file_state", "State of the file", Cell::plain())
            .label("preset", "Preset", Cell::plain())
            .column("Units", "count by (unit_file_state, preset) (systemd_unit_file_info)", Cell::plain().decimals(0).bar(INFO))
            .sort("Units", true)
            .size(8, 8)
            .if_empty("--collector.unit-files is not used"),
        table("Conditions not met", "Units that were to be started and were not, for a Condition of theirs. Needs --collector.conditions.", &["instance", "name"])
            .labels_of("max by (instance, name) (systemd_unit_condition_failed)")
            .size(8, 8)
            .if_empty("None, or --collector.conditions is not used"),
        table("Most exposed services", "How much a service's settings leave open, from 0 to 10, as systemd-analyze security judges. Needs --collector.security.", &["name"])
            .column("Exposure", "topk(20, max by (name) (systemd_unit_security_exposure))", Cell::plain().decimals(1).bar(WARNING))
            .sort("Exposure", true)
            .size(8, 8)
            .if_empty("--collector.security is not used"),
    ])
    .build()
}

/// One bar a host, one part a stage.
fn stages() -> Panel {
    let mut panel = bar_chart(
        "Stages of the last boot",
        "How long each stage of the last boot took. Firmware and loader are absent where the firmware does not tell; a container has userspace alone.",
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
