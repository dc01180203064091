//! What is told of every unit, compared for all of them at once; and what is counted of jobs and reloads.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use unit_exporter::systemd::unit::name::object_path;

use crate::support::{Samples, eventually};
use crate::{prepared, show};

type Told = BTreeMap<(String, String), String>;

#[test]
fn times_results_and_exits_of_every_unit_are_those_that_systemctl_shows() {
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
        shown(&units.filter(|(name, _)| exported(name)).collect())
    };
    // timers of other tests elapse meanwhile: two equal looks around a page prove it
    let mut last = (Told::new(), Told::new());
    let agreed = crate::support::in_time(|| {
        let before = look();
        let page = told(&exporter.samples());
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
    assert!(agreed.is_some(), "{differs:#?}\nonly on the page: {more:#?}");
    eprintln!(
        "{} values of {} units",
        shown.len(),
        machine.ok(&["systemctl", "list-units", "--all", "--no-legend"]).lines().count()
    );
    assert!(shown.len() > 500);
}

#[test]
fn jobs_and_reloads_are_counted() {
    let (machine, exporter) = prepared();
    let jobs = |result: &str| {
        exporter.samples().value("systemd_job_results_total", &[("result", result)]).unwrap_or(0.0)
    };
    let reloads =
        || exporter.samples().value("systemd_manager_reloads_total", &[]).expect("a count");
    let before = (jobs("failed"), jobs("dependency"), reloads());
    for _ in 0..3 {
        machine.exec(&["systemctl", "start", "needs.service"]);
    }
    machine.ok(&["systemctl", "daemon-reload"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    eventually("three failed jobs, three for want of them, two reloads", || {
        let now = (jobs("failed"), jobs("dependency"), reloads());
        let counted = (now.0 - before.0, now.1 - before.1, now.2 - before.2);
        (counted == (3.0, 3.0, 2.0)).then_some(())
    });
}

#[test]
fn changes_of_state_are_as_many_as_the_bus_carries() {
    let (machine, exporter) = prepared();
    let name = "once.service";
    let path = object_path(name);
    let rule = format!("type='signal',member='PropertiesChanged',path='{path}'");
    // it ends by itself: a kill would reach nsenter alone
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
    eventually("it is active", || {
        let active = [("name", name), ("state", "active")];
        (exporter.samples().value("systemd_unit_state", &active) == Some(1.0)).then_some(())
    });
    let before = (changes(), starts().expect("a count"));
    for _ in 0..5 {
        machine.ok(&["systemctl", "restart", name]);
    }
    let heard = monitor.wait_with_output().expect("its output").stdout;
    let states = String::from_utf8_lossy(&heard)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|signal| {
            let state = &signal["payload"]["data"][1]["ActiveState"]["data"];
            state.as_str().map(str::to_owned)
        })
        .collect::<Vec<_>>();
    // it was active before
    let truth = states.windows(2).filter(|pair| pair[0] != pair[1]).count();
    eprintln!("{truth} changes of state: {states:?}");
    assert!(truth >= 10, "{states:?}");
    eventually("as many", || (changes() - before.0 == truth as f64).then_some(()));
    assert_eq!(starts(), Some(before.1 + 5.0));
}

#[test]
fn a_socket_unit_that_gives_up_says_why() {
    let (machine, exporter) = prepared();
    machine.ok(&["systemctl", "start", "flood.socket"]);
    drop(machine.tcp(7009));
    let labels = [("name", "flood.socket"), ("result", "trigger-limit-hit")];
    eventually("its result", || exporter.samples().value("systemd_socket_result", &labels));
    let shown = ["systemctl", "show", "-P", "Result", "flood.socket"];
    assert_eq!(machine.ok(&shown).trim(), "trigger-limit-hit");
}

#[test]
fn pid1_is_the_process_that_the_kernel_shows() {
    let (machine, exporter) = prepared();
    let pid = machine.pid1();
    let page = exporter.samples();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("PID 1");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let fields: Vec<f64> = fields.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    // stat(5): utime, stime and rss are the fields 14, 15 and 24; these begin with the third
    let cpu: f64 = page.all("systemd_pid1_cpu_seconds_total", &[]).map(|sample| sample.value).sum();
    let truth = (fields[11] + fields[12]) / 100.0;
    // a sum of two times, so not to the last bit
    assert!((-0.001..1.0).contains(&(truth - cpu)), "{cpu} {truth}");
    let resident = page.value("systemd_pid1_resident_memory_bytes", &[]).expect("memory");
    assert!((resident / (fields[21] * 4096.0) - 1.0).abs() < 0.2, "{resident} {}", fields[21]);
    let open = page.value("systemd_pid1_open_fds", &[]).expect("descriptors");
    let truth = fs::read_dir(format!("/proc/{pid}/fd")).expect("PID 1").count() as f64;
    assert!((open - truth).abs() <= 10.0, "{open} {truth}");
}

/// The page, as a map from family and unit to a value in systemctl's words.
fn told(page: &Samples) -> Told {
    let mut told = Told::new();
    for sample in &page.0 {
        let family = sample.name.strip_prefix("systemd_").unwrap_or_default();
        let value = match family {
            "unit_start_time_seconds"
            | "unit_active_enter_time_seconds"
            | "unit_active_exit_time_seconds"
            | "unit_inactive_enter_time_seconds"
            | "unit_inactive_exit_time_seconds"
            | "service_main_start_time_seconds"
            | "service_main_exit_time_seconds"
            | "service_main_pid" => sample.value.floor().to_string(),
            "unit_load_state" => sample.label("load_state").to_owned(),
            "unit_info" => sample.label("service_type").to_owned() + sample.label("mount_type"),
            "service_result" => sample.label("result").to_owned(),
            "service_main_exit_status" => format!("{} {}", sample.label("code"), sample.value),
            _ => continue,
        };
        told.insert((family.to_owned(), sample.label("name").to_owned()), value);
    }
    told
}

/// The same of what systemctl shows.
/// `Wed 2025-11-26 13:20:19 UTC` in seconds since the Unix epoch; `None` for never, which is empty.
fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix(" UTC")?.split_once(' ')?.1.split_once(' ')?;
    let number = |text: &str| text.parse::<i64>().ok();
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    // years that begin in March, so that a leap day is the last of its
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    let mut clock = time.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn shown(units: &BTreeMap<String, BTreeMap<String, String>>) -> Told {
    let mut shown = Told::new();
    for (name, unit) in units {
        let absent = unit["LoadState"] == "not-found" && unit["ActiveState"] == "inactive";
        if absent || name.starts_with("user@") {
            continue;
        }
        let mut tell = |family: &str, value: String| {
            shown.insert((family.to_owned(), name.clone()), value);
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
            tell(family, time(property));
        }
        if unit["LoadState"] != "loaded" {
            tell("unit_load_state", unit["LoadState"].clone());
        }
        if let (true, Some(kind)) = (name.ends_with(".mount"), unit.get("Type")) {
            tell("unit_info", kind.clone());
        }
        if !name.ends_with(".service") {
            continue;
        }
        tell("unit_info", unit["Type"].clone());
        tell("service_result", unit["Result"].clone());
        let active = unit["ActiveState"] == "active";
        tell(
            "unit_start_time_seconds",
            if active { time("ActiveEnterTimestamp") } else { "0".to_owned() },
        );
        for (family, property) in [
            ("service_main_start_time_seconds", "ExecMainStartTimestamp"),
            ("service_main_exit_time_seconds", "ExecMainExitTimestamp"),
        ] {
            Some(time(property))
                .filter(|time| time != "0")
                .into_iter()
                .for_each(|time| tell(family, time));
        }
        if unit["MainPID"] != "0" {
            tell("service_main_pid", unit["MainPID"].clone());
        }
        let code = match &*unit["ExecMainCode"] {
            "1" => "exited",
            "2" => "killed",
            "3" => "dumped",
            _ => continue,
        };
        tell("service_main_exit_status", format!("{code} {}", unit["ExecMainStatus"]));
    }
    shown
}
