//! The dashboards in Grafana's own code (npm's @grafana/data and @grafana/schema): the JSON has its types, and panels show the
//! answers of Prometheus as intended.

#![allow(clippy::disallowed_types, reason = "Node.js is a program")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::committed;
use super::json::{panels, text};

/// A panel with the answers of Prometheus to its queries.
#[derive(Debug, Serialize)]
pub(crate) struct Answered {
    dashboard: String,
    panel: Value,
    answers: Vec<Vec<Value>>,
}

/// A panel as shown.
#[derive(Debug, Deserialize)]
struct Shown {
    dashboard: String,
    title: String,
    #[serde(rename = "type")]
    kind: String,
    problems: Vec<String>,
    frames: Vec<ShownFrame>,
}

/// A table, or a time and a value of each point.
#[derive(Debug, Deserialize)]
struct ShownFrame {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// The text of a value, and its color, which thresholds and mappings determine.
#[derive(Debug, Deserialize)]
struct Cell {
    text: String,
    color: String,
}

impl Answered {
    /// Adds the answer to the next query of a panel.
    pub(crate) fn add(all: &mut Vec<Self>, dashboard: &Value, panel: &Value, answer: &[Value]) {
        let uid = text(&dashboard["uid"]);
        let is_same = |last: &Self| last.dashboard == uid && last.panel["id"] == panel["id"];
        if !all.last().is_some_and(is_same) {
            let (dashboard, panel, answers) = (uid.to_owned(), panel.clone(), Vec::new());
            all.push(Self { dashboard, panel, answers });
        }
        all.last_mut().unwrap().answers.push(answer.to_vec());
    }
}

/// Shows the panels of a host with failures, and checks their content.
#[track_caller]
pub(crate) fn assert_shown(answered: &[Answered]) {
    let output = node(&["tests/dashboards/grafana.cjs"], &serde_json::to_vec(answered).unwrap());
    let panels: Vec<Shown> = serde_json::from_str(&output).expect("panels");
    assert_eq!(panels.len(), answered.len());
    for panel in &panels {
        assert!(panel.problems.is_empty(), "{panel:#?}");
        let cells = panel.frames.iter().flat_map(|frame| frame.rows.iter().flatten());
        for Cell { text, color } in cells {
            let is_broken =
                ["NaN", "undefined", "Invalid", "Infinity"].iter().any(|bad| text.contains(bad));
            assert!(!is_broken && !text.is_empty() && !color.is_empty(), "{panel:#?}");
        }
        if panel.kind == "table" {
            assert_eq!(panel.frames.len(), 1, "not merged: {panel:#?}");
        }
    }
    for (dashboard, title, row, expected) in ROWS {
        let mut tables = panels.iter().filter(|panel| panel.kind == "table");
        let panel = tables.find(|panel| panel.dashboard == *dashboard && panel.title == *title);
        let frame = &panel.expect(title).frames[0];
        let text = |cells: &[Cell], column: &str| {
            let at = frame.columns.iter().position(|name| name == column);
            cells[at.unwrap_or_else(|| panic!("{column}: {:?}", frame.columns))].text.clone()
        };
        let rows = frame
            .rows
            .iter()
            .filter(|cells| row.is_none_or(|(column, is)| text(cells, column) == is));
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), 1, "{dashboard}, {title}, {row:?}: {frame:#?}");
        for (column, value) in *expected {
            assert_eq!(
                text(rows[0], column),
                *value,
                "{dashboard}, {title}, {row:?}: {:#?}",
                rows[0]
            );
        }
    }
    for (dashboard, title, color) in COLORS {
        let panel =
            panels.iter().find(|panel| panel.dashboard == *dashboard && panel.title == *title);
        let cell = panel.and_then(|panel| panel.frames.first()?.rows.last()?.last());
        assert_eq!(cell.map(|cell| &*cell.color), Some(*color), "{dashboard}, {title}: {cell:?}");
    }
}

type ExpectedRow = (
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
    &'static [(&'static str, &'static str)],
);

