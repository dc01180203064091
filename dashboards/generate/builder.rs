//! A dashboard: rows of panels on the grid, and the variables, annotations and links of all dashboards.

use serde_json::{Value, json};

use super::grafana::{Dashboard, Grid, List, Panel, Source, Time, Variable};
use super::query::on_hosts;

/// A dashboard under construction.
pub(super) struct Builder {
    dashboard: Dashboard,
    y: u32,
}

/// Whether the dashboard has a variable for units.
pub(super) enum Units {
    /// All units; no variable.
    All,
    /// The units selected by the variable `name`.
    Selected,
}

/// The hosts selected by default.
pub(super) enum Hosts {
    /// All hosts.
    All,
    /// The first host.
    One,
}

impl Builder {
    pub(super) fn new(
        uid: &'static str,
        title: &str,
        description: &'static str,
        hosts: Hosts,
        units: Units,
    ) -> Self {
        let mut variables =
            vec![datasource(), cluster(), job(), instance(matches!(hosts, Hosts::All))];
        if matches!(units, Units::Selected) {
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
                "keepTime": true,
                "icon": "external link",
                "targetBlank": false,
                "tooltip": ""
            })],
            templating: List { list: variables },
            annotations: List { list: annotations(&units) },
            panels: Vec::new(),
        };
        Self { dashboard, y: 0 }
    }

    /// Adds a variable with a text that the user can change.
    pub(super) fn textbox(
        mut self,
        name: &'static str,
        label: &'static str,
        description: &'static str,
        text: &str,
    ) -> Self {
        let query = json!(text);
        let (datasource, all_value) = (None, None);
        self.dashboard.templating.list.push(Variable {
            name,
            label,
            description,
            r#type: "textbox",
            query,
            datasource,
            multi: false,
            include_all: false,
            all_value,
            refresh: 0,
            sort: 0,
        });
        self
    }

    /// Adds a row with these panels.
    pub(super) fn row(mut self, title: &str, panels: Vec<Panel>) -> Self {
        let row = self.heading(title, false);
        self.dashboard.panels.push(row);
        let panels = self.flow(panels);
        self.dashboard.panels.extend(panels);
        self
    }

    /// Adds a collapsed row. Grafana sends no queries for collapsed rows.
    pub(super) fn collapsed(mut self, title: &str, panels: Vec<Panel>) -> Self {
        let mut row = self.heading(title, true);
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

    fn heading(&mut self, title: &str, collapsed: bool) -> Panel {
        let mut row = Panel::new("row", title, "");
        row.grid_pos = Grid { x: 0, y: self.y, w: WIDTH, h: 1 };
        row.collapsed = Some(collapsed);
        row.panels = Some(Vec::new());
        row.datasource = None;
        row.field_config = None;
        self.y += 1;
        row
    }

    /// Places panels side by side while they fit; a line is as high as its highest panel.
    fn flow(&mut self, panels: Vec<Panel>) -> Vec<Panel> {
        let mut panels: Vec<_> = panels.into_iter().map(Panel::with_legend).collect();
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
        description: "Prometheus server that scrapes the hosts",
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

/// Hosts without a label `cluster` are in all clusters.
fn cluster() -> Variable {
    let query = "label_values(unit_exporter_build_info, cluster)";
    let description = "Clusters, by the external label cluster of Prometheus";
    Variable {
        all_value: Some(".*"),
        ..query_variable("cluster", "Cluster", description, query, true)
    }
}

fn job() -> Variable {
    let query = r#"label_values(unit_exporter_build_info{cluster=~"$cluster"}, job)"#;
    query_variable("job", "Job", "Scrape jobs of unit-exporter", query, true)
}

fn instance(all: bool) -> Variable {
    let query =
        r#"label_values(unit_exporter_build_info{cluster=~"$cluster",job=~"$job"}, instance)"#;
    query_variable("instance", "Instance", "Hosts", query, all)
}

fn name() -> Variable {
    let query = r#"label_values(systemd_unit_state{cluster=~"$cluster",job=~"$job",instance=~"$instance",state="active"}, name)"#;
    query_variable("name", "Unit", "Units by full name", query, false)
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
        datasource: Some(Source::selected()),
        multi: true,
        include_all: all,
        all_value: Some(".+"),
        refresh: 2,
        sort: 1,
    }
}

/// Events that explain a graph: failures, reboots, exporter restarts.
fn annotations(units: &Units) -> Vec<Value> {
    let failures = match units {
        Units::All => {
            "sum by (instance) (increase(systemd_host_service_failures_total[$__rate_interval])) > 0"
        }
        Units::Selected => {
            r#"sum by (instance, name) (increase(systemd_service_failures_total{name=~"$name"}[$__rate_interval])) > 0"#
        }
    };
    let failed = match units {
        Units::All => "Failures on {{instance}}",
        Units::Selected => "{{name}} failed on {{instance}}",
    };
    let (started, starts) = match units {
        Units::All => (
            "Services started on {{instance}}",
            format!("count by (instance) ({})", requested_starts("")),
        ),
        Units::Selected => {
            ("{{name}} started on {{instance}}", requested_starts(r#",name=~"$name""#))
        }
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
        annotation("Starts on request", "blue", &starts, started, false),
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

/// Starts of services that somebody asked for, as in a deployment: not by `Restart=`, and not of the
/// oneshot services that timers start.
fn requested_starts(matchers: &str) -> String {
    let matchers = |first: &str| format!("{{{first}{matchers}}}");
    let starts = format!("systemd_unit_starts_total{}", matchers(r#"type="service""#));
    let restarts = format!("systemd_service_restart_total{}", matchers(r#"name!="""#));
    let oneshots = r#"systemd_unit_info{service_type="oneshot"}"#;
    format!(
        "sum by (instance, name) (increase({starts}[$__rate_interval])) \
         - sum by (instance, name) (increase({restarts}[$__rate_interval])) > 0.5 \
         unless on (instance, name) {oneshots}"
    )
}

fn annotation(name: &str, color: &str, expression: &str, title: &str, at_value: bool) -> Value {
    json!({
        "name": name,
        "datasource": Source::selected(),
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
