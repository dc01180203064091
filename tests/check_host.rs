//! `check host` reports which collectors work and how to fix the others.

mod support;

use support::{EXPORTER_INSIDE, machine};

#[test]
fn exits_0_when_every_collector_works() {
    let (code, output) = check(&[], &[]);
    assert_eq!(code, Some(0), "{output}");
    let (host, rest) = output.split_once("\nCollectors that work\n").expect(&output);
    let (works, off) = rest.split_once("\nCollectors that are off\n").expect(&output);
    for (group, line) in [
        (host, "  bus            "),
        (host, "  cgroups        "),
        (host, "  rights         root"),
        (works, "  journal        ok"),
        (works, "  timers         ok"),
        (off, "  resolved       DNS queries and cache"),
    ] {
        assert!(group.contains(line), "{line}: {output}");
    }
    assert!(!output.contains("Collectors that fail"), "{output}");
    assert!(!output.contains("level="), "log lines in the report: {output}");
}

#[test]
fn reports_failing_collectors_and_remedies_without_a_bus() {
    let (code, output) = check(&["--dbus.address=unix:path=/nowhere"], &[]);
    assert_eq!(code, Some(1), "{output}");
    for (collector, why) in
        [("units", "--dbus.address"), ("services", "see units"), ("manager", "see units")]
    {
        let line = failing(&output, collector);
        assert!(line.contains(why), "{line}");
    }
    assert!(output.contains("\n  exporter       ok\n"), "{output}");
}

#[test]
fn names_the_setting_to_change_when_sandbox_is_too_tight() {
    let tight = ["ProtectProc=invisible", "RestrictAddressFamilies=AF_UNIX", "User=nobody"];
    let (code, output) = check(&["--collector.resolved"], &tight);
    assert_eq!(code, Some(1), "{output}");
    for (collector, remedy) in [
        ("process", "ProtectProc=default"),
        ("manager", "ProtectProc=default"),
        ("listeners", "AF_NETLINK"),
        ("journal", "systemd-journal"),
        ("resolved", "systemd-resolved"),
    ] {
        let line = failing(&output, collector);
        assert!(line.contains(remedy), "{line}");
    }
    // disabled collectors do not fail the check
    let without = ["process", "manager", "listeners", "journal"];
    let without = without.map(|collector| format!("--no-collector.{collector}"));
    let (code, output) = check(&without.each_ref().map(String::as_str), &tight);
    assert_eq!(code, Some(0), "{output}");
}

#[test]
fn accepts_flags_before_and_rejects_unknown_words_after() {
    let ok =
        machine().exec(&[EXPORTER_INSIDE, "--dbus.address=unix:path=/nowhere", "check", "host"]);
    assert_eq!(ok.status.code(), Some(1));
    let bad = machine().exec(&[EXPORTER_INSIDE, "check", "host", "check", "config", "x"]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let bad = machine().exec(&[EXPORTER_INSIDE, "check", "host", "--no-such-flag"]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let bad = machine().exec(&[EXPORTER_INSIDE, "check-host", "check-config", "x"]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let help = machine().ok(&[EXPORTER_INSIDE, "check", "host", "--help"]);
    assert!(help.contains("[FLAGS]"), "{help}");
}

/// The line of a collector in the group of those that fail.
fn failing<'a>(output: &'a str, collector: &str) -> &'a str {
    let (_, group) = output.split_once("\nCollectors that fail\n").expect(output);
    let mut group = group.lines().take_while(|line| line.starts_with("  "));
    group.find(|line| line.trim_start().starts_with(collector)).expect(collector)
}

/// Exit status and output of `check host` with these flags, in a unit with these properties.
fn check(flags: &[&str], properties: &[&str]) -> (Option<i32>, String) {
    let mut command = vec!["systemd-run", "--quiet", "--wait", "--pipe", "--collect"];
    command.extend(properties.iter().flat_map(|property| ["--property", property]));
    command.extend(["--", EXPORTER_INSIDE, "check", "host"]);
    command.extend(flags);
    let output = machine().exec(&command);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}
