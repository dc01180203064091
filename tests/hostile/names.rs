//! T1 to T5: names with quotes, newlines, parentheses and invalid bytes, and paths too long for a unit name.

use std::collections::BTreeSet;

use crate::support::{Machine, Samples, eventually};
use crate::{SLEEP, assert_active, run_script, units};

#[test]
fn hostile_names_and_descriptions_break_no_sample_line() {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.ok(&["systemctl", "start", "honest"]);
    let exporter = machine.exporter(&["--profile=full"]);
    run_script(&machine, "named", NAMED, &["Delegate=yes"], &[]);
    let injection = "x\"} 1\ninjected{name=\"a\"} 1\n# TYPE injected counter";
    machine.ok(&[
        "systemd-run",
        "--quiet",
        "--unit=described",
        &format!("--description={injection}"),
        "sleep",
        "infinity",
    ]);
    // valid unit names; systemd escapes or rejects all others
    for name in [r"back\x5cslash", r"quote\x22", r"newline\x0a", "colon:dot.at@x", r"latin\xff"] {
        machine.ok(&["systemd-run", "--quiet", &format!("--unit={name}"), "sleep", "infinity"]);
    }
    for path in ["/srv/\"} 1", "/srv/a\nb", "/srv/ä ö", "/srv/\\x2d", "/srv/-"] {
        machine.ok(&["mkdir", "-p", path]);
        machine.ok(&["mount", "-t", "tmpfs", "tmpfs", path]);
    }
    let listed = || -> BTreeSet<String> {
        let command =
            ["busctl", "--json=short", "call", MANAGER[0], MANAGER[1], MANAGER[2], "ListUnits"];
        let reply: serde_json::Value = serde_json::from_str(&machine.ok(&command)).expect("JSON");
        let rows = reply["data"][0].as_array().expect("rows");
        let loaded = rows.iter().filter(|row| row[2] != "not-found" || row[3] != "inactive");
        let names = loaded.map(|row| row[0].as_str().expect("a name").to_owned());
        names.filter(|name| !name.ends_with(".device") && !name.ends_with(".scope")).collect()
    };
    let prefixes = ["back", "quote", "newline", "latin", "srv-a", "srv-\\x2d.mount"];
    let exported = eventually("the exported units match those of systemd, mounts included", || {
        let (before, samples) = (listed(), exporter.samples());
        let exported: BTreeSet<String> =
            units(&samples).into_iter().filter(|name| !name.ends_with(".scope")).collect();
        // systemd detects mounts with a delay
        let all =
            prefixes.iter().all(|prefix| exported.iter().any(|name| name.starts_with(prefix)));
        (all && before == listed() && exported == before).then_some(exported)
    });
    // the same series in both formats: none added, merged or dropped
    let open = [("accept", "application/openmetrics-text; version=1.0.0")];
    let states = |samples: &Samples| -> Vec<_> {
        let states = samples.all("systemd_unit_state", &[]);
        states.map(|sample| (sample.labels.clone(), sample.value.to_bits())).collect()
    };
    let text = exporter.samples();
    let open = Samples::parse(exporter.get("/metrics", &open).text());
    assert_eq!(states(&text), states(&open));
    for samples in [&text, &open] {
        assert!(samples.0.iter().all(|sample| sample.name.starts_with("systemd_")
            || sample.name.starts_with("unit_exporter_")
            || sample.name.starts_with("process_")));
        for name in &exported {
            let labels = [("name", &**name)];
            let states = samples.all("systemd_unit_state", &labels);
            assert_eq!(states.map(|sample| sample.value).sum::<f64>(), 1.0, "{name}");
        }
    }
    // eleven processes with hostile names in control groups with hostile names, and their parent
    assert_eq!(text.value("systemd_unit_threads", &[("name", "named.service")]), Some(12.0));
    for sample in text.all("unit_exporter_failed_reads_total", &[]) {
        assert_eq!(sample.value, 0.0, "{sample:?}");
    }
}

