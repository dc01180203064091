//! T1 to T5: names with quotes, newlines, parentheses and invalid bytes, and names too long for a unit's.

use std::collections::BTreeSet;

use crate::support::{Machine, Samples, eventually};
use crate::{SLEEP, assert_active, python, units};

#[test]
fn names_and_descriptions_that_would_break_a_line_break_none() {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.ok(&["systemctl", "start", "honest"]);
    let exporter = machine.exporter(&["--profile=full"]);
    python(&machine, "named", NAMED, &["Delegate=yes"], &[]);
    let injection = "x\"} 1\ninjected{name=\"a\"} 1\n# TYPE injected counter";
    machine.ok(&[
        "systemd-run",
        "--quiet",
        "--unit=described",
        &format!("--description={injection}"),
        "sleep",
        "infinity",
    ]);
    // names that a unit may have: systemd escapes the rest, or refuses it
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
        let answer: serde_json::Value = serde_json::from_str(&machine.ok(&command)).expect("JSON");
        let rows = answer["data"][0].as_array().expect("rows");
        let shown = rows.iter().filter(|row| row[2] != "not-found" || row[3] != "inactive");
        let names = shown.map(|row| row[0].as_str().expect("a name").to_owned());
        names.filter(|name| !name.ends_with(".device") && !name.ends_with(".scope")).collect()
    };
    let parts = ["back", "quote", "newline", "latin", "srv-a", "srv-\\x2d.mount"];
    let told = eventually("the page has the units that systemd has, mounts too", || {
        let (before, page) = (listed(), exporter.samples());
        let told: BTreeSet<String> =
            units(&page).into_iter().filter(|name| !name.ends_with(".scope")).collect();
        // systemd takes its time to see a mount
        let all = parts.iter().all(|part| told.iter().any(|name| name.starts_with(part)));
        (all && before == listed() && told == before).then_some(told)
    });
    // the same in both forms, line by line: nothing was made, merged or left out
    let open = [("accept", "application/openmetrics-text; version=1.0.0")];
    let states = |page: &Samples| -> Vec<_> {
        let states = page.all("systemd_unit_state", &[]);
        states.map(|sample| (sample.labels.clone(), sample.value.to_bits())).collect()
    };
    let text = exporter.samples();
    let open = Samples::parse(exporter.get("/metrics", &open).text());
    assert_eq!(states(&text), states(&open));
    for page in [&text, &open] {
        assert!(page.0.iter().all(
            |sample| sample.name.starts_with("systemd_") || sample.name.starts_with("process_")
        ));
        for name in &told {
            let labels = [("name", &**name)];
            let states = page.all("systemd_unit_state", &labels);
            assert_eq!(states.map(|sample| sample.value).sum::<f64>(), 1.0, "{name}");
        }
    }
    // eleven that are named as they like, in groups named as they like, and their parent
    assert_eq!(text.value("systemd_unit_threads", &[("name", "named.service")]), Some(12.0));
    for sample in text.all("systemd_exporter_collector_failed_reads", &[]) {
        assert_eq!(sample.value, 0.0, "{sample:?}");
    }
}