/// Rows of tables: the only one with this text in this column, and further texts of it.
const ROWS: &[ExpectedRow] = &[
    ("systemd-fleet", "Hosts", None, &[("State", "degraded"), ("Start limit hit", "1")]),
    (
        "systemd-fleet",
        "Units failing on most hosts",
        Some(("Unit", "exits.service")),
        &[("Hosts failed", "–"), ("Hosts failing", "1")],
    ),
    (
        "systemd-host",
        "Failure causes",
        Some(("Unit", "exits.service")),
        &[
            ("Last result", "exit-code"),
            ("Exit code", "1"),
            ("Signal", "–"),
            ("Start limit hit", "0"),
        ],
    ),
    (
        "systemd-crashes",
        "Services that failed",
        Some(("Unit", "exits.service")),
        &[("Last result", "exit-code"), ("Exit code", "1"), ("Signal", "–")],
    ),
    (
        "systemd-crashes",
        "Exit statuses and signals",
        Some(("Unit", "killed.service")),
        &[("Code", "killed"), ("Status or signal", "SIGKILL")],
    ),
    (
        "systemd-unit",
        "Settings",
        Some(("Unit", "crashing.service")),
        &[
            ("Restart=", "always"),
            ("Restart delay", "2 s"),
            ("Start limit", "5"),
            ("Limit interval", "10 s"),
            ("Watchdog", "–"),
        ],
    ),
    (
        "systemd-unit",
        "Failed dependencies",
        None,
        &[("Depends on", "hopeless.service"), ("Relation", "wants")],
    ),
    (
        "systemd-workers",
        "Templates",
        Some(("Template", "worker@.service")),
        &[("Active", "3"), ("Expected", "4"), ("Current", "2"), ("Started", "2"), ("Crashed", "1")],
    ),
    (
        "systemd-workers",
        "Workers",
        Some(("Unit", "worker@3.service")),
        &[("State", "inactive"), ("Inactive because", "exited"), ("Restart due", "–")],
    ),
    (
        "systemd-workers",
        "Workers",
        Some(("Unit", "worker@2.service")),
        &[("State", "active"), ("Inactive because", "–"), ("Restart due", "yes")],
    ),
    ("systemd-workers", "Exits", Some(("Status", "SIGKILL")), &[("Template", "worker@.service")]),
    (
        "systemd-workers",
        "Units that depend on Redis",
        Some(("Unit", "laravel-queue.service")),
        &[("Relation", "wants"), ("State", "active")],
    ),
    (
        "systemd-listeners",
        "Listeners",
        Some(("Unit", "stuck.service")),
        &[("Protocol", "tcp"), ("Port", "6700"), ("Queue limit", "2"), ("Socket unit", "–")],
    ),
    ("systemd-listeners", "Expected listeners", None, &[("Port", "6001"), ("Status", "present")]),
    (
        "systemd-timers",
        "Timers",
        Some(("Unit", "backup.timer")),
        &[("Triggers", "backup.service"), ("Overdue by", "–")],
    ),
    ("systemd-boot", "Hosts", None, &[("Virtualization", "container-other")]),
    (
        "systemd-boot",
        "Units not loaded",
        None,
        &[("Unit", "bad.service"), ("Load state", "bad-setting")],
    ),
    ("systemd-exporter", "Exporters", None, &[("Counts kept", "0")]),
];

/// The color of the last value of a panel: red above a threshold, orange, gray.
const COLORS: &[(&str, &str, &str)] = &[
    ("systemd-fleet", "Hosts reporting", "#73BF69"),
    ("systemd-fleet", "Failed units", "#F2495C"),
    ("systemd-fleet", "Failures", "#FF9830"),
    ("systemd-host", "Start limit hit", "#F2495C"),
    ("systemd-unit", "FD usage", "#73BF69"),
    ("systemd-crashes", "Core dump", "#6e7680"),
    ("systemd-workers", "Missing", "#F2495C"),
    ("systemd-workers", "Redis", "#73BF69"),
    ("systemd-listeners", "Fullest queue", "#F2495C"),
    ("systemd-listeners", "Missing", "#73BF69"),
];

#[test]
fn json_has_the_types_of_grafanas_schema() {
    let mut program = include_str!("schema.ts").to_owned();
    let mut checked = 0;
    for dashboard in committed() {
        writeln!(program, "export const dashboard{checked}: Checked = {dashboard:#};").unwrap();
        for panel in panels(&dashboard) {
            let kind = text(&panel["type"]);
            let mut check = |types: &str, value: &Value| {
                checked += 1;
                let value = if value.is_null() { "{}".to_owned() } else { value.to_string() };
                let line = format!("const value{checked}: {types}['{kind}'] = {value};");
                writeln!(program, "export {line} // {}", panel["title"]).unwrap();
            };
            check("Options", &panel["options"]);
            let custom = &panel["fieldConfig"]["defaults"]["custom"];
            if !custom.is_null() {
                check("Fields", custom);
            }
        }
    }
    println!("{checked} options");
    assert!(checked > 250, "{checked}");
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(modules(), directory.path().join("node_modules")).unwrap();
    let file = directory.path().join("dashboards.ts");
    std::fs::write(&file, program).unwrap();
    let compiler = modules().join("typescript/lib/tsc.js");
    let options = "--noEmit --strict --skipLibCheck --preserveSymlinks --moduleResolution bundler --module esnext --target es2022";
    let mut arguments = vec![compiler.to_str().unwrap()];
    arguments.extend(options.split(' '));
    arguments.push(file.to_str().unwrap());
    node(&arguments, b"");
}

/// Runs Node.js with the packages that scripts/setup installs; returns its output.
#[track_caller]
fn node(arguments: &[&str], input: &[u8]) -> String {
    let mut node = Command::new("node")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NODE_PATH", modules())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node: scripts/setup test installs it");
    node.stdin.take().unwrap().write_all(input).unwrap();
    let output = node.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

fn modules() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/npm/node_modules");
    assert!(
        path.join("@grafana/data").exists(),
        "no @grafana/data: scripts/setup test installs it"
    );
    path
}