#[test]
fn non_utf8_mounts_affect_only_mount_units() {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.ok(&["systemctl", "start", "honest"]);
    let exporter = machine.exporter(&[]);
    let mount = r"for path in $'/srv/\xff' $'/srv/\xfe' $'/srv/\xc3\x28'; do
        mkdir -p $path; mount -t tmpfs tmpfs $path; done";
    machine.ok(&["bash", "-c", mount]);
    let fails = eventually("systemd has detected the mounts", || {
        let listed =
            machine.exec(&["systemctl", "list-units", "--type=mount", "--plain", "--no-legend"]);
        let of_srv =
            listed.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"srv-"));
        let fails = !listed.status.success();
        (fails || of_srv.count() == 3).then_some(fails)
    });
    eprintln!("systemctl list-units failed: {fails}");
    // one exporter started before the mounts, one after
    let late = machine.exporter(&[]);
    machine.ok(&["systemctl", "restart", "honest"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    for exporter in [&exporter, &late] {
        let expected = Some(if fails { 0.0 } else { 1.0 });
        let mounts = [("type", "mount")];
        let samples = eventually("unit_type_success of mounts is as expected", || {
            let samples = exporter.samples();
            let success = samples.value("unit_exporter_unit_type_success", &mounts);
            (success == expected).then_some(samples)
        });
        assert_active(&samples, "honest.service");
        for sample in samples.all("unit_exporter_unit_type_success", &[]) {
            assert!(sample.value == 1.0 || sample.label("type") == "mount", "{sample:?}");
        }
        // the parser of the samples rejects duplicate series
        let mounts = samples.all("systemd_unit_state", &[("type", "mount"), ("state", "active")]);
        let of_srv = mounts.filter(|sample| sample.label("name").starts_with("srv-")).count();
        assert!(of_srv == 3 || fails, "{of_srv}");
        if fails {
            assert!(exporter.log().contains("kind=mount"), "{}", exporter.log());
        }
    }
}

#[test]
fn overlong_mount_path_is_exported_by_its_hashed_name() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&[]);
    let path = |letter: &str| format!("/srv/{}/{}", letter.repeat(200), letter.repeat(200));
    // the first two have a common prefix longer than a unit name
    let paths = [path("a"), path("a") + "b", path("b")];
    for path in &paths {
        machine.ok(&["mkdir", "-p", path]);
        machine.ok(&["mount", "-t", "tmpfs", "tmpfs", path]);
    }
    let names = eventually("three mounts are exported", || {
        let samples = exporter.samples();
        let mounts = samples.all("systemd_unit_state", &[("type", "mount"), ("state", "active")]);
        let long = mounts.filter(|sample| sample.label("name").len() > 200 && sample.value == 1.0);
        let names: BTreeSet<_> = long.map(|sample| sample.label("name").to_owned()).collect();
        (names.len() == paths.len()).then_some(names)
    });
    for name in &names {
        assert!(name.len() < 256, "{name}");
        let path = machine.ok(&["systemctl", "show", "--property=Where", "--value", name]);
        assert!(paths.contains(&path.trim_end().to_owned()), "not the path of {name}: {path}");
    }
    machine.ok(&["umount", &paths[1]]);
    eventually("one mount is inactive", || {
        let samples = exporter.samples();
        let active = |name: &&String| {
            let labels = [("name", &***name), ("state", "active")];
            samples.value("systemd_unit_state", &labels) == Some(1.0)
        };
        (names.iter().filter(active).count() == 2).then_some(())
    });
}

#[test]
fn newline_in_logged_text_does_not_split_log_line() {
    let machine = Machine::options().boot();
    let injection =
        "--dbus.address=unix:path=/run/a\"\nlevel=ERROR msg=forged\n{\"level\":\"ERROR\"}";
    for (format, log) in [("logfmt", "/opt/logfmt"), ("json", "/opt/json")] {
        let file = format!("StandardError=file:{log}");
        let log_format = format!("--log.format={format}");
        let _exporter = machine.exporter_unit(&[&file], &[injection, &log_format]);
        let log = eventually("the connection error is logged", || {
            let log = std::fs::read_to_string(machine.path(log)).expect("a log");
            log.contains("forged").then_some(log)
        });
        for line in log.lines() {
            let intact = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line)
                    .is_ok_and(|line| line["level"] != "ERROR"),
                _ => line.contains(" msg=") && !line.starts_with("level=ERROR"),
            };
            assert!(intact, "{line}");
        }
    }
}

const MANAGER: [&str; 3] =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// Processes with hostile names and arguments, in control groups with hostile names.
const NAMED: &str = include_str!("hostile_names.py");