#[test]
fn mounts_whose_names_systemd_cannot_say_cost_the_mounts_alone_and_merge_with_none() {
    let machine = Machine::options().boot();
    machine.unit("honest.service", SLEEP);
    machine.ok(&["systemctl", "start", "honest"]);
    let exporter = machine.exporter(&[]);
    let mount = r"for path in $'/srv/\xff' $'/srv/\xfe' $'/srv/\xc3\x28'; do
        mkdir -p $path; mount -t tmpfs tmpfs $path; done";
    machine.ok(&["bash", "-c", mount]);
    let fails = eventually("systemd has seen them", || {
        let listed =
            machine.exec(&["systemctl", "list-units", "--type=mount", "--plain", "--no-legend"]);
        let of_srv =
            listed.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"srv-"));
        let fails = !listed.status.success();
        (fails || of_srv.count() == 3).then_some(fails)
    });
    eprintln!("systemd's own list of all units failed: {fails}");
    // both an exporter that was there before, and one that comes only now
    let late = machine.exporter(&[]);
    machine.ok(&["systemctl", "restart", "honest"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    for exporter in [&exporter, &late] {
        let expected = Some(if fails { 0.0 } else { 1.0 });
        let mounts = [("type", "mount")];
        let page = eventually("it is told of mounts alone", || {
            let page = exporter.samples();
            let success = page.value("systemd_exporter_unit_type_success", &mounts);
            (success == expected).then_some(page)
        });
        assert_active(&page, "honest.service");
        for sample in page.all("systemd_exporter_unit_type_success", &[]) {
            assert!(sample.value == 1.0 || sample.label("type") == "mount", "{sample:?}");
        }
        // parsing has refused a series that is there twice
        let mounts = page.all("systemd_unit_state", &[("type", "mount"), ("state", "active")]);
        let of_srv = mounts.filter(|sample| sample.label("name").starts_with("srv-")).count();
        assert!(of_srv == 3 || fails, "{of_srv}");
        if fails {
            assert!(exporter.log().contains("kind=mount"), "{}", exporter.log());
        }
    }
}

#[test]
fn a_path_that_is_too_long_for_a_unit_is_a_unit_by_its_hash() {
    let machine = Machine::options().boot();
    let exporter = machine.exporter(&[]);
    let folder = |letter: &str| format!("/srv/{}/{}", letter.repeat(200), letter.repeat(200));
    // alike for longer than a name can be
    let paths = [folder("a"), folder("a") + "b", folder("b")];
    for path in &paths {
        machine.ok(&["mkdir", "-p", path]);
        machine.ok(&["mount", "-t", "tmpfs", "tmpfs", path]);
    }
    let names = eventually("three mounts are there", || {
        let page = exporter.samples();
        let mounts = page.all("systemd_unit_state", &[("type", "mount"), ("state", "active")]);
        let long = mounts.filter(|sample| sample.label("name").len() > 200 && sample.value == 1.0);
        let names: BTreeSet<_> = long.map(|sample| sample.label("name").to_owned()).collect();
        (names.len() == paths.len()).then_some(names)
    });
    for name in &names {
        assert!(name.len() < 256, "{name}");
        let path = machine.ok(&["systemctl", "show", "--property=Where", "--value", name]);
        assert!(paths.contains(&path.trim_end().to_owned()), "{name} is systemd's: {path}");
    }
    machine.ok(&["umount", &paths[1]]);
    eventually("one is gone", || {
        let page = exporter.samples();
        let active = |name: &&String| {
            let labels = [("name", &***name), ("state", "active")];
            page.value("systemd_unit_state", &labels) == Some(1.0)
        };
        (names.iter().filter(active).count() == 2).then_some(())
    });
}

#[test]
fn a_text_of_two_lines_is_one_line_of_the_log() {
    let machine = Machine::options().boot();
    let nowhere =
        "--dbus.address=unix:path=/run/a\"\nlevel=error message=forged\n{\"level\":\"ERROR\"}";
    for (format, log) in [("logfmt", "/opt/logfmt"), ("json", "/opt/json")] {
        let file = format!("StandardError=file:{log}");
        let format_of = format!("--log.format={format}");
        let _exporter = machine.exporter_unit(&[&file], &[nowhere, &format_of]);
        let log = eventually("it says that there is no bus", || {
            let log = std::fs::read_to_string(machine.path(log)).expect("a log");
            log.contains("forged").then_some(log)
        });
        for line in log.lines() {
            let whole = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line)
                    .is_ok_and(|line| line["level"] != "ERROR"),
                _ => line.contains(" message=") && !line.starts_with("level=error"),
            };
            assert!(whole, "{line}");
        }
    }
}

const MANAGER: [&str; 3] =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// Processes that are named to be misread, in control groups that are, and with arguments that are.
const NAMED: &str = include_str!("named.py");
