//! Times, states and results of all units at once; counters of systemd jobs, reloads and state changes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use unit_exporter::systemd::unit::name::object_path;

use crate::support::{Samples, eventually};
use crate::{prepared, show};

/// Value by metric (without `systemd_`) and unit.
type Values = BTreeMap<(String, String), String>;

#[test]
fn times_results_and_exits_of_all_units_match_systemctl() {
    let (machine, exporter) = prepared();
    machine.exec(&["systemctl", "start", "fails.service", "once.service"]);
    let look = || {
        let properties = "Id,ActiveEnterTimestamp,ActiveExitTimestamp,InactiveEnterTimestamp,\
            InactiveExitTimestamp,ActiveState,LoadState,Type,Result,ExecMainCode,ExecMainStatus,\
            ExecMainStartTimestamp,ExecMainExitTimestamp,MainPID";
        let exported = |name: &str| {
            !name.ends_with(".device") && (!name.ends_with(".scope") || name == "init.scope")
        };
        let units = show(machine, "*", properties).into_iter();
        expected(&units.filter(|(name, _)| exported(name)).collect())
    };
    // Timers of other tests elapse meanwhile: compare only if systemctl shows the same before and after the scrape.
    let mut last = (Values::new(), Values::new());
    let agreed = crate::support::in_time(|| {
        let before = look();
        let page = exported(&exporter.samples());
        if before != look() {
            return None;
        }
        let agrees = page == before;
        last = (before, page);
        agrees.then_some(())
    });
    let (shown, page) = &last;
    let differs: Vec<_> =
        shown.iter().filter(|(key, value)| page.get(*key) != Some(value)).collect();
    let more: Vec<_> = page.keys().filter(|key| !shown.contains_key(*key)).collect();
    assert!(agreed.is_some(), "{differs:#?}\nonly in the scrape response: {more:#?}");
    eprintln!(
        "{} values of {} units",
        shown.len(),
        machine.ok(&["systemctl", "list-units", "--all", "--no-legend"]).lines().count()
    );
    assert!(shown.len() > 500);
}

#[test]
fn failed_systemd_jobs_and_reloads_are_counted() {
    let (machine, exporter) = prepared();
    let jobs = |result: &str| {
        exporter
            .samples()
            .value("systemd_jobs_completed_total", &[("result", result)])
            .unwrap_or(0.0)
    };
    let reloads =
        || exporter.samples().value("systemd_manager_reloads_total", &[]).expect("a count");
    let before = (jobs("failed"), jobs("dependency"), reloads());
    for _ in 0..3 {
        machine.exec(&["systemctl", "start", "needs.service"]);
    }
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    eventually("three failed jobs, three with result dependency, two reloads", || {
        let now = (jobs("failed"), jobs("dependency"), reloads());
        let counted = (now.0 - before.0, now.1 - before.1, now.2 - before.2);
        (counted == (3.0, 3.0, 2.0)).then_some(())
    });
}

#[test]
fn state_changes_match_dbus_signals() {
    let (machine, exporter) = prepared();
    let name = "once.service";
    let path = object_path(name);
    let rule = format!("type='signal',member='PropertiesChanged',path='{path}'");
    // timeout ends busctl; a kill would reach only nsenter
    let monitor = machine
        .command("timeout")
        .args(["6", "busctl", "--system", "--json=short", "monitor", "--match", &rule])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("busctl");
    thread::sleep(Duration::from_secs(1));
    let changes = || {
        let labels = [("name", name)];
        exporter.samples().value("systemd_unit_state_changes_total", &labels).unwrap_or(0.0)
    };
    let starts = || exporter.samples().value("systemd_unit_starts_total", &[("name", name)]);
    machine.ok(&["systemctl", "start", name]);
    eventually("once.service is active", || {
        let active = [("name", name), ("state", "active")];
        (exporter.samples().value("systemd_unit_state", &active) == Some(1.0)).then_some(())
    });
    let before = (changes(), starts().expect("a count"));
    for _ in 0..5 {
        machine.ok(&["systemctl", "restart", name]);
    }
    let signals = monitor.wait_with_output().expect("output of busctl").stdout;
    let states = String::from_utf8_lossy(&signals)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|signal| {
            let state = &signal["payload"]["data"][1]["ActiveState"]["data"];
            state.as_str().map(str::to_owned)
        })
        .collect::<Vec<_>>();
    // all.target has started the unit, so the first state is `active`
    let expected = states.windows(2).filter(|pair| pair[0] != pair[1]).count();
    eprintln!("{expected} state changes: {states:?}");
    assert!(expected >= 10, "{states:?}");
    eventually("all are counted", || (changes() - before.0 == expected as f64).then_some(()));
    assert_eq!(starts(), Some(before.1 + 5.0));
}

#[test]
fn socket_result_is_trigger_limit_hit_after_flood() {
    let (machine, exporter) = prepared();
    machine.ok(&["systemctl", "start", "flood.socket"]);
    drop(machine.tcp(7009));
    let labels = [("name", "flood.socket"), ("result", "trigger-limit-hit")];
    eventually("the result", || exporter.samples().value("systemd_socket_result", &labels));
    let shown = ["systemctl", "show", "-P", "Result", "flood.socket"];
    assert_eq!(machine.ok(&shown).trim(), "trigger-limit-hit");
}

