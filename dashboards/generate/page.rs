//! A page: rows of panels on the grid, and the variables, annotations and links that all pages share.

use serde_json::{Value, json};

use super::grafana::{Dashboard, Grid, List, Panel, Source, Time, Variable};
use super::query::on_hosts;

/// A dashboard in the making.
pub(super) struct Page {
    dashboard: Dashboard,
    y: u32,
}

/// Which units a page is about.
pub(super) enum Units {
    /// It has no box for units.
    All,
    /// One or some, chosen.
    Chosen,
}

/// Which hosts a page shows at first.
pub(super) enum Hosts {
    /// All of them.
    All,
    /// The first one.
    One,
}

impl Page {
    pub(super) fn new(
        uid: &'static str,
        title: &str,
        description: &'static str,
        hosts: Hosts,
        units: Units,
    ) -> Self {
        let mut variables = vec![datasource(), job(), instance(matches!(hosts, Hosts::All))];
        if matches!(units, Units::Chosen) {
            variables.push(name());
        }
        let dashboard = Dashboard {
            uid,
            title: format!("systemd / {title}"),
            description,
            tags: [TAG],
            editable: false,
            schema_version: 41,
            version: 1,
            timezone: "browser",
            time: Time { from: "now-3h", to: "now" },
            refresh: "1m",
            graph_tooltip: 1,
            links: vec![json!({
                "type": "dashboards",
                "title": "systemd",
                "tags": [TAG],
                "asDropdown": true,
                "includeVars": true,
                "keepTime": true
            })],
            templating: List { list: variables },
            annotations: List { list: annotations(&units) },
            panels: Vec::new(),
        };
        Self { dashboard, y: 0 }
    }

    /// A question and the panels that answer it.
    pub(super) fn row(mut self, question: &str, panels: Vec<Panel>) -> Self {
        let row = self.heading(question, false);
        self.dashboard.panels.push(row);
        let panels = self.flow(panels);
        self.dashboard.panels.extend(panels);
        self
    }

    /// The same, closed at first: closed rows ask nothing.
    pub(super) fn collapsed(mut self, question: &str, panels: Vec<Panel>) -> Self {
        let mut row = self.heading(question, true);
        let below = self.y;
        row.panels = Some(self.flow(panels));
        self.y = below;
        self.dashboard.panels.push(row);
        self
    }

    pub(super) fn build(mut self) -> Dashboard {
        let mut id = 0;
        for panel in &mut self.dashboard.panels {
            for panel in std::iter::once(&mut panel.id)
                .chain(panel.panels.iter_mut().flatten().map(|inner| &mut inner.id))
            {
                id += 1;
                *panel = id;
            }
        }
        self.dashboard
    }

    fn heading(&mut self, question: &str, collapsed: bool) -> Panel {
        let mut row = Panel::new("row", question, "");
        row.grid_pos = Grid { x: 0, y: self.y, w: WIDTH, h: 1 };
        row.collapsed = Some(collapsed);
        row.panels = Some(Vec::new());
        row.datasource = None;
        row.field_config = None;
        self.y += 1;
        row
    }

    /// Puts panels side by side while they fit; a line is as high as its highest panel.
    fn flow(&mut self, mut panels: Vec<Panel>) -> Vec<Panel> {
        let (mut x, mut height) = (0, 0);
        for panel in &mut panels {
            let Grid { w, h, .. } = panel.grid_pos;
            if x + w > WIDTH {
                self.y += height;
                (x, height) = (0, 0);
            }
            panel.grid_pos = Grid { x, y: self.y, w, h };
            x += w;
            height = height.max(h);
        }
        self.y += height;
        panels
    }
}

fn datasource() -> Variable {
    Variable {
        name: "datasource",
        label: "Data source",
        description: "The Prometheus that scrapes the hosts",
        r#type: "datasource",
        query: json!("prometheus"),
        datasource: None,
        multi: false,
        include_all: false,
        all_value: None,
        refresh: 1,
        sort: 0,
    }
}

fn job() -> Variable {
    let query = "label_values(systemd_exporter_build_info, job)";
    query_variable("job", "Job", "The scrape jobs that have a unit-exporter", query, true)
}

fn instance(all: bool) -> Variable {
    let query = r#"label_values(systemd_exporter_build_info{job=~"$job"}, instance)"#;
    query_variable("instance", "Instance", "The hosts", query, all)
}

fn name() -> Variable {
    let query = r#"label_values(systemd_unit_state{job=~"$job",instance=~"$instance",state="active"}, name)"#;
    query_variable("name", "Unit", "The units, by their full names", query, false)
}

fn query_variable(
    name: &'static str,
    label: &'static str,
    description: &'static str,
    query: &str,
    all: bool,
) -> Variable {
    Variable {
        name,
        label,
        description,
        r#type: "query",
        query: json!({"query": query, "refId": name}),
        datasource: Some(Source::chosen()),
        multi: true,
        include_all: all,
        all_value: Some(".+"),
        refresh: 2,
        sort: 1,
    }
}

/// What explains a graph: failures, reboots, new exporters.
fn annotations(units: &Units) -> Vec<Value> {
    let failures = match units {
        Units::All => "sum by (instance) (increase(systemd_failures_total[$__rate_interval])) > 0",
        Units::Chosen => {
            r#"sum by (instance, name) (increase(systemd_service_failures_total{name=~"$name"}[$__rate_interval])) > 0"#
        }
    };
    let failed = match units {
        Units::All => "Failures on {{instance}}",
        Units::Chosen => "{{name}} failed on {{instance}}",
    };
    vec![
        json!({
            "builtIn": 1,
            "name": "Annotations & Alerts",
            "type": "dashboard",
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": true,
            "hide": true,
            "iconColor": "blue"
        }),
        annotation("Failures", "red", failures, failed, false),
        annotation("Reboots", "purple", BOOTED, "{{instance}} booted", true),
        annotation(
            "Exporter restarts",
            "#6e7680",
            STARTED,
            "Exporter on {{instance}} started",
            true,
        ),
    ]
}

fn annotation(name: &str, color: &str, expression: &str, title: &str, at_value: bool) -> Value {
    json!({
        "name": name,
        "datasource": Source::chosen(),
        "enable": true,
        "iconColor": color,
        "expr": on_hosts(expression),
        "step": "60s",
        "titleFormat": title,
        "tagKeys": "instance",
        "useValueForTime": at_value
    })
}

const TAG: &str = "systemd";
const WIDTH: u32 = 24;
const BOOTED: &str = r#"systemd_boot_time_seconds{stage="Userspace"} * 1000"#;
const STARTED: &str = "process_start_time_seconds * 1000";
