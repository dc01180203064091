//! Measures how long a changed setting takes to be exported, for the table of docs/settings.md.

#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::support::{Exporter, Machine};

/// A change of a setting, and the sample that shows the change.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The setting, or the file.
    pub setting: &'a str,
    /// The cell of the table on how it is changed.
    pub by: &'a str,
    /// The metric.
    pub metric: &'a str,
    /// The label `name` of the sample.
    pub unit: &'a str,
    /// The value; `None` for any.
    pub expected: Option<f64>,
    /// The longest time until it is exported.
    pub at_most: Duration,
}

impl Change<'_> {
    /// Waits for the sample; returns the row of the table.
    #[track_caller]
    pub fn row(&self, exporter: &Exporter<'_>, begun: Instant) -> String {
        let Self { setting, by, metric, unit, expected, at_most } = *self;
        let took = loop {
            let value = exporter.samples().value(metric, &[("name", unit)]);
            if value == expected || (value.is_some() && expected.is_none()) {
                break begun.elapsed();
            }
            assert!(begun.elapsed() < at_most, "{by}: {metric} is {value:?}");
            thread::sleep(Duration::from_millis(50));
        };
        format!("| {setting} | {by} | `{metric}` | {:.1} s |", took.as_secs_f64())
    }
}

/// The rows of settings that the kernel enforces, as far as the machine has their controllers. `probe` is
/// another unit, whose settings are changed first.
pub fn cgroup_rows(
    machine: &Machine,
    exporter: &Exporter<'_>,
    unit: &str,
    probe: &str,
) -> Vec<String> {
    let mut rows = Vec::new();
    for (setting, value, metric, expected) in CGROUP_SETTINGS {
        let set = |unit: &str| format!("systemctl set-property {unit} {setting}={value}");
        machine.ok(&set(probe).split(' ').collect::<Vec<_>>());
        if !is_exported(exporter, probe, metric, *expected) {
            eprintln!("not on this machine: {setting}");
            continue;
        }
        let begun = Instant::now();
        machine.ok(&set(unit).split(' ').collect::<Vec<_>>());
        let change = Change {
            setting: &format!("`{setting}=`"),
            by: &format!("`{}`", set(unit)),
            metric,
            unit,
            expected: Some(*expected),
            at_most: Duration::from_secs(5),
        };
        rows.push(change.row(exporter, begun));
    }
    rows
}

/// Whether the setting of the unit is exported within 3 s.
fn is_exported(exporter: &Exporter<'_>, unit: &str, metric: &str, expected: f64) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        if exporter.samples().value(metric, &[("name", unit)]) == Some(expected) {
            return true;
        }
    }
    false
}

/// With `UPDATE=1`, replaces the rows of the table. Rows of settings that another machine has stay.
pub fn update_document(rows: &[String]) {
    println!("{}", rows.join("\n"));
    if env::var_os("UPDATE").is_none() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let text = fs::read_to_string(&path).expect("docs/settings.md");
    let (head, rest) = text.split_once(TABLE).expect("the table");
    let end = rest.find("\n\n").unwrap_or(rest.len() - 1);
    let key = |row: &str| {
        row.rsplit_once('|')
            .and_then(|(row, _)| row.rsplit_once('|'))
            .map(|(key, _)| key.to_owned())
    };
    let of_cgroup = |row: &str| CGROUP_SETTINGS.iter().any(|(.., metric, _)| row.contains(metric));
    let is_only_of_cgroup = rows.iter().all(|row| of_cgroup(row));
    let mut all: Vec<String> = Vec::new();
    for row in rest[..end].lines() {
        let new = rows.iter().find(|new| key(new) == key(row)).cloned();
        all.extend(new.or_else(|| (is_only_of_cgroup || of_cgroup(row)).then(|| row.to_owned())));
    }
    let added: Vec<_> = rows.iter().filter(|row| !all.contains(row)).cloned().collect();
    all.extend(added);
    let text = format!("{head}{TABLE}{}{}", all.join("\n"), &rest[end..]);
    fs::write(&path, text).expect("docs/settings.md");
}

const TABLE: &str = "| setting | changed by | metric | time |\n| --- | --- | --- | --- |\n";

/// Settings whose values are read from the cgroup.
const CGROUP_SETTINGS: &[(&str, &str, &str, f64)] = &[
    ("MemoryMax", "512M", "systemd_unit_memory_max_bytes", 536_870_912.0),
    ("MemoryMax", "256M", "systemd_unit_memory_effective_max_bytes", 268_435_456.0),
    ("MemoryHigh", "128M", "systemd_unit_memory_high_bytes", 134_217_728.0),
    ("MemoryHigh", "64M", "systemd_unit_memory_effective_high_bytes", 67_108_864.0),
    ("MemorySwapMax", "32M", "systemd_unit_swap_max_bytes", 33_554_432.0),
    ("CPUQuota", "150%", "systemd_unit_cpu_quota_cores", 1.5),
    ("TasksMax", "50", "systemd_unit_tasks_effective_max", 50.0),
];