#[test]
fn pid1_usage_matches_proc() {
    let (machine, exporter) = prepared();
    let pid = machine.pid1();
    let page = exporter.samples();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("PID 1");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let fields: Vec<f64> = fields.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    // proc_pid_stat(5): utime, stime and rss are fields 14, 15 and 24; the first of `fields` is field 3
    let cpu: f64 = page.all("systemd_pid1_cpu_seconds_total", &[]).map(|sample| sample.value).sum();
    let expected = (fields[11] + fields[12]) / 100.0;
    // the sum of user and system time is rounded
    assert!((-0.001..1.0).contains(&(expected - cpu)), "{cpu} {expected}");
    let resident = page.value("systemd_pid1_resident_memory_bytes", &[]).expect("memory");
    assert!((resident / (fields[21] * 4096.0) - 1.0).abs() < 0.2, "{resident} {}", fields[21]);
    let open = page.value("systemd_pid1_open_fds", &[]).expect("descriptors");
    let expected = fs::read_dir(format!("/proc/{pid}/fd")).expect("PID 1").count() as f64;
    assert!((open - expected).abs() <= 10.0, "{open} {expected}");
}

/// The values of a scrape response, in systemctl's notation.
fn exported(page: &Samples) -> Values {
    let mut values = Values::new();
    for sample in &page.0 {
        let family = sample.name.strip_prefix("systemd_").unwrap_or_default();
        let value = match family {
            "unit_start_time_seconds"
            | "unit_active_enter_time_seconds"
            | "unit_active_exit_time_seconds"
            | "unit_inactive_enter_time_seconds"
            | "unit_inactive_exit_time_seconds"
            | "service_main_process_start_time_seconds"
            | "service_main_process_exit_time_seconds"
            | "service_main_process_pid" => sample.value.floor().to_string(),
            "unit_load_state" => sample.label("load_state").to_owned(),
            "unit_info" => sample.label("service_type").to_owned() + sample.label("mount_type"),
            "service_result" => sample.label("result").to_owned(),
            "service_main_process_exit_code" | "service_main_process_exit_signal" => {
                sample.value.to_string()
            }
            _ => continue,
        };
        values.insert((family.to_owned(), sample.label("name").to_owned()), value);
    }
    values
}

/// `Wed 2025-11-26 13:20:19 UTC` in seconds since the Unix epoch; `None` for the empty text, which means never.
fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix(" UTC")?.split_once(' ')?.1.split_once(' ')?;
    let number = |text: &str| text.parse::<i64>().ok();
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    // years that begin in March, so that a leap day is the last day of its year
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    let mut clock = time.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The values that the exporter has to export, from `systemctl show`.
fn expected(units: &BTreeMap<String, BTreeMap<String, String>>) -> Values {
    let mut values = Values::new();
    for (name, unit) in units {
        let absent = unit["LoadState"] == "not-found" && unit["ActiveState"] == "inactive";
        if absent || name.starts_with("user@") {
            continue;
        }
        let mut insert = |family: &str, value: String| {
            values.insert((family.to_owned(), name.clone()), value);
        };
        let time = |property: &str| {
            unit.get(property).and_then(|text| seconds(text)).unwrap_or_default().to_string()
        };
        for (family, property) in [
            ("unit_active_enter_time_seconds", "ActiveEnterTimestamp"),
            ("unit_active_exit_time_seconds", "ActiveExitTimestamp"),
            ("unit_inactive_enter_time_seconds", "InactiveEnterTimestamp"),
            ("unit_inactive_exit_time_seconds", "InactiveExitTimestamp"),
        ] {
            insert(family, time(property));
        }
        if unit["LoadState"] != "loaded" {
            insert("unit_load_state", unit["LoadState"].clone());
        }
        if let (true, Some(kind)) = (name.ends_with(".mount"), unit.get("Type")) {
            insert("unit_info", kind.clone());
        }
        if !name.ends_with(".service") {
            continue;
        }
        insert("unit_info", unit["Type"].clone());
        if unit["Result"] != "success" {
            insert("service_result", unit["Result"].clone());
        }
        let active = unit["ActiveState"] == "active";
        insert(
            "unit_start_time_seconds",
            if active { time("ActiveEnterTimestamp") } else { "0".to_owned() },
        );
        for (family, property) in [
            ("service_main_process_start_time_seconds", "ExecMainStartTimestamp"),
            ("service_main_process_exit_time_seconds", "ExecMainExitTimestamp"),
        ] {
            let time = time(property);
            if time != "0" {
                insert(family, time);
            }
        }
        if unit["MainPID"] != "0" {
            insert("service_main_process_pid", unit["MainPID"].clone());
        }
        let family = match &*unit["ExecMainCode"] {
            "1" => "service_main_process_exit_code",
            "2" | "3" => "service_main_process_exit_signal",
            _ => continue,
        };
        insert(family, unit["ExecMainStatus"].clone());
    }
    values
}
