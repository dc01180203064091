//! The subset of Grafana's classic dashboard JSON model that the dashboards use.

use serde::Serialize;
use serde_json::{Value, json};

/// One dashboard.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dashboard {
    pub(crate) uid: &'static str,
    pub(crate) title: String,
    pub(crate) description: &'static str,
    pub(crate) tags: [&'static str; 1],
    pub(crate) editable: bool,
    pub(crate) schema_version: u32,
    pub(crate) version: u32,
    pub(crate) timezone: &'static str,
    pub(crate) time: Time,
    pub(crate) refresh: &'static str,
    /// 1: a shared crosshair.
    pub(crate) graph_tooltip: u32,
    pub(crate) links: Vec<Value>,
    pub(crate) templating: List<Variable>,
    pub(crate) annotations: List<Value>,
    pub(crate) panels: Vec<Panel>,
}

/// The default time range.
#[derive(Debug, Serialize)]
pub(crate) struct Time {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// Grafana's wrapper around variables and annotations.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    pub(crate) list: Vec<T>,
}

/// A variable: a selector at the top of the dashboard.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) description: &'static str,
    pub(crate) r#type: &'static str,
    pub(crate) query: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datasource: Option<Source>,
    pub(crate) multi: bool,
    pub(crate) include_all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) all_value: Option<&'static str>,
    /// 2: reloaded when the time range changes.
    pub(crate) refresh: u32,
    /// 1: alphabetically.
    pub(crate) sort: u32,
}

/// The data source of panels and variables.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Source {
    r#type: &'static str,
    uid: &'static str,
}

/// A panel or a row. A collapsed row contains its panels.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Panel {
    pub(crate) id: u32,
    pub(crate) r#type: &'static str,
    pub(crate) title: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) description: &'static str,
    pub(crate) grid_pos: Grid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) datasource: Option<Source>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<Target>,
    /// The minimum step between two points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_data_points: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) transformations: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field_config: Option<FieldConfig>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) options: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collapsed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) panels: Option<Vec<Panel>>,
}

/// The position of a panel: 24 columns per row, 38 pixels per unit of height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Grid {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) w: u32,
    pub(crate) h: u32,
}

/// One query of a panel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) ref_id: String,
    pub(crate) datasource: Source,
    pub(crate) expr: String,
    pub(crate) legend_format: String,
    pub(crate) format: &'static str,
    pub(crate) instant: bool,
    pub(crate) range: bool,
}

/// Options of the values of a panel.
#[derive(Debug, Serialize)]
pub(crate) struct FieldConfig {
    pub(crate) defaults: Defaults,
    pub(crate) overrides: Vec<Override>,
}

/// Options of all values without an override.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Defaults {
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decimals: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<u32>,
    /// The text instead of "No data".
    pub(crate) no_value: &'static str,
    pub(crate) color: Value,
    pub(crate) thresholds: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mappings: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<Value>,
    pub(crate) custom: Value,
}

/// Options of the values of one series or column.
#[derive(Debug, Serialize)]
pub(crate) struct Override {
    matcher: Value,
    pub(crate) properties: Vec<Property>,
}

/// One property of an override.
#[derive(Debug, Serialize)]
pub(crate) struct Property {
    pub(crate) id: &'static str,
    pub(crate) value: Value,
}

impl Source {
    /// The Prometheus selected by the variable `datasource`.
    pub(crate) fn selected() -> Self {
        Self { r#type: "prometheus", uid: "${datasource}" }
    }
}

impl Override {
    /// Options of the series or column with this name.
    pub(crate) fn of(name: &str) -> Self {
        Self { matcher: json!({"id": "byName", "options": name}), properties: Vec::new() }
    }

    /// Options of all series whose name matches.
    pub(crate) fn matching(expression: &str) -> Self {
        Self { matcher: json!({"id": "byRegexp", "options": expression}), properties: Vec::new() }
    }

    pub(crate) fn with(mut self, id: &'static str, value: impl Into<Value>) -> Self {
        self.properties.push(Property { id, value: value.into() });
        self
    }
}
